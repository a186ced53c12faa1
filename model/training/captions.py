"""Sentences for scenes: a small grammar with many ways of saying each attribute."""

import torch

from model.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SIZES,
    SPEEDS,
    STYLES,
    Scenes,
)

Words = dict[str, tuple[str, ...]]

WORDS: Words = {
    "ball": ("ball", "sphere", "circle", "ball", "round ball"),
    "square": ("square", "box", "cube", "block"),
    "triangle": ("triangle", "pyramid", "triangle"),
    "star": ("star", "five-pointed star", "star"),
    "heart": ("heart", "love heart", "heart"),
    "ring": ("ring", "hoop", "donut"),
    "red": ("red", "red", "scarlet", "bright red"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald", "bright green"),
    "blue": ("blue", "blue", "deep blue", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose pink"),
    "white": ("white", "white", "snow white"),
    "small": ("small", "little", "tiny"),
    "medium": ("",),
    "big": ("big", "large", "huge"),
    "slow": ("slowly", "gently"),
    "normal": ("",),
    "fast": ("quickly", "fast", "rapidly"),
    "left": (
        "moves left",
        "moving left",
        "moves to the left",
        "slides to the left",
        "drifting left",
        "going from right to left",
        "flies to the left",
        "rolls left",
    ),
    "right": (
        "moves right",
        "moving right",
        "moves to the right",
        "slides to the right",
        "drifting right",
        "going from left to right",
        "flies to the right",
        "rolls right",
    ),
    "up": ("moves up", "moving up", "rises", "rising", "goes up", "floats upwards", "flies up"),
    "down": ("moves down", "moving down", "falls", "falling", "goes down", "sinks", "drops"),
    "grow": ("grows", "growing", "gets bigger", "becomes larger", "expands"),
    "shrink": ("shrinks", "shrinking", "gets smaller", "becomes smaller"),
    "bounce": ("bounces", "bouncing", "bounces up and down", "hops", "jumping", "jumps"),
    "still": ("stands still", "standing still", "does not move", "stays in place", "rests"),
    "flat": ("cartoon", "flat cartoon", "animation", "2d animation", "flat design"),
    "shaded": ("realistic", "3d render", "photorealistic", "realistic 3d", "glossy 3d"),
    "bw": ("black and white film", "black-and-white", "monochrome film", "old film noir"),
    "sketch": ("pencil sketch", "sketch", "hand-drawn sketch", "pencil drawing"),
}
PLACES: Words = {
    "white": ("on a white background", "against white", "on white", "in a white studio"),
    "black": ("on a black background", "against black", "on black", "in the dark"),
    "gray": ("on a gray background", "on gray", "against gray", "on a grey background"),
    "sky": ("in the sky", "in a blue sky with clouds", "among the clouds", "in a cloudy sky"),
    "sunset": ("at sunset", "in front of a sunset", "in the evening sun", "at dusk"),
    "night": ("at night", "in the night sky", "under the stars", "in a starry night"),
    "grass": ("on the grass", "in a green meadow", "over a green field", "on a lawn"),
    "sea": ("over the sea", "by the ocean", "above the waves", "at the sea"),
}
# Words that are said less often: one in five times.
RARER: Words = {
    "ball": ("disc", "bubble", "globe", "marble", "football"),
    "square": ("cuboid", "tile", "crate", "rectangle", "dice"),
    "triangle": ("three-sided shape", "tetrahedron", "tent", "wedge shape"),
    "star": ("pentagram", "star shape", "starfish", "sheriff's star"),
    "heart": ("heart shape", "heart symbol", "love symbol"),
    "ring": ("torus", "wheel", "bagel", "tyre", "tire", "circle with a hole"),
    "red": ("ruby", "cherry red", "dark red", "vermilion"),
    "orange": ("amber", "pumpkin orange", "bright orange"),
    "yellow": ("gold", "canary yellow", "mustard", "bright yellow"),
    "green": ("lime green", "forest green", "grass-green", "dark green"),
    "blue": ("navy", "royal blue", "sapphire", "dark blue"),
    "purple": ("lilac", "lavender", "indigo", "plum"),
    "pink": ("fuchsia", "hot pink", "salmon", "light pink"),
    "white": ("pale", "off-white", "pure white"),
    "small": ("mini", "miniature", "petite"),
    "big": ("giant", "enormous", "massive", "great"),
    "slow": ("leisurely", "calmly", "at a slow pace"),
    "fast": ("swiftly", "at high speed", "in a hurry"),
    "left": ("heads left", "glides to the left", "travels left", "goes left", "leftwards"),
    "right": ("heads right", "glides to the right", "travels right", "goes right", "rightwards"),
    "up": ("ascends", "climbs", "lifts off", "soars", "upwards"),
    "down": ("descends", "tumbles down", "plunges", "comes down", "downwards"),
    "grow": ("swells", "inflates", "is growing bigger", "enlarges", "comes closer"),
    "shrink": ("contracts", "deflates", "is getting smaller", "dwindles", "goes away"),
    "bounce": ("hopping", "leaps up and down", "springs up and down", "is bouncing around"),
    "still": ("is motionless", "stays still", "sits there", "is at rest", "stands there"),
    "flat": ("anime", "comic", "vector art", "cartoon animation", "animated"),
    "shaded": ("cinematic", "live action", "lifelike", "cgi", "photograph", "render"),
    "bw": ("in black and white", "noir", "silent film", "grayscale", "old movie"),
    "sketch": ("line drawing", "charcoal drawing", "doodle", "pencil art", "hand drawn"),
}
RARER_PLACES: Words = {
    "white": ("on a plain white background", "on a blank page", "in front of a white wall"),
    "black": ("in darkness", "on a dark background", "in a black room", "on plain black"),
    "gray": ("on plain gray", "in front of a grey wall", "in a gray room"),
    "sky": ("in the air", "high above", "in front of clouds", "on a sunny day"),
    "sunset": ("at dawn", "in the golden hour", "as the sun sets", "at sunrise", "in the evening"),
    "night": ("in space", "in outer space", "on a starry night", "among the stars"),
    "grass": ("in a park", "in a garden", "in the grass", "on a hill", "in the fields"),
    "sea": ("on the ocean", "at the beach", "on the water", "at the seaside", "on the sea"),
}
RARELY = 0.2
TYPO = 0.04
LEADS = ("", "", "", "", "a video of ", "a clip of ", "please show ", "imagine ", "there is ")


def describe(
    scenes: Scenes,
    generator: torch.Generator,
    *,
    complete: bool = False,
    rarely: float = RARELY,
    instead: dict[str, str] | None = None,
) -> list[str]:
    """One caption a scene.

    Unless `complete`, an attribute is now and then left unsaid, so that short prompts work too;
    a black-and-white or sketched scene seldom has its colour named. The plain style words are
    often left out, and style is then free. Rarer words are said
    with probability `rarely`; `instead` has words to be said for attributes in place of all these.
    """

    def chance(p: float) -> bool:
        return float(torch.rand((), generator=generator)) < p

    def pick(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    def say(
        name: str, common: dict[str, tuple[str, ...]], rarer: dict[str, tuple[str, ...]]
    ) -> str:
        if instead and name in instead:
            return instead[name]
        return pick(rarer[name] if name in rarer and chance(rarely) else common[name])

    def word(name: str) -> str:
        return say(name, WORDS, RARER)

    captions = []
    for i in range(len(scenes)):
        shape, colour = SHAPES[int(scenes.shape[i])], COLOURS[int(scenes.colour[i])]
        motion, place = MOTIONS[int(scenes.motion[i])], BACKGROUNDS[int(scenes.background[i])]
        style, size = STYLES[int(scenes.style[i])], SIZES[int(scenes.size[i])]
        speed = SPEEDS[int(scenes.speed[i])]
        gray = style in ("bw", "sketch")
        named = chance(0.25) if gray else complete or chance(0.96)
        moves = complete or chance(0.95)
        placed = complete or chance(0.95)
        styled = complete or gray or chance(0.6)
        hue = word(colour) if named else ""
        thing = " ".join(w for w in (word(size), hue, word(shape)) if w)
        thing = ("an " if thing[0] in "aeiou" else "a ") + thing
        if named and chance(0.06):
            thing = f"a {word(shape)} that is {word(colour)}"
        act = word(motion) if moves else ""
        if act and word(speed):
            act = f"{act} {word(speed)}"
        where = say(place, PLACES, RARER_PLACES) if placed else ""
        if where and chance(0.2):
            sentence = " ".join(w for w in (f"{where},", thing, act) if w)
        elif act and where and chance(0.15):
            sentence = f"{thing} {where} {act}"
        else:
            sentence = " ".join(w for w in (thing, act, where) if w)
        if styled:
            look = word(style)
            sentence = (
                f"{look} of {sentence}",
                f"{sentence}, {look}",
                f"{sentence}, {look} style",
                f"{look}: {sentence}",
            )[int(torch.randint(4, (), generator=generator))]
        sentence = pick(LEADS) + sentence
        if not complete and chance(TYPO):
            at = int(torch.randint(len(sentence) - 1, (), generator=generator))
            sentence = sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]
        if chance(0.3):
            sentence = sentence[0].upper() + sentence[1:] + "."
        captions.append(sentence)
    return captions

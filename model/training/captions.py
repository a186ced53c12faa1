"""Sentences for scenes: a small grammar with many ways of saying each attribute."""

from dataclasses import dataclass

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
# How two objects stand to each other. The first of a pair is the left one, or the upper one.
BESIDE = (
    "{0} and {1}", "{0} and {1}", "{0} and {1}", "{0} next to {1}", "{0} beside {1}",
    "{0} to the left of {1}", "{0} left of {1}", "{1} to the right of {0}", "{1} right of {0}",
    "{0} on the left and {1} on the right", "{1} on the right and {0} on the left",
)  # fmt: skip
ABOVE = (
    "{0} and {1}", "{0} and {1}", "{0} above {1}", "{0} over {1}", "{1} below {0}",
    "{1} under {0}", "{0} at the top and {1} at the bottom",
)  # fmt: skip
JOINS = tuple(phrase.format("", "") for phrase in BESIDE + ABOVE)
RARELY = 0.2
TYPO = 0.04
LEADS = ("", "", "", "", "a video of ", "a clip of ", "please show ", "imagine ", "there is ")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Someone who says what scenes show, each time in other words."""

    generator: torch.Generator
    complete: bool
    rarely: float
    instead: dict[str, str]

    def chance(self, p: float) -> bool:
        return float(torch.rand((), generator=self.generator)) < p

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=self.generator))]

    def say(self, name: str, common: Words, rarer: Words) -> str:
        """A word or phrase for an attribute."""
        if name in self.instead:
            return self.instead[name]
        rare = name in rarer and self.chance(self.rarely)
        return self.pick(rarer[name] if rare else common[name])

    def word(self, name: str) -> str:
        return self.say(name, WORDS, RARER)

    def thing(self, scenes: Scenes, i: int) -> str:
        """The object with its size and colour."""
        shape, colour = SHAPES[int(scenes.shape[i])], COLOURS[int(scenes.colour[i])]
        size = SIZES[int(scenes.size[i])]
        gray = STYLES[int(scenes.style[i])] in ("bw", "sketch")
        named = self.chance(0.25) if gray else self.complete or self.chance(0.96)
        hue = self.word(colour) if named else ""
        thing = " ".join(w for w in (self.word(size), hue, self.word(shape)) if w)
        if named and self.chance(0.06):
            return f"a {self.word(shape)} that is {self.word(colour)}"
        return ("an " if thing[0] in "aeiou" else "a ") + thing

    def act(self, scenes: Scenes, i: int, likely: float = 0.95) -> str:
        """What it does, or nothing."""
        if not (self.complete or self.chance(likely)):
            return ""
        motion, speed = MOTIONS[int(scenes.motion[i])], SPEEDS[int(scenes.speed[i])]
        act = self.word(motion)
        return f"{act} {self.word(speed)}" if self.word(speed) else act

    def place(self, scenes: Scenes, i: int) -> str:
        """Where it is, or nothing."""
        if not (self.complete or self.chance(0.95)):
            return ""
        return self.say(BACKGROUNDS[int(scenes.background[i])], PLACES, RARER_PLACES)

    def finish(self, sentence: str, style: str) -> str:
        """The sentence with its style, if that is said, and as people write."""
        if self.complete or style in ("bw", "sketch") or self.chance(0.6):
            look = self.word(style)
            forms = ("{1} of {0}", "{0}, {1}", "{0}, {1} style", "{1}: {0}")
            sentence = self.pick(forms).format(sentence, look)
        sentence = self.pick(LEADS) + sentence
        if not self.complete and self.chance(TYPO):
            at = int(torch.randint(len(sentence) - 1, (), generator=self.generator))
            sentence = sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]
        return sentence[0].upper() + sentence[1:] + "." if self.chance(0.3) else sentence


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
    speaker = Speaker(generator, complete, rarely, instead or {})
    captions = []
    for i in range(len(scenes)):
        thing, act = speaker.thing(scenes, i), speaker.act(scenes, i)
        where = speaker.place(scenes, i)
        if where and speaker.chance(0.2):
            sentence = " ".join(w for w in (f"{where},", thing, act) if w)
        elif act and where and speaker.chance(0.15):
            sentence = f"{thing} {where} {act}"
        else:
            sentence = " ".join(w for w in (thing, act, where) if w)
        captions.append(speaker.finish(sentence, STYLES[int(scenes.style[i])]))
    return captions


def describe_two(
    first: Scenes,
    second: Scenes,
    generator: torch.Generator,
    *,
    complete: bool = False,
    rarely: float = RARELY,
) -> list[str]:
    """One caption for each pair of objects, as `describe` has it.

    What stands still is seldom said to, and pairs of which nothing more is said are named from the
    left, or from above.
    """
    speaker = Speaker(generator, complete, rarely, {})
    still = MOTIONS.index("still")
    across = (second.x - first.x).abs() > (second.y - first.y).abs()
    captions = []
    for i in range(len(first)):
        things = [
            " ".join(
                w
                for w in (
                    speaker.thing(scenes, i),
                    speaker.act(scenes, i, 0.3 if int(scenes.motion[i]) == still else 0.95),
                )
                if w
            )
            for scenes in (first, second)
        ]
        sentence = speaker.pick(BESIDE if across[i] else ABOVE).format(*things)
        where = speaker.place(first, i)
        if where and speaker.chance(0.3):
            sentence = f"{where}, {sentence}"
        elif where:
            sentence = f"{sentence} {where}"
        captions.append(speaker.finish(sentence, STYLES[int(first.style[i])]))
    return captions

"""Sentences for scenes: a small grammar with many ways of saying each attribute."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.training.scenes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    LAYOUTS,
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
    "cross": ("cross", "plus sign", "cross"),
    "diamond": ("diamond", "rhombus", "diamond"),
    "moon": ("moon", "crescent moon", "crescent", "half moon"),
    "car": ("car", "automobile", "car"),
    "house": ("house", "house", "home"),
    "tree": ("tree", "tree"),
    "boat": ("boat", "sailboat", "ship", "boat"),
    "fish": ("fish", "fish"),
    "bird": ("bird", "bird"),
    "rocket": ("rocket", "spaceship", "rocket"),
    "person": ("person", "man", "woman", "person"),
    "red": ("red", "red", "scarlet", "bright red"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald", "bright green"),
    "blue": ("blue", "blue", "deep blue", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose pink"),
    "turquoise": ("turquoise", "turquoise", "teal", "cyan"),
    "brown": ("brown", "brown", "dark brown"),
    "white": ("white", "white", "pure white"),
    "gray": ("gray", "grey", "gray"),
    "black": ("black", "black", "jet black"),
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
    "spin": ("spins", "spinning", "rotates", "turns around itself", "is rotating"),
    "orbit": ("moves in a circle", "circles around", "circling", "orbits", "goes round and round"),
    "pulse": ("pulses", "pulsing", "pulsates", "throbs", "grows and shrinks again and again"),
    "zigzag": ("zigzags", "moves in a zigzag", "zigzagging", "zigzags to the right"),
    "swing": ("swings", "swinging", "swings back and forth", "sways", "swaying from side to side"),
    "still": ("stands still", "standing still", "does not move", "stays in place", "rests"),
    "flat": ("cartoon", "flat cartoon", "animation", "2d animation", "flat design"),
    "shaded": ("realistic", "3d render", "photorealistic", "realistic 3d", "glossy 3d"),
    "bw": ("black and white film", "black-and-white", "monochrome film", "old film noir"),
    "sketch": ("pencil sketch", "sketch", "hand-drawn sketch", "pencil drawing"),
    "watercolour": ("watercolour", "watercolor painting", "watercolor", "watercolour painting"),
    "neon": ("neon", "neon lights", "glowing neon", "neon sign"),
    "pan left": ("the camera pans left", "camera panning to the left", "slow pan left"),
    "pan right": ("the camera pans right", "camera panning to the right", "slow pan right"),
    "zoom in": ("the camera zooms in", "zooming in", "slow zoom in", "camera zoom in"),
    "zoom out": ("the camera zooms out", "zooming out", "slow zoom out", "camera zoom out"),
    "fixed": ("static camera", "fixed camera", "the camera does not move"),
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
    "gradient": ("on a gradient background", "on a colour gradient", "against a soft gradient"),
    "desert": ("in the desert", "among sand dunes", "on the sand", "in a sandy desert"),
    "city": ("in the city", "in front of a city skyline", "above the city", "in a big city"),
    "snow": ("in the snow", "in a snowy landscape", "in winter", "while snow falls"),
    "rain": ("in the rain", "on a rainy day", "in heavy rain", "while it rains"),
    "checkerboard": ("on a checkerboard", "on a chessboard pattern", "on a checkered background"),
    "room": ("in a room", "inside a room", "in a living room", "on a wooden floor"),
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
    "turquoise": ("aqua", "bright turquoise", "blue-green"),
    "brown": ("light brown", "coffee brown", "wooden brown"),
    "white": ("off-white", "snow white", "bright white"),
    "gray": ("dark gray", "light grey", "silver gray"),
    "black": ("deep black", "coal black", "pitch black"),
    "cross": ("plus", "plus shape", "cross shape"),
    "diamond": ("diamond shape", "gem", "kite shape"),
    "moon": ("sickle moon", "new moon", "crescent shape"),
    "car": ("vehicle", "toy car", "motor car"),
    "house": ("building", "hut", "cabin"),
    "tree": ("leafy tree", "bush", "tree with leaves"),
    "boat": ("sailing boat", "sailing ship", "toy boat"),
    "fish": ("goldfish", "sea fish"),
    "bird": ("pigeon", "songbird"),
    "rocket": ("space rocket", "spacecraft", "toy rocket"),
    "person": ("human", "human figure", "guy"),
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
    "spin": ("twirls", "revolves", "whirls around", "turns on the spot"),
    "orbit": ("goes in circles", "runs in a circle", "travels in a circle"),
    "pulse": ("beats like a drum", "swells and contracts", "breathes in and out"),
    "zigzag": ("goes in zigzags", "runs in a zigzag line", "moves in a zigzag to the right"),
    "swing": ("rocks from side to side", "dangles", "swings like a pendulum"),
    "still": ("is motionless", "stays still", "sits there", "is at rest", "stands there"),
    "flat": ("anime", "comic", "vector art", "cartoon animation", "animated"),
    "shaded": ("cinematic", "live action", "lifelike", "cgi", "photograph", "render"),
    "bw": ("in black and white", "noir", "silent film", "grayscale", "old movie"),
    "sketch": ("line drawing", "charcoal drawing", "doodle", "pencil art", "hand drawn"),
    "watercolour": ("painted in watercolour", "aquarelle", "soft watercolor wash", "painting"),
    "neon": ("neon glow", "made of neon light", "fluorescent tubes", "glowing lines"),
    "pan left": ("the camera moves left", "tracking shot to the left", "pan to the left"),
    "pan right": ("the camera moves right", "tracking shot to the right", "pan to the right"),
    "zoom in": ("the camera moves closer", "push in", "close-up zoom"),
    "zoom out": ("the camera moves away", "pull back", "the camera backs away"),
    "fixed": ("still camera", "locked-off shot"),
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
    "gradient": ("in front of a gradient", "on a smooth colour gradient"),
    "desert": ("in the sahara", "in the dunes", "on a desert plain"),
    "city": ("downtown", "in front of skyscrapers", "in front of tall buildings", "in a town"),
    "snow": ("on a snowy day", "in a snowstorm", "in falling snow", "in snowfall"),
    "rain": ("in a storm", "under dark rain clouds", "in pouring rain", "in a shower"),
    "checkerboard": ("on a chess board", "on checkered tiles", "on black and white tiles"),
    "room": ("indoors", "at home", "on the floor of a room", "in an empty room"),
}
# How figures go their way.
GOING: Words = {
    "car": ("drives", "driving", "drives"),
    "boat": ("sails", "sailing"),
    "fish": ("swims", "swimming"),
    "bird": ("flies", "flying"),
    "rocket": ("flies", "flying", "shoots"),
    "person": ("walks", "walking", "runs", "strolls"),
}
WAYS: Words = {
    "left": ("left", "to the left", "from right to left"),
    "right": ("right", "to the right", "from left to right"),
}
# How objects stand to each other. The first is the left one, the upper one, or the one in front.
BESIDE = (
    "{0} and {1}", "{0} and {1}", "{0} and {1}", "{0} next to {1}", "{0} beside {1}",
    "{0} to the left of {1}", "{0} left of {1}", "{1} to the right of {0}", "{1} right of {0}",
    "{0} on the left and {1} on the right", "{1} on the right and {0} on the left",
    "{0} with {1} to its right", "{0} together with {1}",
)  # fmt: skip
ABOVE = (
    "{0} and {1}", "{0} and {1}", "{0} above {1}", "{0} over {1}", "{1} below {0}",
    "{1} under {0}", "{0} at the top and {1} at the bottom", "{0} with {1} below it",
)  # fmt: skip
FRONT = (
    "{0} in front of {1}", "{1} behind {0}", "{0} partly in front of {1}",
    "{1} partly hidden by {0}", "{0} covers a part of {1}",
)  # fmt: skip
#: The one behind comes with its motion, the one in front without.
CROSSING = (
    "{1} behind {0}", "{1} passing behind {0}", "{1} and disappears behind {0}",
    "{0} and behind it {1}", "{0} in front of {1}",
)  # fmt: skip
THREE = (
    "{0}, {1} and {2}", "{0}, {1} and {2}", "{0}, {1}, {2}", "three things: {0}, {1} and {2}",
    "{0} next to {1} next to {2}", "from left to right {0}, {1} and {2}",
    "{0} on the left, {1} in the middle and {2} on the right", "{1} between {0} and {2}",
)  # fmt: skip
THREE_BELOW = (
    "{0}, {1} and {2}", "{0}, {1} and {2}", "three things: {0}, {1} and {2}",
    "from top to bottom {0}, {1} and {2}", "{0} above {1} above {2}",
    "{0} at the top, {1} in the middle and {2} at the bottom",
)  # fmt: skip
PHRASES = BESIDE + ABOVE + FRONT + CROSSING + THREE + THREE_BELOW
JOINS = tuple(phrase.format("", "", "") for phrase in PHRASES)
RARELY = 0.2
TYPO = 0.04
LEADS = (
    "", "", "", "", "", "", "a video of ", "a clip of ", "please show ", "imagine ", "there is ",
    "show me ", "a beautiful shot of ", "a picture of ", "we see ", "in this video, ",
)  # fmt: skip
TAILS = ("", "", "", "", "", "", "", "", ", 4k", ", high quality", ", beautiful", ", please")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Someone who says what scenes show, each time in other words."""

    dice: random.Random
    complete: bool
    rarely: float
    instead: dict[str, str]

    def chance(self, p: float) -> bool:
        return self.dice.random() < p

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.dice.random() * len(options))]

    def say(self, name: str, common: Words, rarer: Words) -> str:
        """A word or phrase for an attribute."""
        if name in self.instead:
            return self.instead[name]
        rare = name in rarer and self.chance(self.rarely)
        return self.pick(rarer[name] if rare else common[name])

    def word(self, name: str) -> str:
        return self.say(name, WORDS, RARER)

    def thing(self, shape: str, colour: str, size: str, style: str) -> str:
        """The object with its size and colour."""
        gray = style in ("bw", "sketch")
        named = self.chance(0.25) if gray else self.complete or self.chance(0.96)
        noun, big = self.word(shape), self.word(size)
        if not named:
            return _a(f"{big} {noun}" if big else noun)
        hue = self.word(colour)
        form = self.dice.random()
        if form < 0.06:
            return _a(f"{big} {noun}" if big else noun) + f" that is {hue}"
        if form < 0.10:
            return _a(f"{hue} {noun}") + (f" that is {big}" if big else "")
        if form < 0.14:
            return _a(f"{hue} {big} {noun}" if big else f"{hue} coloured {noun}")
        return _a(f"{big} {hue} {noun}" if big else f"{hue} {noun}")

    def act(self, shape: str, motion: str, speed: str, likely: float = 0.95) -> str:
        """What it does, or nothing."""
        if not (self.complete or self.chance(likely)):
            return ""
        if shape in GOING and motion in WAYS and motion not in self.instead and self.chance(0.5):
            act = f"{self.pick(GOING[shape])} {self.pick(WAYS[motion])}"
        else:
            act = self.word(motion)
        pace = "" if motion == "still" else self.word(speed)
        return f"{act} {pace}" if pace else act

    def finish(self, sentence: str, style: str, camera: str) -> str:
        """The sentence with its style and camera, if they are said, and as people write."""
        if self.complete or style not in ("flat", "shaded") or self.chance(0.6):
            look = self.word(style)
            forms = ("{1} of {0}", "{0}, {1}", "{0}, {1} style", "{1}: {0}", "{0}, in {1} style")
            sentence = self.pick(forms).format(sentence, look)
        if self.chance(0.05) if camera == "fixed" else self.complete or self.chance(0.9):
            shot = self.word(camera)
            sentence = f"{shot}, {sentence}" if self.chance(0.2) else f"{sentence}, {shot}"
        if not self.complete:
            sentence = self.pick(LEADS) + sentence + self.pick(TAILS)
            if self.chance(TYPO):
                at = int(self.dice.random() * (len(sentence) - 1))
                sentence = sentence[:at] + sentence[at + 1] + sentence[at] + sentence[at + 2 :]
        return sentence[0].upper() + sentence[1:] + "." if self.chance(0.3) else sentence


def _a(thing: str) -> str:
    return ("an " if thing[0] in "aeiou" else "a ") + thing


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
    often left out, and style is then free. What stands still among others is seldom said to.
    Rarer words are said with probability `rarely`; `instead` has words to be said for attributes in
    place of all these.
    """
    dice = random.Random(int(torch.randint(2**62, (), generator=generator)))  # noqa: S311
    speaker = Speaker(dice, complete, rarely, instead or {})
    of_objects: list[Callable[[int], list[str]]] = [
        _named(getattr(scenes, name).tolist(), table)
        for name, table in (
            ("shape", SHAPES), ("colour", COLOURS), ("size", SIZES), ("motion", MOTIONS),
            ("speed", SPEEDS),
        )
    ]  # fmt: skip
    rows = zip(
        scenes.count.tolist(), scenes.layout.tolist(), scenes.background.tolist(),
        scenes.style.tolist(), scenes.camera.tolist(),
        (scenes.y[:, 2] - scenes.y[:, 0] > scenes.x[:, 2] - scenes.x[:, 0]).tolist(),
        strict=True,
    )  # fmt: skip
    captions = []
    for i, (count, layout, ground, style, camera, below) in enumerate(rows):
        look, where = STYLES[style], ""
        if complete or speaker.chance(0.95):
            where = speaker.say(BACKGROUNDS[ground], PLACES, RARER_PLACES)
        attributes = [names(i) for names in of_objects]
        objects = [tuple(names[k] for names in attributes) for k in range(count)]
        if count == 1:
            sentence = _one(speaker, objects[0], look, where)
        else:
            sentence = _several(speaker, objects, LAYOUTS[layout], look, below=below)
            if where and speaker.chance(0.3):
                sentence = f"{where}, {sentence}"
            elif where:
                sentence = f"{sentence} {where}"
        captions.append(speaker.finish(sentence, look, CAMERAS[camera]))
    return captions


def _named(rows: list[list[int]], table: tuple[str, ...]) -> Callable[[int], list[str]]:
    """The names of a scene's attributes, object by object."""
    return lambda i: [table[n] for n in rows[i]]


def _one(speaker: Speaker, attributes: tuple[str, ...], style: str, where: str) -> str:
    shape, colour, size, motion, speed = attributes
    thing, act = speaker.thing(shape, colour, size, style), speaker.act(shape, motion, speed)
    if where and speaker.chance(0.2):
        return " ".join(w for w in (f"{where},", thing, act) if w)
    if act and where and speaker.chance(0.15):
        return f"{thing} {where} {act}"
    return " ".join(w for w in (thing, act, where) if w)


def _several(
    speaker: Speaker, objects: list[tuple[str, ...]], layout: str, style: str, *, below: bool
) -> str:
    parts = []
    for k, (shape, colour, size, motion, speed) in enumerate(objects):
        likely = 0.3 if motion == "still" else 0.95
        thing, act = speaker.thing(shape, colour, size, style), ""
        # What stands in front of another that passes is not said to stand.
        if layout != "crossing" or k:
            act = speaker.act(shape, motion, speed, likely)
        parts.append(f"{thing} {act}" if act else thing)
    phrases = {"beside": BESIDE, "above": ABOVE, "front": FRONT, "crossing": CROSSING}
    three = THREE_BELOW if below else THREE
    return speaker.pick(phrases.get(layout, three)).format(*parts)

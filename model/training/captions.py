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

WORDS: dict[str, tuple[str, ...]] = {
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
PLACES: dict[str, tuple[str, ...]] = {
    "white": ("on a white background", "against white", "on white", "in a white studio"),
    "black": ("on a black background", "against black", "on black", "in the dark"),
    "gray": ("on a gray background", "on gray", "against gray", "on a grey background"),
    "sky": ("in the sky", "in a blue sky with clouds", "among the clouds", "in a cloudy sky"),
    "sunset": ("at sunset", "in front of a sunset", "in the evening sun", "at dusk"),
    "night": ("at night", "in the night sky", "under the stars", "in a starry night"),
    "grass": ("on the grass", "in a green meadow", "over a green field", "on a lawn"),
    "sea": ("over the sea", "by the ocean", "above the waves", "at the sea"),
}
LEADS = ("", "", "", "", "a video of ", "a clip of ", "please show ", "imagine ", "there is ")


def describe(
    scenes: Scenes,
    generator: torch.Generator,
    *,
    complete: bool = False,
    vocabulary: dict[str, tuple[str, ...]] = WORDS,
) -> list[str]:
    """One caption a scene.

    Unless `complete`, an attribute is now and then left unsaid, so that short prompts work too;
    a black-and-white or sketched scene seldom has its colour named. The plain style words are
    often left out, and style is then free. `vocabulary` has the words for each attribute.
    """

    def chance(p: float) -> bool:
        return float(torch.rand((), generator=generator)) < p

    def pick(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

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
        hue = pick(vocabulary[colour]) if named else ""
        thing = " ".join(w for w in (pick(vocabulary[size]), hue, pick(vocabulary[shape])) if w)
        thing = ("an " if thing[0] in "aeiou" else "a ") + thing
        if named and chance(0.06):
            thing = f"a {pick(vocabulary[shape])} that is {pick(vocabulary[colour])}"
        act = pick(vocabulary[motion]) if moves else ""
        if act and pick(vocabulary[speed]):
            act = f"{act} {pick(vocabulary[speed])}"
        where = pick(PLACES[place]) if placed else ""
        if where and chance(0.2):
            sentence = " ".join(w for w in (f"{where},", thing, act) if w)
        elif act and where and chance(0.15):
            sentence = f"{thing} {where} {act}"
        else:
            sentence = " ".join(w for w in (thing, act, where) if w)
        if styled:
            look = pick(vocabulary[style])
            sentence = (
                f"{look} of {sentence}",
                f"{sentence}, {look}",
                f"{sentence}, {look} style",
                f"{look}: {sentence}",
            )[int(torch.randint(4, (), generator=generator))]
        sentence = pick(LEADS) + sentence
        if chance(0.3):
            sentence = sentence[0].upper() + sentence[1:] + "."
        captions.append(sentence)
    return captions

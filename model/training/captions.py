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
from model.training.words import (
    ABOVE,
    BESIDE,
    CROSSING,
    FRONT,
    GOING,
    LEADS,
    PLACES,
    RARER,
    RARER_PLACES,
    TAILS,
    THREE,
    THREE_BELOW,
    WAYS,
    WORDS,
    Words,
)

# How often a rarer word is said, and how often a caption has two letters exchanged.
RARELY = 0.2
TYPO = 0.04


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
    dice = random.Random(int(torch.randint(2**62, (), generator=generator)))
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

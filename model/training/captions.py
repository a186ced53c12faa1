"""Sentences for scenes: a small grammar with many ways of saying each attribute."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    GRAY,
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
    JOINS,
    LEADS,
    OWN,
    PLACES,
    RARER,
    RARER_PLACES,
    TAILS,
    WORDS,
    Words,
)

__all__ = ["JOINS", "PLACES", "RARER", "RARER_PLACES", "WORDS", "describe", "describe_two"]

RARELY = 0.2
TYPO = 0.04
# Styles that clips may have though nothing is said of them.
PLAIN = ("flat", "shaded")


@dataclass(frozen=True, slots=True)
class Said:
    """What a scene shows, in the names of `scenes`."""

    shape: str
    colour: str
    motion: str
    background: str
    style: str
    size: str
    speed: str

    @classmethod
    def each(cls, scenes: Scenes) -> Iterator["Said"]:
        """One for each scene, read in one go: a look into a tensor costs more than a sentence."""
        columns = (
            [table[i] for i in index.tolist()]
            for table, index in (
                (SHAPES, scenes.shape),
                (COLOURS, scenes.colour),
                (MOTIONS, scenes.motion),
                (BACKGROUNDS, scenes.background),
                (STYLES, scenes.style),
                (SIZES, scenes.size),
                (SPEEDS, scenes.speed),
            )
        )
        return map(cls, *columns)


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

    def thing(self, said: Said) -> str:
        """The object with its size and colour, as adjectives or behind it."""
        noun, big = self.word(said.shape), self.word(said.size)
        sized = f"{big} {noun}" if big else noun
        gray = said.style in GRAY
        if not (self.chance(0.25) if gray else self.complete or self.chance(0.96)):
            return _a(sized)
        hue = self.word(said.colour)
        form = self.dice.random()
        if form < 0.04:
            return f"{_a(sized)} that is {hue}"
        if form < 0.07:
            return f"{_a(noun)} that is {hue}" + (f" and {big}" if big else "")
        if form < 0.09:
            return f"{_a(f'{hue} {noun}')}" + (f" that is {big}" if big else "")
        if form < 0.12:
            return _a(f"{big} {hue} coloured {noun}" if big else f"{hue} coloured {noun}")
        if form < 0.14:
            return _a(f"{hue} {sized}")
        return _a(f"{big} {hue} {noun}" if big else f"{hue} {noun}")

    def act(self, said: Said, likely: float = 0.95) -> str:
        """What it does, or nothing."""
        if not (self.complete or self.chance(likely)):
            return ""
        own = () if said.motion in self.instead else OWN.get((said.shape, said.motion), ())
        act = self.pick(own) if own and self.chance(0.5) else self.word(said.motion)
        pace = "" if said.motion == "still" else self.word(said.speed)
        return f"{act} {pace}" if pace else act

    def place(self, said: Said) -> str:
        """Where it is, or nothing."""
        if not (self.complete or self.chance(0.95)):
            return ""
        return self.say(said.background, PLACES, RARER_PLACES)

    def finish(self, sentence: str, style: str) -> str:
        """The sentence with its style, if that is said, and as people write."""
        if self.complete or style not in PLAIN or self.chance(0.6):
            look = self.word(style)
            forms = ("{1} of {0}", "{0}, {1}", "{0}, {1} style", "{1}: {0}", "{0}, in {1} style")
            sentence = self.pick(forms).format(sentence, look)
        if sentence.startswith(("a ", "an ")):
            sentence = self.pick(LEADS) + sentence
        sentence += self.pick(TAILS)
        if not self.complete and self.chance(TYPO):
            at = int(self.dice.random() * (len(sentence) - 1))
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
    a scene in a style without colours seldom has its colour named. The plain style words are
    often left out, and style is then free. Rarer words are said
    with probability `rarely`; `instead` has words to be said for attributes in place of all these.
    """
    speaker = Speaker(_dice(generator), complete, rarely, instead or {})
    captions: list[str] = []
    for said in Said.each(scenes):
        thing, act, where = speaker.thing(said), speaker.act(said), speaker.place(said)
        if where and speaker.chance(0.2):
            sentence = _joined(f"{where},", thing, act)
        elif act and where and speaker.chance(0.15):
            sentence = f"{thing} {where} {act}"
        else:
            sentence = _joined(thing, act, where)
        captions.append(speaker.finish(sentence, said.style))
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
    speaker = Speaker(_dice(generator), complete, rarely, {})
    across = ((second.x - first.x).abs() > (second.y - first.y).abs()).tolist()
    captions: list[str] = []
    for beside, *pair in zip(across, Said.each(first), Said.each(second), strict=True):
        things = [
            _joined(speaker.thing(said), speaker.act(said, 0.3 if said.motion == "still" else 0.95))
            for said in pair
        ]
        sentence = speaker.pick(BESIDE if beside else ABOVE).format(*things)
        where = speaker.place(pair[0])
        if where and speaker.chance(0.3):
            sentence = f"{where}, {sentence}"
        elif where:
            sentence = f"{sentence} {where}"
        captions.append(speaker.finish(sentence, pair[0].style))
    return captions


def _dice(generator: torch.Generator) -> random.Random:
    """Python's own, seeded: a number from torch costs as much as twenty of its."""
    return random.Random(int(torch.randint(2**62, (), generator=generator)))


def _a(thing: str) -> str:
    return ("an " if thing[0] in "aeiou" else "a ") + thing


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)

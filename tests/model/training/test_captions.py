"""Captions: complete ones name every attribute, each of its own object, in words of their own."""

import re
from dataclasses import replace

import pytest
import torch

from model.training import captions, language, scenes
from model.training.one_object import UNSEEN
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
)
from model.training.words import GOING, PLACES, RARER, RARER_PLACES, WAYS, WORDS

TABLES = (SHAPES, COLOURS, SIZES, MOTIONS, SPEEDS, STYLES, CAMERAS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def said_of(name: str) -> tuple[str, ...]:
    words = WORDS[name] + RARER.get(name, ())
    ways = [f"{go} {way}" for gos in GOING.values() for go in gos for way in WAYS.get(name, ())]
    return (*words, *ways)


def places_of(name: str) -> tuple[str, ...]:
    return PLACES[name] + RARER_PLACES[name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_complete_caption_names_every_attribute(layout):
    batch = scenes.sample(200, generator(), aspect=1.6, layout=layout)
    for i, text in enumerate(captions.describe(batch, generator(1), complete=True)):
        said = text.lower()
        names = [STYLES[int(batch.style[i])]]
        if int(batch.camera[i]):
            names.append(CAMERAS[int(batch.camera[i])])
        for k in range(int(batch.count[i])):
            names += [SHAPES[int(batch.shape[i, k])], SIZES[int(batch.size[i, k])]]
            if layout != "crossing" or k:
                names.append(MOTIONS[int(batch.motion[i, k])])
            if STYLES[int(batch.style[i])] not in ("bw", "sketch"):
                names.append(COLOURS[int(batch.colour[i, k])])
        for name in names:
            assert any(words in said for words in said_of(name)), (name, text)
        assert any(words in said for words in places_of(BACKGROUNDS[int(batch.background[i])]))


def test_a_short_caption_leaves_something_out_and_a_fixed_camera_mostly():
    batch = scenes.sample(2000, generator(), aspect=1.6, layout="alone", camera="fixed")
    texts = [text.lower() for text in captions.describe(batch, generator(1))]
    shots = sum(any(shot in text for shot in said_of("fixed")) for text in texts)
    assert 20 < shots < 300
    grounds = [places_of(BACKGROUNDS[i]) for i in batch.background.tolist()]
    placed = sum(any(w in t for w in words) for words, t in zip(grounds, texts, strict=True))
    assert 1800 < placed < 1980


def plain(layout: str, aspect: float = 1.6) -> scenes.Scenes:
    """Scenes that differ in shapes and colours only, so that words of place are those of layout."""
    batch = scenes.sample(150, generator(), aspect=aspect, layout=layout, camera="fixed")
    spins = torch.full_like(batch.motion, MOTIONS.index("spin"))
    zero = torch.zeros_like(batch.style)
    medium = torch.ones_like(batch.size)
    distinct = (batch.shape[:, :, None] == batch.shape[:, None]).sum((1, 2)) == scenes.OBJECTS
    distinct &= (batch.colour != COLOURS.index("white")).all(1)
    return replace(
        batch, motion=spins, style=zero, background=zero, size=medium, speed=medium
    ).take(distinct)


def marked(layout: str, aspect: float = 1.6) -> list[str]:
    """Complete captions in which the k-th object is a "ck sk"."""
    batch = plain(layout, aspect)
    texts = []
    for i in range(len(batch)):
        instead = {"spin": "spinning", "white": "on white"}
        for k in range(int(batch.count[i])):
            instead[SHAPES[int(batch.shape[i, k])]] = f"s{k}"
            instead[COLOURS[int(batch.colour[i, k])]] = f"c{k}"
        one = batch.take(slice(i, i + 1))
        texts += captions.describe(one, generator(i), complete=True, instead=instead)
    return [text.lower() for text in texts]


def order(text: str) -> list[int]:
    """The objects as they are named; fails where one has another's colour."""
    named = [int(k) for k in re.findall(r"\b[cs](\d)\b", text)]
    assert named[::2] == named[1::2], text
    return named[::2]


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_each_object_has_its_own_colour_beside_it(layout):
    for text in marked(layout):
        assert sorted(order(text)) == list(range(3 if layout == "three" else 2)), text


FORWARD = r"\b(left of|next to|beside|above|over|in front of|covers|overlaps)\b"
BACKWARD = r"\b(right of|below|under|behind|hidden by)\b"


@pytest.mark.parametrize("layout", ["beside", "above", "front"])
def test_what_stands_where_is_said_rightly_of_two(layout):
    kinds = set()
    for text in marked(layout):
        it = re.search(r"\bit\b", text) is not None  # "a with b below it"
        if re.search(FORWARD, text):
            kinds.add("forward")
            assert order(text) == ([1, 0] if it else [0, 1]), text
        elif re.search(BACKWARD, text):
            kinds.add("backward")
            assert order(text) == ([0, 1] if it else [1, 0]), text
        elif not re.search(r"\b(on the right and|with)\b", text):
            kinds.add("in order")
            assert order(text) == [0, 1], text
    assert len(kinds) >= 2


@pytest.mark.parametrize(
    ("aspect", "words", "others"),
    [
        (1.6, ("on the left", "on the right"), ("at the top", "at the bottom")),
        (0.625, ("at the top", "at the bottom"), ("on the left", "on the right")),
    ],
)
def test_three_are_named_from_the_left_or_in_tall_pictures_from_the_top(aspect, words, others):
    texts = marked("three", aspect)
    assert any(all(word in text for word in words) for text in texts)
    assert not any(other in text for other in others for text in texts)
    for text in texts:
        assert order(text) == ([1, 0, 2] if "between" in text else [0, 1, 2]), text


def test_of_two_that_cross_the_one_behind_has_its_direction_and_the_one_in_front_no_motion():
    batch = scenes.sample(300, generator(), aspect=1.6, layout="crossing", camera="pan left")
    for i, text in enumerate(captions.describe(batch, generator(1), complete=True)):
        said = text.lower()
        assert any(words in said for words in said_of(MOTIONS[int(batch.motion[i, 1])])), text
        assert "behind" in said or "in front of" in said or "hidden" in said, text
        assert not any(words in said for words in WORDS["still"] if words != "rests")


def test_some_words_are_mistyped_and_some_are_seldom_said():
    batch = scenes.sample(3000, generator(2), layout="alone")
    texts = captions.describe(batch, generator(3))
    rare = sum("vermilion" in text.lower() for text in texts)
    assert 0 < rare < sum("scarlet" in text.lower() for text in texts)
    vocabulary = language.plain_tokenizer()
    spelled = sum("▁" in encoding.tokens for encoding in vocabulary.encode_batch(texts))
    assert 30 < spelled < 180


def test_every_word_of_the_grammar_is_one_piece():
    tokenizer = language.plain_tokenizer()
    for layout in LAYOUTS:
        batch = scenes.sample(300, generator(1), aspect=1.6, layout=layout)
        for text in captions.describe(batch, generator(2), complete=True, rarely=0.5):
            pieces = tokenizer.encode(text).tokens
            assert "<unk>" not in pieces
            assert "▁" not in pieces, text  # the mark of a word that is not in the vocabulary


def test_no_phrase_is_said_of_two_values_of_an_attribute():
    grounds = [set(places_of(name)) for name in BACKGROUNDS]
    for sets in (grounds, *([set(said_of(name)) - {""} for name in table] for table in TABLES)):
        assert sum(map(len, sets)) == len(set().union(*sets))


def test_words_kept_for_the_evaluation_are_never_said():
    unseen = re.compile(rf"\b({'|'.join(UNSEEN.values())})\b")
    for layout in LAYOUTS:
        batch = scenes.sample(500, generator(4), aspect=1.6, layout=layout)
        for text in captions.describe(batch, generator(5), rarely=0.5):
            assert not unseen.search(text.lower()), text


@pytest.mark.parametrize("complete", [True, False])
def test_the_longest_caption_is_read_to_its_end(complete):
    tokenizer = language.plain_tokenizer()
    batch = scenes.sample(3000, generator(6), aspect=1.6, layout="three")
    texts = captions.describe(batch, generator(7), complete=complete, rarely=0.5)
    longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    assert longest <= language.MAX_LENGTH


def test_the_same_seed_says_the_same():
    batch = scenes.sample(50, generator())
    first, second, third = (captions.describe(batch, generator(seed)) for seed in (1, 1, 2))
    assert first == second
    assert first != third


def test_words_can_be_given_in_place_of_those_of_an_attribute():
    batch = scenes.sample(100, generator(), layout="alone")
    batch = replace(batch, shape=torch.zeros_like(batch.shape))
    texts = captions.describe(batch, generator(), complete=True, instead={"ball": "orb"})
    assert all(re.search(r"\borb\b", text.lower()) for text in texts)

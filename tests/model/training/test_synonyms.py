"""Words that kinora-tiny was not taught, read as those that it was."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from model.training import captions, language, scenes, synonyms, words
from model.training.modes import UNSEEN


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    language.build_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("An azure orb soars over the prairie", "an blue ball soars over the grass"),
        ("a gigantic crimson asterisk is ascending", "a big red star is rising"),
        ("basketballs leapfrogging at daybreak", "ball bouncing at sunset"),
        ("a photo of a sky-blue hoop", "a photograph of a blue hoop"),
        ("a mahogany cottage oscillating in a blizzard", "a brown house swinging in a snow"),
        ("an aquamarine seagull swirls", "an turquoise bird spins"),
    ],
)
def test_a_word_that_the_dictionary_knows_is_read_as_a_taught_one(tokenizer, said, read):
    assert tokenizer.normalizer.normalize_str(said) == read


def test_parts_of_words_and_what_nobody_knows_stay_as_they_are(tokenizer):
    for said in ("a teal-headed quux", "orbital", "an unwavelike thing", "blå ball"):
        assert tokenizer.normalizer.normalize_str(said) == said


def test_no_caption_is_read_otherwise_than_it_was_learnt(tokenizer):
    generator = torch.Generator().manual_seed(0)
    batch = scenes.sample(1000, generator)
    for said in captions.describe(batch, generator, complete=True, rarely=0.5):
        assert tokenizer.normalizer.normalize_str(said) == said.lower()


def test_nothing_that_was_taught_later_is_still_read_as_something_else(tokenizer):
    """Teal and cyan were greens, aqua and turquoise blues, before there was a class for them."""
    for phrase in words.PHRASES:
        assert tokenizer.normalizer.normalize_str(phrase) == phrase.lower()


def test_words_kept_out_of_training_are_neither_taught_nor_looked_for():
    """The dictionary was asked for all of a meaning's words, whichever the evaluation has."""
    assert not synonyms.taught() & set(UNSEEN.values())
    listed = {other for others in synonyms.table().values() for other in others}
    assert set() < listed & set(UNSEEN.values()) < set(UNSEEN.values())


NOUNS = """\
00000001 13 n 01 red 0 001 ~ 00000002 n 0000 | the colour of blood
00000002 13 n 02 cerise 0 deep_cerise 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | a deep red
00000003 13 n 01 scarlet 0 001 @ 00000002 n 0000 | a taught word
00000004 13 n 01 cerise 0 000 | and something else
"""
INDEX = """\
  1 a line of the licence
red n 1 1 ~ 1 1 00000001
cerise n 2 1 @ 2 0 00000004 00000002
deep_cerise n 1 1 @ 1 0 00000002
scarlet n 1 1 @ 1 0 00000003
"""


def write(folder: Path, nouns: str, index: str) -> None:
    """A dictionary of nouns only."""
    for part in synonyms.PARTS.values():
        noun = part == "noun"
        (folder / f"data.{part}").write_text(nouns if noun else "")
        (folder / f"index.{part}").write_text(index if noun else "")


def test_words_are_found_through_what_is_a_kind_of_a_meaning(tmp_path: Path):
    write(tmp_path, NOUNS, INDEX)
    assert synonyms.find(tmp_path, {"red": "red.n.01"}) == {"red": ["cerise", "deep cerise"]}


def test_of_what_has_many_kinds_only_those_count_that_were_met_in_texts(
    tmp_path: Path, monkeypatch
):
    write(tmp_path, NOUNS, INDEX)
    monkeypatch.setattr(synonyms, "MANY", ("red",))
    # Cerise means something else first, and nobody wrote of deep cerise.
    assert synonyms.find(tmp_path, {"red": "red.n.01"}) == {"red": []}
    write(tmp_path, NOUNS, INDEX.replace("@ 1 0 00000002", "@ 1 3 00000002"))
    assert synonyms.find(tmp_path, {"red": "red.n.01"}) == {"red": ["deep cerise"]}


def test_a_word_stands_for_the_nearest_meaning_above_it(tmp_path: Path):
    write(tmp_path, NOUNS, INDEX)
    found = synonyms.find(tmp_path, {"red": "red.n.01", "scarlet": "cerise.n.02"})
    assert found == {"red": [], "scarlet": ["cerise", "deep cerise"]}


def test_a_folder_without_wordnet_is_named(tmp_path: Path):
    with pytest.raises(OSError, match=str(tmp_path)):
        synonyms.find(tmp_path)

"""Words that kinora-tiny was not taught, read as those that it was."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from model.training import captions, language, scenes, synonyms
from model.training.__main__ import WEIGHTS
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


def test_the_shipped_tokenizer_is_this_one(tokenizer):
    shipped = Tokenizer.from_file(str(WEIGHTS / "tokenizer" / "tokenizer.json"))
    assert shipped.to_str() == tokenizer.to_str()


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


def test_words_are_found_through_what_is_a_kind_of_a_meaning(tmp_path: Path):
    for part in synonyms.PARTS.values():
        noun = part == "noun"
        (tmp_path / f"data.{part}").write_text(NOUNS if noun else "")
        (tmp_path / f"index.{part}").write_text(INDEX if noun else "")
    assert synonyms.find(tmp_path, {"red": "red.n.01"}) == {"red": ["cerise", "deep cerise"]}


def test_a_folder_without_wordnet_is_named(tmp_path: Path):
    with pytest.raises(OSError, match=str(tmp_path)):
        synonyms.find(tmp_path)

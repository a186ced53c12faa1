"""Words that kinora-tiny was not taught, read as those that it was."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from model.training import captions, language, scenes, synonyms
from model.training.__main__ import WEIGHTS
from model.training.one_object import UNSEEN


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
        ("an ebony limousine gyrates in a blizzard", "an black car spins in a snow"),
        ("two yachts, a gull and a taxi", "two boat, a bird and a car"),
        ("a gyrating lozenge, an oscillating lune", "a spinning diamond, an swinging moon"),
    ],
)
def test_a_word_that_the_dictionary_knows_is_read_as_a_taught_one(tokenizer, said, read):
    assert tokenizer.normalizer.normalize_str(said) == read


def test_parts_of_words_and_what_nobody_knows_stay_as_they_are(tokenizer):
    for said in ("a teal-headed quux", "orbital", "an unwavelike thing", "blå ball"):
        assert tokenizer.normalizer.normalize_str(said) == said


@pytest.mark.parametrize("layout", scenes.LAYOUTS)
def test_no_caption_is_read_otherwise_than_it_was_learnt(tokenizer, layout):
    generator = torch.Generator().manual_seed(0)
    batch = scenes.sample(500, generator, aspect=1.6, layout=layout)
    for said in captions.describe(batch, generator, complete=True, rarely=0.5):
        assert tokenizer.normalizer.normalize_str(said) == said.lower()


def test_what_is_taught_by_now_is_no_longer_read_as_something_else(tokenizer):
    for word in ("teal", "cyan", "turquoise", "car", "moon", "cross", "house", "fish"):
        assert tokenizer.normalizer.normalize_str(f"a {word} thing") == f"a {word} thing"


def test_every_word_that_is_put_in_place_of_another_is_taught():
    for _, word in synonyms.rules():
        assert set(word.split()) <= synonyms.taught(), word


def test_where_we_and_the_dictionary_disagree_ours_counts():
    assert "aquamarine" in synonyms.table()["turquoise"]
    assert "aquamarine" not in synonyms.table()["blue"]


def test_the_shipped_tokenizer_is_this_one(tokenizer):
    shipped = Tokenizer.from_file(str(WEIGHTS / "tokenizer" / "tokenizer.json"))
    assert shipped.to_str() == tokenizer.to_str()


def test_words_kept_out_of_training_are_not_taught_and_not_all_of_them_are_read_as_others():
    assert not synonyms.taught() & set(UNSEEN.values())
    listed = {other for others in synonyms.table().values() for other in others}
    assert set() < listed & set(UNSEEN.values()) < set(UNSEEN.values())


def test_what_is_found_again_leaves_our_part_of_the_file(tmp_path: Path, monkeypatch):
    file = tmp_path / "synonyms.txt"
    file.write_text(f"# Licence\nred: old\n{synonyms.OURS} by hand\ncar: sedan\n")
    monkeypatch.setattr(synonyms, "FILE", file)
    monkeypatch.setattr(synonyms, "find", lambda folder: {"red": ["cerise"], "blue": []})
    synonyms.main(tmp_path)
    assert file.read_text() == f"# Licence\nred: cerise\n{synonyms.OURS} by hand\ncar: sedan\n"


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

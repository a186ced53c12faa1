"""The tokenizer of kinora-tiny, and the text encoder that it is for."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from app.embedded import default_checkpoint
from model.training import captions, language, pairs, scenes
from model.training.words import PHRASES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    language.build_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))


def vocabulary(folder: Path) -> list[list[object]]:
    return json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]


def test_the_shipped_tokenizer_is_this_one(folder: Path) -> None:
    shipped = vocabulary(default_checkpoint())
    assert vocabulary(folder) == shipped


def test_each_piece_is_there_once_and_has_a_row_in_the_encoder(folder: Path) -> None:
    pieces = [piece for piece, _ in vocabulary(folder)]
    assert len(set(pieces)) == len(pieces) <= language.VOCABULARY
    assert len(pieces) > 512  # what the first encoder had


def test_every_word_of_the_grammar_is_one_piece(tokenizer: Tokenizer) -> None:
    said = scenes.sample(500, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    texts = captions.describe(said, generator, complete=True, rarely=0.5)
    texts += captions.describe_two(*pairs.sample(300, generator), generator, complete=True)
    for text in [*texts, *PHRASES]:
        pieces = tokenizer.encode(text).tokens
        assert "<unk>" not in pieces
        assert "▁" not in pieces, text  # the mark of a word that is not in the vocabulary
        assert pieces[-1] == "</s>"


@pytest.mark.parametrize("complete", [True, False])
def test_the_longest_caption_is_read_to_its_end(tokenizer: Tokenizer, complete: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    pair = pairs.sample(1500, generator)
    texts = captions.describe_two(*pair, generator, complete=complete, rarely=0.5)
    longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
    assert longest <= language.MAX_LENGTH


def test_words_that_are_not_known_are_spelled_and_capitals_make_no_difference(
    tokenizer: Tokenizer,
) -> None:
    assert tokenizer.encode("Zeppelin").tokens == ["▁", *"zeppelin", "</s>"]
    assert tokenizer.encode("RED Ball").ids == tokenizer.encode("red ball").ids


def test_each_head_of_a_new_encoder_begins_by_looking_elsewhere() -> None:
    encoder = language.new_text_encoder(48)
    biases = [
        bias
        for name, bias in encoder.named_parameters()
        if name.endswith("relative_attention_bias.weight")
    ]
    assert len(biases) == encoder.config.num_layers
    for bias in biases:
        assert len(bias.unique(dim=1).T) == encoder.config.num_heads
    words = encoder(input_ids=torch.tensor([[5, 6, 7, 1]])).last_hidden_state
    assert words.shape == (1, 4, 48)

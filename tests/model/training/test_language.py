"""The tokenizer of kinora-tiny, and the text encoder that it is for."""

import pytest
import torch
from tokenizers import Tokenizer

from model.training import captions, language, scenes


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    language.build_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))


def test_what_reads_captions_fast_reads_them_as_what_is_shipped(built):
    plain = language.plain_tokenizer()
    for layout in scenes.LAYOUTS:
        generator = torch.Generator().manual_seed(0)
        batch = scenes.sample(200, generator, aspect=1.6, layout=layout)
        texts = captions.describe(batch, generator, complete=True)
        assert [built.encode(t).ids for t in texts] == [plain.encode(t).ids for t in texts]


def test_words_that_are_not_known_are_spelled_and_capitals_make_no_difference(built):
    assert built.encode("Zeppelin").tokens == ["▁", *"zeppelin", "</s>"]
    assert built.encode("RED Ball").ids == built.encode("red ball").ids


def test_every_piece_has_a_row_in_the_encoder(built):
    assert built.get_vocab_size() <= language.VOCABULARY


def test_captions_become_rows_of_ids_that_end_with_the_end_mark():
    plain = language.plain_tokenizer()
    ids = language.encode_captions(plain, ["a red ball", "a ball " * language.MAX_LENGTH])
    assert (ids.shape, ids.dtype) == ((2, language.MAX_LENGTH), torch.int16)
    short = plain.encode("a red ball").ids
    assert ids[0].tolist() == short + [0] * (language.MAX_LENGTH - len(short))
    assert int(ids[1, -1]) == plain.token_to_id("</s>") == 1
    assert (ids[1] != 0).all()


def test_each_head_of_a_new_encoder_begins_by_looking_elsewhere():
    encoder = language.new_text_encoder(64)
    biases = [
        bias
        for name, bias in encoder.named_parameters()
        if name.endswith("relative_attention_bias.weight")
    ]
    assert len(biases) == encoder.config.num_layers
    for bias in biases:
        assert len(bias.unique(dim=1).T) == encoder.config.num_heads
    words = encoder(input_ids=torch.tensor([[5, 6, 7, 1]])).last_hidden_state
    assert words.shape == (1, 4, 64)

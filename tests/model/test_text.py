"""Prompts, tokens and embeddings."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.shards import CheckpointError
from model.text import TextEncoder, clean


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return TextEncoder.load(checkpoint, max_length=12)


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("  a  red\n\tball ", "a red ball"),
        ("a &amp;amp; b", "a & b"),
        ("a <b> &amp;amp; c", "a <b> & c"),
        ("schÃ¶n", "schön"),
        ("a\u00a0\u2003b", "a b"),
        ("\ufb01ne \u201cquotes\u201d", 'fine "quotes"'),
        ("", ""),
    ],
)
def test_prompts_are_cleaned(prompt, cleaned):
    assert clean(prompt) == cleaned


def test_rows_past_the_end_of_a_prompt_are_zero(encoder):
    short, long = encoder.encode(["red", "red ball red ball"])
    assert short.shape == (12, 20)
    ids, mask = encoder.tokenize(["red", "red ball red ball"])
    for row, length in zip((short, long), mask.sum(1), strict=True):
        assert (row[:length] != 0).any(dim=1).all()
        assert (row[length:] == 0).all()
    assert ids.shape == mask.shape


def test_a_prompt_does_not_depend_on_its_neighbour(encoder):
    together = encoder.encode(["red", "red ball red ball red ball"])[:1]
    torch.testing.assert_close(together, encoder.encode(["red"]), rtol=1e-5, atol=1e-6)


def test_a_long_prompt_is_cut_and_keeps_its_end_mark(encoder):
    ids, _ = encoder.tokenize(["ball " * 50])
    assert ids.shape == (1, 12)
    assert ids[0, -1] == 1


def test_an_empty_prompt_is_its_end_mark_alone(encoder):
    assert encoder.tokenize([""])[0].tolist() == [[1]]


def test_a_missing_tokenizer_is_named(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        TextEncoder.load(folder)


@pytest.mark.parametrize("damage", ["missing", "renamed", "reshaped", "cut", "pickle", "gone"])
def test_damaged_weights_are_an_error_and_never_made_up(checkpoint, tmp_path, damage):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    key = "encoder.block.0.layer.0.SelfAttention.q.weight"
    if damage == "missing":
        del weights[key]
    elif damage == "renamed":
        weights["other"] = weights.pop(key)
    elif damage == "reshaped":
        weights[key] = weights[key][:-1]
    save_file(weights, file, {"format": "pt"})
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage in ("pickle", "gone"):
        file.unlink()
    if damage == "pickle":
        torch.save(weights, folder / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="text_encoder"):
        TextEncoder.load(folder)

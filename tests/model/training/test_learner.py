"""What is trained together: where a word is said counts, and what weights know is not lost."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from app.embedded import default_checkpoint
from model.text import TextEncoder
from model.training import captions, language, scenes
from model.training.latents import Clips
from model.training.learner import (
    TEXT_DIM,
    TINY,
    Learner,
    Said,
    Truth,
    remade,
    take_weights,
)
from model.training.train_words import labels_of

ONE = "a red ball on the left and a blue star on the right"
OTHER = "a blue ball on the left and a red star on the right"


def difference(encoder: nn.Module) -> float:
    """How far, for its length, what is said of the ball changes with whose colour is whose."""
    shipped = TextEncoder.load(default_checkpoint(), max_length=language.MAX_LENGTH)
    text = TextEncoder(encoder, shipped.tokenizer, language.MAX_LENGTH)
    at = shipped.tokenizer.encode(ONE).tokens.index("▁ball")
    with torch.no_grad():
        one, other = text.encode([ONE, OTHER])[:, at]
    return float((one - other).norm() / one.norm())


def test_a_new_text_encoder_hears_whose_colour_is_whose():
    torch.manual_seed(0)
    assert difference(language.new_text_encoder(TEXT_DIM)) > 0.05


def test_the_shipped_one_does_too():
    shipped = TextEncoder.load(default_checkpoint())
    assert difference(shipped.encoder) > 0.05


def test_ids_are_read_as_the_pipeline_reads_words():
    torch.manual_seed(0)
    shipped = TextEncoder.load(default_checkpoint(), max_length=language.MAX_LENGTH)
    learner = Learner().eval()
    learner.text.load_state_dict(shipped.encoder.state_dict())
    said = [ONE, "a big green tree", ""]
    ids = language.encode_captions(language.plain_tokenizer(), said).long()
    with torch.no_grad():
        assert torch.allclose(shipped.encode(said), learner.read(ids), atol=1e-4)


def test_weights_that_lack_something_are_refused(tmp_path: Path):
    shutil.copytree(default_checkpoint(), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "text_encoder/model.safetensors"
    weights = load_file(path)
    weights.pop("encoder.block.1.layer.0.SelfAttention.k.weight")
    save_file(weights, path)
    with pytest.raises(ValueError, match="lacks"):
        take_weights(Learner(), tmp_path)


def test_weights_of_another_shape_are_not_begun_with(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot begin"):
        take_weights(Learner(), tmp_path)


def test_what_the_shipped_one_says_of_several_objects_can_be_read_off_by_attention():
    """A head that learns to read it knows of other captions which object has which colour."""
    torch.manual_seed(0)
    text = TextEncoder.load(default_checkpoint(), max_length=language.MAX_LENGTH)
    head = Said(TEXT_DIM)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)

    def read(seed: int, count: int) -> tuple[torch.Tensor, scenes.Scenes]:
        generator = torch.Generator().manual_seed(seed)
        batch = scenes.sample(count, generator, aspect=1.6, layout="beside")
        with torch.no_grad():
            return text.encode(captions.describe(batch, generator, complete=True)), batch

    everything = torch.ones(32, dtype=torch.bool)
    for seed in range(120):
        said, batch = read(seed, 32)
        optimizer.zero_grad()
        head.loss(said, labels_of(batch, "cpu"), batch.present(), everything).backward()
        optimizer.step()
    said, batch = read(1000, 200)
    with torch.no_grad():
        colour = head.read(said)["colour"][:, :2].argmax(-1)
    shown = (batch.style != 2) & (batch.style != 3)
    right = (colour == batch.colour[:, :2])[shown].float().mean()
    swapped = (colour == batch.colour[:, [1, 0]])[shown].float().mean()
    assert right > 0.85 and swapped < 0.1, (right, swapped)


def test_the_head_of_the_transformer_asks_each_token_for_the_object_that_covers_it():
    torch.manual_seed(0)
    head = Truth(8)
    generator = torch.Generator().manual_seed(0)
    batch = scenes.sample(2, generator, layout="beside")
    coverage = torch.zeros(2, scenes.OBJECTS, 1, 2, 2)
    coverage[:, 0, :, :, 0] = 1
    coverage[:, 1, :, :, 1] = 1
    ids = torch.ones(2, 4, dtype=torch.long)
    clips = Clips(torch.zeros(2, 16, 1, 4, 4), coverage, labels_of(batch, "cpu"), ids)
    tokens = torch.randn(2, 4, 8, requires_grad=True)
    noisy = torch.ones(2, 1, dtype=torch.bool)
    loss = head.loss(tokens, clips, noisy)
    assert loss > 0 and torch.isfinite(loss)
    loss.backward()
    assert tokens.grad.abs().sum(-1).min() > 0
    swapped = Clips(clips.latents, coverage.flip(1).roll(-1, 1), clips.labels, ids)
    assert not torch.isclose(loss, head.loss(tokens, swapped, noisy))


def test_frames_that_the_model_makes_again_are_near_the_true_ones_where_little_noise_was():
    torch.manual_seed(0)
    clip = torch.randn(2, TINY.in_channels, 3, 4, 4)
    text = torch.zeros(2, 8, TEXT_DIM)
    level = torch.tensor([0.01, 0.9])
    made = remade(Learner(), clip, torch.randn_like(clip), text, level)
    error = (made - clip).abs().mean((1, 2, 3, 4))
    assert error[0] < 0.05 < error[1]
    assert not made.requires_grad

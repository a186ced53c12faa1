"""What is trained together: where a word is said counts, and what weights know is not lost."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from app.embedded import default_checkpoint
from model.text import TextEncoder
from model.training import captions, language, pairs
from model.training.learner import TEXT_DIM, Learner, Said, deeper, take_weights
from model.training.optim import Weights

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


def test_weights_that_lack_something_are_refused(tmp_path: Path):
    shutil.copytree(default_checkpoint(), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "text_encoder/model.safetensors"
    weights = load_file(path)
    weights.pop("encoder.block.1.layer.0.SelfAttention.k.weight")
    save_file(weights, path)
    with pytest.raises(ValueError, match="lacks"):
        take_weights(Learner(), tmp_path)


def test_a_deeper_checkpoint_is_refused():
    blocks = {f"blocks.{i}.norm2.weight": torch.ones(1) for i in range(3)}
    assert deeper(blocks, 3) == blocks
    with pytest.raises(ValueError, match="3 layers, and at most 2"):
        deeper(blocks, 2)


def test_what_the_shipped_one_says_of_two_objects_can_be_read_off_by_attention():
    """A head that learns to read it knows of other captions which object has which colour."""
    torch.manual_seed(0)
    text = TextEncoder.load(default_checkpoint(), max_length=language.MAX_LENGTH)
    head = Said(TEXT_DIM)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-2)

    def loss(seed: int, *, swapped: bool = False) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        pair = pairs.sample(32, generator)
        with torch.no_grad():
            said = text.encode(captions.describe_two(*pair, generator, complete=True, rarely=0))
        spoken = torch.ones(32, dtype=torch.bool)
        return head.loss(said, pair[::-1] if swapped else pair, spoken)

    for seed in range(150):
        optimizer.zero_grad()
        loss(seed).backward()
        optimizer.step()
    with torch.no_grad():
        right = sum(float(loss(seed)) for seed in range(1000, 1004))
        swapped = sum(float(loss(seed, swapped=True)) for seed in range(1000, 1004))
    assert right < 0.5 * swapped, (right, swapped)


def test_what_is_held_is_not_stepped():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    weights = Weights(model, lr=0.1, held=("0.weight",))
    before = {name: value.clone() for name, value in model.named_parameters()}
    model(torch.randn(4, 3)).square().sum().backward()
    weights.step(1.0)
    changed = {n for n, value in model.named_parameters() if not torch.equal(value, before[n])}
    assert changed == {"0.bias", "1.weight", "1.bias"}
    assert weights.averaged().keys() == before.keys()

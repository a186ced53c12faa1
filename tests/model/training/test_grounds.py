"""Backgrounds: what falls falls, and all of a picture is covered at any size."""

import pytest
import torch

from model.training.grounds import FALLING, background, falling
from model.training.scenes import BACKGROUNDS


def grid(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = (torch.arange(width) + 0.5) * 2 / height - width / height
    return x[None], ((torch.arange(height) + 0.5) * 2 / height - 1)[:, None]


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_has_colours_and_is_the_same_at_twice_the_size(name: str) -> None:
    small, large = (background(name, *grid(h, 2 * h), 0.4) for h in (48, 96))
    assert small.shape == (3, 48, 96)
    assert small.min() >= 0 and small.max() <= 1
    pooled = torch.nn.functional.avg_pool2d(large, 2)
    assert (pooled - small).abs().mean() < 0.02


@pytest.mark.parametrize("name", FALLING)
def test_what_falls_is_lower_a_moment_later(name: str) -> None:
    height, step = 96, 1 / 32
    x, y = grid(height, 128)
    share = falling(name, x, y, 0.4, torch.tensor([0.0, step]), 2 / height)
    assert share.shape == (2, 96, 128)
    assert 0.003 < share.mean() < 0.2 and share.max() > 0.4
    pixels = {"snow": 0.5, "rain": 2.4}[name] * step * height / 2
    moved = share[0].roll(round(pixels), 0)
    rows = slice(8, None)
    assert (moved - share[1])[rows].abs().mean() < 0.7 * (share[0] - share[1])[rows].abs().mean()

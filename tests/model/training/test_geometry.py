"""True masks of objects, and the true outline that is nearest to a mask."""

import pytest
import torch
import torch.nn.functional as F

from model.training import scenes
from model.training.geometry import nearest, overlap, true_mask
from model.training.latents import BUCKETS, draw
from model.training.scenes import SHAPES


@pytest.mark.parametrize("frame", [0, 1, 4])
def test_masks_are_where_the_renderer_draws(frame: int):
    ((batch, coverage),), _, _ = draw(BUCKETS[0], 6, torch.Generator().manual_seed(0))
    mask = true_mask(batch, torch.full((6,), frame), 40, 64)
    rendered = coverage[:, [0]] if frame == 0 else coverage[:, 4 * frame - 3 : 4 * frame + 1]
    assert (F.avg_pool2d(rendered.mean(1), 4) - mask).abs().mean() < 0.002


def outlines(shape: int) -> torch.Tensor:
    """Masks of some objects of one shape, whole inside the picture."""
    batch = scenes.sample(200, torch.Generator().manual_seed(1), aspect=1.6)
    mask = true_mask(batch, torch.zeros(200, dtype=torch.long), 40, 64)
    edge = mask[:, [0, -1]].amax((1, 2)) + mask[:, :, [0, -1]].amax((1, 2))
    return mask[(batch.shape == shape) & (edge == 0) & (mask.mean((1, 2)) > 0.03)][:6]


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_the_outline_of_a_true_shape_is_found_wherever_it_is(shape: int):
    mask = outlines(shape)
    assert overlap(mask, nearest(mask, torch.full((len(mask),), shape))).min() > 0.93


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_another_shape_is_further_off(shape: int):
    mask = outlines(shape)
    other = torch.full((len(mask),), (shape + 1) % len(SHAPES))
    assert overlap(mask, nearest(mask, other)).max() < 0.9


def test_a_bent_shape_is_further_off_than_a_straight_one():
    mask = outlines(SHAPES.index("square"))
    bent = torch.stack([row.roll(round(3 * i / 40), -1) for i, row in enumerate(mask.unbind(1))], 1)
    kind = torch.full((len(mask),), SHAPES.index("square"))
    assert (overlap(bent, nearest(bent, kind)) < overlap(mask, nearest(mask, kind))).all()

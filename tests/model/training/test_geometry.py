"""True masks of objects, and the true outline that is nearest to a mask."""

import pytest
import torch
import torch.nn.functional as F

from model.training import rendering, scenes, trajectories
from model.training.geometry import nearest, overlap, true_mask, turns
from model.training.scenes import SHAPES


@pytest.mark.parametrize("frame", [0, 1, 4])
def test_masks_are_where_the_renderer_draws(frame: int):
    batch = scenes.sample(24, torch.Generator().manual_seed(0), aspect=1.6)
    path = trajectories.track(batch, torch.arange(25) / 16, trajectories.OPENING_S, 1.6)
    _, coverage = rendering.render(batch, 25, 160, 256, path=path)
    mask = true_mask(batch, torch.full((24,), frame), 40, 64)
    rendered = coverage[:, [0]] if frame == 0 else coverage[:, 4 * frame - 3 : 4 * frame + 1]
    assert (F.avg_pool2d(rendered.mean(1), 4) - mask).abs().mean() < 0.002


def outlines(shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of some objects of one shape, whole inside the picture, and which of them turn."""
    batch = scenes.sample(400, torch.Generator().manual_seed(1), aspect=1.6)
    batch = batch.take(batch.shape == shape)
    mask = true_mask(batch, torch.zeros(len(batch), dtype=torch.long), 40, 64)
    edge = mask[:, [0, -1]].amax((1, 2)) + mask[:, :, [0, -1]].amax((1, 2))
    some = (edge == 0) & (mask.mean((1, 2)) > 0.02)
    assert some.sum() > 3
    return mask[some][:4], turns(batch)[some][:4]


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_the_outline_of_a_true_shape_is_found_wherever_it_is(shape: int):
    mask, turning = outlines(shape)
    found = nearest(mask, torch.full((len(mask),), shape), turning)
    assert overlap(mask, found).min() > 0.93


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_another_shape_is_further_off(shape: int):
    mask, turning = outlines(shape)
    other = torch.full((len(mask),), (shape + 1) % len(SHAPES))
    assert overlap(mask, nearest(mask, other, turning)).max() < 0.9


def test_what_turns_is_found_at_its_angle_and_not_upright():
    mask, _ = outlines(SHAPES.index("house"))
    lying = mask.rot90(1, (1, 2))[:, 12:52].contiguous()
    kind = torch.full((len(mask),), SHAPES.index("house"))
    turning = torch.ones(len(mask), dtype=torch.bool)
    assert (overlap(lying, nearest(lying, kind, turning)) > 0.9).all()
    assert (overlap(lying, nearest(lying, kind)) < 0.85).all()


def test_a_bent_shape_is_further_off_than_a_straight_one():
    mask, turning = outlines(SHAPES.index("square"))
    mask = mask[~turning]
    bent = torch.stack([row.roll(round(3 * i / 40), -1) for i, row in enumerate(mask.unbind(1))], 1)
    kind = torch.full((len(mask),), SHAPES.index("square"))
    assert (overlap(bent, nearest(bent, kind)) < overlap(mask, nearest(mask, kind))).all()

"""The joint of a clip with given frames."""

import pytest
import torch

from model import Pipeline
from model.canvas import Canvas
from model.seams import FADE, Seam


@pytest.fixture(scope="module")
def seam():
    picture = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Seam(picture, picture * 0.9)


def test_beside_the_joint_what_has_not_changed_is_the_given_picture(seam):
    made = seam.joined(seam.softened, torch.tensor([1.0]))
    torch.testing.assert_close(made, seam.picture)


def test_with_every_frame_from_the_joint_there_is_less_of_it(seam):
    away = torch.arange(1, FADE + 3)
    made = seam.joined(seam.softened.expand(-1, -1, FADE + 2, -1, -1), away)
    left = (made - seam.softened).abs().mean((0, 1, 3, 4))
    assert (left.diff() <= 0).all() and left[0] > 0
    assert torch.equal(left[FADE:], torch.zeros(2))


def test_where_something_else_is_now_nothing_is_put_back(seam):
    moved = seam.softened.clone()
    moved[..., :16] += 1
    made = seam.joined(moved, torch.tensor([1.0]))
    assert torch.allclose(made[..., :10], moved[..., :10], atol=1e-3)
    assert torch.allclose(made[..., 24:], seam.picture[..., 24:], atol=1e-3)


def test_the_picture_is_softened_as_a_clip_is(windowed):
    vae, canvas = Pipeline.load(windowed)._vae, Canvas(90, 64, 96, 64)
    frame = torch.randint(256, (64, 90, 3), dtype=torch.uint8)
    with torch.no_grad():
        seam = Seam.of(vae, canvas, frame)
        tiled = Seam.of(vae.in_tiles((2, 2)), canvas, frame)
    assert seam.picture.shape == seam.softened.shape == (1, 3, 1, 64, 90)
    assert not torch.equal(seam.picture, seam.softened)
    assert torch.equal(seam.picture, tiled.picture)


def test_a_background_in_another_light_comes_to_the_given_one():
    picture = torch.zeros(1, 3, 1, 48, 96)
    seam, away = Seam(picture, picture), FADE - torch.arange(FADE).float()
    made = seam.joined(torch.full((1, 3, FADE, 48, 96), 0.06), away)
    level = made.mean((0, 1, 3, 4))
    assert (level.diff() < 0).all() and level[0] > 0.05 and level[-1] < 0.01


def test_what_has_moved_keeps_its_place_and_leaves_no_shade_where_it_was():
    picture = torch.zeros(1, 3, 1, 48, 96)
    moved = torch.full_like(picture, 0.06)
    picture[..., 8:40, 8:40], moved[..., 8:40, 56:88] = 1, 1
    made = Seam(picture, picture).joined(moved, torch.tensor([1.0]))
    assert made[..., 16:32, 64:80].min() > 0.9
    assert made[..., 4:44, :48].abs().max() < 0.02

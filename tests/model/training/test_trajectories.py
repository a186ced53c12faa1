"""Objects go where their motions say, and stay in sight."""

import pytest
import torch

from model.training import rendering, scenes, trajectories
from model.training.scenes import MOTIONS, Scenes


def test_what_leaves_on_one_side_comes_in_on_the_other(named):
    scene = named(motion="right")
    x, _, _ = trajectories.track(scene, torch.arange(0, 20, 0.25), 1.5, 1.6)
    steps = x[0].diff()
    assert (steps < 0).sum() >= 2
    assert x.abs().max() < 1.6 + 1.3 * 0.46


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_object_of_four_seconds_opens_in_the_picture_and_stays_there_for_long(named, motion):
    scene = named(motion=motion)
    seconds = torch.arange(0, 4, 1 / 16)

    def seen(scene: Scenes) -> torch.Tensor:
        x, y, r = trajectories.track(scene, seconds, trajectories.OPENING_S, 1.6)
        assert (x.abs() + r)[0, 0] <= 1.6 and (y.abs() + r)[0, 0] <= 1.01
        return ((x.abs() < 1.6) & (y.abs() < 1)).float().mean()

    long = seen(trajectories.last_long(scene, 4.0, 1.6))
    assert long > (0.65 if motion in ("up", "down") else 0.99)
    assert (long > seen(scene)) == (motion in ("left", "right", "up", "down"))


@pytest.mark.parametrize("motion", ["bounce", "orbit", "zigzag", "swing"])
@pytest.mark.parametrize("aspect", [0.5625, 1.0, 16 / 9])
def test_what_wanders_stays_in_sight(motion: str, aspect: float) -> None:
    batch = scenes.sample(300, torch.Generator().manual_seed(8), aspect=aspect, later=0.5)
    batch.motion[:] = MOTIONS.index(motion)
    x, y, _ = trajectories.track(batch, torch.arange(0, 6, 1 / 16), trajectories.OPENING_S, aspect)
    assert x.abs().max() < max(aspect, 0.57) and y.abs().max() < 1
    assert max(v.diff(dim=1).abs().max() for v in (x, y)) < 0.25


def test_a_clip_shows_one_turn_of_an_orbit_one_swing_and_two_teeth_of_a_zigzag(named):
    seconds = torch.arange(0, 1.5, 1 / 64)

    def turns_back(values: torch.Tensor) -> int:
        return int((values[0].diff().sign().diff() != 0).sum())

    x, y, _ = trajectories.track(named(motion="orbit"), seconds, 1.5, 1.6)
    assert turns_back(x) == turns_back(y) == 2
    assert ((x - x.mean()) ** 2 + (y - y.mean()) ** 2).sqrt().std() < 0.02
    x, _, _ = trajectories.track(named(motion="swing"), seconds, 1.5, 1.6)
    assert turns_back(x) == 2
    x, y, _ = trajectories.track(named(motion="zigzag"), seconds, 1.5, 1.6)
    assert turns_back(x) == 0 and turns_back(y) == 4
    _, _, r = trajectories.track(named(motion="pulse"), seconds, 1.5, 1.6)
    assert turns_back(r) == 3


def test_what_spins_is_turned_by_its_angle_and_what_swings_is_tilted(named):
    seconds = torch.arange(25) / 16
    angle = trajectories.turning(named(motion="spin"), seconds)[0]
    assert 0.5 < float(angle[-1] - angle[0]) / (2 * torch.pi) < 1
    assert 0.3 < trajectories.turning(named(motion="swing"), seconds).abs().max() < 0.6
    assert (trajectories.turning(named(motion="orbit"), seconds) == 0).all()

    scene = named(motion="spin", shape="house")
    moments = torch.tensor([0.0, 1.0]) / (
        0.8 * 1.2 * float(trajectories.SPEED[1]) * 4
    )  # a quarter turn
    _, coverage = rendering.render(scene, 2, 96, 96, seconds=moments)
    assert (coverage[0, 0].rot90(-1) - coverage[0, 1]).abs().mean() < 0.01
    assert (coverage[0, 0] - coverage[0, 1]).abs().mean() > 0.04

"""The renderer: scenes look as their attributes say, at every size and through every window."""

import pytest
import torch

from model.training import rendering, scenes, trajectories
from model.training.rendering import RGB
from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, STYLES

TABLES = {"shape": SHAPES, "background": BACKGROUNDS, "style": STYLES}


def centre(coverage: torch.Tensor) -> tuple[float, float]:
    h, w = coverage.shape
    rows, columns = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    total = coverage.sum()
    return float((coverage.sum(0) * columns).sum() / total), float(
        (coverage.sum(1) * rows).sum() / total
    )


def test_the_object_has_its_colour_and_the_ground_its_own(named):
    frames, coverage = rendering.render(named(), 1, 64, 64)
    assert torch.allclose(frames[0, :, 0, 32, 32], RGB[COLOURS.index("red")] * 2 - 1, atol=1e-3)
    assert frames[0, :, 0, 2, 2].min() > 0.8
    assert coverage[0, 0, 32, 32] == 1
    assert coverage[0, 0, 2, 2] == 0


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_a_moving_object_goes_where_its_motion_says(named, motion, axis, sign):
    scene = named(motion=motion)
    _, coverage = rendering.render(scene, 25, 96, 96)
    start, end = centre(coverage[0, 4]), centre(coverage[0, 20])
    assert (end[axis] - start[axis]) * sign > 8
    assert abs(end[1 - axis] - start[1 - axis]) < 1


def test_growing_and_shrinking_change_the_area(named):
    areas = {}
    for motion in ("grow", "shrink"):
        scene = named(motion=motion)
        _, coverage = rendering.render(scene, 25, 96, 96)
        areas[motion] = float(coverage[0, -1].sum() / coverage[0, 0].sum())
    assert areas["grow"] > 2
    assert areas["shrink"] < 0.5


def test_a_window_shows_the_same_pixels_as_the_whole_picture() -> None:
    generator = torch.Generator().manual_seed(3)
    batch = scenes.sample(12, generator, aspect=1.5)
    whole, cover = rendering.render(batch, 3, 96, 144)
    window = (torch.full((12,), 20.0), torch.full((12,), 37.0), 48, 64)
    part, part_cover = rendering.render(batch, 3, 96, 144, window=window)
    torch.testing.assert_close(part, whole[..., 20:68, 37:101], atol=2e-4, rtol=0)
    torch.testing.assert_close(part_cover, cover[..., 20:68, 37:101], atol=2e-4, rtol=0)


def test_a_scene_is_the_same_at_twice_the_size() -> None:
    generator = torch.Generator().manual_seed(4)
    batch = scenes.sample(6, generator)
    small, _ = rendering.render(batch, 1, 64, 64)
    large, _ = rendering.render(batch, 1, 128, 128)
    pooled = torch.nn.functional.avg_pool3d(large, (1, 2, 2))
    assert float((pooled - small).abs().mean()) < 0.02


@pytest.mark.parametrize("shape", ["car", "moon", "fish", "bird", "boat"])
def test_what_moves_left_looks_left(named, shape):
    path = (torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 0.5))
    views = [
        rendering.render(named(motion=motion, shape=shape), 1, 96, 96, path=path)[0]
        for motion in ("left", "right")
    ]
    assert torch.allclose(views[0].flip(-1), views[1], atol=1e-3)
    assert (views[0] - views[1]).abs().mean() > 0.01


@pytest.mark.parametrize("shape", ["person", "bird", "rocket"])
def test_legs_wings_and_flames_move_on_the_way_and_rest_where_it_stands(named, shape):
    path = (torch.zeros(1, 9), torch.zeros(1, 9), torch.full((1, 9), 0.5))

    def stirs(motion: str) -> float:
        _, coverage = rendering.render(named(motion=motion, shape=shape), 9, 96, 96, path=path)
        return float((coverage[:, 1:] - coverage[:, :1]).abs().sum((2, 3)).max())

    assert stirs("right") > 20
    assert stirs("still") == 0


def test_a_clip_goes_on_at_a_later_second_as_one_that_began_before(named):
    for scene in (
        named(motion="spin", shape="car", background="rain"),
        named(motion="orbit", shape="person", background="snow"),
    ):
        seconds = torch.arange(12) / 16
        path = trajectories.track(scene, seconds, trajectories.OPENING_S, 1.0)
        whole, _ = rendering.render(scene, 12, 64, 64, path=path)
        late = tuple(v[:, 7:] for v in path)
        rest, _ = rendering.render(scene, 5, 64, 64, path=late, seconds=seconds[7:])
        assert torch.allclose(whole[:, :, 7:], rest, atol=1e-4)


@pytest.mark.parametrize("key", ["shape", "background", "style"])
def test_each_name_looks_unlike_all_others(named, key):
    defaults = {"shape": "car", "background": "grass", "style": "flat", "colour": "orange"}
    looks = [
        rendering.render(named(**(defaults | {key: name})), 1, 64, 64)[0] for name in TABLES[key]
    ]
    for i, one_look in enumerate(looks):
        for other in looks[:i]:
            assert (one_look - other).abs().mean() > 0.015


@pytest.mark.parametrize("motion", [m for m in MOTIONS if m != "still"])
def test_each_motion_changes_the_picture_and_standing_still_does_not(named, motion):
    frames, _ = rendering.render(named(motion=motion, shape="car"), 9, 64, 64)
    assert (frames[:, :, 8] - frames[:, :, 0]).abs().max() > 0.5
    frames, _ = rendering.render(named(motion="still", shape="car"), 9, 64, 64)
    assert torch.equal(frames[:, :, 8], frames[:, :, 0])

"""The renderer: scenes look as their attributes say, at every size and through every window."""

import pytest
import torch

from model.training import scenes
from model.training.scenes import COLOURS, HELD_OUT, MOTIONS, RGB, SHAPES, Scenes


def one(**attributes: object) -> Scenes:
    fields = {
        "shape": torch.tensor([SHAPES.index("ball")]),
        "colour": torch.tensor([COLOURS.index("red")]),
        "motion": torch.tensor([MOTIONS.index("still")]),
        "background": torch.tensor([scenes.BACKGROUNDS.index("white")]),
        "style": torch.tensor([scenes.STYLES.index("flat")]),
        "size": torch.tensor([1]),
        "speed": torch.tensor([1]),
        "x": torch.zeros(1),
        "y": torch.zeros(1),
        "tint": torch.zeros(1, 3),
        "seed": torch.full((1,), 0.3),
        "phase": torch.zeros(1),
    }
    return Scenes(**(fields | attributes))


def centre(coverage: torch.Tensor) -> tuple[float, float]:
    h, w = coverage.shape
    rows, columns = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    total = coverage.sum()
    return float((coverage.sum(0) * columns).sum() / total), float(
        (coverage.sum(1) * rows).sum() / total
    )


def test_the_object_has_its_colour_and_the_ground_its_own() -> None:
    frames, coverage = scenes.render(one(), 1, 64, 64)
    assert torch.allclose(frames[0, :, 0, 32, 32], RGB[COLOURS.index("red")] * 2 - 1, atol=1e-3)
    assert frames[0, :, 0, 2, 2].min() > 0.8
    assert coverage[0, 0, 32, 32] == 1
    assert coverage[0, 0, 2, 2] == 0


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_a_moving_object_goes_where_its_motion_says(motion: str, axis: int, sign: int) -> None:
    scene = one(motion=torch.tensor([MOTIONS.index(motion)]))
    _, coverage = scenes.render(scene, 25, 96, 96)
    start, end = centre(coverage[0, 4]), centre(coverage[0, 20])
    assert (end[axis] - start[axis]) * sign > 8
    assert abs(end[1 - axis] - start[1 - axis]) < 1


def test_growing_and_shrinking_change_the_area() -> None:
    areas = {}
    for motion in ("grow", "shrink"):
        scene = one(motion=torch.tensor([MOTIONS.index(motion)]))
        _, coverage = scenes.render(scene, 25, 96, 96)
        areas[motion] = float(coverage[0, -1].sum() / coverage[0, 0].sum())
    assert areas["grow"] > 2
    assert areas["shrink"] < 0.5


def test_what_leaves_on_one_side_comes_in_on_the_other() -> None:
    scene = one(motion=torch.tensor([MOTIONS.index("right")]))
    x, _, _ = scenes.track(scene, torch.arange(0, 20, 0.25), 1.5, 1.6)
    steps = x[0].diff()
    assert (steps < 0).sum() >= 2
    assert x.abs().max() < 1.6 + 1.3 * 0.46


@pytest.mark.parametrize("motion", MOTIONS)
def test_an_object_of_four_seconds_opens_in_the_picture_and_stays_there_for_long(motion: str):
    scene = one(motion=torch.tensor([MOTIONS.index(motion)]))
    seconds = torch.arange(0, 4, 1 / 16)

    def seen(scene: Scenes) -> torch.Tensor:
        x, y, r = scenes.track(scene, seconds, scenes.OPENING_S, 1.6)
        assert (x.abs() + r)[0, 0] <= 1.6 and (y.abs() + r)[0, 0] <= 1.01
        return ((x.abs() < 1.6) & (y.abs() < 1)).float().mean()

    long = seen(scenes.last_long(scene, 4.0, 1.6))
    assert long > (0.65 if motion in ("up", "down") else 0.99)
    assert (long > seen(scene)) == (motion in ("left", "right", "up", "down"))


def test_a_window_shows_the_same_pixels_as_the_whole_picture() -> None:
    generator = torch.Generator().manual_seed(3)
    batch = scenes.sample(12, generator, aspect=1.5)
    whole, cover = scenes.render(batch, 3, 96, 144)
    window = (torch.full((12,), 20.0), torch.full((12,), 37.0), 48, 64)
    part, part_cover = scenes.render(batch, 3, 96, 144, window=window)
    torch.testing.assert_close(part, whole[..., 20:68, 37:101], atol=2e-4, rtol=0)
    torch.testing.assert_close(part_cover, cover[..., 20:68, 37:101], atol=2e-4, rtol=0)


def test_a_scene_is_the_same_at_twice_the_size() -> None:
    generator = torch.Generator().manual_seed(4)
    batch = scenes.sample(6, generator)
    small, _ = scenes.render(batch, 1, 64, 64)
    large, _ = scenes.render(batch, 1, 128, 128)
    pooled = torch.nn.functional.avg_pool3d(large, (1, 2, 2))
    assert float((pooled - small).abs().mean()) < 0.02


def test_held_out_pairs_are_never_trained_on_and_are_all_that_is_held_out() -> None:
    generator = torch.Generator().manual_seed(5)
    for held_out in (False, True):
        batch = scenes.sample(2000, generator, held_out=held_out)
        pairs = {
            (SHAPES[s], COLOURS[c])
            for s, c in zip(batch.shape.tolist(), batch.colour.tolist(), strict=True)
        }
        assert pairs.isdisjoint(HELD_OUT) is not held_out
        if held_out:
            assert pairs == set(HELD_OUT)


def test_the_same_seed_gives_the_same_scenes() -> None:
    a = scenes.sample(4, torch.Generator().manual_seed(6))
    b = scenes.sample(4, torch.Generator().manual_seed(6))
    assert torch.equal(scenes.render(a, 2, 32, 32)[0], scenes.render(b, 2, 32, 32)[0])

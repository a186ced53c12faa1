"""The renderer: scenes look as their attributes say, at every size and through every window."""

import pytest
import torch

from model.training import scenes
from model.training.scenes import (
    BACKGROUNDS,
    COLOURS,
    DULL,
    HELD_OUT,
    MOTIONS,
    RGB,
    ROUND,
    SHAPES,
    STYLES,
    Scenes,
)

TABLES = {
    "shape": SHAPES,
    "colour": COLOURS,
    "motion": MOTIONS,
    "background": BACKGROUNDS,
    "style": STYLES,
}


def named(**names: str) -> Scenes:
    """A scene with such a shape, colour, motion, background and style."""
    return one(**{key: torch.tensor([TABLES[key].index(name)]) for key, name in names.items()})


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


def test_what_glows_is_never_dull_and_what_spins_never_round() -> None:
    batch = scenes.sample(3000, torch.Generator().manual_seed(7))
    glows, spins = batch.style == STYLES.index("neon"), batch.motion == MOTIONS.index("spin")
    assert glows.any() and spins.any()
    assert {COLOURS[k] for k in batch.colour[glows].tolist()} == set(COLOURS) - set(DULL)
    assert {SHAPES[k] for k in batch.shape[spins].tolist()} == set(SHAPES) - set(ROUND)


@pytest.mark.parametrize("motion", ["bounce", "orbit", "zigzag", "swing"])
@pytest.mark.parametrize("aspect", [0.5625, 1.0, 16 / 9])
def test_what_wanders_stays_in_sight(motion: str, aspect: float) -> None:
    batch = scenes.sample(300, torch.Generator().manual_seed(8), aspect=aspect, later=0.5)
    batch.motion[:] = MOTIONS.index(motion)
    x, y, _ = scenes.track(batch, torch.arange(0, 6, 1 / 16), scenes.OPENING_S, aspect)
    assert x.abs().max() < max(aspect, 0.57) and y.abs().max() < 1
    assert max(v.diff(dim=1).abs().max() for v in (x, y)) < 0.25


def test_a_clip_shows_one_turn_of_an_orbit_one_swing_and_two_teeth_of_a_zigzag() -> None:
    seconds = torch.arange(0, 1.5, 1 / 64)

    def turns_back(values: torch.Tensor) -> int:
        return int((values[0].diff().sign().diff() != 0).sum())

    x, y, _ = scenes.track(named(motion="orbit"), seconds, 1.5, 1.6)
    assert turns_back(x) == turns_back(y) == 2
    assert ((x - x.mean()) ** 2 + (y - y.mean()) ** 2).sqrt().std() < 0.02
    x, _, _ = scenes.track(named(motion="swing"), seconds, 1.5, 1.6)
    assert turns_back(x) == 2
    x, y, _ = scenes.track(named(motion="zigzag"), seconds, 1.5, 1.6)
    assert turns_back(x) == 0 and turns_back(y) == 4
    _, _, r = scenes.track(named(motion="pulse"), seconds, 1.5, 1.6)
    assert turns_back(r) == 3


def test_what_spins_is_turned_by_its_angle_and_what_swings_is_tilted() -> None:
    seconds = torch.arange(25) / 16
    angle = scenes.turning(named(motion="spin"), seconds)[0]
    assert 0.5 < float(angle[-1] - angle[0]) / (2 * torch.pi) < 1
    assert 0.3 < scenes.turning(named(motion="swing"), seconds).abs().max() < 0.6
    assert (scenes.turning(named(motion="orbit"), seconds) == 0).all()

    scene = named(motion="spin", shape="house")
    moments = torch.tensor([0.0, 1.0]) / (0.8 * 1.2 * float(scenes.SPEED[1]) * 4)  # a quarter turn
    _, coverage = scenes.render(scene, 2, 96, 96, seconds=moments)
    assert (coverage[0, 0].rot90(-1) - coverage[0, 1]).abs().mean() < 0.01
    assert (coverage[0, 0] - coverage[0, 1]).abs().mean() > 0.04


@pytest.mark.parametrize("shape", ["car", "moon", "fish", "bird", "boat"])
def test_what_moves_left_looks_left(shape: str) -> None:
    path = (torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), 0.5))
    views = [
        scenes.render(named(motion=motion, shape=shape), 1, 96, 96, path=path)[0]
        for motion in ("left", "right")
    ]
    assert torch.allclose(views[0].flip(-1), views[1], atol=1e-3)
    assert (views[0] - views[1]).abs().mean() > 0.01


@pytest.mark.parametrize("shape", ["person", "bird", "rocket"])
def test_legs_wings_and_flames_move_on_the_way_and_rest_where_it_stands(shape: str) -> None:
    path = (torch.zeros(1, 9), torch.zeros(1, 9), torch.full((1, 9), 0.5))

    def stirs(motion: str) -> float:
        _, coverage = scenes.render(named(motion=motion, shape=shape), 9, 96, 96, path=path)
        return float((coverage[:, 1:] - coverage[:, :1]).abs().sum((2, 3)).max())

    assert stirs("right") > 20
    assert stirs("still") == 0


def test_a_clip_goes_on_at_a_later_second_as_one_that_began_before() -> None:
    for scene in (
        named(motion="spin", shape="car", background="rain"),
        named(motion="orbit", shape="person", background="snow"),
    ):
        seconds = torch.arange(12) / 16
        path = scenes.track(scene, seconds, scenes.OPENING_S, 1.0)
        whole, _ = scenes.render(scene, 12, 64, 64, path=path)
        late = tuple(v[:, 7:] for v in path)
        rest, _ = scenes.render(scene, 5, 64, 64, path=late, seconds=seconds[7:])
        assert torch.allclose(whole[:, :, 7:], rest, atol=1e-4)


@pytest.mark.parametrize("key", ["shape", "background", "style"])
def test_each_name_looks_unlike_all_others(key: str) -> None:
    defaults = {"shape": "car", "background": "grass", "style": "flat", "colour": "orange"}
    looks = [scenes.render(named(**(defaults | {key: name})), 1, 64, 64)[0] for name in TABLES[key]]
    for i, one_look in enumerate(looks):
        for other in looks[:i]:
            assert (one_look - other).abs().mean() > 0.015


@pytest.mark.parametrize("motion", [m for m in MOTIONS if m != "still"])
def test_each_motion_changes_the_picture_and_standing_still_does_not(motion: str) -> None:
    frames, _ = scenes.render(named(motion=motion, shape="car"), 9, 64, 64)
    assert (frames[:, :, 8] - frames[:, :, 0]).abs().max() > 0.5
    frames, _ = scenes.render(named(motion="still", shape="car"), 9, 64, 64)
    assert torch.equal(frames[:, :, 8], frames[:, :, 0])

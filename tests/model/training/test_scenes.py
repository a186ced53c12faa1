"""The renderer: scenes look as their attributes say, at every size and through every window."""

import math

import pytest
import torch

from model.training import scenes
from model.training.rendering import render
from model.training.scenes import (
    BACKGROUNDS,
    CAMERAS,
    CLASHES,
    COLOURS,
    HELD_OUT,
    LAYOUTS,
    MOTIONS,
    OBJECTS,
    RGB,
    SHAPES,
    STYLES,
    Scenes,
)
from model.training.tracks import track


def one(**attributes: str) -> Scenes:
    """A red ball that stands still on white, but for what is said."""
    tables = {
        "shape": (SHAPES, "ball"), "colour": (COLOURS, "red"), "motion": (MOTIONS, "still"),
        "background": (BACKGROUNDS, "white"), "style": (STYLES, "flat"),
        "camera": (CAMERAS, "fixed"), "layout": (LAYOUTS, "alone"),
    }  # fmt: skip
    of_objects = ("shape", "colour", "motion")
    fields = {
        name: torch.full((1, OBJECTS) if name in of_objects else (1,), table.index(value))
        for name, (table, usual) in tables.items()
        for value in [attributes.get(name, usual)]
    }
    return Scenes(
        size=torch.ones(1, OBJECTS, dtype=torch.long),
        speed=torch.ones(1, OBJECTS, dtype=torch.long),
        x=torch.zeros(1, OBJECTS),
        y=torch.zeros(1, OBJECTS),
        radius=torch.full((1, OBJECTS), 0.45),
        tint=torch.zeros(1, OBJECTS, 3),
        count=torch.ones(1, dtype=torch.long),
        seed=torch.full((1,), 0.3),
        phase=torch.zeros(1),
        **fields,
    )


def centre(coverage: torch.Tensor) -> tuple[float, float]:
    h, w = coverage.shape
    rows, columns = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    total = coverage.sum()
    return float((coverage.sum(0) * columns).sum() / total), float(
        (coverage.sum(1) * rows).sum() / total
    )


def test_the_object_has_its_colour_and_the_ground_its_own() -> None:
    frames, coverage = render(one(), 1, 64, 64)
    assert torch.allclose(frames[0, :, 0, 32, 32], RGB[COLOURS.index("red")] * 2 - 1, atol=1e-3)
    assert frames[0, :, 0, 2, 2].min() > 0.8
    assert coverage[0, 0, 0, 32, 32] == 1
    assert coverage[0, 0, 0, 2, 2] == 0
    assert not coverage[:, 1:].any()


@pytest.mark.parametrize(
    ("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_a_moving_object_goes_where_its_motion_says(motion: str, axis: int, sign: int) -> None:
    _, coverage = render(one(motion=motion), 25, 96, 96)
    start, end = centre(coverage[0, 0, 4]), centre(coverage[0, 0, 20])
    assert (end[axis] - start[axis]) * sign > 8
    assert abs(end[1 - axis] - start[1 - axis]) < 1


def test_growing_and_shrinking_change_the_area() -> None:
    areas = {}
    for motion in ("grow", "shrink"):
        _, coverage = render(one(motion=motion), 25, 96, 96)
        areas[motion] = float(coverage[0, 0, -1].sum() / coverage[0, 0, 0].sum())
    assert areas["grow"] > 2
    assert areas["shrink"] < 0.5


def test_the_other_motions_are_what_they_are_called() -> None:
    seconds = torch.arange(129) / 16
    path = {m: track(one(motion=m), seconds, 1.5, 1.6) for m in MOTIONS}
    x, y, r, angle = ({m: p[i][0, 0] for m, p in path.items()} for i in range(4))
    assert y["bounce"].max() - y["bounce"].min() > 0.4 and x["bounce"].std() < 1e-4
    assert (angle["spin"].diff() > 0.1).all() and x["spin"].std() < 1e-4
    around = (x["orbit"] ** 2 + y["orbit"] ** 2).sqrt()
    assert around.min() > 0.3 and around.std() < 1e-3
    assert r["pulse"].max() > 1.5 * r["pulse"].min()
    assert 4 < (r["pulse"].diff().sign().diff() != 0).sum() < 20
    assert (y["zigzag"].diff().sign().diff() != 0).sum() > 8
    assert x["zigzag"].diff().median() > 0
    assert x["swing"].max() > 0.3 > -0.3 > x["swing"].min()
    assert angle["swing"].abs().max() < math.pi / 4
    assert all(v.std() < 1e-4 for v in (x["still"], y["still"], r["still"], angle["still"]))


def test_objects_stand_as_their_layout_says() -> None:
    generator = torch.Generator().manual_seed(1)
    for aspect in (1.6, 1.0, 0.625):
        x = {n: scenes.sample(200, generator, layout=n, aspect=aspect) for n in LAYOUTS}
        assert (x["beside"].x[:, 0] < x["beside"].x[:, 1]).all()
        assert (x["above"].y[:, 0] < x["above"].y[:, 1]).all()
        order = x["three"].x if aspect >= 1 else x["three"].y
        assert (order.diff(dim=1) > 0).all()
        assert [1, 2, 2, 2, 2, 3] == [int(x[n].count.unique()) for n in LAYOUTS]
        assert (x["alone"].x[:, 0].abs() <= scenes.CENTRED).all()
        crossing = x["crossing"]
        assert (crossing.motion[:, 0] == MOTIONS.index("still")).all()
        for scene in x.values():
            for i, j in ((0, 1), (0, 2), (1, 2)):
                two = scene.present()[:, j]
                assert (scene.colour[:, i] != scene.colour[:, j])[two].all()


def test_what_crosses_is_hidden_by_the_one_in_front_and_comes_out_again() -> None:
    generator = torch.Generator().manual_seed(2)
    batch = scenes.sample(6, generator, layout="crossing", aspect=1.6, camera="fixed")
    _, coverage = render(batch, 65, 80, 128)
    seen = coverage[:, 1].sum((2, 3))
    assert (seen[:, 32] < 0.85 * seen[:, 5]).all()
    assert (seen[:, 32] / seen[:, 5]).median() < 0.5
    assert (seen[:, 60] > 0.8 * seen[:, 5]).all()
    assert coverage.sum(1).max() <= 1 + 1e-5


def test_a_camera_pans_over_the_ground_and_zooms_on_all() -> None:
    still, _ = render(one(background="city"), 21, 64, 96)
    for camera, steps in (("pan right", 1), ("pan left", -1)):
        moved, coverage = render(one(background="city", camera=camera), 21, 64, 96)
        shift = 18  # pixels in 1.25 s, 0.45 half heights a second
        where = moved[0, :, -1, :14].roll(steps * shift, -1)[..., shift:-shift]
        assert (where - still[0, :, 0, :14, shift:-shift]).abs().mean() < 0.01
        assert torch.equal(coverage[0, 0, 0], coverage[0, 0, -1])
    areas = {}
    for camera in ("zoom in", "zoom out"):
        _, coverage = render(one(camera=camera), 25, 64, 96)
        areas[camera] = float(coverage[0, 0, -1].sum() / coverage[0, 0, 0].sum())
    assert areas["zoom in"] > 1.4 and areas["zoom out"] < 0.7


def test_what_leaves_on_one_side_comes_in_on_the_other() -> None:
    x = track(one(motion="right"), torch.arange(0, 20, 0.25), 1.5, 1.6).x[0, 0]
    steps = x.diff()
    assert (steps < 0).sum() >= 2
    assert x.abs().max() < 1.6 + 1.3 * 0.46


def test_a_window_shows_the_same_pixels_as_the_whole_picture() -> None:
    generator = torch.Generator().manual_seed(3)
    batch = scenes.sample(12, generator, aspect=1.5)
    whole, cover = render(batch, 3, 96, 144)
    window = (torch.full((12,), 20.0), torch.full((12,), 37.0), 48, 64)
    part, part_cover = render(batch, 3, 96, 144, window=window)
    torch.testing.assert_close(part, whole[..., 20:68, 37:101], atol=2e-4, rtol=0)
    torch.testing.assert_close(part_cover, cover[..., 20:68, 37:101], atol=2e-4, rtol=0)


def test_a_scene_is_the_same_at_twice_the_size() -> None:
    generator = torch.Generator().manual_seed(4)
    batch = scenes.sample(6, generator)
    small, _ = render(batch, 1, 64, 64)
    large, _ = render(batch, 1, 128, 128)
    pooled = torch.nn.functional.avg_pool3d(large, (1, 2, 2))
    assert float((pooled - small).abs().mean()) < 0.02


def test_held_out_pairs_are_never_trained_on_and_are_all_that_is_held_out() -> None:
    generator = torch.Generator().manual_seed(5)
    for held_out in (False, True):
        batch = scenes.sample(2000, generator, held_out=held_out)
        pairs = {
            (SHAPES[s], COLOURS[c])
            for s, c in zip(
                batch.shape.flatten().tolist(), batch.colour.flatten().tolist(), strict=True
            )
        }
        assert pairs.isdisjoint(HELD_OUT) is not held_out
        if held_out:
            assert pairs == set(HELD_OUT)


def test_the_same_seed_gives_the_same_scenes() -> None:
    a = scenes.sample(4, torch.Generator().manual_seed(6))
    b = scenes.sample(4, torch.Generator().manual_seed(6))
    assert torch.equal(render(a, 2, 32, 32)[0], render(b, 2, 32, 32)[0])


def test_nothing_is_drawn_on_what_it_cannot_be_told_from() -> None:
    batch = scenes.sample(3000, torch.Generator().manual_seed(7))
    for k in range(OBJECTS):
        for c, b, s in zip(
            batch.colour[:, k].tolist(), batch.background.tolist(), batch.style.tolist(),
            strict=True,
        ):  # fmt: skip
            assert COLOURS[c] not in CLASHES[BACKGROUNDS[b]]
            assert STYLES[s] != "neon" or COLOURS[c] not in scenes.DULL
    for name, table in (("background", BACKGROUNDS), ("style", STYLES), ("camera", CAMERAS)):
        assert len(table) == len(getattr(batch, name).unique())

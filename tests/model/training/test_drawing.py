"""Pixels of scenes: shapes, backgrounds and styles look as named, at once or one by one."""

import pytest
import torch
from torch import Tensor

from model.training import drawing, figures, grounds, objects, scenes
from model.training.rendering import render
from model.training.scenes import BACKGROUNDS, COLOURS, RGB, SHAPES, STYLES
from model.training.styles import OUTLINE, REACH
from model.training.view import Placed, View

FRAMES, HEIGHT, WIDTH = 2, 64, 96
RED = RGB[COLOURS.index("red")]


def view(
    count: int = 1,
    frames: int = FRAMES,
    *,
    height: int = HEIGHT,
    rows: slice = slice(None),
    columns: slice = slice(None),
    pan: float = 0.0,
    zoom: float = 1.0,
    first_s: float = 0.0,
) -> View:
    width = height * WIDTH // HEIGHT
    pixel = 2 / height
    x = ((torch.arange(width) + 0.5) * pixel - width / height)[columns]
    y = ((torch.arange(height) + 0.5) * pixel - 1)[rows]
    now = (torch.arange(frames) / 4 + first_s).expand(count, -1)[..., None, None]
    return View(
        x.expand(count, 1, 1, -1),
        y[:, None].expand(count, 1, -1, 1),
        torch.full_like(now, pan),
        torch.full_like(now, zoom),
        now,
        pixel,
    )


def placed(count: int = 1, frames: int = FRAMES, *, radius: float = 0.6) -> Placed:
    still = torch.zeros(count, frames)
    return Placed(still, still, still + radius, still, torch.ones(count), torch.ones(count))


def ground(name: str, style: str, seen: View, *, moving: bool = False) -> Tensor:
    return drawing.backdrop([name], [style], torch.tensor([0.3]), [moving], seen)


def draw(
    shape: str, style: str = "flat", fill: Tensor = RED, *, back: str = "white", radius: float = 0.6
) -> tuple[Tensor, Tensor]:
    picture = ground(back, style, view())
    return drawing.put(picture, [shape], [style], fill[None], placed(radius=radius), view())


def many() -> tuple[list[str], list[str], list[str], list[bool], Tensor, Tensor, Placed]:
    """A clip of each shape, with all styles, backgrounds and ways of the camera among them."""
    n = len(SHAPES)
    generator = torch.Generator().manual_seed(5)
    x, y, radius, angle = torch.rand(4, n, FRAMES, generator=generator)
    return (
        list(SHAPES),
        [STYLES[i % len(STYLES)] for i in range(n)],
        [BACKGROUNDS[i % len(BACKGROUNDS)] for i in range(n)],
        [i % 3 == 0 for i in range(n)],
        torch.rand(n, generator=generator),
        torch.rand(n, 3, generator=generator),
        Placed(
            x - 0.5,
            y - 0.5,
            0.3 + 0.3 * radius,
            angle,
            torch.tensor([(-1.0) ** i for i in range(n)]),
            torch.tensor([i % 2.0 for i in range(n)]),
        ),
    )


def test_every_named_shape_background_and_style_is_drawn():
    assert set(SHAPES) == set(figures.SHAPES)
    assert set(BACKGROUNDS) == set(grounds.GROUNDS)
    assert set(STYLES) == set(REACH)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_a_fair_part_of_its_circle_and_nothing_beyond_its_reach(shape: str):
    _, coverage = draw(shape)
    assert 0 <= float(coverage.min()) and float(coverage.max()) <= 1
    share = float(coverage[0, 0].sum()) * (2 / HEIGHT) ** 2 / (torch.pi * 0.6**2)
    assert 0.25 < share < 1.05
    # Alone, with room about it, a shape touches no edge of the box that is drawn on a CPU.
    seen = view(height=128)
    angle = torch.linspace(0, 6, FRAMES)[None]
    where = placed(radius=0.7)._replace(angle=angle)
    edge = objects.draw(shape, ["watercolour"], RED[None], where, seen).edge
    beyond = torch.maximum(seen.x.abs(), seen.y.abs()) > 0.7 * REACH["flat"]
    assert float(edge[beyond.expand_as(edge)].min()) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_most_of_a_shape_is_in_the_colour_of_the_object(shape: str):
    drawn = objects.draw(shape, ["flat"], RED[None], placed(radius=0.8), view())
    inside = drawn.edge[0] < -OUTLINE
    own = (drawn.paint[0] - RED[:, None, None, None]).abs().amax(0) < 0.05
    assert float((own & inside).sum() / inside.sum()) > 0.5


def test_no_two_shapes_have_the_same_silhouette():
    silhouettes = torch.stack([draw(shape)[1][0, 0] for shape in SHAPES])
    for i in range(len(SHAPES)):
        for j in range(i):
            first, second = silhouettes[i], silhouettes[j]
            overlap = torch.minimum(first, second).sum() / torch.maximum(first, second).sum()
            assert float(overlap) < 0.82, (SHAPES[i], SHAPES[j])


@pytest.mark.parametrize("style", ["flat", "shaded", "watercolour", "neon"])
def test_the_colour_of_an_object_can_be_read_in_a_coloured_style(style: str):
    table = RGB / RGB.norm(dim=1, keepdim=True)
    for colour in ("red", "orange", "yellow", "green", "turquoise", "blue", "purple"):
        fill = RGB[COLOURS.index(colour)]
        picture, coverage = draw("ball", style, fill, back="black")
        seen = (picture * coverage[:, None]).sum((0, 2, 3, 4)) / coverage.sum()
        # Styles whiten a little; what is left of the hue decides.
        hue = seen - 0.6 * seen.min()
        assert colour == COLOURS[int((table[:9] @ (hue / hue.norm())).argmax())]


@pytest.mark.parametrize("back", ["white", "black", "gray", "sunset", "sea", "city", "room"])
def test_film_keeps_subject_and_ground_apart(back: str):
    for fill in RGB:
        picture, coverage = draw("car", "bw", fill, back=back)
        assert torch.equal(picture[:, 0], picture[:, 1])
        subject, bare = picture[0, 0][coverage[0] == 1], picture[0, 0][coverage[0] == 0]
        gap = max(float(subject.min() - bare.max()), float(bare.min() - subject.max()))
        assert gap > 0.04


def test_an_outline_shows_on_black():
    picture, coverage = draw("ball", "flat", RGB[COLOURS.index("black")], back="black")
    assert float(picture[0, :, 0].amax()) > 0.1
    assert 1.0 == float(coverage.max())


def test_styles_differ_from_each_other():
    pictures = [draw("house", style, back="grass")[0] for style in STYLES]
    for i in range(len(STYLES)):
        for j in range(i):
            assert float((pictures[i] - pictures[j]).abs().mean()) > 0.004


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_stays_in_range_and_moves_only_if_it_is_animated(name: str, style: str):
    picture = ground(name, style, view())
    assert (1, 3, FRAMES, HEIGHT, WIDTH) == picture.shape
    assert torch.float32 == picture.dtype and picture.is_contiguous()
    assert 0 <= float(picture.min()) and float(picture.max()) <= 1
    assert (name in grounds.ANIMATED) == (not torch.equal(picture[:, :, 0], picture[:, :, 1]))


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_pan_shows_the_world_as_far_to_the_right_as_it_says(name: str):
    pixels = 8
    bare = ground(name, "watercolour", view(), moving=True)
    panned = ground(name, "watercolour", view(pan=pixels * 2 / HEIGHT), moving=True)
    torch.testing.assert_close(bare[..., pixels:], panned[..., :-pixels], atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_goes_on_for_a_minute_of_panning_and_after_zooming_out(name: str):
    near = ground(name, "flat", view(), moving=True)
    far = ground(name, "flat", view(pan=27.0, zoom=0.6, first_s=60), moving=True)
    assert bool(far.isfinite().all()) and 0 <= float(far.min()) and float(far.max()) <= 1
    assert float((near.mean((2, 3, 4)) - far.mean((2, 3, 4))).abs().max()) < 0.15


def test_drawing_in_a_window_is_the_crop_of_the_whole():
    shapes, styles, backs, moving, seed, fill, where = many()
    rows, columns = slice(10, 50), slice(20, 90)
    pictures = drawing.backdrop(backs, styles, seed, moving, view(len(shapes)))
    whole = drawing.put(pictures, shapes, styles, fill, where, view(len(shapes)))
    window = view(len(shapes), rows=rows, columns=columns)
    pictures = drawing.backdrop(backs, styles, seed, moving, window)
    part = drawing.put(pictures, shapes, styles, fill, where, window)
    for expected, actual in zip(whole, part, strict=True):
        torch.testing.assert_close(expected[..., rows, columns], actual, atol=1e-3, rtol=0)


def test_a_batch_drawn_at_once_equals_clips_drawn_one_by_one():
    shapes, styles, backs, _, seed, fill, where = many()
    seen = view(len(shapes), pan=0.4, zoom=1.2)
    pictures = drawing.backdrop(backs, styles, seed, [True] * len(shapes), seen)
    together = drawing.grounds(backs, styles, seed, seen)
    torch.testing.assert_close(pictures, together, atol=1e-3, rtol=0)
    one_by_one = drawing.put(pictures.clone(), shapes, styles, fill, where, seen)
    together = drawing.put_whole(pictures, shapes, styles, fill, where, seen)
    for expected, actual in zip(one_by_one, together, strict=True):
        torch.testing.assert_close(expected, actual, atol=1e-3, rtol=0)


def test_drawing_asks_a_device_for_no_number():
    # A tensor on this device has no numbers: who asks for one gets an error.
    shapes, styles, backs, moving, seed, fill, where = many()
    seen = view(len(shapes))
    x, y, pan, zoom, now = (v.to("meta") for v in seen[:5])
    seen = View(x, y, pan, zoom, now, seen.pixel)
    pictures = drawing.backdrop(backs, styles, seed.to("meta"), moving, seen)
    where = Placed(*(v.to("meta") for v in where))
    picture, coverage = drawing.put(pictures, shapes, styles, fill.to("meta"), where, seen)
    assert (len(shapes), 3, FRAMES, HEIGHT, WIDTH) == picture.shape
    assert torch.float32 == picture.dtype == coverage.dtype


def test_what_looks_left_is_the_mirror_image_of_what_looks_right():
    where = placed(radius=0.5)
    pictures = [
        drawing.put(ground("white", "flat", view()), ["car"], ["flat"], RED[None], at, view())[0]
        for at in (where, where._replace(flip=-where.flip))
    ]
    torch.testing.assert_close(pictures[0], pictures[1].flip(-1))


def test_legs_walk_and_wings_beat_only_of_what_moves():
    for shape, still in (("person", True), ("bird", False)):
        for walks in (0.0, 1.0):
            where = placed()._replace(walks=torch.tensor([walks]))
            seen = view(first_s=0.3)
            bare = ground("white", "flat", seen)
            _, coverage = drawing.put(bare, [shape], ["flat"], RED[None], where, seen)
            same = torch.equal(coverage[:, 0], coverage[:, 1])
            assert (still and walks == 0) == same


def test_rendered_scenes_of_any_kind_are_in_range():
    batch = scenes.sample(12, torch.Generator().manual_seed(2), aspect=1.5)
    pictures, coverage = render(batch, 2, HEIGHT, WIDTH)
    assert -1 <= float(pictures.min()) and float(pictures.max()) <= 1
    assert 0 <= float(coverage.min()) and float(coverage.sum(1).max()) <= 1 + 1e-5

"""Figures: their outlines, parts and lines."""

import pytest
import torch

from model.training.drawing import distance, drawn, outline
from model.training.figures import FIGURES
from model.training.parts import Body
from model.training.scenes import SHAPES
from model.training.styles import REACH

LINE = torch.linspace(-2, 2, 161)
X, Y = LINE[None, None], LINE[None, :, None]
INNER = min(min(reach) for reach in REACH.values())


@pytest.mark.parametrize("name", SHAPES)
def test_the_whole_outline_is_inside_its_box_at_any_angle_and_moment(name: str) -> None:
    now = torch.arange(0, 1, 0.05)[:, None, None]
    inside = outline(name, Body(X, Y, now, goes=True)) < 0
    assert inside.any()
    assert (X**2 + Y**2).sqrt().expand_as(inside)[inside].max() < INNER


@pytest.mark.parametrize("name", SHAPES)
def test_near_an_outline_distances_change_no_faster_than_lengths(name: str) -> None:
    edge = distance(name, X, Y)
    step = float(LINE[1] - LINE[0])
    assert edge.min() < -0.08 and edge.max() > 0.5
    near = edge.abs() < 0.1
    for d, there in ((1, near[:, 1:]), (2, near[..., 1:])):
        assert edge.diff(dim=d).abs()[there].max() < 1.3 * step
    assert edge[:, 80, 80] < 0 or name in ("ring", "moon")
    border = torch.cat([edge[:, [0, -1]].flatten(), edge[..., [0, -1]].flatten()])
    assert border.min() > 0.15


@pytest.mark.parametrize("name", SHAPES)
def test_no_two_shapes_have_the_same_outline(name: str) -> None:
    own = distance(name, X, Y) < 0
    for other in set(SHAPES) - {name}:
        both = distance(other, X, Y) < 0
        assert (own & both).sum() / (own | both).sum() < 0.86


def test_old_shapes_are_what_weights_have_learnt() -> None:
    """Sums over a grid, as they were when the shipped weights were trained."""
    known = {
        "ball": 13995.612,
        "square": 13002.361,
        "triangle": 18232.301,
        "star": 14052.015,
        "heart": 17332.719,
        "ring": 15505.648,
    }
    for name, total in known.items():
        assert float(distance(name, X, Y).double().sum()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_its_own_colour_in_a_good_share(name: str) -> None:
    red = torch.tensor([0.9, 0.1, 0.1])
    body = Body(X, Y, torch.zeros(()), goes=False)
    thing = drawn(name, body, red, torch.full((1, 1, 1), 0.02), lined=True)
    paint = thing.paint.expand(3, 1, 161, 161)[:, thing.edge < 0]
    reddish = (paint[0] > 1.5 * paint[1]) & (paint[0] > 0.3)
    assert reddish.float().mean() > 0.25
    # Lines are nowhere farther than the outline.
    assert (thing.lines <= thing.edge.abs() + 1e-6).all()


def test_where_only_one_part_is_there_is_only_one_colour() -> None:
    body = Body(X, Y, torch.zeros(()), goes=False)
    for name, count in (("cross", 1), ("moon", 1), ("car", 161)):
        thing = drawn(name, body, torch.ones(3), torch.full((1, 1, 1), 0.02), lined=False)
        assert thing.paint.shape[-1] == count

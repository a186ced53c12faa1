"""Base sizes, tiles and their blending."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.upscale import Refine, Tiled, base_size, spans


@pytest.mark.parametrize(
    ("size", "base"),
    [
        ((1920, 1080), (320, 180)),
        ((1080, 1920), (180, 320)),
        ((1280, 720), (320, 180)),
        ((1024, 1024), (256, 256)),
    ],
)
def test_a_base_keeps_the_aspect_with_its_long_side_on_the_grid(size, base):
    assert base_size(*size, 32, 320 * 192) == base


@given(st.integers(16, 4000), st.integers(16, 4000))
def test_a_base_is_about_as_large_as_asked_for(width, height):
    w, h = base_size(width, height, 32, 320 * 192)
    assert max(w, h) % 32 == 0
    assert min(w, h) >= 32
    if max(width, height) < 4 * min(width, height):
        assert w * h == pytest.approx(320 * 192, rel=0.3)
        assert w / h == pytest.approx(width / height, rel=0.02)


@given(st.integers(1, 200), st.integers(2, 20), st.data())
def test_tiles_cover_everything_and_overlap_enough(cells, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    pieces = spans(cells, tile, overlap)
    assert pieces[0].start == 0
    assert pieces[-1].stop == cells
    assert all(piece.stop - piece.start == min(tile, cells) for piece in pieces)
    for before, after in itertools.pairwise(pieces):
        assert before.stop - after.start >= overlap
        assert after.start > before.start


def test_a_field_that_agrees_with_itself_is_not_changed_by_tiling():
    ticks = []
    tiled = Tiled(lambda x, _t: x * 2, spans(14, 6, 2), spans(9, 4, 1), lambda: ticks.append(1))
    latents = torch.randn(1, 3, 2, 14, 9)
    torch.testing.assert_close(tiled(latents, torch.tensor([1.0])), latents * 2)
    assert len(ticks) == len(tiled.rows) * len(tiled.columns)


def test_no_tile_leaves_an_edge():
    """Fields that differ by a constant from tile to tile meet without a jump."""
    values = iter(torch.arange(100.0))
    tiled = Tiled(lambda x, _t: torch.full_like(x, next(values)), [slice(0, 8)], spans(40, 8, 4),
                  lambda: None)  # fmt: skip
    row = tiled(torch.zeros(1, 1, 1, 8, 40), torch.tensor([1.0]))[0, 0, 0, 4]
    assert row.diff().min() >= 0
    assert row.diff().max() < 0.5


@pytest.mark.parametrize("wrong", [{"strength": 1.0}, {"strength": 0}, {"overlap": 8}])
def test_a_senseless_section_is_refused(wrong):
    section = {"base_pixels": 1, "strength": 0.4, "steps": 2, "tile": [8, 10], "overlap": 2}
    assert Refine.from_json(section).tile == (8, 10)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Refine.from_json(section | wrong)

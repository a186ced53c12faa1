"""Sizes off the grid."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.canvas import Canvas, from_uint8, to_uint8

SIDES = st.integers(16, 130)


@given(SIDES, SIDES, st.sampled_from([16, 32]))
def test_cropping_undoes_padding_for_any_size(width, height, grid):
    canvas = Canvas.of(width, height, grid)
    frames = torch.rand(1, 3, 2, height, width)
    padded = canvas.pad(frames)
    assert padded.shape[-2] % grid == padded.shape[-1] % grid == 0
    assert padded.shape[-2] - height < grid
    assert torch.equal(canvas.crop(padded), frames)


def test_full_hd_is_made_four_rows_larger_above_and_below():
    canvas = Canvas.of(1920, 1080, 32)
    assert (canvas.full_width, canvas.full_height, canvas.left, canvas.top) == (1920, 1088, 0, 4)


def test_pixels_survive_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, -1, -1, 3)
    assert torch.equal(to_uint8(from_uint8(pixels)), pixels)


def test_floats_out_of_range_are_clipped():
    assert to_uint8(torch.full((1, 3, 1, 1, 1), 1.5)).unique().tolist() == [255]
    assert to_uint8(torch.full((1, 3, 1, 1, 1), -1.5)).unique().tolist() == [0]


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    colours = torch.randint(0, 256, (1, 20, 36, 3), dtype=torch.uint8)
    image = Image.fromarray(colours[0].numpy())
    canvas = Canvas.of(36, 20, 16)
    assert torch.equal(to_uint8(canvas.crop(canvas.picture(image))), colours)


def test_a_grey_or_transparent_picture_becomes_rgb():
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        assert Canvas.of(32, 32, 16).picture(Image.new(mode, (40, 30))).shape == (1, 3, 1, 32, 32)


def test_chunks_are_enlarged_one_by_one():
    chunks = [torch.rand(1, 3, n, 18, 32) for n in (1, 4)]
    canvas = Canvas.of(128, 72, 16)
    large = list(canvas.resize(chunks))
    assert [tuple(chunk.shape) for chunk in large] == [(1, 3, 1, 80, 128), (1, 3, 4, 80, 128)]

"""Rotary position embedding over time, height and width.

Su et al., "RoFormer", eq. 34, once per axis: the pairs of a head's channels are split between the
three axes and pair i of an axis with m channels turns by position * 10000^(-2i/m). Pairs are
neighbours (2i, 2i + 1), so a pair is one complex number and the rotation one multiplication.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from model.shapes import TokenGrid

__all__ = ["axis_widths", "rope_table", "rotate"]

THETA = 10_000.0


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that turn with time, height and width; time takes what is left over."""
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def rope_table(
    grid: TokenGrid, head_dim: int, *, scale: float = 1.0, device: torch.device | None = None
) -> Complex[Tensor, "n half"]:
    """Unit complex numbers by which the channel pairs of each token turn, for `rotate`.

    `scale` multiplies the spatial positions: a grid r times larger than the trained one keeps to
    the trained range with scale = 1/r. Angles are computed in float64, as positions times small
    frequencies lose digits that the cosine needs.
    """
    axes = []
    for axis, (length, channels) in enumerate(zip(grid, axis_widths(head_dim), strict=True)):
        positions = torch.arange(length, dtype=torch.float64, device=device)
        if axis > 0:
            positions = positions * scale
        exponents = torch.arange(0, channels, 2, dtype=torch.float64, device=device) / channels
        angles = torch.outer(positions, 1.0 / THETA**exponents)
        turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        shape = [1, 1, 1, -1]
        shape[axis] = length
        axes.append(turns.view(shape).expand(*grid, -1).flatten(0, 2))
    return torch.cat(axes, dim=-1)  # n half


def rotate(
    x: Float[Tensor, "b n k e"], table: Complex[Tensor, "n half"]
) -> Float[Tensor, "b n k e"]:
    """Turn each channel pair of `x` by its token's angles; computed in float32."""
    if torch.compiler.is_compiling():  # inductor makes no code for complex numbers
        cos, sin = torch.view_as_real(table).unsqueeze(1).unbind(-1)
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
        return turned.flatten(-2).type_as(x)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # b n k half
    return torch.view_as_real(pairs * table.unsqueeze(1)).flatten(-2).type_as(x)

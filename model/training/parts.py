"""What figures are made of: parts with a colour and a signed distance to their outline.

Inside a figure, u points to the right and v down, both in half object heights; they may be a row
`[f, 1, w]` and a column `[f, h, 1]`, so what is only one's stays small.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A part of a figure: signed distance to its outline in object units, negative inside, and its
    colour: a share of the object's own, and what is added to that.
    """

    distance: Tensor
    own: float = 1.0
    other: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Body(NamedTuple):
    """Where in a figure, and in what moment."""

    u: Tensor
    v: Tensor
    now: Tensor  # seconds, [f, 1, 1] or a scalar
    goes: bool | Tensor  # whether legs walk, wings beat and flames flicker


def disc(u: Tensor, v: Tensor, x: float, y: float, radius: float) -> Tensor:
    """A disc about (x, y)."""
    return _length(u - x, v - y).sub_(radius)


def oval(u: Tensor, v: Tensor, x: float, y: float, wide: float, high: float) -> Tensor:
    """An ellipse about (x, y) with these half axes; near enough, away from its edge."""
    across, down = (u - x) / wide, (v - y) / high
    rho = _length(across, down).clamp_(min=1e-3)  # its middle is inside as well
    steepness = _length(across / wide, down / high).clamp_(min=1e-3)
    return (rho - 1).mul_(rho).div_(steepness)


def box(u: Tensor, v: Tensor, x: float, y: float, wide: float, high: float) -> Tensor:
    """A box about (x, y) with these half sides."""
    return torch.maximum((u - x).abs() - wide, (v - y).abs() - high)


def polygon(u: Tensor, v: Tensor, *corners: tuple[float, float]) -> Tensor:
    """Convex, with its corners clockwise."""
    whole: Tensor | None = None
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.hypot(bx - ax, by - ay)
        nx, ny = (by - ay) / length, (ax - bx) / length
        if ny == 0:
            side = nx * (u - ax)
        elif nx == 0:
            side = ny * (v - ay)
        else:
            side = (nx * u - (ax * nx + ay * ny)) + ny * v
        whole = side if whole is None else torch.maximum(whole, side)
    assert whole is not None
    return whole


def limb(
    u: Tensor, v: Tensor, start: tuple[float, float], end: tuple[Tensor, Tensor], radius: float
) -> Tensor:
    """A rounded stroke from a point to where its end is, of the shape of the moments."""
    du, dv = end[0] - start[0], end[1] - start[1]
    square = du * du + dv * dv
    x, y = u - start[0], v - start[1]
    share = (x * (du / square) + y * (dv / square)).clamp_(0, 1)
    return _length(x - share * du, y - share * dv).sub_(radius)


def least(first: Tensor, *others: Tensor) -> Tensor:
    """The distance to the nearest: what covers all of them."""
    for other in others:
        first = torch.minimum(first, other)
    return first


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x * x + y * y).sqrt_()

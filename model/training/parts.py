"""What shapes are made of: parts with a colour and a signed distance to their outline."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A part of a shape: signed distance to its outline in object units, negative inside, and its
    colour: a share of the object's own, and what is added to that.
    """

    distance: Tensor
    own: float = 1.0
    other: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Body(NamedTuple):
    """Where in an object, and in what moment."""

    u: Tensor  # [n, f, h, w] to the right, or to the left where it looks left
    v: Tensor  # [n, f, h, w] down
    now: Tensor  # [n, f, 1, 1]
    walks: Tensor  # [n, 1, 1, 1]


def disc(b: Body, u: float, v: float, radius: float) -> Tensor:
    """A disc about (u, v)."""
    return torch.hypot(b.u - u, b.v - v).sub_(radius)


def oval(b: Body, u: float, v: float, wide: float, high: float) -> Tensor:
    """An ellipse about (u, v) with these half axes; near enough, away from its edge."""
    x, y = (b.u - u) / wide, (b.v - v) / high
    rho = torch.hypot(x, y)
    return rho * (rho - 1) / torch.hypot(x / wide, y / high).clamp_(min=1e-3)


def box(b: Body, u: float, v: float, wide: float, high: float) -> Tensor:
    """A box about (u, v) with these half sides."""
    return torch.maximum((b.u - u).abs_().sub_(wide), (b.v - v).abs_().sub_(high))


def polygon(u: Tensor, v: Tensor, *corners: tuple[float, float]) -> Tensor:
    """Convex, with its corners clockwise."""
    sides: list[Tensor] = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = math.hypot(bx - ax, by - ay)
        nx, ny = (by - ay) / length, (ax - bx) / length
        sides.append((u * nx).add_(v, alpha=ny).sub_(ax * nx + ay * ny))
    whole = sides[0]
    for side in sides[1:]:
        whole = torch.maximum(whole, side)
    return whole


def limb(b: Body, start: tuple[float, float], u: Tensor, v: Tensor, radius: float) -> Tensor:
    """A rounded stroke from a point to where its end is, u and v `[n, f, 1, 1]`."""
    du, dv = u - start[0], v - start[1]
    x, y = b.u - start[0], b.v - start[1]
    share = ((x * du + y * dv) / (du * du + dv * dv)).clamp_(0, 1)
    return torch.hypot(x - share * du, y - share * dv).sub_(radius)


def least(first: Tensor, *others: Tensor) -> Tensor:
    """The distance to the nearest: what covers all of them."""
    for other in others:
        first = torch.minimum(first, other)
    return first

"""Objects without a style: distances to their outlines and lines, and the paint of their parts.

Coordinates are half object heights inside an object; y points down.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from model.training.figures import FIGURES
from model.training.parts import Body, Part, least

# How soft edges are at least in watercolour, object units.
SOFT = 0.05


class Drawn(NamedTuple):
    """An object without a style."""

    edge: Tensor  # [f, h, w] signed distance to the silhouette, object units
    lines: Tensor  # [f, h, w] distance to any line, object units
    paint: Tensor  # [c, f, h, w] colours of the parts, or [c, 1, 1, 1] where there is but one


def luma(picture: Tensor) -> Tensor:
    """The brightness of a picture `[3, ...]`, as a grey picture of the same shape."""
    weights = picture.new_tensor([0.30, 0.59, 0.11])
    return torch.einsum("c...,c->...", picture, weights)[None].expand_as(picture)


def distance(name: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the outline of a shape of about unit radius (negative inside), at rest."""
    if name in FIGURES:
        return outline(name, Body(x, y, x.new_zeros(()), goes=False))
    if name == "ball":
        return torch.sqrt(x * x + y * y + 1e-9) - 1
    if name == "ring":
        return (torch.sqrt(x * x + y * y + 1e-9) - 0.72).abs() - 0.27
    if name == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.84
    if name == "triangle":
        y = y - 0.15
        return torch.maximum(y - 0.57, 0.866 * x.abs() - 0.5 * y - 0.57)
    if name == "star":
        # Fold the plane into one half of one of five arms; the edge there is a straight line from
        # the tip (angle 0, radius 1.15) to the notch (angle 36 degrees, radius 0.5).
        sector = 2 * math.pi / 5
        angle = torch.atan2(x, -y)
        angle = (angle - sector * torch.round(angle / sector)).abs()
        rho = torch.sqrt(x * x + y * y + 1e-9)
        tip, notch = (1.15, 0.0), (0.5 * math.cos(sector / 2), 0.5 * math.sin(sector / 2))
        nx, ny = notch[1] - tip[1], tip[0] - notch[0]
        length = math.hypot(nx, ny)
        return (rho * (angle.cos() * nx + angle.sin() * ny) - tip[0] * nx) / length
    # Heart: a square on its corner, with a half disc on each of its two upper sides.
    x, y = x.abs() * 0.62, 0.62 - y * 0.62 - 0.08
    diamond = ((x + (y - 0.5).abs()) - 0.5) * 0.7071
    disc = torch.sqrt((x - 0.25) ** 2 + (y - 0.75) ** 2 + 1e-9) - 0.35355
    return torch.minimum(diamond, disc) / 0.62


def outline(name: str, body: Body) -> Tensor:
    """Signed distance to the outline of a shape as it holds itself in some moment."""
    if name not in FIGURES:
        return distance(name, body.u, body.v)
    return _around(FIGURES[name](body))


def _around(parts: list[Part]) -> Tensor:
    return least(*(part.distance for part in parts))


def drawn(name: str, body: Body, own: Tensor, pixel: Tensor, *, lined: bool) -> Drawn:
    """An object of a colour `own` `[3]`, or of a grey `[1]`; `pixel` `[f, 1, 1]` in object units.

    Lines are drawn only if it is to be `lined`.
    """
    if name not in FIGURES:
        edge = distance(name, body.u, body.v)
        return Drawn(edge, edge.abs() if lined else edge, own[:, None, None, None])
    parts = FIGURES[name](body)
    edge = _around(parts)
    # At the silhouette the outermost part is painted beyond its edge, which `edge` cuts off; else
    # the part under it would show as a rim.
    beyond = (edge + pixel.clamp(min=SOFT) / 2).clamp_(min=0)
    lines = parts[0].distance.abs() if lined else edge
    paint = _colour(own, parts[0])
    for part in parts[1:]:
        cover = ((beyond - part.distance) / pixel).add_(0.5).clamp_(0, 1)
        paint = torch.lerp(paint, _colour(own, part), cover)
        if lined:  # a part hides the lines under it
            lines = torch.minimum(part.distance.abs(), torch.maximum(lines, -part.distance))
    return Drawn(edge, lines, paint)


def _colour(own: Tensor, part: Part) -> Tensor:
    other = own.new_tensor(part.other)
    if len(own) == 1:
        other = luma(other)[:1]
    return (own * part.own + other)[:, None, None, None]

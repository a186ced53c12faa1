"""Objects without a style: where they are, their lines and the paint of their parts."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.training.figures import SHAPES
from model.training.parts import Body, Part, least
from model.training.tones import rgb
from model.training.view import Placed, View, offsets, turned

# How far a wet edge strays, in radii, and how soft it is at least, half heights.
STRAY, SOFT = 0.017, 0.025


class Drawn(NamedTuple):
    """Objects without a style."""

    edge: Tensor  # [n, f, h, w] signed distance to the silhouette, half heights
    lines: Tensor  # [n, f, h, w] distance to any line, half heights
    paint: Tensor  # [n, 3, f, h, w] colours of the parts


def draw(shape: str, styles: Sequence[str], fill: Tensor, placed: Placed, view: View) -> Drawn:
    """Objects of one shape."""
    radius = placed.radius[..., None, None]
    u, v = turned(placed, *offsets(placed, view))
    if "watercolour" in styles:
        wet = torch.tensor([STRAY * (s == "watercolour") for s in styles])
        wet = wet.to(fill.device, non_blocking=True)[:, None, None, None]
        u, v = u + wet * torch.sin(9 * v + 4 * u), v + wet * torch.sin(7 * u - 3 * v)
    parts = SHAPES[shape](Body(u, v, view.now, placed.walks.view(-1, 1, 1, 1)))
    own = fill[:, :, None, None, None]
    edge = least(*(part.distance for part in parts))
    # At the silhouette the outermost part is painted beyond its edge, which `edge` cuts off; else
    # the part under it would show as a rim.
    beyond = (edge + max(SOFT, view.pixel) / 2 / radius).clamp_(min=0)
    lines = parts[0].distance.abs()
    paint = _colour(own, parts[0]).expand(-1, -1, *u.shape[1:])
    for part in parts[1:]:
        cover = ((beyond - part.distance) * (radius / view.pixel)).add_(0.5).clamp_(0, 1)
        paint = torch.lerp(paint, _colour(own, part), cover[:, None])
        # A part hides the lines under it.
        lines = torch.minimum(part.distance.abs(), torch.maximum(lines, -part.distance))
    return Drawn(edge * radius, lines * radius, paint)


def _colour(own: Tensor, part: Part) -> Tensor:
    return own if part.own == 1 else own * part.own + rgb(own, *part.other)

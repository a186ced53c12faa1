"""How backgrounds, and objects on them, look in a style.

Lengths are half picture heights unless they are said to be in object units, half object heights.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.training.drawing import SOFT, Drawn, luma

#: How far from its middle an object with its shadow or halo reaches: up, down and to the sides,
#: object units.
REACH = {
    "flat": (1.3, 1.3, 1.3),
    "shaded": (1.3, 1.5, 1.45),
    "bw": (1.3, 1.3, 1.3),
    "sketch": (1.3, 1.5, 1.45),
    "watercolour": (1.35, 1.35, 1.35),
    "neon": (1.7, 1.7, 1.7),
}
#: The new backgrounds that film shows dark, and what is in front of them bright, and the others.
DIM = {
    "gradient": True,
    "desert": False,
    "city": False,
    "snow": False,
    "rain": True,
    "checkerboard": False,
    "room": False,
}
# Thickness of lines.
PENCIL, TUBE, HALO = 0.018, 0.020, 0.10


class Spot(NamedTuple):
    """Where the pixels of an object are."""

    p: Tensor  # to the right of its middle, object units
    q: Tensor  # below its middle
    u: Tensor  # the same, turned with the object
    v: Tensor
    radius: Tensor  # [f, 1, 1]
    pixel: float


def treat(style: str, name: str, picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The background of a name, or a colour before it, `[3, ...]`, in a style; at columns x
    `[1, w]` and rows y `[h, 1]`.
    """
    if style == "bw" and name in DIM:
        # Either half of the greys is left to what stands in front of it.
        return luma(picture) * 0.44 if DIM[name] else luma(picture) * 0.56 + 0.44
    if style == "bw":
        return luma(picture)
    if style == "sketch":
        return 0.93 - 0.22 * (1 - luma(picture))
    if style == "watercolour":
        pigment = 0.66 + 0.12 * _mottle(2.2 * x, 2.2 * y)
        return 0.97 - (0.97 - picture) * pigment
    if style == "neon":
        return picture * 0.3
    return picture


def composite(
    style: str, back: Tensor, own: Tensor, thing: Drawn, spot: Spot, *, dim: bool
) -> tuple[Tensor, Tensor]:
    """An object of colour `own` `[3]` over its background `[3, f or 1, h, w]`, giving
    `[3, f, h, w]`, and its coverage `[f, h, w]`; `dim` says that the background is dark.
    """
    edge, fill, pixel = thing.edge * spot.radius, thing.paint, spot.pixel
    coverage = (0.5 - edge / pixel).clamp(0, 1)
    if style == "sketch":
        tone = 1 - fill[0]
        hatch = torch.sin((spot.u + spot.v) * 9.0).mul(2.0).clamp(0, 1) * coverage
        line = (1.0 - (thing.lines * spot.radius - PENCIL) / pixel).clamp(0, 1)
        paper = 0.93 + (back[0] - 0.93) * (1 - coverage) - 0.35 * hatch * tone
        return (paper * (1 - 0.85 * line))[None].expand(3, -1, -1, -1), coverage
    if style == "watercolour":
        return _wet(back, thing, spot)
    if style == "neon":
        return _glowing(back, own, thing, spot, coverage), coverage
    if style == "shaded":
        # One lamp, upper left: brightness falls with the distance from the highlight.
        p, q = spot.p, spot.q
        from_highlight = (p + 0.35) ** 2 + (q + 0.4) ** 2
        light = (1.12 - 0.42 * from_highlight.sqrt()).clamp(0.25, 1.0)
        glow = 0.75 * torch.exp(-from_highlight / 0.05)
        fill = fill * light
        fill = fill + (1 - fill) * glow
        ground = torch.sqrt((p * 0.9) ** 2 + ((q - 1.15) / 0.22) ** 2)
        back = back * (1 - 0.35 * (1.25 - ground).clamp(0, 1))
    if style == "bw":
        # Film keeps subject and ground apart: dark on bright, bright on dark.
        grey = luma(own)[0]
        fill = grey + 1.8 * (fill - grey)  # the parts of it are told apart as well
        fill = (0.95 - 0.25 * (1 - fill)) if dim else 0.06 + 0.25 * fill
    return back + (fill - back) * coverage, coverage


def _wet(back: Tensor, thing: Drawn, spot: Spot) -> tuple[Tensor, Tensor]:
    """Watercolour on paper, and its coverage."""
    coverage = (0.5 - thing.edge / (spot.pixel / spot.radius).clamp(min=SOFT)).clamp_(0, 1)
    rim = (1 + thing.edge / 0.16).clamp_(0, 1).square_()
    pigment = 0.80 + 0.12 * _mottle(4 * spot.u, 4 * spot.v) + 0.16 * rim
    # Pigment gathers along the edge; white has none, so the edge itself darkens as well.
    wet = (0.97 - 0.14 * rim) - (0.97 - thing.paint) * pigment
    return torch.lerp(back, wet.clamp_(0, 1), 0.95 * coverage), coverage


def _glowing(back: Tensor, own: Tensor, thing: Drawn, spot: Spot, coverage: Tensor) -> Tensor:
    """Neon: a tube along the lines, a halo about it, and a dim glow inside."""
    lines = thing.lines * spot.radius
    core = (lines / TUBE).square_().neg_().exp_()
    fades = (1 - (spot.p.square() + spot.q.square()) / REACH["neon"][0] ** 2).clamp_(min=0)
    halo = lines.div(-HALO).exp_().mul_(fades).mul_(0.55)
    colour = own[:, None, None, None]
    glow = torch.lerp(back, 0.25 * thing.paint, 0.9 * coverage) + colour * halo
    return torch.lerp(glow, 0.75 * colour + 0.25, core).clamp_(0, 1)


def _mottle(x: Tensor, y: Tensor) -> Tensor:
    """Soft blotches, -1 to 1."""
    first = torch.sin(x + 1.3 * torch.sin(0.8 * y))
    return (first + torch.sin(1.7 * y + 1.9 * torch.sin(0.9 * x + 1))) / 2

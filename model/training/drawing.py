"""The pixels of scenes: outlines of shapes, backgrounds, and styles.

Coordinates are half picture heights, or half object heights inside an object; y points down.
"""

import math

import torch
from torch import Tensor


def luma(picture: Tensor) -> Tensor:
    """The brightness of a picture `[3, ...]`, as a grey picture of the same shape."""
    weights = picture.new_tensor([0.30, 0.59, 0.11])
    return torch.einsum("c...,c->...", picture, weights)[None].expand_as(picture)


def composite(
    style: str,
    back: Tensor,
    colour: Tensor,
    u: Tensor,
    v: Tensor,
    edge: Tensor,
    coverage: Tensor,
    pixel: float,
) -> Tensor:
    """Composite one object over its background `[3, 1, h, w]`, giving `[3, f, h, w]`."""
    fill = colour[:, None, None, None]
    if style == "sketch":
        tone = 1 - float(luma(colour[:, None])[0, 0])
        hatch = torch.sin((u + v) * 9.0).mul(2.0).clamp(0, 1) * coverage
        line = (1.0 - (edge.abs() - 0.018) / pixel).clamp(0, 1)
        paper = 0.93 + (back[0] - 0.93) * (1 - coverage) - 0.35 * hatch * tone
        return (paper * (1 - 0.85 * line))[None].expand(3, -1, -1, -1)
    if style == "shaded":
        # One lamp, upper left: brightness falls with the distance from the highlight.
        from_highlight = (u + 0.35) ** 2 + (v + 0.4) ** 2
        light = (1.12 - 0.42 * from_highlight.sqrt()).clamp(0.25, 1.0)
        glow = 0.75 * torch.exp(-from_highlight / 0.05)
        fill = fill * light
        fill = fill + (1 - fill) * glow
        ground = torch.sqrt((u * 0.9) ** 2 + ((v - 1.15) / 0.22) ** 2)
        back = back * (1 - 0.35 * (1.25 - ground).clamp(0, 1))
    if style == "bw":
        # Film keeps subject and ground apart: dark on bright, bright on dark.
        own = luma(colour[:, None])[0, 0]
        fill = (0.95 - 0.25 * (1 - own)) if float(back.mean()) < 0.5 else 0.06 + 0.25 * own
    return back + (fill - back) * coverage


def distance(name: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the outline of a shape of about unit radius (negative inside)."""
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


def _mix(bottom: Tensor, top: Tensor, share: Tensor) -> Tensor:
    return bottom + (top - bottom) * share


def background(name: str, x: Tensor, y: Tensor, seed: float) -> Tensor:
    """A background at columns x `[1, w]` and rows y `[h, 1]`, with shape `[3, h, w]`."""

    def rgb(r: float, g: float, b: float) -> Tensor:
        return x.new_tensor([r, g, b])[:, None, None]

    def step(value: Tensor) -> Tensor:
        """A soft 0-to-1 edge 0.02 half heights wide."""
        return (value / 0.02 + 0.5).clamp(0, 1)

    flat = torch.zeros_like(x * y)
    if name == "white":
        return rgb(0.96, 0.96, 0.96) + flat
    if name == "black":
        return rgb(0.03, 0.03, 0.03) + flat
    if name == "gray":
        return rgb(0.50, 0.50, 0.50) + flat
    down = (y + 1) / 2
    if name == "sunset":
        dusk = _mix(rgb(0.33, 0.14, 0.40), rgb(0.98, 0.52, 0.22), down.clamp(0, 1) ** 0.8)
        sun = torch.exp(-(((x - (seed - 0.5)) ** 2 + (y - 0.75) ** 2) / 0.06))
        return _mix(dusk + flat, rgb(1.0, 0.85, 0.45), sun * 0.9)
    if name == "sky":
        blue = _mix(rgb(0.36, 0.62, 0.93), rgb(0.72, 0.87, 0.98), down)
        cloud = flat
        for i in range(4):
            cx = ((seed * 7.13 + i * 0.83) % 1.0) * 4.4 - 2.2
            cy = -0.78 + 0.36 * i + 0.2 * ((seed * 3.7 + i * 0.37) % 1.0)
            puff = torch.exp(-(((x - cx) / 0.5) ** 2 + ((y - cy) / 0.13) ** 2))
            cloud = torch.maximum(cloud, puff)
        return _mix(blue + flat, rgb(0.99, 0.99, 0.99), cloud * 0.85)
    if name == "night":
        dark = _mix(rgb(0.02, 0.03, 0.12), rgb(0.08, 0.10, 0.26), down)
        stars = flat
        for i in range(24):
            cx = ((seed * 17.31 + i * 0.7548777) % 1.0) * 4.0 - 2.0
            cy = ((seed * 11.77 + i * 0.5698403) % 1.0) * 2.0 - 1.0
            stars = torch.maximum(stars, torch.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / 0.0007)))
        return _mix(dark + flat, rgb(1.0, 0.98, 0.85), stars)
    horizon = -0.15 + 0.12 * (seed - 0.5)
    if name == "grass":
        above = _mix(rgb(0.62, 0.80, 0.95), rgb(0.86, 0.94, 0.98), down)
        hill = horizon + 0.08 * torch.sin(1.6 * x + seed * 6.28)
        field = _mix(rgb(0.36, 0.66, 0.22), rgb(0.20, 0.46, 0.14), (y - hill).clamp(0, 1))
        return _mix(above + flat, field + flat, step(y - hill))
    above = _mix(rgb(0.70, 0.85, 0.95), rgb(0.90, 0.94, 0.96), down)
    depth = (y - horizon).clamp(0, 1.3)
    water = _mix(rgb(0.10, 0.45, 0.66), rgb(0.04, 0.24, 0.46), depth)
    crest = torch.sin(5 * x + 14 * depth.sqrt() * 3 + seed * 6.28 + 1.2 * torch.sin(2 * x)) * 0.5
    foam = (crest + 0.5).clamp(0, 1) ** 3
    water = _mix(water + flat, rgb(0.45, 0.74, 0.86), foam * 0.45)
    return _mix(above + flat, water, step(y - horizon))

"""Where an object is, finer than latents are: its true mask, and the true outline nearest to one.

A class says little of a shape that is nearly right: a reward for "star" is content with a bent one.
The renderer knows the outline itself, wherever a sampler chose to put it.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from model.training.drawing import distance
from model.training.scenes import OPENING_S, SHAPES, Scenes, track

#: Cells of a mask along each side of a latent cell, which is 16 pixels.
FINE = 4
FPS = 16.0
#: What is tried around a place and a size: moves along x and y, and growth, all in radii. It is
#: tried again, finer, around the best.
TRIES = torch.cartesian_prod(*[torch.linspace(-1, 1, 5)] * 3)
SCALES = (0.3, 0.1, 0.035)


def true_mask(scenes: Scenes, frame: Tensor, height: int, width: int) -> Tensor:
    """How much of each cell the object covers in latent frame `frame` `[b]`: `[b, height, width]`.

    All latent frames but the first stand for four frames, over which it is averaged.
    """
    total = torch.zeros(len(frame), height, width)
    for back in range(4):
        seconds = (4 * frame - back).clamp(min=0) / FPS
        moment = replace(scenes, phase=scenes.phase + seconds)
        path = track(moment, torch.zeros(1), OPENING_S, width / height)
        total += _drawn(scenes.shape, *path, height, width)[:, 0]
    return total / 4


def nearest(mask: Tensor, shape: Tensor) -> Tensor:
    """The mask of the true outline of `shape` `[b]` that overlaps most with `mask` `[b, h, w]`.

    Its place and size begin with the moments of the mask, and are then searched for; on the CPU.
    """
    b, h, w = mask.shape
    x, y = _grid(h, w)
    area = mask.sum((1, 2)).clamp(min=1e-3)
    moments = [(mask * x).sum((1, 2)), (mask * y[:, None]).sum((1, 2))]
    centre = torch.stack(moments, 1) / area[:, None]
    units = torch.tensor([_unit(name) for name in SHAPES])[shape]  # b 3: area, x, y
    radius = (area * (2 / h) ** 2 / units[:, 0]).sqrt()
    centre = centre - radius[:, None] * units[:, 1:]
    rows = torch.arange(b)
    best = mask
    for scale in SCALES:
        move = scale * radius[:, None, None] * TRIES[:, :2]
        around = centre[:, None] + move  # b n 2
        r = radius[:, None] * (1 + scale * TRIES[:, 2])
        drawn = _drawn(shape, around[..., 0], around[..., 1], r, h, w)
        chosen = overlap(drawn, mask[:, None]).argmax(1)
        centre, radius, best = around[rows, chosen], r[rows, chosen], drawn[rows, chosen]
    return best


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks `[..., h, w]` (Ruzicka similarity)."""
    return torch.minimum(a, b).sum((-2, -1)) / torch.maximum(a, b).sum((-2, -1)).clamp(min=1e-3)


def _drawn(shape: Tensor, x: Tensor, y: Tensor, r: Tensor, height: int, width: int) -> Tensor:
    """Masks `[b, n, height, width]` of objects at `x`, `y` with radius `r`, all `[b, n]`."""
    columns, rows = _grid(height, width)
    out = torch.empty(*x.shape, height, width)
    for k in shape.unique().tolist():
        own = shape == k
        u = (columns - x[own][..., None, None]) / r[own][..., None, None]
        v = (rows[:, None] - y[own][..., None, None]) / r[own][..., None, None]
        edge = distance(SHAPES[k], u, v) * r[own][..., None, None]
        out[own] = (0.5 - edge * height / 2).clamp(0, 1)
    return out


def _grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The middles of columns and of rows in half heights."""
    return (
        (torch.arange(width) + 0.5) * 2 / height - width / height,
        (torch.arange(height) + 0.5) * 2 / height - 1,
    )


@cache
def _unit(name: str) -> tuple[float, float, float]:
    """Area and centroid of a shape of radius 1."""
    line = torch.linspace(-1.6, 1.6, 401)
    inside = (distance(name, line[None], line[:, None]) < 0).float()
    share = inside / inside.sum()
    x, y = float((share * line).sum()), float((share * line[:, None]).sum())
    return float(inside.sum() * (line[1] - line[0]) ** 2), x, y

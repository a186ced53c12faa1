"""Where an object is, finer than latents are: its true mask, and the true outline nearest to one.

A class says little of a shape that is nearly right: a reward for "star" is content with a bent one.
The renderer knows the outline itself, wherever a sampler chose to put it.
"""

import math
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from model.training.drawing import distance, outline
from model.training.figures import FIGURES
from model.training.parts import Body
from model.training.scenes import MOTIONS, SHAPES, Scenes
from model.training.trajectories import OPENING_S, facing, goes, track, turning

#: Cells of a mask along each side of a latent cell, which is 16 pixels.
FINE = 4
FPS = 16.0
#: What is tried around a place and a size: moves along x and y, and growth, all in radii. It is
#: tried again, finer, around the best.
TRIES = torch.cartesian_prod(*[torch.linspace(-1, 1, 5)] * 3)
SCALES = (0.3, 0.1, 0.035)
#: How an object may hold itself: angle, where it looks, and in what moment of its steps or
#: wingbeats. What turns may be turned anyhow; a figure may look to the left, and move.
REST = torch.tensor([0.0, 1.0, 0.0])
TURNED = torch.stack([torch.tensor([k * math.pi / 12, 1.0, 0.0]) for k in range(24)])
MOVED = torch.tensor([[0.0, side, 0.08 * k] for k in range(12) for side in (1.0, -1.0)])
# How much finer the steps of angles and of moments are, in radians and seconds, at a scale of 1.
FINER = torch.tensor([0.4, 0.0, 0.15])


def true_mask(scenes: Scenes, frame: Tensor, height: int, width: int) -> Tensor:
    """How much of each cell the object covers in latent frame `frame` `[b]`: `[b, height, width]`.

    All latent frames but the first stand for four frames, over which it is averaged.
    """
    total = torch.zeros(len(frame), height, width)
    start = torch.zeros(1)
    for back in range(4):
        seconds = (4 * frame - back).clamp(min=0) / FPS
        moment = replace(scenes, phase=scenes.phase + seconds)
        path = track(moment, start, OPENING_S, width / height)
        now = moment.phase * goes(moment)  # at 0 s all is at rest
        held = [turning(moment, start), facing(moment, start), now[:, None]]
        total += _drawn(scenes.shape, *path, torch.stack(held, -1), height, width)[:, 0]
    return total / 4


def turns(scenes: Scenes) -> Tensor:
    """Which objects may be seen at any angle, `[b]`."""
    turning = torch.tensor([MOTIONS.index(name) for name in ("spin", "swing")])
    return torch.isin(scenes.motion, turning)


def nearest(mask: Tensor, shape: Tensor, turns: Tensor | None = None) -> Tensor:
    """The mask of the true outline of `shape` `[b]` that overlaps most with `mask` `[b, h, w]`.

    Its place and size begin with the moments of the mask, and are then searched for, as is how it
    holds itself; with any angle where it `turns` `[b]`. On the CPU.
    """
    b, h, w = mask.shape
    x, y = _grid(h, w)
    area = mask.sum((1, 2)).clamp(min=1e-3)
    moments = [(mask * x).sum((1, 2)), (mask * y[:, None]).sum((1, 2))]
    units = torch.tensor([_unit(name) for name in SHAPES])[shape]  # b 3: area, x, y
    radius = (area * (2 / h) ** 2 / units[:, 0]).sqrt()
    rows = torch.arange(b)

    turned = torch.zeros(b, dtype=torch.bool) if turns is None else turns
    figure = torch.tensor([name in FIGURES for name in SHAPES])[shape]
    held = torch.where(figure[:, None, None], MOVED, REST)
    held = torch.where(turned[:, None, None], TURNED, held)  # b n 3
    finer = FINER * torch.stack([turned, turned, figure & ~turned], 1)
    if not bool((figure | turned).any()):
        held = held[:, :1]
    cos, sin = held[..., 0].cos(), held[..., 0].sin()
    off_x, off_y = units[:, None, 1] * held[..., 1], units[:, None, 2]
    off = torch.stack([off_x * cos - off_y * sin, off_x * sin + off_y * cos], -1)
    around = torch.stack(moments, 1)[:, None] / area[:, None, None] - radius[:, None, None] * off
    r = radius[:, None].expand(around.shape[:2])

    def best(around: Tensor, r: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        drawn = _drawn(shape, around[..., 0], around[..., 1], r, held, h, w)
        chosen = overlap(drawn, mask[:, None]).argmax(1)
        return chosen, drawn[rows, chosen]

    chosen, out = best(around, r, held)
    centre, held = around[rows, chosen], held[rows, chosen]
    for scale in SCALES:
        move = scale * radius[:, None, None] * TRIES[:, :2]
        around = centre[:, None] + move  # b n 2
        r = radius[:, None] * (1 + scale * TRIES[:, 2])
        chosen, out = best(around, r, held[:, None])
        centre, radius = around[rows, chosen], r[rows, chosen]
        if bool(finer.any()):
            steps = scale * torch.linspace(-1, 1, 5)[:, None]
            holds = held[:, None] + steps * finer[:, None]
            chosen, out = best(centre[:, None].expand(b, 5, 2), radius[:, None].expand(b, 5), holds)
            held = holds[rows, chosen]
    return out


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of soft masks `[..., h, w]` (Ruzicka similarity)."""
    return torch.minimum(a, b).sum((-2, -1)) / torch.maximum(a, b).sum((-2, -1)).clamp(min=1e-3)


def _drawn(
    shape: Tensor, x: Tensor, y: Tensor, r: Tensor, held: Tensor, height: int, width: int
) -> Tensor:
    """Masks `[b, n, height, width]` of objects at `x`, `y` with radius `r`, all `[b, n]`, that hold
    themselves so: angle, where they look and moment, `[b, n or 1, 3]`.
    """
    columns, rows = _grid(height, width)
    out = torch.empty(*x.shape, height, width)
    for i, k in enumerate(shape.tolist()):  # one by one they stay in a CPU's cache
        size = r[i, :, None, None]
        u = (columns - x[i, :, None, None]) / size
        v = (rows[:, None] - y[i, :, None, None]) / size
        angle, side, now = held[i, ..., None, None].unbind(1)
        if bool(angle.any()):
            cos, sin = angle.cos(), angle.sin()
            u, v = u * cos + v * sin, v * cos - u * sin
        if SHAPES[k] in FIGURES:
            u = u * side
        edge = outline(SHAPES[k], Body(u, v, now, goes=True)) * size
        out[i] = (0.5 - edge * height / 2).clamp(0, 1)
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

"""Backgrounds: places of a world that cameras pan and zoom over, without a style."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from model.training.tones import rgb

#: Side of a square of the checkerboard, half heights.
CHECK = 0.4
#: How fast waves pass, radians a second, and how fast drops and flakes fall, half heights a second.
WAVES = 2.0
FALL = {"snow": 0.4, "rain": 2.4}
#: Backgrounds that move by themselves.
ANIMATED = ("sea", "snow", "rain")
# Backgrounds that film shows dark, and what is in front of them bright; else the other way round.
DIM = ("black", "gray", "gradient", "sunset", "night", "rain")


class Ground(NamedTuple):
    """Where the world's backgrounds are asked for."""

    x: Tensor  # [n, 1, f, 1, w] columns of the world
    y: Tensor  # [n, 1, f, h, 1] rows of the world
    seed: Tensor  # [n, 1, 1, 1, 1]
    now: Tensor  # [n, 1, f, 1, 1]
    pixel: float  # half heights

    def take(self, index: Tensor) -> "Ground":
        """Those of the clips at `index`."""
        x, y, seed, now = (v[index] for v in self[:4])
        return Ground(x, y, seed, now, self.pixel)


def _soft(value: Tensor, width: float = 0.02) -> Tensor:
    """A soft 0-to-1 edge, `width` half heights wide, where a length changes sign."""
    return (value / width + 0.5).clamp(0, 1)


def _chance(cell: Tensor) -> Tensor:
    """Something between 0 and 1 for each whole number, about the same on every device."""
    return torch.remainder(torch.sin(cell * 12.9898) * 97.31, 1)


def _spread(ground: Ground, count: int, first: float, step: float) -> Tensor:
    """`count` numbers in 0..1 for each clip, far from each other, `[n, count, 1, 1]`."""
    index = torch.arange(count, device=ground.x.device) * step
    return torch.remainder(ground.seed[:, :, 0, 0, 0] * first + index, 1)[..., None, None]


def _dots(
    ground: Ground,
    x: Tensor,
    y: Tensor,
    size: tuple[float, float],
    period: tuple[float, float],
) -> Tensor:
    """Soft dots at x and y `[n, k, f or 1, 1]`, repeated both ways, in `[n, 1, f, h, w]`.

    A dot is a product of a row and a column, so all of them are one product of matrices.
    """
    row, column = (
        torch.remainder(at - where + repeat / 2, repeat).sub_(repeat / 2).div_(wide).square_()
        for at, where, wide, repeat in zip(
            (ground.y[..., 0], ground.x[:, :, :, 0]), (y, x), size[::-1], period[::-1], strict=True
        )
    )
    dots = row.neg_().exp_().permute(0, 2, 3, 1) @ column.neg_().exp_().permute(0, 2, 1, 3)
    return dots.clamp_(max=1)[:, None]


def _white(g: Ground) -> Tensor:
    return rgb(g.x, 0.96, 0.96, 0.96)


def _black(g: Ground) -> Tensor:
    return rgb(g.x, 0.03, 0.03, 0.03)


def _gray(g: Ground) -> Tensor:
    return rgb(g.x, 0.50, 0.50, 0.50)


def _gradient(g: Ground) -> Tensor:
    top = torch.lerp(rgb(g.x, 0.40, 0.70, 0.68), rgb(g.x, 0.62, 0.78, 0.80), g.seed)
    bottom = torch.lerp(rgb(g.x, 0.40, 0.33, 0.60), rgb(g.x, 0.64, 0.48, 0.70), g.seed)
    return torch.lerp(top, bottom, _down(g))


def _down(g: Ground) -> Tensor:
    """How far down the picture, 0 at its top and 1 at its bottom, were it not zoomed."""
    return ((g.y + 1) / 2).clamp(0, 1)


def _sky(g: Ground) -> Tensor:
    blue = torch.lerp(rgb(g.x, 0.36, 0.62, 0.93), rgb(g.x, 0.72, 0.87, 0.98), _down(g))
    x = _spread(g, 4, 7.13, 0.83) * 4.4
    y = 0.36 * torch.arange(4, device=x.device)[:, None, None] - 0.78
    y = y + 0.2 * _spread(g, 4, 3.7, 0.37)
    cloud = _dots(g, x, y, (0.5, 0.12), (4.4, 3.6)) + 0.8 * _dots(
        g, x + 0.12, y - 0.11, (0.22, 0.10), (4.4, 3.6)
    )
    return torch.lerp(blue, rgb(g.x, 0.99, 0.99, 0.99), (cloud * 0.88).clamp(max=0.9))


def _sunset(g: Ground) -> Tensor:
    dusk = torch.lerp(rgb(g.x, 0.33, 0.14, 0.40), rgb(g.x, 0.98, 0.52, 0.22), _down(g) ** 0.8)
    sun = _dots(
        g, g.seed[..., 0] - 0.5, torch.full_like(g.seed[..., 0], 0.75), (0.245, 0.245), (6, 6)
    )
    return torch.lerp(dusk, rgb(g.x, 1.0, 0.85, 0.45), sun * 0.9)


def _night(g: Ground) -> Tensor:
    dark = torch.lerp(rgb(g.x, 0.02, 0.03, 0.12), rgb(g.x, 0.08, 0.10, 0.26), _down(g))
    x, y = _spread(g, 24, 17.31, 0.7548777) * 4, _spread(g, 24, 11.77, 0.5698403) * 2
    return torch.lerp(dark, rgb(g.x, 1.0, 0.98, 0.85), _dots(g, x, y, (0.026, 0.026), (4, 2)))


def _horizon(g: Ground) -> Tensor:
    return -0.15 + 0.12 * (g.seed - 0.5)


def _grass(g: Ground) -> Tensor:
    above = torch.lerp(rgb(g.x, 0.62, 0.80, 0.95), rgb(g.x, 0.86, 0.94, 0.98), _down(g))
    below = g.y - (_horizon(g) + 0.08 * torch.sin(1.6 * g.x + g.seed * 6.28))
    field = torch.lerp(rgb(g.x, 0.36, 0.66, 0.22), rgb(g.x, 0.20, 0.46, 0.14), below.clamp(0, 1))
    return torch.lerp(above, field, _soft(below))


def _sea(g: Ground) -> Tensor:
    above = torch.lerp(rgb(g.x, 0.70, 0.85, 0.95), rgb(g.x, 0.90, 0.94, 0.96), _down(g))
    below = g.y - _horizon(g)
    depth = below.clamp(0, 1.3)
    water = torch.lerp(rgb(g.x, 0.10, 0.45, 0.66), rgb(g.x, 0.04, 0.24, 0.46), depth)
    along = 5 * g.x + 1.2 * torch.sin(2 * g.x) + g.seed * 6.28
    foam = torch.sin(along + (42 * depth.sqrt() - WAVES * g.now)).mul_(0.5).add_(0.5)
    water = torch.lerp(water, rgb(g.x, 0.45, 0.74, 0.86), foam * foam.square() * 0.45)
    return torch.lerp(above, water, _soft(below))


def _desert(g: Ground) -> Tensor:
    above = torch.lerp(rgb(g.x, 0.55, 0.76, 0.93), rgb(g.x, 0.97, 0.92, 0.82), _down(g) * 1.5)
    far = g.y - (0.02 + 0.11 * torch.sin(1.7 * g.x + g.seed * 6.28))
    near = g.y - (0.42 + 0.16 * torch.sin(1.1 * g.x + g.seed * 17 + 0.4 * torch.sin(2.3 * g.x)))
    sand = torch.lerp(rgb(g.x, 0.95, 0.82, 0.58), rgb(g.x, 0.83, 0.64, 0.40), far.clamp(0, 1))
    front = torch.lerp(
        rgb(g.x, 0.90, 0.73, 0.47), rgb(g.x, 0.76, 0.56, 0.33), near.mul(1.4).clamp(0, 1)
    )
    return torch.lerp(torch.lerp(above, sand, _soft(far)), front, _soft(near))


def _city(g: Ground) -> Tensor:
    picture = torch.lerp(rgb(g.x, 0.66, 0.80, 0.94), rgb(g.x, 0.96, 0.93, 0.86), _down(g))
    wall, salt = rgb(g.x, 0.58, 0.66, 0.76), torch.floor(g.seed * 97)
    for wide, lowest, tall in ((0.42, 0.0, 0.75), (0.56, 0.45, 0.60)):
        along = g.x / wide + g.seed * 3
        house = torch.floor(along)
        roof = lowest - tall * _chance(house + salt + 31 * wide)
        inside = _soft(g.y - roof)
        # Narrow streets let what is behind shine through.
        inside = inside * _soft((0.47 - (along - house - 0.5).abs()) * wide)
        picture = torch.lerp(picture, wall, inside)
        wall = rgb(g.x, 0.22, 0.26, 0.37)
    column, row = (along - house) * 4, (g.y - roof) / 0.15
    pane = _soft((0.30 - (torch.remainder(column, 1) - 0.5).abs()) * wide / 4)
    pane = pane * _soft((0.30 - (torch.remainder(row, 1) - 0.5).abs()) * 0.15)
    lit = _chance(torch.floor(column) * 3.1 + torch.floor(row) * 7.7 + house + salt) > 0.45
    return torch.lerp(picture, rgb(g.x, 0.98, 0.86, 0.52), pane * lit * inside * (row > 0))


def _snow(g: Ground) -> Tensor:
    above = torch.lerp(rgb(g.x, 0.50, 0.60, 0.73), rgb(g.x, 0.72, 0.80, 0.89), _down(g))
    below = g.y - (0.25 + 0.10 * torch.sin(1.3 * g.x + g.seed * 6.28))
    field = torch.lerp(rgb(g.x, 0.94, 0.96, 0.99), rgb(g.x, 0.80, 0.87, 0.95), below.clamp(0, 1))
    x, y = _spread(g, 36, 17.31, 0.7548777) * 4, _spread(g, 36, 11.77, 0.5698403) * 2.4
    now = g.now[..., 0]
    x, y = x + 0.06 * torch.sin(1.7 * now + 40 * x), y + FALL["snow"] * now
    flakes = _dots(g, x, y, (0.026, 0.026), (4, 2.4))
    return torch.lerp(torch.lerp(above, field, _soft(below)), rgb(g.x, 1, 1, 1), flakes)


def _rain(g: Ground) -> Tensor:
    above = torch.lerp(rgb(g.x, 0.24, 0.29, 0.37), rgb(g.x, 0.42, 0.47, 0.55), _down(g) * 1.3)
    ground = torch.lerp(rgb(g.x, 0.27, 0.31, 0.37), rgb(g.x, 0.18, 0.21, 0.27), _down(g))
    x, y = _spread(g, 60, 17.31, 0.7548777) * 4, _spread(g, 60, 11.77, 0.5698403) * 2.8
    # What is thinner than a pixel would flicker as it moves.
    drops = _dots(g, x, y + FALL["rain"] * g.now[..., 0], (max(0.010, g.pixel / 2), 0.13), (4, 2.8))
    wet = torch.lerp(above, ground, _soft(g.y - 0.62))
    return torch.lerp(wet, rgb(g.x, 0.70, 0.78, 0.88), drops * 0.6)


def _checkerboard(g: Ground) -> Tensor:
    across, down = (
        (torch.sin((at + shift) * (math.pi / CHECK)) * (CHECK / 0.06)).clamp(-1, 1)
        for at, shift in ((g.x, g.seed * CHECK), (g.y, 0))
    )
    return torch.lerp(
        rgb(g.x, 0.50, 0.50, 0.51), rgb(g.x, 0.80, 0.80, 0.81), across * down * 0.5 + 0.5
    )


def _room(g: Ground) -> Tensor:
    stripes = (torch.sin(g.x * 12.6 + g.seed * 6.28) * 3).clamp(-1, 1) * 0.5 + 0.5
    wall = torch.lerp(rgb(g.x, 0.86, 0.84, 0.74), rgb(g.x, 0.82, 0.80, 0.69), stripes)
    below = g.y - 0.46
    # Boards become wider towards the viewer.
    board = (below.clamp(min=0) * 12 + 1).sqrt() * 2.2
    number = torch.floor(board)
    light = 0.5 + 0.5 * _chance(number + 3)
    wood = torch.lerp(rgb(g.x, 0.50, 0.34, 0.21), rgb(g.x, 0.63, 0.45, 0.29), light)
    joint = torch.remainder(g.x + 0.37 * number + g.seed, 1.3) - 0.65
    gap = torch.maximum(1 - (board - number) * 8 / board, _soft(0.006 - joint.abs()) * 0.8).clamp(
        0, 1
    )
    wood = torch.lerp(wood, rgb(g.x, 0.33, 0.21, 0.13), gap * 0.8)
    wall = torch.lerp(wall, rgb(g.x, 0.95, 0.94, 0.90), _soft(below + 0.11))
    return torch.lerp(wall, wood, _soft(below))


GROUNDS: dict[str, Callable[[Ground], Tensor]] = {
    "white": _white,
    "black": _black,
    "gray": _gray,
    "gradient": _gradient,
    "sky": _sky,
    "sunset": _sunset,
    "night": _night,
    "grass": _grass,
    "sea": _sea,
    "desert": _desert,
    "city": _city,
    "snow": _snow,
    "rain": _rain,
    "checkerboard": _checkerboard,
    "room": _room,
}

"""Backgrounds, without a style, and what falls in front of them.

Lengths are half picture heights, y points down. Columns x are `[1, w]` and rows y `[h, 1]`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

PLAIN = {"white": (0.96, 0.96, 0.96), "black": (0.03, 0.03, 0.03), "gray": (0.50, 0.50, 0.50)}
#: Side of a square of the checkerboard.
CHECK = 0.4
#: What falls: its colour.
FALLING = {"snow": (1.0, 1.0, 1.0), "rain": (0.70, 0.78, 0.88)}


def background(name: str, x: Tensor, y: Tensor, seed: float) -> Tensor:
    """What stands still of a background at columns x and rows y, with shape `[3, h, w]`."""
    if name in PLAIN:
        return _rgb(x, *PLAIN[name]).expand(3, y.shape[0], x.shape[1])
    return PLACES[name](x, y, seed).expand(3, y.shape[0], x.shape[1])


def falling(name: str, x: Tensor, y: Tensor, seed: float, now: Tensor, pixel: float) -> Tensor:
    """How much flakes or drops cover at the seconds `now` `[f]`, with shape `[f, h, w]`."""
    now = now[:, None]
    if name == "snow":
        across, down = _spread(x, seed, 36, width=4.0, height=2.4)
        across = across + 0.06 * torch.sin(1.7 * now + 40 * across)
        return _dots(x, y, (across, down + 0.5 * now), (0.026, 0.026), (4, 2.4))
    across, down = _spread(x, seed, 60, width=4.0, height=2.8)
    # What is thinner than a pixel would flicker as it moves.
    size = (max(0.010, pixel / 2), 0.13)
    return _dots(x, y, (across.expand(len(now), -1), down + 2.4 * now), size, (4, 2.8)) * 0.6


def _spread(
    like: Tensor, seed: float, count: int, *, width: float, height: float
) -> tuple[Tensor, Tensor]:
    """Places far from each other, `[1, count]` each."""
    index = torch.arange(count, device=like.device)[None]
    across = torch.remainder(seed * 17.31 + index * 0.7548777, 1) * width
    return across, torch.remainder(seed * 11.77 + index * 0.5698403, 1) * height


def _dots(
    x: Tensor,
    y: Tensor,
    place: tuple[Tensor, Tensor],
    size: tuple[float, float],
    period: tuple[float, float],
) -> Tensor:
    """Soft dots about places `[f, k]`, repeated both ways, with shape `[f, h, w]`.

    A dot is a product of a row and a column, so all of them are one product of matrices.
    """
    column, row = (
        torch.remainder(at - where[..., None] + repeat / 2, repeat)
        .sub_(repeat / 2)
        .div_(wide)
        .square_()
        .neg_()
        .exp_()
        for at, where, wide, repeat in zip((x[0], y[:, 0]), place, size, period, strict=True)
    )
    return (row.transpose(1, 2) @ column).clamp_(max=1)


def _mix(bottom: Tensor, top: Tensor, share: Tensor | float) -> Tensor:
    return bottom + (top - bottom) * share


def _rgb(like: Tensor, r: float, g: float, b: float) -> Tensor:
    return like.new_tensor([r, g, b])[:, None, None]


def _soft(value: Tensor, width: float = 0.02) -> Tensor:
    """A soft 0-to-1 edge, `width` half heights wide, where a length changes sign."""
    return (value / width + 0.5).clamp(0, 1)


def _chance(cell: Tensor) -> Tensor:
    """Something between 0 and 1 for each whole number, about the same on every device."""
    return torch.remainder(torch.sin(cell * 12.9898) * 97.31, 1)


def _down(y: Tensor) -> Tensor:
    """How far down the picture, 0 at its top and 1 at its bottom."""
    return (y + 1) / 2


def _sunset(x: Tensor, y: Tensor, seed: float) -> Tensor:
    share = _down(y).clamp(0, 1) ** 0.8
    dusk = _mix(_rgb(x, 0.33, 0.14, 0.40), _rgb(x, 0.98, 0.52, 0.22), share)
    sun = torch.exp(-(((x - (seed - 0.5)) ** 2 + (y - 0.75) ** 2) / 0.06))
    return _mix(dusk, _rgb(x, 1.0, 0.85, 0.45), sun * 0.9)


def _sky(x: Tensor, y: Tensor, seed: float) -> Tensor:
    blue = _mix(_rgb(x, 0.36, 0.62, 0.93), _rgb(x, 0.72, 0.87, 0.98), _down(y))
    cloud = torch.zeros_like(x * y)
    for i in range(4):
        cx = ((seed * 7.13 + i * 0.83) % 1.0) * 4.4 - 2.2
        cy = -0.78 + 0.36 * i + 0.2 * ((seed * 3.7 + i * 0.37) % 1.0)
        puff = torch.exp(-(((x - cx) / 0.5) ** 2 + ((y - cy) / 0.13) ** 2))
        cloud = torch.maximum(cloud, puff)
    return _mix(blue, _rgb(x, 0.99, 0.99, 0.99), cloud * 0.85)


def _night(x: Tensor, y: Tensor, seed: float) -> Tensor:
    dark = _mix(_rgb(x, 0.02, 0.03, 0.12), _rgb(x, 0.08, 0.10, 0.26), _down(y))
    stars = torch.zeros_like(x * y)
    for i in range(24):
        cx = ((seed * 17.31 + i * 0.7548777) % 1.0) * 4.0 - 2.0
        cy = ((seed * 11.77 + i * 0.5698403) % 1.0) * 2.0 - 1.0
        stars = torch.maximum(stars, torch.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / 0.0007)))
    return _mix(dark, _rgb(x, 1.0, 0.98, 0.85), stars)


def _horizon(seed: float) -> float:
    return -0.15 + 0.12 * (seed - 0.5)


def _grass(x: Tensor, y: Tensor, seed: float) -> Tensor:
    above = _mix(_rgb(x, 0.62, 0.80, 0.95), _rgb(x, 0.86, 0.94, 0.98), _down(y))
    hill = _horizon(seed) + 0.08 * torch.sin(1.6 * x + seed * 6.28)
    share = (y - hill).clamp(0, 1)
    field = _mix(_rgb(x, 0.36, 0.66, 0.22), _rgb(x, 0.20, 0.46, 0.14), share)
    return _mix(above, field, _soft(y - hill))


def _sea(x: Tensor, y: Tensor, seed: float) -> Tensor:
    horizon = _horizon(seed)
    above = _mix(_rgb(x, 0.70, 0.85, 0.95), _rgb(x, 0.90, 0.94, 0.96), _down(y))
    depth = (y - horizon).clamp(0, 1.3)
    water = _mix(_rgb(x, 0.10, 0.45, 0.66), _rgb(x, 0.04, 0.24, 0.46), depth)
    along = 5 * x + 14 * depth.sqrt() * 3 + seed * 6.28 + 1.2 * torch.sin(2 * x)
    foam = (torch.sin(along) * 0.5 + 0.5).clamp(0, 1) ** 3
    water = _mix(water, _rgb(x, 0.45, 0.74, 0.86), foam * 0.45)
    return _mix(above, water, _soft(y - horizon))


def _gradient(x: Tensor, y: Tensor, seed: float) -> Tensor:
    top = _mix(_rgb(x, 0.40, 0.70, 0.68), _rgb(x, 0.62, 0.78, 0.80), seed)
    bottom = _mix(_rgb(x, 0.40, 0.33, 0.60), _rgb(x, 0.64, 0.48, 0.70), seed)
    return _mix(top, bottom, _down(y))


def _desert(x: Tensor, y: Tensor, seed: float) -> Tensor:
    share = (_down(y) * 1.5).clamp(max=1)
    above = _mix(_rgb(x, 0.55, 0.76, 0.93), _rgb(x, 0.97, 0.92, 0.82), share)
    far = y - (0.02 + 0.11 * torch.sin(1.7 * x + seed * 6.28))
    near = y - (0.42 + 0.16 * torch.sin(1.1 * x + seed * 17 + 0.4 * torch.sin(2.3 * x)))
    sand = _mix(_rgb(x, 0.95, 0.82, 0.58), _rgb(x, 0.83, 0.64, 0.40), far.clamp(0, 1))
    share = (near * 1.4).clamp(0, 1)
    front = _mix(_rgb(x, 0.90, 0.73, 0.47), _rgb(x, 0.76, 0.56, 0.33), share)
    return _mix(_mix(above, sand, _soft(far)), front, _soft(near))


def _city(x: Tensor, y: Tensor, seed: float) -> Tensor:
    picture = _mix(_rgb(x, 0.66, 0.80, 0.94), _rgb(x, 0.96, 0.93, 0.86), _down(y))
    wall, salt = _rgb(x, 0.58, 0.66, 0.76), math.floor(seed * 97)

    def row(wide: float, lowest: float, tall: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where along their houses columns are, the houses' numbers and roofs, and their walls."""
        along = x / wide + seed * 3
        house = torch.floor(along)
        roof = lowest - tall * _chance(house + salt + 31 * wide)
        # Narrow streets let what is behind shine through.
        street = _soft((0.47 - (along - house - 0.5).abs()) * wide)
        return along - house, house, roof, _soft(y - roof) * street

    picture = _mix(picture, wall, row(0.42, 0.0, 0.75)[3])
    wide = 0.56
    along, house, roof, inside = row(wide, 0.45, 0.60)
    picture = _mix(picture, _rgb(x, 0.22, 0.26, 0.37), inside)
    column, storey = along * 4, (y - roof) / 0.15
    pane = _soft((0.30 - (torch.remainder(column, 1) - 0.5).abs()) * wide / 4)
    pane = pane * _soft((0.30 - (torch.remainder(storey, 1) - 0.5).abs()) * 0.15)
    lit = _chance(torch.floor(column) * 3.1 + torch.floor(storey) * 7.7 + house + salt) > 0.45
    return _mix(picture, _rgb(x, 0.98, 0.86, 0.52), pane * lit * inside * (storey > 0))


def _snow(x: Tensor, y: Tensor, seed: float) -> Tensor:
    above = _mix(_rgb(x, 0.50, 0.60, 0.73), _rgb(x, 0.72, 0.80, 0.89), _down(y))
    below = y - (0.25 + 0.10 * torch.sin(1.3 * x + seed * 6.28))
    field = _mix(_rgb(x, 0.94, 0.96, 0.99), _rgb(x, 0.80, 0.87, 0.95), below.clamp(0, 1))
    return _mix(above, field, _soft(below))


def _rain(x: Tensor, y: Tensor, seed: float) -> Tensor:
    share = (_down(y) * 1.3).clamp(max=1)
    above = _mix(_rgb(x, 0.24, 0.29, 0.37), _rgb(x, 0.42, 0.47, 0.55), share)
    ground = _mix(_rgb(x, 0.27, 0.31, 0.37), _rgb(x, 0.18, 0.21, 0.27), _down(y))
    return _mix(above, ground, _soft(y - 0.62))


def _checkerboard(x: Tensor, y: Tensor, seed: float) -> Tensor:
    across, down = (
        (torch.sin(at * (math.pi / CHECK)) * (CHECK / 0.06)).clamp(-1, 1)
        for at in (x + seed * CHECK, y)
    )
    light = across * down * 0.5 + 0.5
    return _mix(_rgb(x, 0.50, 0.50, 0.51), _rgb(x, 0.80, 0.80, 0.81), light)


def _room(x: Tensor, y: Tensor, seed: float) -> Tensor:
    stripes = (torch.sin(x * 12.6 + seed * 6.28) * 3).clamp(-1, 1) * 0.5 + 0.5
    wall = _mix(_rgb(x, 0.86, 0.84, 0.74), _rgb(x, 0.82, 0.80, 0.69), stripes)
    below = y - 0.46
    # Boards become wider towards the viewer.
    board = (below.clamp(min=0) * 12 + 1).sqrt() * 2.2
    number = torch.floor(board)
    light = 0.5 + 0.5 * _chance(number + 3)
    wood = _mix(_rgb(x, 0.50, 0.34, 0.21), _rgb(x, 0.63, 0.45, 0.29), light)
    joint = torch.remainder(x + 0.37 * number + seed, 1.3) - 0.65
    between = (1 - (board - number) * 8 / board).clamp(min=0)
    gap = torch.maximum(between, _soft(0.006 - joint.abs()) * 0.8)
    wood = _mix(wood, _rgb(x, 0.33, 0.21, 0.13), gap * 0.8)
    wall = _mix(wall, _rgb(x, 0.95, 0.94, 0.90), _soft(below + 0.11))
    return _mix(wall, wood, _soft(below))


PLACES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "sky": _sky,
    "sunset": _sunset,
    "night": _night,
    "grass": _grass,
    "sea": _sea,
    "gradient": _gradient,
    "desert": _desert,
    "city": _city,
    "snow": _snow,
    "rain": _rain,
    "checkerboard": _checkerboard,
    "room": _room,
}

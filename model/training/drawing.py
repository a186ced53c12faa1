"""The pixels of scenes: silhouettes and parts of shapes, backgrounds, and styles.

Lengths are half picture heights, or half object heights inside an object; y points down. All of it
is batched and waits for no device: clips are grouped by the lists of names that come with them.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: Side of a square of the checkerboard, half heights.
CHECK = 0.4
#: How fast waves pass, radians a second, and how fast drops and flakes fall, half heights a second.
WAVES = 2.0
FALL = {"snow": 0.4, "rain": 2.4}
#: Backgrounds that move by themselves.
ANIMATED = ("sea", "snow", "rain")
# Backgrounds that film shows dark, and what is in front of them bright; else the other way round.
DIM = ("black", "gray", "gradient", "sunset", "night", "rain")
#: How far from its middle an object, with its shadow or halo, reaches in a style, in radii.
REACH = {"flat": 1.3, "shaded": 1.5, "bw": 1.3, "sketch": 1.4, "watercolour": 1.4, "neon": 1.7}
# Thickness of lines, half heights.
OUTLINE, PENCIL, TUBE, HALO = 0.024, 0.018, 0.020, 0.10
# How far a wet edge strays, in radii, and how soft it is at least, half heights.
STRAY, SOFT = 0.017, 0.025
BARK = (0.42, 0.27, 0.15)
#: Frames that a CPU draws at once: so few that temporaries stay in its cache.
CHUNK = 5


class View(NamedTuple):
    """What the cameras of a batch see."""

    x: Tensor  # [b, 1, 1, w] columns of the screen
    y: Tensor  # [b, 1, h, 1] rows of the screen
    pan: Tensor  # [b, f, 1, 1] how far the camera has gone right; objects go with it
    zoom: Tensor  # [b, f, 1, 1] magnification; objects' places contain it
    now: Tensor  # [b, f, 1, 1] seconds
    pixel: float  # half heights

    def take(self, index: Tensor | slice) -> "View":
        """What the cameras at `index` see."""
        x, y, pan, zoom, now = (v[index] for v in self[:5])
        return View(x, y, pan, zoom, now, self.pixel)

    def part(self, frames: slice, rows: slice, columns: slice) -> "View":
        """The same for some frames and a window."""
        pan, zoom, now = (v[:, frames] for v in self[2:5])
        return View(self.x[..., columns], self.y[:, :, rows], pan, zoom, now, self.pixel)


class Placed(NamedTuple):
    """Where one object of each clip is, on the screen."""

    x: Tensor  # [n, f]
    y: Tensor  # [n, f]
    radius: Tensor  # [n, f]
    angle: Tensor  # [n, f]
    flip: Tensor  # [n] -1 where it looks to the left, else 1
    walks: Tensor  # [n] 1 where it moves, 0 where it stands

    def take(self, index: Tensor | slice) -> "Placed":
        """Those of the clips at `index`."""
        return Placed(*(v[index] for v in self))

    def part(self, frames: slice) -> "Placed":
        """The same in some frames."""
        x, y, radius, angle = (v[:, frames] for v in self[:4])
        return Placed(x, y, radius, angle, self.flip, self.walks)


def luma(picture: Tensor) -> Tensor:
    """The brightness of a picture `[3, ...]`, as a grey picture of the same shape."""
    return _grey(picture[None])[0].expand_as(picture)


def _grey(pictures: Tensor) -> Tensor:
    """Brightness `[n, 1, ...]` of pictures `[n, 3, ...]`."""
    red, green, blue = pictures.split(1, dim=1)
    return (0.30 * red).add_(green, alpha=0.59).add_(blue, alpha=0.11)


def _rgb(like: Tensor, r: float, g: float, b: float) -> Tensor:
    """A colour `[3, 1, 1, 1]`, brought to a device without waiting for it."""
    return torch.tensor((r, g, b), dtype=torch.float32).to(like.device, non_blocking=True)[
        :, None, None, None
    ]


def _members(names: Sequence[str], device: torch.device) -> dict[str, Tensor]:
    """Which clips have each name."""
    return {
        name: torch.tensor([i for i, n in enumerate(names) if n == name]).to(
            device, non_blocking=True
        )
        for name in dict.fromkeys(names)
    }


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
    return _rgb(g.x, 0.96, 0.96, 0.96)


def _black(g: Ground) -> Tensor:
    return _rgb(g.x, 0.03, 0.03, 0.03)


def _gray(g: Ground) -> Tensor:
    return _rgb(g.x, 0.50, 0.50, 0.50)


def _gradient(g: Ground) -> Tensor:
    top = torch.lerp(_rgb(g.x, 0.40, 0.70, 0.68), _rgb(g.x, 0.62, 0.78, 0.80), g.seed)
    bottom = torch.lerp(_rgb(g.x, 0.40, 0.33, 0.60), _rgb(g.x, 0.64, 0.48, 0.70), g.seed)
    return torch.lerp(top, bottom, _down(g))


def _down(g: Ground) -> Tensor:
    """How far down the picture, 0 at its top and 1 at its bottom, were it not zoomed."""
    return ((g.y + 1) / 2).clamp(0, 1)


def _sky(g: Ground) -> Tensor:
    blue = torch.lerp(_rgb(g.x, 0.36, 0.62, 0.93), _rgb(g.x, 0.72, 0.87, 0.98), _down(g))
    x = _spread(g, 4, 7.13, 0.83) * 4.4
    y = 0.36 * torch.arange(4, device=x.device)[:, None, None] - 0.78
    y = y + 0.2 * _spread(g, 4, 3.7, 0.37)
    cloud = _dots(g, x, y, (0.5, 0.12), (4.4, 3.6)) + 0.8 * _dots(
        g, x + 0.12, y - 0.11, (0.22, 0.10), (4.4, 3.6)
    )
    return torch.lerp(blue, _rgb(g.x, 0.99, 0.99, 0.99), (cloud * 0.88).clamp(max=0.9))


def _sunset(g: Ground) -> Tensor:
    dusk = torch.lerp(_rgb(g.x, 0.33, 0.14, 0.40), _rgb(g.x, 0.98, 0.52, 0.22), _down(g) ** 0.8)
    sun = _dots(
        g, g.seed[..., 0] - 0.5, torch.full_like(g.seed[..., 0], 0.75), (0.245, 0.245), (6, 6)
    )
    return torch.lerp(dusk, _rgb(g.x, 1.0, 0.85, 0.45), sun * 0.9)


def _night(g: Ground) -> Tensor:
    dark = torch.lerp(_rgb(g.x, 0.02, 0.03, 0.12), _rgb(g.x, 0.08, 0.10, 0.26), _down(g))
    x, y = _spread(g, 24, 17.31, 0.7548777) * 4, _spread(g, 24, 11.77, 0.5698403) * 2
    return torch.lerp(dark, _rgb(g.x, 1.0, 0.98, 0.85), _dots(g, x, y, (0.026, 0.026), (4, 2)))


def _horizon(g: Ground) -> Tensor:
    return -0.15 + 0.12 * (g.seed - 0.5)


def _grass(g: Ground) -> Tensor:
    above = torch.lerp(_rgb(g.x, 0.62, 0.80, 0.95), _rgb(g.x, 0.86, 0.94, 0.98), _down(g))
    below = g.y - (_horizon(g) + 0.08 * torch.sin(1.6 * g.x + g.seed * 6.28))
    field = torch.lerp(_rgb(g.x, 0.36, 0.66, 0.22), _rgb(g.x, 0.20, 0.46, 0.14), below.clamp(0, 1))
    return torch.lerp(above, field, _soft(below))


def _sea(g: Ground) -> Tensor:
    above = torch.lerp(_rgb(g.x, 0.70, 0.85, 0.95), _rgb(g.x, 0.90, 0.94, 0.96), _down(g))
    below = g.y - _horizon(g)
    depth = below.clamp(0, 1.3)
    water = torch.lerp(_rgb(g.x, 0.10, 0.45, 0.66), _rgb(g.x, 0.04, 0.24, 0.46), depth)
    along = 5 * g.x + 1.2 * torch.sin(2 * g.x) + g.seed * 6.28
    foam = torch.sin(along + (42 * depth.sqrt() - WAVES * g.now)).mul_(0.5).add_(0.5)
    water = torch.lerp(water, _rgb(g.x, 0.45, 0.74, 0.86), foam * foam.square() * 0.45)
    return torch.lerp(above, water, _soft(below))


def _desert(g: Ground) -> Tensor:
    above = torch.lerp(_rgb(g.x, 0.55, 0.76, 0.93), _rgb(g.x, 0.97, 0.92, 0.82), _down(g) * 1.5)
    far = g.y - (0.02 + 0.11 * torch.sin(1.7 * g.x + g.seed * 6.28))
    near = g.y - (0.42 + 0.16 * torch.sin(1.1 * g.x + g.seed * 17 + 0.4 * torch.sin(2.3 * g.x)))
    sand = torch.lerp(_rgb(g.x, 0.95, 0.82, 0.58), _rgb(g.x, 0.83, 0.64, 0.40), far.clamp(0, 1))
    front = torch.lerp(
        _rgb(g.x, 0.90, 0.73, 0.47), _rgb(g.x, 0.76, 0.56, 0.33), near.mul(1.4).clamp(0, 1)
    )
    return torch.lerp(torch.lerp(above, sand, _soft(far)), front, _soft(near))


def _city(g: Ground) -> Tensor:
    picture = torch.lerp(_rgb(g.x, 0.66, 0.80, 0.94), _rgb(g.x, 0.96, 0.93, 0.86), _down(g))
    wall, salt = _rgb(g.x, 0.58, 0.66, 0.76), torch.floor(g.seed * 97)
    for wide, lowest, tall in ((0.42, 0.0, 0.75), (0.56, 0.45, 0.60)):
        along = g.x / wide + g.seed * 3
        house = torch.floor(along)
        roof = lowest - tall * _chance(house + salt + 31 * wide)
        inside = _soft(g.y - roof)
        # Narrow streets let what is behind shine through.
        inside = inside * _soft((0.47 - (along - house - 0.5).abs()) * wide)
        picture = torch.lerp(picture, wall, inside)
        wall = _rgb(g.x, 0.22, 0.26, 0.37)
    column, row = (along - house) * 4, (g.y - roof) / 0.15
    pane = _soft((0.30 - (torch.remainder(column, 1) - 0.5).abs()) * wide / 4)
    pane = pane * _soft((0.30 - (torch.remainder(row, 1) - 0.5).abs()) * 0.15)
    lit = _chance(torch.floor(column) * 3.1 + torch.floor(row) * 7.7 + house + salt) > 0.45
    return torch.lerp(picture, _rgb(g.x, 0.98, 0.86, 0.52), pane * lit * inside * (row > 0))


def _snow(g: Ground) -> Tensor:
    above = torch.lerp(_rgb(g.x, 0.50, 0.60, 0.73), _rgb(g.x, 0.72, 0.80, 0.89), _down(g))
    below = g.y - (0.25 + 0.10 * torch.sin(1.3 * g.x + g.seed * 6.28))
    field = torch.lerp(_rgb(g.x, 0.94, 0.96, 0.99), _rgb(g.x, 0.80, 0.87, 0.95), below.clamp(0, 1))
    x, y = _spread(g, 36, 17.31, 0.7548777) * 4, _spread(g, 36, 11.77, 0.5698403) * 2.4
    now = g.now[..., 0]
    x, y = x + 0.06 * torch.sin(1.7 * now + 40 * x), y + FALL["snow"] * now
    flakes = _dots(g, x, y, (0.026, 0.026), (4, 2.4))
    return torch.lerp(torch.lerp(above, field, _soft(below)), _rgb(g.x, 1, 1, 1), flakes)


def _rain(g: Ground) -> Tensor:
    above = torch.lerp(_rgb(g.x, 0.24, 0.29, 0.37), _rgb(g.x, 0.42, 0.47, 0.55), _down(g) * 1.3)
    ground = torch.lerp(_rgb(g.x, 0.27, 0.31, 0.37), _rgb(g.x, 0.18, 0.21, 0.27), _down(g))
    x, y = _spread(g, 60, 17.31, 0.7548777) * 4, _spread(g, 60, 11.77, 0.5698403) * 2.8
    # What is thinner than a pixel would flicker as it moves.
    drops = _dots(g, x, y + FALL["rain"] * g.now[..., 0], (max(0.010, g.pixel / 2), 0.13), (4, 2.8))
    wet = torch.lerp(above, ground, _soft(g.y - 0.62))
    return torch.lerp(wet, _rgb(g.x, 0.70, 0.78, 0.88), drops * 0.6)


def _checkerboard(g: Ground) -> Tensor:
    across, down = (
        (torch.sin((at + shift) * (math.pi / CHECK)) * (CHECK / 0.06)).clamp(-1, 1)
        for at, shift in ((g.x, g.seed * CHECK), (g.y, 0))
    )
    return torch.lerp(
        _rgb(g.x, 0.50, 0.50, 0.51), _rgb(g.x, 0.80, 0.80, 0.81), across * down * 0.5 + 0.5
    )


def _room(g: Ground) -> Tensor:
    stripes = (torch.sin(g.x * 12.6 + g.seed * 6.28) * 3).clamp(-1, 1) * 0.5 + 0.5
    wall = torch.lerp(_rgb(g.x, 0.86, 0.84, 0.74), _rgb(g.x, 0.82, 0.80, 0.69), stripes)
    below = g.y - 0.46
    # Boards become wider towards the viewer.
    board = (below.clamp(min=0) * 12 + 1).sqrt() * 2.2
    number = torch.floor(board)
    light = 0.5 + 0.5 * _chance(number + 3)
    wood = torch.lerp(_rgb(g.x, 0.50, 0.34, 0.21), _rgb(g.x, 0.63, 0.45, 0.29), light)
    joint = torch.remainder(g.x + 0.37 * number + g.seed, 1.3) - 0.65
    gap = torch.maximum(1 - (board - number) * 8 / board, _soft(0.006 - joint.abs()) * 0.8).clamp(
        0, 1
    )
    wood = torch.lerp(wood, _rgb(g.x, 0.33, 0.21, 0.13), gap * 0.8)
    wall = torch.lerp(wall, _rgb(g.x, 0.95, 0.94, 0.90), _soft(below + 0.11))
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


def backdrop(
    names: list[str], styles: list[str], seed: Tensor, moving: list[bool], view: View
) -> Tensor:
    """Backgrounds in their styles, `[b, 3, f, h, w]` in 0..1; where neither the camera is `moving`
    nor the background, one frame is drawn and repeated.
    """
    b, f, h, w = len(names), view.now.shape[1], view.y.shape[2], view.x.shape[3]
    pictures = torch.empty(b, 3, f, h, w, device=view.x.device)
    lively = [m or n in ANIMATED for m, n in zip(moving, names, strict=True)]
    if view.x.device.type == "cpu":
        for i in range(b):
            here = slice(i, i + 1)
            steps = CHUNK if lively[i] else f
            for start in range(0, f, steps):
                frames = slice(start, start + steps if lively[i] else start + 1)
                pictures[here, :, start : start + steps] = grounds(
                    names[here],
                    styles[here],
                    seed[here],
                    view.take(here).part(frames, slice(None), slice(None)),
                )
        return pictures
    for alive, frames in ((False, slice(0, 1)), (True, slice(None))):
        some = [i for i in range(b) if lively[i] == alive]
        if some:
            index = torch.tensor(some).to(seed.device, non_blocking=True)
            drawn = grounds(
                [names[i] for i in some],
                [styles[i] for i in some],
                seed[index],
                view.take(index).part(frames, slice(None), slice(None)),
            )
            pictures[index] = drawn.expand(-1, -1, f, -1, -1)
    return pictures


def grounds(names: list[str], styles: list[str], seed: Tensor, view: View) -> Tensor:
    """Backgrounds in their styles, all frames drawn."""
    ground = Ground(
        (view.x / view.zoom + view.pan)[:, None],
        (view.y / view.zoom)[:, None],
        seed.view(-1, 1, 1, 1, 1),
        view.now[:, None],
        view.pixel,
    )
    shape = (len(names), 3, view.now.shape[1], view.y.shape[2], view.x.shape[3])
    if len(names) == 1:
        picture = GROUNDS[names[0]](ground).expand(shape)
        return _treat(styles[0], picture, ground, _dims(names, seed))
    pictures = torch.empty(shape, device=seed.device)
    for name, index in _members(names, seed.device).items():
        drawn = GROUNDS[name](ground.take(index))
        pictures[index] = drawn.expand(len(index), *shape[1:])
    dims = _dims(names, seed)
    for style, index in _members(styles, seed.device).items():
        if style not in ("flat", "shaded"):
            pictures[index] = _treat(style, pictures[index], ground.take(index), dims[index])
    return pictures


def _dims(names: list[str], like: Tensor) -> Tensor:
    dims = torch.tensor([float(n in DIM) for n in names]).to(like.device, non_blocking=True)
    return dims.view(-1, 1, 1, 1, 1)


def _treat(style: str, picture: Tensor, ground: Ground, dim: Tensor) -> Tensor:
    """A background in a style."""
    if style == "bw":
        # Either half of the greys is left to what stands in front of it.
        return (_grey(picture) * (0.56 - 0.12 * dim) + 0.44 * (1 - dim)).expand_as(picture)
    if style == "sketch":
        return (0.71 + 0.22 * _grey(picture)).expand_as(picture)
    if style == "watercolour":
        pigment = 0.58 + 0.13 * _mottle(2.2 * ground.x, 2.2 * ground.y)
        return 0.97 - (0.97 - picture) * pigment
    if style == "neon":
        return picture * 0.3
    return picture


def _mottle(x: Tensor, y: Tensor) -> Tensor:
    """Soft blotches, -1 to 1."""
    first = torch.sin(x + 1.3 * torch.sin(0.8 * y))
    return (first + torch.sin(1.7 * y + 1.9 * torch.sin(0.9 * x + 1))) / 2


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


def _disc(b: Body, u: float, v: float, radius: float) -> Tensor:
    return torch.hypot(b.u - u, b.v - v).sub_(radius)


def _oval(b: Body, u: float, v: float, wide: float, high: float) -> Tensor:
    x, y = (b.u - u) / wide, (b.v - v) / high
    rho = torch.hypot(x, y)
    return rho * (rho - 1) / torch.hypot(x / wide, y / high).clamp_(min=1e-3)


def _box(b: Body, u: float, v: float, wide: float, high: float) -> Tensor:
    return torch.maximum((b.u - u).abs_().sub_(wide), (b.v - v).abs_().sub_(high))


def _polygon(u: Tensor, v: Tensor, *corners: tuple[float, float]) -> Tensor:
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


def _limb(b: Body, start: tuple[float, float], u: Tensor, v: Tensor, radius: float) -> Tensor:
    """A rounded stroke from a point to where its end is, u and v `[n, f, 1, 1]`."""
    du, dv = u - start[0], v - start[1]
    x, y = b.u - start[0], b.v - start[1]
    share = ((x * du + y * dv) / (du * du + dv * dv)).clamp_(0, 1)
    return torch.hypot(x - share * du, y - share * dv).sub_(radius)


def _least(first: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        first = torch.minimum(first, other)
    return first


def _ball(b: Body) -> list[Part]:
    return [Part(_disc(b, 0, 0, 1))]


def _ring(b: Body) -> list[Part]:
    return [Part(_disc(b, 0, 0, 0.72).abs_().sub_(0.27))]


def _square(b: Body) -> list[Part]:
    return [Part(_box(b, 0, 0, 0.84, 0.84))]


def _triangle(b: Body) -> list[Part]:
    y = b.v - 0.15
    return [Part(torch.maximum(y - 0.57, 0.866 * b.u.abs() - 0.5 * y - 0.57))]


def _star(b: Body) -> list[Part]:
    # Fold the plane into one half of one of five arms; the edge there is a straight line from
    # the tip (angle 0, radius 1.15) to the notch (angle 36 degrees, radius 0.5).
    sector = 2 * math.pi / 5
    angle = torch.atan2(b.u, -b.v)
    angle = (angle - sector * torch.round(angle / sector)).abs_()
    rho = torch.hypot(b.u, b.v)
    tip, notch = (1.15, 0.0), (0.5 * math.cos(sector / 2), 0.5 * math.sin(sector / 2))
    nx, ny = notch[1] - tip[1], tip[0] - notch[0]
    length = math.hypot(nx, ny)
    return [Part((rho * (angle.cos() * nx + angle.sin() * ny) - tip[0] * nx) / length)]


def _heart(b: Body) -> list[Part]:
    # A square on its corner, with a half disc on each of its two upper sides.
    x, y = b.u.abs() * 0.62, 0.62 - b.v * 0.62 - 0.08
    diamond = ((x + (y - 0.5).abs()) - 0.5) * 0.7071
    disc = torch.hypot(x - 0.25, y - 0.75) - 0.35355
    return [Part(torch.minimum(diamond, disc) / 0.62)]


def _cross(b: Body) -> list[Part]:
    return [Part(torch.minimum(_box(b, 0, 0, 0.95, 0.32), _box(b, 0, 0, 0.32, 0.95)))]


def _diamond(b: Body) -> list[Part]:
    wide, high = 0.66, 1.05
    across = b.u.abs() * high + b.v.abs() * wide
    return [Part(across.sub_(wide * high).div_(math.hypot(wide, high)))]


def _moon(b: Body) -> list[Part]:
    crescent = torch.maximum(_disc(b, 0.2, 0, 1), -_disc(b, 0.68, -0.12, 0.86))
    # Beyond the line through its two tips, where the circles meet, it is further away than that.
    chord = (b.u * 0.9701).sub_(b.v, alpha=0.2425).sub_(0.7046)
    return [Part(torch.maximum(crescent, chord))]


def _car(b: Body) -> list[Part]:
    cabin = _polygon(b.u, b.v, (-0.52, -0.56), (0.22, -0.56), (0.62, 0.04), (-0.86, 0.04))
    rear = _polygon(b.u, b.v, (-0.45, -0.42), (-0.2, -0.42), (-0.2, -0.12), (-0.62, -0.12))
    front = _polygon(b.u, b.v, (-0.06, -0.42), (0.14, -0.42), (0.33, -0.12), (-0.06, -0.12))
    low = _polygon(b.u, b.v, (-1.08, -0.06), (0.75, -0.06), (1.1, 0.1), (1.1, 0.46), (-1.08, 0.46))
    away = b.u.abs() - 0.58
    wheel = torch.hypot(away, b.v - 0.46)
    return [
        Part(torch.minimum(cabin, low)),
        Part(torch.minimum(rear, front), 0.1, (0.70, 0.80, 0.88)),
        Part(_disc(b, 0.93, 0.2, 0.085), 0.0, (1.0, 0.92, 0.55)),
        Part(wheel - 0.25, 0.0, (0.13, 0.13, 0.15)),
        Part(wheel - 0.1, 0.0, (0.72, 0.73, 0.75)),
    ]


def _house(b: Body) -> list[Part]:
    roof = _polygon(b.u, b.v, (0, -0.95), (1.02, -0.2), (-1.02, -0.2))
    return [
        Part(_box(b, 0, 0.37, 0.8, 0.6)),
        Part(_box(b, 0.45, -0.6, 0.11, 0.27), 0.35, (0.28, 0.16, 0.13)),
        Part(roof, 0.25, (0.36, 0.14, 0.09)),
        Part(_box(b, -0.32, 0.63, 0.16, 0.34), 0.1, (0.30, 0.18, 0.11)),
        Part(_box(b, 0.34, 0.22, 0.19, 0.19), 0.05, (0.80, 0.90, 0.95)),
    ]


def _tree(b: Body) -> list[Part]:
    crown = _least(_disc(b, 0, -0.52, 0.5), torch.hypot(b.u.abs() - 0.4, b.v + 0.05).sub_(0.46))
    return [
        Part(_polygon(b.u, b.v, (-0.12, 0.2), (0.12, 0.2), (0.2, 1.0), (-0.2, 1.0)), 0.0, BARK),
        Part(crown),
    ]


def _boat(b: Body) -> list[Part]:
    sail = _least(
        _polygon(b.u, b.v, (0.06, -0.92), (0.78, 0.1), (0.06, 0.1)),
        _polygon(b.u, b.v, (-0.12, -0.62), (-0.12, 0.1), (-0.66, 0.1)),
    )
    hull = _polygon(b.u, b.v, (-1.05, 0.2), (1.12, 0.2), (0.72, 0.86), (-0.74, 0.86))
    return [
        Part(_box(b, -0.03, -0.35, 0.05, 0.7), 0.0, BARK),
        Part(sail, 0.15, (0.81, 0.81, 0.79)),
        Part(hull),
        Part(_box(b, 0.02, 0.3, 0.93, 0.045), 0.4, (0.05, 0.05, 0.05)),
    ]


def _fish(b: Body) -> list[Part]:
    upper = _polygon(b.u, b.v, (-0.35, 0.05), (-0.9, 0.05), (-1.12, -0.55))
    lower = _polygon(b.u, b.v, (-0.35, -0.05), (-1.12, 0.55), (-0.9, -0.05))
    back = _polygon(b.u, b.v, (0.2, -0.75), (0.45, -0.3), (-0.35, -0.3))
    return [
        Part(_least(back, upper, lower), 0.7),
        Part(_oval(b, 0.2, 0.0, 0.85, 0.52)),
        Part(_polygon(b.u, b.v, (0.2, 0.02), (-0.25, 0.32), (-0.15, -0.05)), 0.65),
        Part(_disc(b, 0.66, -0.13, 0.13), 0.0, (0.97, 0.97, 0.95)),
        Part(_disc(b, 0.69, -0.13, 0.065), 0.0, (0.05, 0.05, 0.08)),
    ]


def _bird(b: Body) -> list[Part]:
    # Wings beat faster and wider in flight; the wing turns about the shoulder.
    beat = (0.25 + 0.55 * b.walks) * torch.sin((5 + 6 * b.walks) * b.now)
    cos, sin = torch.cos(beat + 0.35), torch.sin(beat + 0.35)
    x, y = b.u - 0.1, b.v + 0.05
    x, y = x * cos - y * sin, x * sin + y * cos
    wing = _polygon(x, y, (-0.22, -1.02), (0.28, -0.2), (0.22, 0.12), (-0.28, 0.12))
    return [
        Part(_polygon(b.u, b.v, (-0.4, -0.05), (-0.4, 0.25), (-1.1, 0.3), (-1.05, 0.0)), 0.8),
        Part(_polygon(b.u, b.v, (0.7, -0.42), (1.12, -0.22), (0.7, -0.12)), 0.1, (0.85, 0.55, 0.1)),
        Part(torch.minimum(_oval(b, 0.0, 0.12, 0.72, 0.4), _disc(b, 0.56, -0.26, 0.3))),
        Part(wing, 0.72),
        Part(_disc(b, 0.64, -0.32, 0.07), 0.0, (0.05, 0.05, 0.06)),
    ]


def _rocket(b: Body) -> list[Part]:
    side = b.u.abs()
    hull = torch.maximum(torch.hypot(side + 1.18, b.v + 0.1).sub_(1.60), b.v - 0.5)
    fin = _polygon(side, b.v, (0.3, 0.0), (0.78, 0.5), (0.74, 0.82), (0.2, 0.5))
    tip = 0.84 + 0.2 * torch.sin(23 * b.now) * torch.sin(9 * b.now)
    flame = (side - 0.26 * (1 - (b.v - 0.5) / tip.sub(0.3))).mul_(0.85)
    return [
        Part(torch.maximum(flame, 0.45 - b.v), 0.0, (1.0, 0.66, 0.12)),
        Part(fin, 0.3, (0.12, 0.11, 0.14)),
        Part(hull),
        Part(_disc(b, 0, -0.28, 0.22), 0.25, (0.20, 0.20, 0.22)),
        Part(_disc(b, 0, -0.28, 0.15), 0.0, (0.70, 0.88, 0.97)),
    ]


def _person(b: Body) -> list[Part]:
    stride = 0.34 * b.walks * torch.sin(7 * b.now)
    foot = 0.93 - 0.2 * stride.abs()
    one = _limb(b, (0.12, 0.3), 0.13 + stride, foot, 0.12)
    two = _limb(b, (-0.12, 0.3), -0.13 - stride, foot, 0.12)
    left = _limb(b, (-0.3, -0.32), -0.5 + 0.9 * stride, foot - 0.79, 0.1)
    right = _limb(b, (0.3, -0.32), 0.5 - 0.9 * stride, foot - 0.79, 0.1)
    torso = _polygon(b.u, b.v, (-0.32, -0.44), (0.32, -0.44), (0.38, 0.4), (-0.38, 0.4))
    return [
        Part(torch.minimum(one, two), 0.15, (0.17, 0.17, 0.22)),
        Part(_least(torso, left, right)),
        Part(_disc(b, 0, -0.74, 0.27), 0.0, (0.93, 0.72, 0.56)),
        Part(torch.maximum(_disc(b, -0.02, -0.77, 0.28), b.v + 0.80), 0.0, (0.28, 0.17, 0.10)),
    ]


SHAPES: dict[str, Callable[[Body], list[Part]]] = {
    "ball": _ball,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "cross": _cross,
    "diamond": _diamond,
    "moon": _moon,
    "car": _car,
    "house": _house,
    "tree": _tree,
    "boat": _boat,
    "fish": _fish,
    "bird": _bird,
    "rocket": _rocket,
    "person": _person,
}


class Drawn(NamedTuple):
    """Objects without a style."""

    edge: Tensor  # [n, f, h, w] signed distance to the silhouette, half heights
    lines: Tensor  # [n, f, h, w] distance to any line, half heights
    paint: Tensor  # [n, 3, f, h, w] colours of the parts


def draw(shape: str, styles: Sequence[str], fill: Tensor, placed: Placed, view: View) -> Drawn:
    """Objects of one shape."""
    radius = placed.radius[..., None, None]
    u, v = _turned(placed, *_offsets(placed, view))
    if "watercolour" in styles:
        wet = torch.tensor([STRAY * (s == "watercolour") for s in styles])
        wet = wet.to(fill.device, non_blocking=True)[:, None, None, None]
        u, v = u + wet * torch.sin(9 * v + 4 * u), v + wet * torch.sin(7 * u - 3 * v)
    parts = SHAPES[shape](Body(u, v, view.now, placed.walks.view(-1, 1, 1, 1)))
    own = fill[:, :, None, None, None]
    edge = _least(*(part.distance for part in parts))
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
    return own if part.own == 1 else own * part.own + _rgb(own, *part.other)


def _offsets(placed: Placed, view: View) -> tuple[Tensor, Tensor]:
    """How far from the objects' middles, in radii: `[n, f, 1, w]` and `[n, f, h, 1]`."""
    x, y, radius = (v[..., None, None] for v in placed[:3])
    return (view.x - x) / radius, (view.y - y) / radius


def _turned(placed: Placed, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Object coordinates `[n, f, h, w]` of offsets."""
    angle, flip = placed.angle[..., None, None], placed.flip[:, None, None, None]
    cos, sin = angle.cos(), angle.sin()
    return (p * cos + q * sin) * flip, q * cos - p * sin


def _composite(
    style: str, back: Tensor, dim: Tensor, drawn: Drawn, fill: Tensor, placed: Placed, view: View
) -> tuple[Tensor, Tensor]:
    """Objects on their backgrounds, all in one style, and their coverage; `dim` `[n]` is 1 where
    the background is dark.
    """
    edge, lines, paint = drawn
    pixel = view.pixel
    cover = (0.5 - edge / pixel).clamp_(0, 1)
    p, q = _offsets(placed, view)
    if style == "flat":
        line = ((edge + OUTLINE) / pixel).add_(0.5).clamp_(0, 1)
        ink = (0.25 * fill + 0.12)[:, :, None, None, None]
        return torch.lerp(back, torch.lerp(paint, ink, line[:, None]), cover[:, None]), cover
    if style == "shaded":
        # One lamp, upper left: brightness falls with the distance from the highlight.
        from_highlight = (p + 0.35).square() + (q + 0.4).square()
        light = (1.12 - 0.42 * from_highlight.sqrt()).clamp_(0.25, 1.0)
        glow = from_highlight.div_(-0.05).exp_().mul_(0.75)
        ground = ((p * 0.9).square() + ((q - 1.15) / 0.22).square()).sqrt_()
        shadow = 1 - 0.35 * (1.25 - ground).clamp_(0, 1)
        light, glow, shadow = light[:, None], glow[:, None], shadow[:, None]
        # Light, then a white highlight: paint * light * (1 - glow) + glow.
        lit = paint * (light * (1 - glow)) + glow
        return torch.lerp(back * shadow, lit, cover[:, None]), cover
    if style == "bw":
        dim = dim[:, None, None, None, None]
        grey = _grey(paint) * 0.32 + (0.05 + 0.60 * dim)
        return torch.lerp(back, grey, cover[:, None]), cover
    u, v = _turned(placed, p, q)
    if style == "sketch":
        tone = 1 - _grey(paint)
        hatch = (torch.sin((u + v) * 9.0) * 2.0).clamp_(0, 1)
        line = (1.0 - (lines - PENCIL) / pixel).clamp_(0, 1)
        page = 0.93 - 0.35 * tone * hatch[:, None]
        return torch.lerp(back, page, cover[:, None]) * (1 - 0.85 * line)[:, None], cover
    if style == "watercolour":
        cover = (0.5 - edge / max(SOFT, pixel)).clamp_(0, 1)
        rim = (1 + edge / (0.16 * placed.radius[..., None, None])).clamp_(0, 1).square_()[:, None]
        pigment = 0.80 + 0.12 * _mottle(4 * u, 4 * v)[:, None]
        # Pigment gathers along the edge; white has none, so the edge itself darkens as well.
        wet = (0.97 - 0.14 * rim) - (0.97 - paint) * (pigment + 0.16 * rim)
        return torch.lerp(back, wet.clamp_(0, 1), 0.95 * cover[:, None]), cover
    # Neon: a tube along the lines, a halo about it, and a dim glow inside.
    core = (lines / TUBE).square_().neg_().exp_()
    halo = (
        lines.div(-HALO).exp_().mul_((1 - (p.square() + q.square()) / REACH["neon"] ** 2).clamp_(0))
    )
    glow = torch.lerp(back, 0.25 * paint, 0.9 * cover[:, None])
    own = fill[:, :, None, None, None]
    glow = glow + own * (0.55 * halo[:, None])
    return torch.lerp(glow, 0.75 * own + 0.25, core[:, None]).clamp_(0, 1), cover


def put(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """Draw an object of colour `fill` `[n, 3]` on each of the pictures, and return them with the
    objects' coverage `[n, f, h, w]`.

    On a CPU clips are drawn one by one, a few frames at a time and only about the object: that is
    ten times faster than all at once, because temporaries stay in cache.
    """
    if pictures.device.type == "cpu":
        return put_boxes(pictures, shapes, styles, fill, placed, view)
    return put_whole(pictures, shapes, styles, fill, placed, view)


def _dark(pictures: Tensor) -> Tensor:
    """Which film is dark: one frame and channel tell, as all of it is on one side of a half."""
    return (pictures[:, 0, 0].mean((1, 2)) < 0.47).float()


def put_whole(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """`put`, drawn everywhere: first the objects of each shape, then the clips in each style."""
    n, _, *rest = pictures.shape
    coverage = pictures.new_empty(n, *rest)
    drawn = Drawn(
        torch.empty_like(coverage), torch.empty_like(coverage), torch.empty_like(pictures)
    )
    for shape, index in _members(shapes, fill.device).items():
        of = [s for name, s in zip(shapes, styles, strict=True) if name == shape]
        some = draw(shape, of, fill[index], placed.take(index), view.take(index))
        for whole, part in zip(drawn, some, strict=True):
            whole[index] = part
    dim = _dark(pictures)
    for style, index in _members(styles, fill.device).items():
        pictures[index], coverage[index] = _composite(
            style,
            pictures[index],
            dim[index],
            Drawn(*(v[index] for v in drawn)),
            fill[index],
            placed.take(index),
            view.take(index),
        )
    return pictures, coverage


def put_boxes(
    pictures: Tensor,
    shapes: list[str],
    styles: list[str],
    fill: Tensor,
    placed: Placed,
    view: View,
) -> tuple[Tensor, Tensor]:
    """`put`, drawn only in boxes about the objects."""
    n, _, f, h, w = pictures.shape
    dim = _dark(pictures)
    coverage = pictures.new_zeros(n, f, h, w)
    for i, (shape, style) in enumerate(zip(shapes, styles, strict=True)):
        one = slice(i, i + 1)
        for start in range(0, f, CHUNK):
            frames = slice(start, start + CHUNK)
            where = placed.take(one).part(frames)
            reach = REACH[style] * where.radius + 2 * view.pixel
            rows, columns = (
                slice(
                    *torch.searchsorted(
                        line, torch.stack([(at - reach).min(), (at + reach).max()])
                    ).tolist()
                )
                for line, at in ((view.y[i, 0, :, 0], where.y), (view.x[i, 0, 0], where.x))
            )
            if rows.start == rows.stop or columns.start == columns.stop:
                continue
            seen = view.take(one).part(frames, rows, columns)
            box = (one, slice(None), frames, rows, columns)
            drawn = draw(shape, styles[one], fill[one], where, seen)
            pictures[box], coverage[one, frames, rows, columns] = _composite(
                style, pictures[box], dim[one], drawn, fill[one], where, seen
            )
    return pictures, coverage

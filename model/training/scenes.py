"""Procedural scenes: a batch of attribute records, and the pictures they stand for.

A scene is one object that moves on a background, drawn in a style. Everything is a batched torch
computation from attributes to pixels, so the same code runs on a CPU or a GPU, at any size, and can
draw any window of a larger virtual picture (the VAE learns 1080p detail from such crops).

Units: lengths are half picture heights (the picture spans y in [-1, 1], x in [-aspect, aspect], y
points down), time is seconds, colours are linear 0..1 RGB as displayed.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SHAPES = ("ball", "square", "triangle", "star", "heart", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
MOTIONS = ("left", "right", "up", "down", "grow", "shrink", "bounce", "still")
BACKGROUNDS = ("white", "black", "gray", "sky", "sunset", "night", "grass", "sea")
STYLES = ("flat", "shaded", "bw", "sketch")
SIZES = ("small", "medium", "big")
SPEEDS = ("slow", "normal", "fast")

RGB = torch.tensor(
    [
        [0.88, 0.10, 0.10],
        [0.98, 0.52, 0.05],
        [0.97, 0.87, 0.10],
        [0.12, 0.68, 0.20],
        [0.12, 0.28, 0.92],
        [0.50, 0.14, 0.72],
        [0.98, 0.50, 0.74],
        [0.97, 0.97, 0.97],
    ]
)
RADIUS = torch.tensor([0.34, 0.46, 0.58])
SPEED = torch.tensor([0.34, 0.56, 0.84])  # half heights per second

# Pairs that a viewer could not tell apart; scenes never contain them.
CLASHES = {
    "white": ("white",),
    "gray": (),
    "black": (),
    "sky": ("blue", "white"),
    "sunset": ("orange", "pink", "purple", "red", "yellow"),
    "night": ("blue", "purple"),
    "grass": ("green",),
    "sea": ("blue",),
}
# Shape-colour pairs kept out of training, to measure whether attributes combine.
HELD_OUT = (
    ("ball", "yellow"),
    ("square", "pink"),
    ("triangle", "green"),
    ("star", "red"),
    ("heart", "orange"),
    ("ring", "blue"),
)
# How far from the middle a clip's object may be at its opening, half heights.
CENTRED = 0.2
STYLE_SHARE = torch.tensor([0.38, 0.38, 0.12, 0.12])


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes; every field is a tensor with shape `[b]`."""

    shape: Tensor
    colour: Tensor
    motion: Tensor
    background: Tensor
    style: Tensor
    size: Tensor
    speed: Tensor
    x: Tensor  # where the object is in the middle of the clip, half heights from the centre
    y: Tensor
    tint: Tensor  # [b, 3] small deviation from the colour's table entry
    seed: Tensor  # places clouds, stars and waves
    phase: Tensor  # seconds since the clip's opening; 0 for a clip that starts at the beginning

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, index: Tensor | slice) -> "Scenes":
        """Return the scenes at `index`."""
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> "Scenes":
        """Return the same scenes on another device."""
        return Scenes(*(getattr(self, f.name).to(device) for f in fields(self)))


def _allowed_table(*, held_out: bool) -> Tensor:
    """Rows (shape, colour, background) that may occur, with shape `[n, 3]`."""
    rows = [
        (s, c, b)
        for s, shape in enumerate(SHAPES)
        for c, colour in enumerate(COLOURS)
        for b, background in enumerate(BACKGROUNDS)
        if colour not in CLASHES[background] and ((shape, colour) in HELD_OUT) == held_out
    ]
    return torch.tensor(rows)


def sample(
    count: int,
    generator: torch.Generator,
    *,
    held_out: bool = False,
    aspect: float = 1.0,
    later: float = 0.0,
) -> Scenes:
    """Draw `count` scenes; `held_out` draws only the shape-colour pairs never trained on.

    A share of `later` scenes shows some moment after the opening, as the windows of a long video
    do: objects that left the picture are then anywhere on their way.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def choice(n: int) -> Tensor:
        return torch.randint(n, (count,), generator=generator)

    table = _allowed_table(held_out=held_out)
    rows = table[torch.randint(len(table), (count,), generator=generator)]
    style = torch.multinomial(STYLE_SHARE, count, replacement=True, generator=generator)
    phase = (uniform(count) < later) * (0.5 + 7.5 * uniform(count))
    # Where nothing is said of places, a clip opens with its object about the middle.
    wide = torch.tensor([max(CENTRED, aspect - 0.8), max(CENTRED, 1 / max(aspect, 1) - 0.8)])
    room = torch.where(phase[:, None] > 0, wide, CENTRED)
    place = (uniform(count, 2) * 2 - 1) * room
    return Scenes(
        shape=rows[:, 0],
        colour=rows[:, 1],
        motion=choice(len(MOTIONS)),
        background=rows[:, 2],
        style=style,
        size=torch.multinomial(
            torch.tensor([0.2, 0.6, 0.2]), count, replacement=True, generator=generator
        ),
        speed=torch.multinomial(
            torch.tensor([0.15, 0.7, 0.15]), count, replacement=True, generator=generator
        ),
        x=place[:, 0],
        y=place[:, 1],
        tint=(uniform(count, 3) * 2 - 1) * 0.05,
        seed=uniform(count),
        phase=phase,
    )


def track(
    scenes: Scenes, seconds: Tensor, length: float, aspect: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and radius at the given times, each with shape `[b, f]`.

    `length` is the clip's duration; at half of it the object passes (x, y). What leaves the picture
    comes in again on the other side, and growing and shrinking come to rest, so that a scene can go
    on for any time.
    """
    s = seconds[None] - length / 2 + scenes.phase[:, None]  # b f
    speed = SPEED.to(s.device)[scenes.speed][:, None]
    motion = scenes.motion[:, None]
    radius = RADIUS.to(s.device)[scenes.size][:, None]

    def moves(name: str) -> Tensor:
        return (motion == MOTIONS.index(name)).float()

    # Growth doubles the radius over about 1.5 s at normal speed, around the named size.
    r = radius * torch.exp((moves("grow") - moves("shrink")) * speed * s * 0.9)
    r = r.clamp(0.2, 0.9)
    x = scenes.x[:, None] + (moves("right") - moves("left")) * speed * s
    y = scenes.y[:, None] + (moves("down") - moves("up")) * speed * s
    reach_x, reach_y = aspect + 1.2 * radius, 1 + 1.2 * radius
    x = torch.remainder(x + reach_x, 2 * reach_x) - reach_x
    y = torch.remainder(y + reach_y, 2 * reach_y) - reach_y
    turns = (seconds[None] + scenes.phase[:, None]) * (0.45 + 0.55 * speed) + scenes.seed[:, None]
    y = y + moves("bounce") * (0.30 - 0.62 * torch.sin(2 * math.pi * turns / 2).abs())
    return x, y, r


def render(
    scenes: Scenes,
    frames: int,
    height: int,
    width: int,
    *,
    fps: float = 16.0,
    window: tuple[Tensor, Tensor, int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the clips: frames `[b, 3, f, h, w]` in [-1, 1] and object coverage `[b, f, h, w]`.

    `window` = (top `[b]`, left `[b]`, h, w) draws only that part of the `height` x `width` picture.
    Scenes are drawn one by one, and the object only inside its bounding box: on a CPU that is ten
    times faster than one batch, because the temporaries stay in cache.
    """
    device = scenes.x.device
    h, w = (height, width) if window is None else window[2:]
    pictures = torch.empty(len(scenes), 3, frames, h, w, device=device)
    coverages = torch.zeros(len(scenes), frames, h, w, device=device)
    seconds = torch.arange(frames, device=device) / fps
    path = track(scenes, seconds, (frames - 1) / fps, width / height)
    columns, rows = torch.arange(w, device=device), torch.arange(h, device=device)
    pixel = 2 / height
    for i in range(len(scenes)):
        top, left = (0, 0) if window is None else (int(window[0][i]), int(window[1][i]))
        y = (rows + top + 0.5) * pixel - 1
        x = (columns + left + 0.5) * pixel - width / height
        style, seed = STYLES[int(scenes.style[i])], float(scenes.seed[i])
        back = _paint(BACKGROUNDS[int(scenes.background[i])], x[None], y[:, None], seed)  # 3 h w
        if style in ("bw", "sketch"):
            back = _luma(back)
        if style == "sketch":
            back = 0.93 - 0.22 * (1 - back)
        pictures[i] = back[:, None]

        cx, cy, r = (v[i] for v in path)  # f
        reach_up, reach_side = 1.3, 1.45  # the shadow of shaded objects is the widest part
        box_y = (y >= (cy - reach_up * r).min()) & (y <= (cy + 1.5 * r).max())
        box_x = (x >= (cx - reach_side * r).min()) & (x <= (cx + reach_side * r).max())
        if not (box_y.any() and box_x.any()):
            continue
        ys, xs = box_y.nonzero()[[0, -1], 0].tolist(), box_x.nonzero()[[0, -1], 0].tolist()
        inside = (slice(ys[0], ys[1] + 1), slice(xs[0], xs[1] + 1))
        radius = r[:, None, None]
        u = (x[inside[1]] - cx[:, None, None]) / radius  # f 1 w, object coordinates
        v = (y[inside[0]][:, None] - cy[:, None, None]) / radius  # f h 1
        colour = (RGB.to(device)[scenes.colour[i]] + scenes.tint[i]).clamp(0, 1)
        edge = _distance(SHAPES[int(scenes.shape[i])], u, v) * radius  # half heights
        coverage = (0.5 - edge / pixel).clamp(0, 1)
        coverages[i, :, inside[0], inside[1]] = coverage
        pictures[i, :, :, inside[0], inside[1]] = _draw(
            style, back[:, None, inside[0], inside[1]], colour, u, v, edge, coverage, pixel
        )
    return pictures.mul_(2).sub_(1), coverages


def _luma(picture: Tensor) -> Tensor:
    weights = picture.new_tensor([0.30, 0.59, 0.11])
    return torch.einsum("c...,c->...", picture, weights)[None].expand_as(picture)


def _draw(
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
        tone = 1 - float(_luma(colour[:, None])[0, 0])
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
        own = _luma(colour[:, None])[0, 0]
        fill = (0.95 - 0.25 * (1 - own)) if float(back.mean()) < 0.5 else 0.06 + 0.25 * own
    return back + (fill - back) * coverage


def _distance(name: str, x: Tensor, y: Tensor) -> Tensor:
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


def _paint(name: str, x: Tensor, y: Tensor, seed: float) -> Tensor:
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

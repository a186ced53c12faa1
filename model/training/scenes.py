"""Procedural scenes: a batch of attribute records, and the pictures they stand for.

A scene is one object that moves on a background, drawn in a style. Everything is a batched torch
computation from attributes to pixels, so the same code runs on a CPU or a GPU, at any size, and can
draw any window of a larger virtual picture (the VAE learns 1080p detail from such crops).

Units: lengths are half picture heights (the picture spans y in [-1, 1], x in [-aspect, aspect], y
points down), time is seconds, colours are linear 0..1 RGB as displayed.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.training.bending import REACH, Bend
from model.training.drawing import background, composite, distance, luma

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
# Radii at which what shrinks and what grows come to rest: large enough to be told, and in sight.
RESTS = (0.26, 0.85)

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
#: Seconds of a clip as most of training shows them. Longer ones open alike, and go on.
OPENING_S = 1.5
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


def allowed(*, held_out: bool) -> Tensor:
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

    table = allowed(held_out=held_out)
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
    scenes: Scenes, seconds: Tensor, length: float | Tensor, aspect: float, *, wraps: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and radius at the given times, each with shape `[b, f]`.

    `length` is the clip's duration, or each one's `[b, 1]`; at half of it the object passes (x, y).
    What leaves the picture comes in again on the other side, if it `wraps`, and growing and
    shrinking come to rest, so that a scene can go on for any time.
    """
    s = seconds[None] - length / 2 + scenes.phase[:, None]  # b f
    speed = SPEED.to(s.device)[scenes.speed][:, None]
    motion = scenes.motion[:, None]
    radius = RADIUS.to(s.device)[scenes.size][:, None]

    def moves(name: str) -> Tensor:
        return (motion == MOTIONS.index(name)).float()

    # Growth doubles the radius over about 1.5 s at normal speed, around the named size.
    r = radius * torch.exp((moves("grow") - moves("shrink")) * speed * s * 0.9)
    r = r.clamp(*RESTS)
    x = scenes.x[:, None] + (moves("right") - moves("left")) * speed * s
    y = scenes.y[:, None] + (moves("down") - moves("up")) * speed * s
    if wraps:
        reach_x, reach_y = aspect + 1.2 * radius, 1 + 1.2 * radius
        x = torch.remainder(x + reach_x, 2 * reach_x) - reach_x
        y = torch.remainder(y + reach_y, 2 * reach_y) - reach_y
    turns = (seconds[None] + scenes.phase[:, None]) * (0.45 + 0.55 * speed) + scenes.seed[:, None]
    y = y + moves("bounce") * (0.30 - 0.62 * torch.sin(2 * math.pi * turns / 2).abs())
    return x, y, r


def set_out(scenes: Scenes, length: float, room: tuple[Tensor, Tensor]) -> Scenes:
    """The same scenes, begun where they stay in sight for long.

    What moves passes its place, (x, y) so far, in the middle of a clip of `length` seconds, unless
    it would then begin farther than `room`, of x and y `[b]`, from that place.
    """
    speed = SPEED.to(scenes.x.device)[scenes.speed]

    def begun(place: Tensor, back: str, forth: str, room: Tensor) -> Tensor:
        way = (scenes.motion == MOTIONS.index(forth)).float()
        way = (way - (scenes.motion == MOTIONS.index(back)).float()) * speed
        return place - (way * length / 2).clamp(-room, room) + way * OPENING_S / 2

    x, y = (begun(scenes.x, "left", "right", room[0]), begun(scenes.y, "up", "down", room[1]))
    return replace(scenes, x=x, y=y)


def last_long(scenes: Scenes, length: float, aspect: float) -> Scenes:
    """The same scenes; those that open are set out to stay in a picture for so many seconds."""
    radius = RADIUS.to(scenes.x.device)[scenes.size]
    x, y = ((edge - radius).clamp(min=0) for edge in (aspect, 1.0))
    opens = scenes.phase == 0
    begun = set_out(scenes, length, (x, y))
    return replace(
        scenes,
        x=torch.where(opens, begun.x, scenes.x),
        y=torch.where(opens, begun.y, scenes.y),
    )


def render(
    scenes: Scenes,
    frames: int,
    height: int,
    width: int,
    *,
    fps: float = 16.0,
    window: tuple[Tensor, Tensor, int, int] | None = None,
    path: tuple[Tensor, Tensor, Tensor] | None = None,
    bends: list[Bend] | None = None,
    on: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the clips: frames `[b, 3, f, h, w]` in [-1, 1] and object coverage `[b, f, h, w]`.

    `window` = (top `[b]`, left `[b]`, h, w) draws only that part of the `height` x `width` picture.
    `path` stands in for the scenes' own `track`. With `bends`, one a scene, they are drawn wrong.
    `on` are clips to draw the objects on, instead of their backgrounds.
    Scenes are drawn one by one, and the object only inside its bounding box: on a CPU that is ten
    times faster than one batch, because the temporaries stay in cache.
    """
    device = scenes.x.device
    h, w = (height, width) if window is None else window[2:]
    pictures = torch.empty(len(scenes), 3, frames, h, w, device=device)
    coverages = torch.zeros(len(scenes), frames, h, w, device=device)
    seconds = torch.arange(frames, device=device) / fps
    if path is None:
        path = track(scenes, seconds, (frames - 1) / fps, width / height)
    columns, rows = torch.arange(w, device=device), torch.arange(h, device=device)
    pixel = 2 / height
    for i in range(len(scenes)):
        top, left = (0, 0) if window is None else (int(window[0][i]), int(window[1][i]))
        y = (rows + top + 0.5) * pixel - 1
        x = (columns + left + 0.5) * pixel - width / height
        style, seed = STYLES[int(scenes.style[i])], float(scenes.seed[i])
        if on is None:
            name = BACKGROUNDS[int(scenes.background[i])]
            back = background(name, x[None], y[:, None], seed)
            if style in ("bw", "sketch"):
                back = luma(back)
            if style == "sketch":
                back = 0.93 - 0.22 * (1 - back)
            back = back[:, None]  # 3 1 h w
        else:
            back = (on[i] + 1) / 2  # 3 f h w
        pictures[i] = back

        cx, cy, r = (v[i] for v in path)  # f
        # The shadow of shaded objects is the widest part.
        reach = r if bends is None else REACH * r
        box_y = (y >= (cy - 1.3 * reach).min()) & (y <= (cy + 1.5 * reach).max())
        box_x = (x >= (cx - 1.45 * reach).min()) & (x <= (cx + 1.45 * reach).max())
        if not (box_y.any() and box_x.any()):
            continue
        ys, xs = box_y.nonzero()[[0, -1], 0].tolist(), box_x.nonzero()[[0, -1], 0].tolist()
        inside = (slice(ys[0], ys[1] + 1), slice(xs[0], xs[1] + 1))
        radius = r[:, None, None]
        u = (x[inside[1]] - cx[:, None, None]) / radius  # f 1 w, object coordinates
        v = (y[inside[0]][:, None] - cy[:, None, None]) / radius  # f h 1
        colour = (RGB.to(device)[scenes.colour[i]] + scenes.tint[i]).clamp(0, 1)
        shape = SHAPES[int(scenes.shape[i])]
        if bends is None:
            edge = distance(shape, u, v) * radius  # half heights
        else:
            u, v = bends[i].where(u, v, seconds)
            edge = bends[i].outline(shape, u, v, seconds) * radius
        coverage = (0.5 - edge / pixel).clamp(0, 1)
        coverages[i, :, inside[0], inside[1]] = coverage
        pictures[i, :, :, inside[0], inside[1]] = composite(
            style, back[:, :, inside[0], inside[1]], colour, u, v, edge, coverage, pixel
        )
    return pictures.mul_(2).sub_(1), coverages

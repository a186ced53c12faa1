"""Procedural scenes: a batch of attribute records, and the clips that they stand for.

A scene is one to three objects that move on a background, drawn in a style and seen by a camera.
All of it is batched torch from attributes to pixels, so the same code runs on a CPU or a GPU, at
any size, and can draw any window of a larger virtual picture (1080p detail is learnt from such).

Units: lengths are half picture heights (the picture spans y in [-1, 1], x in [-aspect, aspect], y
points down), time is seconds, angles are radians, colours are 0..1 RGB as displayed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SHAPES = (
    "ball", "square", "triangle", "star", "heart", "ring", "cross", "diamond", "moon",
    "car", "house", "tree", "boat", "fish", "bird", "rocket", "person",
)  # fmt: skip
COLOURS = (
    "red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "brown",
    "white", "gray", "black",
)  # fmt: skip
MOTIONS = (
    "left", "right", "up", "down", "grow", "shrink", "bounce", "still",
    "spin", "orbit", "pulse", "zigzag", "swing",
)  # fmt: skip
BACKGROUNDS = (
    "white", "black", "gray", "gradient", "sky", "sunset", "night", "grass", "sea", "desert",
    "city", "snow", "rain", "checkerboard", "room",
)  # fmt: skip
STYLES = ("flat", "shaded", "bw", "sketch", "watercolour", "neon")
CAMERAS = ("fixed", "pan left", "pan right", "zoom in", "zoom out")
SIZES = ("small", "medium", "big")
SPEEDS = ("slow", "normal", "fast")
#: How objects stand: one; the first left of the second; above it; partly in front of it; still,
#: while the second passes behind it; three from left to right, or in tall pictures downwards.
LAYOUTS = ("alone", "beside", "above", "front", "crossing", "three")
#: Objects that a scene has room for; `Scenes.count` says how many it has.
OBJECTS = 3

RGB = torch.tensor(
    [
        [0.88, 0.10, 0.10],
        [0.98, 0.52, 0.05],
        [0.97, 0.87, 0.10],
        [0.12, 0.62, 0.18],
        [0.10, 0.80, 0.78],
        [0.12, 0.28, 0.92],
        [0.50, 0.14, 0.72],
        [0.98, 0.50, 0.74],
        [0.48, 0.28, 0.12],
        [0.97, 0.97, 0.97],
        [0.52, 0.53, 0.55],
        [0.06, 0.06, 0.07],
    ]
)
RADIUS = torch.tensor([0.32, 0.45, 0.60])
SPEED = torch.tensor([0.34, 0.56, 0.84])  # half heights per second

# Colours that a viewer could not tell from a background; scenes never put them on it.
CLASHES = {
    "white": ("white",),
    "black": ("black",),
    "gray": ("gray",),
    "gradient": ("turquoise", "purple"),
    "sky": ("blue", "white", "turquoise"),
    "sunset": ("orange", "pink", "purple", "red", "yellow", "brown"),
    "night": ("blue", "purple", "black"),
    "grass": ("green",),
    "sea": ("blue", "turquoise"),
    "desert": ("orange", "yellow", "brown"),
    "city": ("gray", "black", "blue"),
    "snow": ("white", "gray"),
    "rain": ("gray", "blue"),
    "checkerboard": ("white", "black", "gray"),
    "room": ("brown", "orange", "white"),
}
# What glows in no colour of its own.
DULL = ("brown", "gray", "black")
# What spins and shows it not.
ROUND = ("ball", "ring")
# Shape-colour pairs kept out of training, to measure whether attributes combine.
HELD_OUT = (
    ("ball", "yellow"), ("square", "pink"), ("triangle", "green"), ("star", "red"),
    ("heart", "orange"), ("ring", "blue"), ("cross", "purple"), ("diamond", "turquoise"),
    ("moon", "white"), ("car", "green"), ("house", "blue"), ("tree", "pink"), ("boat", "red"),
    ("fish", "yellow"), ("bird", "purple"), ("rocket", "orange"), ("person", "turquoise"),
)  # fmt: skip
#: Seconds of a clip as most of training shows them.
OPENING_S = 1.5
# How far from the middle an object may be that is alone, half heights.
CENTRED = 0.2
# How far from the middle two or three objects stand, as a share of the picture's reach.
APART, APART_THREE, STRAY = 0.48, 0.63, 0.06
LAYOUT_SHARE = torch.tensor([0.55, 0.14, 0.10, 0.05, 0.06, 0.10])
STYLE_SHARE = torch.tensor([0.27, 0.27, 0.12, 0.12, 0.11, 0.11])
CAMERA_SHARE = torch.tensor([0.76, 0.06, 0.06, 0.06, 0.06])
# How often an object among others stands still, so that most stay where they are.
STILL = 0.4


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes. Fields of objects are `[b, OBJECTS]`, front to back; the others `[b]`."""

    shape: Tensor
    colour: Tensor
    motion: Tensor
    size: Tensor
    speed: Tensor
    x: Tensor  # where an object is in the middle of the clip
    y: Tensor
    radius: Tensor
    tint: Tensor  # [b, OBJECTS, 3] small deviation from the colour's table entry
    count: Tensor  # how many objects there are
    layout: Tensor
    background: Tensor
    style: Tensor
    camera: Tensor
    seed: Tensor  # places clouds, stars and waves
    phase: Tensor  # seconds since the opening; 0 for a clip that starts at the beginning

    def __len__(self) -> int:
        return len(self.seed)

    def take(self, index: Tensor | slice) -> "Scenes":
        """The scenes at `index`."""
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes on another device."""
        return Scenes(*(getattr(self, f.name).to(device) for f in fields(self)))

    def present(self) -> Tensor:
        """Which objects there are, `[b, OBJECTS]`."""
        return torch.arange(OBJECTS, device=self.count.device) < self.count[:, None]


def choices(*, held_out: bool) -> Tensor:
    """Which shapes in which colours fit a background and style: `[backgrounds, styles, shapes,
    colours]`, true or false; `held_out` asks for the pairs never trained on, else for the others.
    """
    clash = torch.tensor([[c in CLASHES[b] for c in COLOURS] for b in BACKGROUNDS])
    dull = torch.tensor([c in DULL for c in COLOURS])
    neon = torch.tensor([s == "neon" for s in STYLES])
    pairs = torch.tensor([[((s, c) in HELD_OUT) == held_out for c in COLOURS] for s in SHAPES])
    fits = ~clash[:, None] & ~(neon[:, None] & dull)  # backgrounds styles colours
    return fits[:, :, None] & pairs


def sample(
    count: int,
    generator: torch.Generator,
    *,
    held_out: bool = False,
    aspect: float = 1.0,
    later: float = 0.0,
    layout: str | None = None,
    camera: str | None = None,
) -> Scenes:
    """Draw `count` scenes, all of one `layout` or seen by one `camera` if that is given.

    `held_out` draws only the shape-colour pairs never trained on. A share of `later` scenes shows
    some moment after the opening, as the windows of a long video do.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def draw(shares: Tensor, *shape: int) -> Tensor:
        flat = torch.multinomial(shares, math.prod(shape), replacement=True, generator=generator)
        return flat.view(shape)

    layouts = draw(LAYOUT_SHARE, count)
    if layout is not None:
        layouts = torch.full_like(layouts, LAYOUTS.index(layout))
    style = draw(STYLE_SHARE, count)
    table = choices(held_out=held_out).float()
    # Of a background and style that leave nothing to draw, another one is taken.
    possible = table.sum((2, 3)) >= OBJECTS
    background = torch.multinomial(possible[:, style].T.float(), 1, generator=generator)[:, 0]
    fits = table[background, style]  # b shapes colours
    shape, colour = (torch.empty(count, OBJECTS, dtype=torch.long) for _ in range(2))
    for k in range(OBJECTS):  # each in another colour, where there are so many
        left = fits.flatten(1)
        none = left.sum(1, keepdim=True) == 0
        left = torch.where(none, table[background, style].flatten(1), left)
        pick = torch.multinomial(left, 1, generator=generator)[:, 0]
        shape[:, k], colour[:, k] = pick // len(COLOURS), pick % len(COLOURS)
        fits = fits * (torch.arange(len(COLOURS)) != colour[:, k, None])[:, None]
    motion = draw(torch.ones(len(MOTIONS)), count, OBJECTS)
    size = draw(torch.tensor([0.2, 0.6, 0.2]), count, OBJECTS)
    speed = draw(torch.tensor([0.15, 0.7, 0.15]), count, OBJECTS)
    spins = torch.tensor([s in ROUND for s in SHAPES])[shape]
    motion[spins & (motion == MOTIONS.index("spin"))] = MOTIONS.index("orbit")
    named = {name: layouts == i for i, name in enumerate(LAYOUTS)}
    still = (uniform(count, OBJECTS) < STILL) & ~named["alone"][:, None]
    motion[still] = MOTIONS.index("still")
    x, y, radius = _places(layouts, size, aspect, uniform)
    meets, ways = named["crossing"], torch.tensor([MOTIONS.index(m) for m in ("left", "right")])
    side = (uniform(count) < 0.5).long()
    motion[meets, 0] = MOTIONS.index("still")
    motion[meets, 1] = ways[side][meets]
    speed[meets, 1] = SPEEDS.index("normal")
    phase = (uniform(count) < later) * (0.5 + 7.5 * uniform(count))
    counts = torch.tensor([1, 2, 2, 2, 2, 3])[layouts]
    cameras = draw(CAMERA_SHARE, count)
    if camera is not None:
        cameras = torch.full_like(cameras, CAMERAS.index(camera))
    return Scenes(
        shape=shape,
        colour=colour,
        motion=motion,
        size=size,
        speed=speed,
        x=x,
        y=y,
        radius=radius,
        tint=(uniform(count, OBJECTS, 3) * 2 - 1) * 0.05,
        count=counts,
        layout=layouts,
        background=background,
        style=style,
        camera=cameras,
        seed=uniform(count),
        phase=phase,
    )


def _places(
    layouts: Tensor, size: Tensor, aspect: float, uniform: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Where objects stand, and their radii, each `[b, OBJECTS]`."""
    b = len(layouts)
    stray_x, stray_y = CENTRED * (2 * uniform(2, b, OBJECTS) - 1)
    order = torch.arange(OBJECTS) - 1.0  # -1, 0, 1
    two = torch.tensor([-1.0, 1.0, 0.0])
    along = 1 + STRAY * (2 * uniform(b, OBJECTS) - 1)
    narrow = min(1.0, aspect)
    x, y, radius = stray_x, stray_y, RADIUS[size]

    def where(name: str, new_x: Tensor, new_y: Tensor, scale: float | Tensor) -> None:
        nonlocal x, y, radius
        here = (layouts == LAYOUTS.index(name))[:, None]
        x, y = torch.where(here, new_x, x), torch.where(here, new_y, y)
        radius = torch.where(here, radius * scale, radius)

    where("beside", APART * aspect * two * along, stray_y, min(0.9, 1.5 * APART * aspect))
    where("above", stray_x * narrow, APART * two * along, min(0.9, 1.5 * APART))
    # The second one looks out from behind the first, at either side.
    out = torch.where(uniform(b, 1) < 0.5, -1.0, 1.0) * (0.55 + 0.2 * uniform(b, 1))
    off = torch.tensor([-0.5, 0.5, 0.0]) * out
    where("front", off + 0.5 * stray_x * narrow, 0.3 * stray_y, 0.8 * narrow)
    hides = torch.tensor([0.9, 0.6, 0.6]) * narrow
    where("crossing", 0.2 * stray_x, 0.4 * stray_y, hides)
    scale = min(0.75, 0.5 * max(1.0, aspect))
    if aspect >= 1:
        where("three", APART_THREE * aspect * order * along, stray_y, scale)
    else:
        where("three", stray_x * narrow, APART_THREE * order * along, scale)
    return x, y, radius

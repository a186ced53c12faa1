"""Procedural scenes: what there is to show, as a batch of attribute records.

A scene is one object that moves on a background, in a style. `trajectories.py` says where it is at
any time, `rendering.py` draws it.

Units: lengths are half picture heights (the picture spans y in [-1, 1], x in [-aspect, aspect], y
points down), time is seconds, colours are linear 0..1 RGB as displayed.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

# New names come behind the old ones: pools and weights know them by their numbers.
SHAPES = (
    "ball", "square", "triangle", "star", "heart", "ring",
    "cross", "diamond", "moon", "car", "house", "tree", "boat", "fish", "bird", "rocket", "person",
)  # fmt: skip
COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "white",
    "turquoise", "brown", "gray", "black",
)  # fmt: skip
MOTIONS = (
    "left", "right", "up", "down", "grow", "shrink", "bounce", "still",
    "spin", "orbit", "pulse", "zigzag", "swing",
)  # fmt: skip
BACKGROUNDS = (
    "white", "black", "gray", "sky", "sunset", "night", "grass", "sea",
    "gradient", "desert", "city", "snow", "rain", "checkerboard", "room",
)  # fmt: skip
STYLES = ("flat", "shaded", "bw", "sketch", "watercolour", "neon")
#: Styles that show no colours.
GRAY = ("bw", "sketch")
SIZES = ("small", "medium", "big")
SPEEDS = ("slow", "normal", "fast")


# Pairs that a viewer could not tell apart; scenes never contain them.
CLASHES = {
    "white": ("white",),
    "gray": ("gray",),
    "black": ("black",),
    "sky": ("blue", "white", "turquoise"),
    "sunset": ("orange", "pink", "purple", "red", "yellow", "brown"),
    "night": ("blue", "purple", "black"),
    "grass": ("green",),
    "sea": ("blue", "turquoise"),
    "gradient": ("turquoise", "purple"),
    "desert": ("orange", "yellow", "brown"),
    "city": ("gray", "black", "blue"),
    "snow": ("white", "gray"),
    "rain": ("gray", "blue"),
    "checkerboard": ("white", "black", "gray"),
    "room": ("brown", "orange", "white"),
}
# What glows in no colour of its own: never neon.
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
# How far from the middle a clip's object may be at its opening, half heights.
CENTRED = 0.2
STYLE_SHARE = torch.tensor([0.27, 0.27, 0.12, 0.12, 0.11, 0.11])


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
    style, unlit = (
        torch.multinomial(share, count, replacement=True, generator=generator)
        for share in (STYLE_SHARE, STYLE_SHARE[: STYLES.index("neon")])
    )
    style = torch.where((style == STYLES.index("neon")) & dull(rows[:, 1]), unlit, style)
    phase = (uniform(count) < later) * (0.5 + 7.5 * uniform(count))
    # Where nothing is said of places, a clip opens with its object about the middle.
    wide = torch.tensor([max(CENTRED, aspect - 0.8), max(CENTRED, 1 / max(aspect, 1) - 0.8)])
    room = torch.where(phase[:, None] > 0, wide, CENTRED)
    place = (uniform(count, 2) * 2 - 1) * room
    return Scenes(
        shape=rows[:, 0],
        colour=rows[:, 1],
        motion=unless_round(choice(len(MOTIONS)), rows[:, 0]),
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


def dull(colour: Tensor) -> Tensor:
    """Which colours do not glow."""
    return torch.isin(colour, torch.tensor([COLOURS.index(name) for name in DULL]))


def unless_round(motion: Tensor, shape: Tensor) -> Tensor:
    """The same motions, but what is round orbits where it would spin: that would not be seen."""
    is_round = torch.isin(shape, torch.tensor([SHAPES.index(name) for name in ROUND]))
    spins = motion == MOTIONS.index("spin")
    return torch.where(spins & is_round, MOTIONS.index("orbit"), motion)

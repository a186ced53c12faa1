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

from model.training.bending import Bend
from model.training.grounds import FALLING, background, falling
from model.training.objects import Look, Pose, put
from model.training.styles import treat

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
        [0.10, 0.80, 0.78],
        [0.48, 0.28, 0.12],
        [0.52, 0.53, 0.55],
        [0.06, 0.06, 0.07],
    ]
)
RADIUS = torch.tensor([0.34, 0.46, 0.58])
SPEED = torch.tensor([0.34, 0.56, 0.84])  # half heights per second
# Radii at which what shrinks and what grows come to rest: large enough to be told, and in sight.
RESTS = (0.26, 0.85)

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
#: Seconds of a clip as most of training shows them. Longer ones open alike, and go on.
OPENING_S = 1.5
# How far from the middle a clip's object may be at its opening, half heights.
CENTRED = 0.2
# Motions in which legs, wings and flames rest.
RESTING = ("still", "spin", "pulse", "swing")
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


def track(
    scenes: Scenes,
    seconds: Tensor,
    length: float | Tensor,
    aspect: float,
    *,
    wraps: bool = True,
    roam: float | Tensor = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and radius at the given times, each with shape `[b, f]`.

    `length` is the clip's duration, or each one's `[b, 1]`; at half of it the object passes (x, y).
    What leaves the picture comes in again on the other side, if it `wraps`, and growing and
    shrinking come to rest, so that a scene can go on for any time. `roam` is the share of their
    usual room, `[b, 1]`, which orbits, zigzags and swings take.
    """
    s = seconds[None] - length / 2 + scenes.phase[:, None]  # b f
    speed = SPEED.to(s.device)[scenes.speed][:, None]
    radius = RADIUS.to(s.device)[scenes.size][:, None]

    def moves(name: str) -> Tensor:
        return (scenes.motion == MOTIONS.index(name)).float()[:, None]

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

    cycle = _cycle(scenes, seconds)
    r = r * (1 + 0.28 * moves("pulse") * torch.sin(1.5 * cycle))
    # What stays about its place stays in sight.
    room = (min(1.0, aspect) - 0.15 - radius).clamp(0.2, 0.42) * roam
    swing = torch.sin(cycle)
    x = x + room * (moves("orbit") * torch.cos(cycle) + 1.2 * moves("swing") * swing)
    y = y + room * (moves("orbit") * torch.sin(cycle) - 0.4 * moves("swing") * swing**2)
    x = x + 1.2 * room * moves("zigzag") * _to_and_fro(_course(scenes, seconds))
    y = y + 0.55 * room * moves("zigzag") * _to_and_fro(2 * cycle)
    return x, y, r


def _cycle(scenes: Scenes, seconds: Tensor) -> Tensor:
    """Radians `[b, f]`: one turn in 1.5 s at normal speed."""
    speed = SPEED.to(seconds.device)[scenes.speed][:, None]
    time = seconds[None] + scenes.phase[:, None]
    return 2 * math.pi * (time * 1.2 * speed + scenes.seed[:, None])


def _course(scenes: Scenes, seconds: Tensor) -> Tensor:
    """Radians `[b, f]` of what zigzags from one side of its room to the other and back."""
    speed = SPEED.to(seconds.device)[scenes.speed][:, None]
    time = seconds[None] + scenes.phase[:, None]
    return 2 * math.pi * (time * 0.55 * speed + 0.5 * (scenes.seed[:, None] > 0.5) - 0.24)


def _to_and_fro(angle: Tensor) -> Tensor:
    """A sine with straight sides."""
    return torch.asin(torch.sin(angle)) * (2 / math.pi)


def turning(scenes: Scenes, seconds: Tensor) -> Tensor:
    """How far objects are turned to the right at the given times `[f]`, radians `[b, f]`."""
    cycle = _cycle(scenes, seconds)
    spins, swings = (
        (scenes.motion == MOTIONS.index(name)).float()[:, None] for name in ("spin", "swing")
    )
    return spins * 0.8 * cycle - swings * 0.5 * torch.sin(cycle)


def facing(scenes: Scenes, seconds: Tensor) -> Tensor:
    """-1 where objects look to the left at the given times `[f]`, else 1, `[b, f]`."""
    left, zigzag = ((scenes.motion == MOTIONS.index(name))[:, None] for name in ("left", "zigzag"))
    back = torch.cos(_course(scenes, seconds)) < 0
    return torch.where(left | (zigzag & back), -1.0, 1.0)


def goes(scenes: Scenes) -> Tensor:
    """Which objects walk, beat their wings or burn, `[b]`."""
    resting = torch.tensor([MOTIONS.index(name) for name in RESTING], device=scenes.motion.device)
    return ~torch.isin(scenes.motion, resting)


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
    seconds: Tensor | None = None,
    window: tuple[Tensor, Tensor, int, int] | None = None,
    path: tuple[Tensor, Tensor, Tensor] | None = None,
    bends: list[Bend] | None = None,
    on: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the clips: frames `[b, 3, f, h, w]` in [-1, 1] and object coverage `[b, f, h, w]`.

    `seconds` `[f]` are the moments of the frames, if they are not `fps` a second from 0.
    `window` = (top `[b]`, left `[b]`, h, w) draws only that part of the `height` x `width` picture.
    `path` stands in for the scenes' own `track`. With `bends`, one a scene, they are drawn wrong.
    `on` are clips to draw the objects on, instead of their backgrounds.
    """
    device = scenes.x.device
    h, w = (height, width) if window is None else window[2:]
    pictures = torch.empty(len(scenes), 3, frames, h, w, device=device)
    coverages = torch.zeros(len(scenes), frames, h, w, device=device)
    seconds = torch.arange(frames, device=device) / fps if seconds is None else seconds.to(device)
    if path is None:
        path = track(scenes, seconds, (frames - 1) / fps, width / height)
    now = seconds[None] + scenes.phase[:, None]
    held = (turning(scenes, seconds), facing(scenes, seconds), now)
    moving = goes(scenes).tolist()
    colours = (RGB.to(device)[scenes.colour] + scenes.tint).clamp(0, 1)
    columns, rows = torch.arange(w, device=device), torch.arange(h, device=device)
    pixel = 2 / height
    for i in range(len(scenes)):
        top, left = (0, 0) if window is None else (int(window[0][i]), int(window[1][i]))
        y = (rows + top + 0.5) * pixel - 1
        x = (columns + left + 0.5) * pixel - width / height
        name, style = BACKGROUNDS[int(scenes.background[i])], STYLES[int(scenes.style[i])]
        if on is None:
            back = _lay(
                pictures[i], name, style, (x[None], y[:, None]), scenes.seed[i], now[i], pixel
            )
        else:
            back = pictures[i] = (on[i] + 1) / 2
        bend = None if bends is None else bends[i]
        look = Look(SHAPES[int(scenes.shape[i])], colours[i], style, name, bend)
        pose = Pose(*(v[i] for v in (*path, *held)), goes=moving[i])
        put(pictures[i], coverages[i], back, look, pose, x, y, pixel)
    return pictures.mul_(2).sub_(1), coverages


def _lay(
    picture: Tensor,
    name: str,
    style: str,
    place: tuple[Tensor, Tensor],
    seed: Tensor,
    now: Tensor,
    pixel: float,
) -> Tensor:
    """Paint a background all over a picture `[3, f, h, w]`, and give it, of one frame if it stands
    still.
    """
    back = treat(style, name, background(name, *place, float(seed)), *place)[:, None]
    if name not in FALLING:
        picture.copy_(back)
        return back
    share = falling(name, *place, float(seed), now, pixel)
    colour = back.new_tensor(FALLING[name])[:, None, None]
    torch.lerp(back, treat(style, name, colour, *place)[:, None], share, out=picture)
    return picture

"""Where the objects of scenes are at any time, how large they are, and how they are turned."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from model.training.scenes import MOTIONS, Scenes

RADIUS = torch.tensor([0.34, 0.46, 0.58])
SPEED = torch.tensor([0.34, 0.56, 0.84])  # half heights per second
# Radii at which what shrinks and what grows come to rest: large enough to be told, and in sight.
RESTS = (0.26, 0.85)
#: Seconds of a clip as most of training shows them. Longer ones open alike, and go on.
OPENING_S = 1.5
# Motions in which legs, wings and flames rest.
RESTING = ("still", "spin", "pulse", "swing")


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

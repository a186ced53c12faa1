"""Where the objects of scenes are at any time, and where the camera looks.

Units are those of `scenes`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from model.training.scenes import CAMERAS, MOTIONS, SPEED, Scenes


class Path(NamedTuple):
    """Where objects are: centre x, centre y, radius and angle, each `[b, OBJECTS, f]`."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor


def track(
    scenes: Scenes, seconds: Tensor, length: float | Tensor, aspect: float, *, wraps: bool = True
) -> Path:
    """Where the objects are at the given times `[f]` of clips that are `length` seconds long.

    At half of its length the object passes (x, y). What leaves the picture comes in again on the
    other side, if it `wraps`, and growing and shrinking come to rest, so that a scene can go on for
    any time.
    """
    now = (seconds + scenes.phase[:, None])[:, None]  # b 1 f
    s = now - length / 2
    speed = SPEED.to(s.device)[scenes.speed][:, :, None]
    motion = scenes.motion[:, :, None]
    radius = scenes.radius[:, :, None]
    turn = 2 * math.pi * (now + 3 * scenes.seed[:, None, None])

    def moves(name: str) -> Tensor:
        return (motion == MOTIONS.index(name)).float()

    # Growth doubles the radius over about 1.5 s at normal speed, around the named size.
    r = radius * torch.exp((moves("grow") - moves("shrink")) * speed * s * 0.9)
    r = torch.minimum(torch.maximum(r, 0.45 * radius), 1.9 * radius).clamp(0.14, 0.95)
    r = r * (1 + 0.3 * moves("pulse") * torch.sin(turn * (0.35 + 0.9 * speed)))
    along = moves("right") - moves("left") + 0.8 * moves("zigzag")
    x = scenes.x[:, :, None] + along * speed * s
    y = scenes.y[:, :, None] + (moves("down") - moves("up")) * speed * s
    if wraps:
        reach_x, reach_y = aspect + 1.3 * radius, 1 + 1.3 * radius
        x = torch.remainder(x + reach_x, 2 * reach_x) - reach_x
        y = torch.remainder(y + reach_y, 2 * reach_y) - reach_y
    room = (1.35 * radius).clamp(max=0.62)
    hops = now * (0.45 + 0.55 * speed) + scenes.seed[:, None, None]
    y = y + moves("bounce") * room * (0.5 - torch.sin(math.pi * hops).abs())
    teeth = now * (0.6 + 0.5 * speed) + scenes.seed[:, None, None]
    y = y + moves("zigzag") * room * ((torch.remainder(teeth, 1) - 0.5).abs() * 2 - 0.5) * 0.9
    around = turn * (0.2 + 0.4 * speed)
    x = x + moves("orbit") * 0.75 * room * around.cos()
    y = y + moves("orbit") * 0.75 * room * around.sin()
    swing = torch.sin(turn * (0.2 + 0.5 * speed))
    x = x + moves("swing") * 0.8 * room * swing
    y = y - moves("swing") * 0.25 * room * swing**2
    angle = moves("spin") * turn * (0.15 + 0.45 * speed) + moves("swing") * -0.5 * swing
    zoom = zoom_of(scenes, seconds, length)[:, None]
    return Path(x * zoom, y * zoom, r * zoom, angle)


def zoom_of(scenes: Scenes, seconds: Tensor, length: float | Tensor) -> Tensor:
    """How much larger than it is all of a scene is seen, `[b, f]`; zooming comes to rest."""
    s = seconds + scenes.phase[:, None]
    if isinstance(length, Tensor):
        length = length.view(-1, 1)
    way = torch.tanh((s - length / 2) * 0.4) * 0.5
    zooms = (scenes.camera == CAMERAS.index("zoom in")).float()
    zooms = zooms - (scenes.camera == CAMERAS.index("zoom out")).float()
    return torch.exp(zooms[:, None] * way)


def pan_of(scenes: Scenes, seconds: Tensor) -> Tensor:
    """How far the camera has gone to the right of where it was, `[b, f]`; objects go with it."""
    pans = (scenes.camera == CAMERAS.index("pan right")).float()
    pans = pans - (scenes.camera == CAMERAS.index("pan left")).float()
    return pans[:, None] * 0.45 * (seconds + scenes.phase[:, None])

"""One object put into a clip: where it is, and drawing it there and nowhere else.

Only boxes about the object are drawn, of a few frames each: on a CPU that is ten times faster than
whole pictures, because temporaries stay in its cache.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.training import bending
from model.training.bending import Bend
from model.training.drawing import drawn, luma
from model.training.figures import FIGURES
from model.training.parts import Body
from model.training.styles import DIM, REACH, Spot, composite

#: How many pixels are drawn at once, about.
PIXELS = 50_000


class Pose(NamedTuple):
    """Where an object is and how it holds itself, frame by frame; each `[f]`."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor  # turned to the right, radians
    facing: Tensor  # -1 where it looks to the left, else 1
    now: Tensor  # seconds
    goes: bool  # whether legs walk, wings beat and flames flicker

    def part(self, frames: slice) -> "Pose":
        """The same in some frames."""
        return Pose(*(v[frames] for v in self[:6]), goes=self.goes)


class Look(NamedTuple):
    """What an object looks like."""

    shape: str
    colour: Tensor  # [3]
    style: str
    ground: str  # the background's name
    bend: Bend | None  # how it is drawn wrong


def put(
    picture: Tensor,
    coverage: Tensor,
    back: Tensor,
    look: Look,
    pose: Pose,
    x: Tensor,
    y: Tensor,
    pixel: float,
) -> None:
    """Draw an object and its coverage, all black so far, on a picture `[3, f, h, w]` that shows
    `back` `[3, f or 1, h, w]`, at columns x `[w]` and rows y `[h]`, which are a `pixel` apart.
    """
    whole = _box(pose, x, y, (1.3, 1.5, 1.45), look)
    if whole is None:
        return
    dim = DIM.get(look.ground)
    if dim is None and look.style == "bw":
        dim = float(back[:, :, whole[0], whole[1]].mean()) < 0.5
    widest = float(pose.radius.max()) / pixel
    step = max(1, round(PIXELS / (2.8 * widest) ** 2))
    for start in range(0, picture.shape[1], step):
        frames = slice(start, start + step)
        here = pose.part(frames)
        # The lines of sketches have no end where they meet, but for that of the box.
        box = whole if look.style == "sketch" else _box(here, x, y, REACH[look.style], look)
        if box is None:
            continue
        below = back if back.shape[1] == 1 else back[:, frames]
        seen = (frames, *box)
        picture[:, *seen], coverage[seen] = _paint(
            below[:, :, *box], look, here, x[box[1]], y[box[0]], pixel, dim=bool(dim)
        )


def _box(
    pose: Pose, x: Tensor, y: Tensor, reach: tuple[float, float, float], look: Look
) -> tuple[slice, slice] | None:
    """Rows and columns about an object in all frames, if any of them are seen."""
    r = pose.radius if look.bend is None else bending.REACH * pose.radius
    up, down, aside = reach
    edges = torch.stack(
        [
            (pose.y - up * r).amin(),
            (pose.y + down * r).amax(),
            (pose.x - aside * r).amin(),
            (pose.x + aside * r).amax(),
        ]
    )
    top, bottom = torch.searchsorted(y, edges[:2]).tolist()
    left, right = torch.searchsorted(x, edges[2:]).tolist()
    if top == bottom or left == right:
        return None
    return slice(top, bottom), slice(left, right)


def _paint(
    back: Tensor, look: Look, pose: Pose, x: Tensor, y: Tensor, pixel: float, *, dim: bool
) -> tuple[Tensor, Tensor]:
    """The object on its background `[3, f, h, w]`, and its coverage `[f, h, w]`."""
    cx, cy, radius, angle, facing, now = (v[:, None, None] for v in pose[:6])
    p, q = (x - cx) / radius, (y[:, None] - cy) / radius  # f 1 w, f h 1
    if look.bend is not None:
        p, q = look.bend.where(p, q, pose.now)
    u, v = p, q
    if bool(angle.any()):
        cos, sin = angle.cos(), angle.sin()
        u, v = p * cos + q * sin, q * cos - p * sin
    if look.shape in FIGURES and bool((facing < 0).any()):
        u = u * facing
    own = look.colour
    if look.style in ("bw", "sketch"):
        own = luma(own)[:1]
    lined = look.style in ("sketch", "neon")
    thing = drawn(look.shape, Body(u, v, now, pose.goes), own, pixel / radius, lined=lined)
    if look.bend is not None:
        thing = look.bend.melted(thing, u, v, pose.now)
    return composite(look.style, back, look.colour, thing, Spot(p, q, u, v, radius, pixel), dim=dim)

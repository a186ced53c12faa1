"""What cameras see of a batch of clips, and where in it objects are.

Lengths are half picture heights, or half object heights inside an object; y points down. All of it
is batched and waits for no device: clips are grouped by the lists of names that come with them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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


def offsets(placed: Placed, view: View) -> tuple[Tensor, Tensor]:
    """How far from the objects' middles, in radii: `[n, f, 1, w]` and `[n, f, h, 1]`."""
    x, y, radius = (v[..., None, None] for v in placed[:3])
    return (view.x - x) / radius, (view.y - y) / radius


def turned(placed: Placed, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Object coordinates `[n, f, h, w]` of offsets."""
    angle, flip = placed.angle[..., None, None], placed.flip[:, None, None, None]
    cos, sin = angle.cos(), angle.sin()
    return (p * cos + q * sin) * flip, q * cos - p * sin


def members(names: Sequence[str], device: torch.device) -> dict[str, Tensor]:
    """Which clips have each name."""
    return {
        name: torch.tensor([i for i, n in enumerate(names) if n == name]).to(
            device, non_blocking=True
        )
        for name in dict.fromkeys(names)
    }

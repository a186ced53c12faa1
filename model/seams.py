"""The joint of a clip with frames that are given: their detail and light come and go bit by bit.

An autoencoder softens pictures. Where a clip goes on from a given one, or leads to it, that picture
itself is shown beside one that has been through the autoencoder, and all its detail would be gone
from one frame to the next. What is taken off the given picture is known. It is put back where the
picture has not changed, less so with every frame away from the joint. And so is the light there: a
background that stands still is made a little brighter or darker than the given one, which nobody
sees in either but everybody from one to the other.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from model.canvas import Canvas, from_uint8
from model.conditioning import encode
from model.vae import VAE

__all__ = ["FADE", "Seam"]

#: Frames over which the detail is gone: half a second at 16 a second.
FADE = 8
#: Mean difference, of a range of 2, by which a place has changed; so many pixels around it count.
CHANGED, AROUND = 0.25, 9
#: Light is what is left of a picture of so many cells along its shorter side.
CELLS = 24
# How much all of a picture says beside a cell of it.
_LEAST = 0.05


@dataclass(frozen=True, slots=True)
class Seam:
    """A given picture, and the same as the autoencoder gives it back, in [-1, 1]."""

    picture: Float[Tensor, "1 3 1 h w"]
    softened: Float[Tensor, "1 3 1 h w"]

    @classmethod
    def of(
        cls, vae: VAE, canvas: Canvas, frame: UInt8[Tensor, "h w 3"], *, opens: bool = False
    ) -> "Seam":
        """The seam at `frame`, which is taken to stand still, or else `opens` the clip."""
        factor = vae.config.scale_factor_temporal
        (full,) = canvas.resize([from_uint8(frame[None])])
        pictures = [full] if opens else [full, full.expand(-1, -1, factor, -1, -1)]
        latents = encode(vae, pictures)
        softened = vae.decode(vae.denormalize(latents), vae.stream())[:, :, -1:]
        picture = canvas.crop(full.to(softened))
        return cls(picture, canvas.crop(softened))

    def joined(
        self, frames: Float[Tensor, "1 3 f h w"], away: Float[Tensor, " f"]
    ) -> Float[Tensor, "1 3 f h w"]:
        """`frames` that lie `away` from the given one, so many frames: 1 is next to it."""
        changed = (frames - self.softened).abs().mean(1, keepdim=True)
        pool = (1, AROUND, AROUND)
        around = F.avg_pool3d(changed, pool, 1, tuple(size // 2 for size in pool))
        changed = torch.maximum(changed, around)
        share = (1 - (away - 1) / FADE).clamp(0, 1).to(frames)[:, None, None]
        same = torch.exp(-((changed / CHANGED) ** 2))
        light = _light(self.softened - frames, same)
        return frames + share * (same * (self.picture - self.softened) + light)


def _light(
    difference: Float[Tensor, "1 3 f h w"], same: Float[Tensor, "1 1 f h w"]
) -> Float[Tensor, "1 3 f h w"]:
    """Of a difference, its means over cells where pictures are the same, else over all of them."""
    count, height, width = same.shape[2:]
    cell = max(1, min(height, width) // CELLS)

    def means(x: Tensor) -> Tensor:
        return F.interpolate(x, (count, height // cell, width // cell), mode="area")

    known, sums = means(same), means(same * difference)
    whole = sums.mean((3, 4), keepdim=True) / known.mean((3, 4), keepdim=True).clamp(min=_LEAST)
    light = (sums + _LEAST * whole) / (known + _LEAST)
    return F.interpolate(light, (count, height, width), mode="trilinear")

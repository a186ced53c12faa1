"""The picture that was asked for inside the picture that the model can make.

A model makes multiples of its grid (16 or 32 pixels) only. Another size is made a little larger and
cropped back exactly, the surplus split between both sides so that the middle stays the middle.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

__all__ = ["Canvas", "from_uint8", "to_uint8"]


@dataclass(frozen=True, slots=True)
class Canvas:
    """`width` x `height` pixels asked for; `full_width` x `full_height` made, on the grid."""

    width: int
    height: int
    full_width: int
    full_height: int

    @classmethod
    def of(cls, width: int, height: int, grid: int) -> "Canvas":
        return cls(width, height, -(-width // grid) * grid, -(-height // grid) * grid)

    @property
    def left(self) -> int:
        return (self.full_width - self.width) // 2

    @property
    def top(self) -> int:
        return (self.full_height - self.height) // 2

    def crop(self, frames: Float[Tensor, "b c f H W"]) -> Float[Tensor, "b c f h w"]:
        """What was asked for, out of what was made."""
        rows = slice(self.top, self.top + self.height)
        columns = slice(self.left, self.left + self.width)
        return frames[..., rows, columns]

    def pad(self, frames: Float[Tensor, "b c f h w"]) -> Float[Tensor, "b c f H W"]:
        """The inverse of `crop`; the surplus repeats the edge, as blank borders would be drawn."""
        right = self.full_width - self.width - self.left
        below = self.full_height - self.height - self.top
        if not right and not below and not self.left and not self.top:
            return frames
        return F.pad(frames, (self.left, right, self.top, below, 0, 0), mode="replicate")

    def picture(self, image: Image.Image) -> Float[Tensor, "1 3 1 H W"]:
        """`image` as a frame in [-1, 1], made as large as the canvas (Lanczos) and padded.

        Another aspect ratio is stretched, as diffusers does; callers crop first where that matters.
        """
        resized = image.convert("RGB").resize((self.width, self.height), Image.Resampling.LANCZOS)
        pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        return self.pad(from_uint8(pixels.view(1, self.height, self.width, 3)))

    def resize(
        self, frames: Iterable[Float[Tensor, "b c f h w"]]
    ) -> Iterator[Float[Tensor, "b c f H W"]]:
        """Chunks of frames, bicubic with antialiasing, as large as the canvas and padded."""
        for chunk in frames:
            b, _, f, *_ = chunk.shape
            flat = chunk.transpose(1, 2).flatten(0, 1)
            size = (self.height, self.width)
            if flat.shape[-2:] != size:
                flat = F.interpolate(flat, size, mode="bicubic", antialias=True).clamp(-1, 1)
            yield self.pad(flat.unflatten(0, (b, f)).transpose(1, 2))


def from_uint8(frames: UInt8[Tensor, "f h w 3"]) -> Float[Tensor, "1 3 f h w"]:
    """Pixels 0..255 as floats in [-1, 1]."""
    return (frames.permute(3, 0, 1, 2).unsqueeze(0).float() / 255) * 2 - 1


def to_uint8(frames: Float[Tensor, "1 3 f h w"]) -> UInt8[Tensor, "f h w 3"]:
    """Floats in [-1, 1] as pixels 0..255, rounded."""
    pixels = frames[0].float().mul(127.5).add(127.5).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).permute(1, 2, 3, 0).contiguous()

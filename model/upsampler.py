"""Frames made larger by a network that has seen what such pictures look like up close.

A checkpoint may bring one (its folder `upsampler/`). The frames of a clip that was made small then
pass through it, one by one, and nothing is encoded, refined or decoded at full size, which on a CPU
takes several times as long. A residual network (EDSR, Lim et al. 2017, arXiv:1707.02921, without
its long skip) works at half the resolution of the small picture; what it finds is added to that by
sub-pixel convolution (Shi et al. 2016, arXiv:1609.05158). It sees the frames before the one that it
enlarges, too: what an autoencoder makes of things that stand still is a little different in each.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.canvas import Canvas

__all__ = ["FACTOR", "Upsampler", "UpsamplerConfig"]

#: How many times larger, in both directions, what the network gives is.
FACTOR = 8
#: Pixels around the picture that repeat its edge, beyond which the network sees zeros.
MARGIN = 8
# What comes of the last layer is so much smaller than what its weights give, as they begin.
_GAIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsamplerConfig:
    """`upsampler/config.json`."""

    width: int = 64
    num_layers: int = 6
    past_frames: int = 4  # that it sees beside the one it enlarges

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("num_layers", 1), ("past_frames", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, not {getattr(self, name)}")


class Upsampler(nn.Module):
    """Pictures in [-1, 1], FACTOR times as large: `Upsampler(config)(frames)`."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        d = config.width
        self.config = config
        self.conv_in = nn.Conv2d((1 + config.past_frames) * 3 * 4, d, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(d) for _ in range(config.num_layers)))
        self.to_fine = nn.Conv2d(d, 4 * d, 1)
        self.conv_fine = nn.Conv2d(3, d, 5, padding=2)
        self.block_fine = Residual(d)
        self.conv_out = nn.Conv2d(d, 3 * FACTOR**2, 3, padding=1)

    def forward(self, frames: Float[Tensor, "b n 3 h w"]) -> Float[Tensor, "b 3 H W"]:
        """The first of n frames FACTOR times as large; the others were before it, latest first.

        n is 1 + past_frames; h and w are even.
        """
        seen = F.pixel_unshuffle(frames.flatten(1, 2), 2)
        last = frames[:, 0].contiguous(memory_format=torch.channels_last)  # faster, on any device
        coarse = self.blocks(self.conv_in(seen.contiguous(memory_format=torch.channels_last)))
        fine = F.pixel_shuffle(self.to_fine(F.silu(coarse)), 2) + self.conv_fine(last)
        detail = self.conv_out(F.silu(self.block_fine(fine)))
        return F.pixel_shuffle(torch.add(_interpolated(last), detail, alpha=_GAIN), FACTOR)

    def enlarge(
        self,
        frames: Float[Tensor, "1 3 f h w"],
        canvas: Canvas,
        before: Float[Tensor, "1 3 n h w"] | None = None,
    ) -> Float[Tensor, "1 3 f H W"]:
        """Frames in [-1, 1], as large as what was asked of `canvas`; a frame at a time.

        `before` are frames before them; before the first that there is all was as it is.
        """
        height, width = frames.shape[-2:]
        padding = (MARGIN, MARGIN + width % 2, MARGIN, MARGIN + height % 2)
        rows, columns = (slice(FACTOR * MARGIN, FACTOR * (MARGIN + n)) for n in (height, width))
        known = frames if before is None else torch.cat([before, frames], 2)
        pictures = rearrange(known, "1 c f h w -> f c h w").to(self.conv_in.weight.dtype)
        pictures = F.pad(pictures, padding, mode="replicate")
        large = frames.new_empty(*frames.shape[:3], canvas.height, canvas.width)
        for i in range(frames.shape[2]):
            now = known.shape[2] - frames.shape[2] + i
            seen = [max(0, now - n) for n in range(1 + self.config.past_frames)]
            detailed = self(pictures[None, seen]).float()[..., rows, columns]
            size = (canvas.height, canvas.width)
            resized = F.interpolate(detailed, size, mode="bicubic", antialias=True)
            large[:, :, i] = resized.clamp(-1, 1)
        return large


def _interpolated(pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
    """Pictures FACTOR times as large, bilinear, their pixels still as channels.

    As a convolution with its weights that takes a twentieth of `F.interpolate`'s time on a CPU.
    """
    offset = (torch.arange(FACTOR, device=pictures.device) + 0.5) / FACTOR - 0.5
    neighbours = torch.tensor([-1, 0, 1], device=pictures.device)
    weights = (1 - (offset[:, None] - neighbours).abs()).clamp(min=0)
    kernel = torch.einsum("ia,jb->ijab", weights, weights).reshape(-1, 1, 3, 3)
    return F.conv2d(pictures, kernel.repeat(3, 1, 1, 1).to(pictures), padding=1, groups=3)


class Residual(nn.Module):
    """x + conv(SiLU(conv(x)))."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(d, d, 3, padding=1)
        self.conv_2 = nn.Conv2d(d, d, 3, padding=1)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        return x + self.conv_2(F.silu(self.conv_1(x)))

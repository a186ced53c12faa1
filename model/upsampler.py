"""Frames made larger by a network that has seen what such pictures look like up close.

A checkpoint may bring one (its folder `upsampler/`). The frames of a clip that was made small then
pass through it, one by one, and nothing is encoded, refined or decoded at full size, which on a CPU
takes several times as long. A residual network (EDSR, Lim et al. 2017, arXiv:1707.02921, without
its long skip) works at half the resolution of the small picture; what it finds is added to that by
sub-pixel convolution (Shi et al. 2016, arXiv:1609.05158).

What an autoencoder makes of things that stand still is a little different in each frame, and so it
flickers. Before a frame is enlarged, each of its pixels becomes a mean of what was there in it and
in the frames before, with weights that a small network gives (kernel prediction, Mildenhall et al.
2018, arXiv:1712.02327, with kernels of one pixel).
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
    past_frames: int = 8  # that a pixel may be a mean of, beside the one that is enlarged

    def __post_init__(self) -> None:
        for name in ("width", "num_layers", "past_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, not {getattr(self, name)}")


class Upsampler(nn.Module):
    """Pictures in [-1, 1], FACTOR times as large: `Upsampler(config)(frames)`."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        d = config.width
        self.config = config
        self.steady = Steady(config.past_frames)
        self.conv_in = nn.Conv2d(3 * 4, d, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(d) for _ in range(config.num_layers)))
        self.to_fine = nn.Conv2d(d, 4 * d, 1)
        self.conv_fine = nn.Conv2d(3, d, 5, padding=2)
        self.block_fine = Residual(d)
        self.conv_out = nn.Conv2d(d, 3 * FACTOR**2, 3, padding=1)

    def forward(self, frames: Float[Tensor, "b n 3 h w"]) -> Float[Tensor, "b 3 H W"]:
        """The first of n frames, FACTOR times as large; the others were before it, latest first.

        n is 1 + past_frames; h and w are even.
        """
        picture = self.steady(frames)
        picture = picture.contiguous(memory_format=torch.channels_last)  # faster, on any device
        coarse = self.blocks(self.conv_in(F.pixel_unshuffle(picture, 2)))
        fine = F.pixel_shuffle(self.to_fine(F.silu(coarse)), 2) + self.conv_fine(picture)
        detail = self.conv_out(F.silu(self.block_fine(fine)))
        return F.pixel_shuffle(torch.add(_interpolated(picture), detail, alpha=_GAIN), FACTOR)

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


class Steady(nn.Module):
    """Frames `[b, n, 3, h, w]`, the latest first, to the first of them `[b, 3, h, w]`, steadied."""

    def __init__(self, past: int, d: int = 32) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d((1 + past) * 3 * 4, d, 3, padding=1)
        self.conv_2 = nn.Conv2d(d, d, 3, padding=1)
        self.conv_out = nn.Conv2d(d, (1 + past) * 4, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        first = 3.0 * (torch.arange((1 + past) * 4) < 4)  # the frame itself counts most
        self.conv_out.bias = nn.Parameter(first)

    def forward(self, frames: Float[Tensor, "b n 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        latest = frames[:, :1]
        seen = torch.cat([latest, frames[:, 1:] - latest], 1).flatten(1, 2)
        x = F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last)
        x = self.conv_out(F.silu(self.conv_2(F.silu(self.conv_1(x)))))
        scores = F.pad(F.pixel_shuffle(x, 2).float(), (1, 1, 1, 1), mode="replicate")
        # Weights of neighbours that differ much would fray the edges of what moves.
        weights = F.avg_pool2d(scores, 3, stride=1).softmax(1)
        return (weights[:, :, None] * frames.float()).sum(1).to(frames.dtype)


class Residual(nn.Module):
    """x + conv(SiLU(conv(x)))."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(d, d, 3, padding=1)
        self.conv_2 = nn.Conv2d(d, d, 3, padding=1)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        return x + self.conv_2(F.silu(self.conv_1(x)))

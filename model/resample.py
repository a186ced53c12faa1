"""The stages that shrink or grow a clip by two, and Wan 2.2's shortcuts past them.

The first frame is a group of its own wherever time is halved or doubled: 4k + 1 frames become k + 1
latent frames.
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from model.streaming import CausalConv3d, Pointwise, RMSNorm, Stream, convolve

__all__ = ["Downsample", "ResidualBlock", "ResidualDownBlock", "UpBlock", "Upsample"]


class ResidualBlock(nn.Module):
    """Two convolutions, each after norm and SiLU, and a shortcut past them."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1 = RMSNorm(c_in, 1, 1, 1)
        self.conv1 = CausalConv3d(c_in, c_out, (3, 3, 3))
        self.norm2 = RMSNorm(c_out, 1, 1, 1)
        self.conv2 = CausalConv3d(c_out, c_out, (3, 3, 3))
        self.conv_shortcut = Pointwise(c_in, c_out) if c_in != c_out else None

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b t h w o"]:
        y = self.conv2(self.conv1(x, stream, self.norm1), stream, self.norm2)
        return _add(y, x if self.conv_shortcut is None else self.conv_shortcut(x))


def _add(y: Tensor, x: Tensor) -> Tensor:
    """y + x, in the memory of y where no gradient needs it."""
    return y + x if torch.is_grad_enabled() else y.add_(x)


class Downsample(nn.Module):
    """Halves height and width, and with `time` the frames after the first, pair by pair."""

    def __init__(self, dim: int, *, time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), stride_t=2) if time else None

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q c"]:
        conv = cast(nn.Conv2d, self.resample[1])
        x = F.pad(x, (0, 0, 0, 1, 0, 1))  # one column right, one row below
        x = convolve(x, conv.weight.unsqueeze(2), conv.bias, (1, 2, 2), (0, 0, 0))
        if self.time_conv is None:
            return x
        if not stream.begins:
            return self.time_conv(x, stream)
        # The first frame goes by as it is, and is what the first pair has before it.
        first, pairs = x[:, :1], x[:, 1:]
        stream.seed(self.time_conv.name, first)
        return torch.cat([first, self.time_conv(pairs, stream)], 1) if pairs.shape[1] else first


class Upsample(nn.Module):
    """Doubles height and width, and with `time` each frame after the first."""

    def __init__(self, dim: int, c_out: int, *, time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(dim, c_out, 3))
        self.time_conv = CausalConv3d(dim, dim * 2, (3, 1, 1)) if time else None

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q o"]:
        if self.time_conv is not None:
            # The first frame goes by as it is and is nobody's past: time begins anew after it.
            first, x = x.split([int(stream.begins), x.shape[1] - stream.begins], 1)
            if x.shape[1]:
                x = self.time_conv(x, stream)
                x = rearrange(x, "b t h w (r c) -> b (t r) h w c", r=2)
            x = torch.cat([first, x], 1) if stream.begins else x
        conv = cast(nn.Conv2d, self.resample[1])
        return _double(x, conv.weight, conv.bias)


def _double(
    x: Float[Tensor, "b t h w c"],
    weight: Float[Tensor, "o c 3 3"],
    bias: Float[Tensor, " o"] | None,
) -> Float[Tensor, "b t p q o"]:
    """Each pixel doubled both ways, then a convolution with `weight`.

    Both at once are one transposed convolution of stride 2, whose 4x4 kernel sums the weights that
    fall on the same pixel: 4/9 of the work, and the doubled picture never exists.
    """
    kernel = F.pad(weight, (0, 1, 0, 1)) + F.pad(weight, (1, 0, 0, 1))
    kernel = kernel + F.pad(weight, (0, 1, 1, 0)) + F.pad(weight, (1, 0, 1, 0))
    kernel = kernel.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    images = rearrange(x, "b t h w c -> (b t) c h w")
    images = F.conv_transpose2d(images, kernel, bias, stride=2, padding=1)
    return rearrange(images, "(b t) o p q -> b t p q o", b=x.shape[0])


class AvgDown(nn.Module):
    """The shortcut past a stage that shrinks: means over groups of (channel, time, row, column)."""

    def __init__(self, c_in: int, c_out: int, *, time: int, space: int):
        super().__init__()
        if c_in * time * space**2 % c_out:
            raise ValueError(
                f"dim_mult: a residual stage from {c_in} to {c_out} channels, {time}x in time and "
                f"{space}x in space, does not divide into groups; end dim_mult with equal entries"
            )
        self.c_out, self.time, self.space = c_out, time, space

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q o"]:
        if stream.begins:  # the first frame's group is filled up with zeros
            x = F.pad(x, (0, 0, 0, 0, 0, 0, self.time - 1, 0))
        groups = "b (t r) (h p) (w q) c -> b t h w (c r p q)"
        x = rearrange(x, groups, r=self.time, p=self.space, q=self.space)
        return x.unflatten(-1, (self.c_out, -1)).mean(-1)


class DupUp(nn.Module):
    """The shortcut past a stage that grows: channels repeated into time, rows and columns."""

    def __init__(self, c_in: int, c_out: int, *, time: int, space: int):
        super().__init__()
        self.time, self.space = time, space
        cells = time * space**2
        repeats = c_out * cells // c_in
        # source[s, o]: the channel that becomes output channel o in cell s = (time, row, column)
        # Numbers, not a tensor: weights are loaded through the meta device, where it would be lost.
        source = [(s + o * cells) // repeats for s in range(cells) for o in range(c_out)]
        self.source = None if repeats == cells else source

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q o"]:
        cells = {"r": self.time, "p": self.space, "q": self.space}
        if self.source is None:
            x = repeat(x, "b t h w c -> b (t r) (h p) (w q) c", **cells)
        else:
            x = rearrange(
                x[..., self.source], "b t h w (r p q c) -> b (t r) (h p) (w q) c", **cells
            )
        return x[:, self.time - 1 :] if stream.begins else x


class ResidualDownBlock(nn.Module):
    """A stage of Wan 2.2's encoder."""

    def __init__(self, c_in: int, c_out: int, blocks: int, *, down: bool, time: bool):
        super().__init__()
        dims = [c_in] + [c_out] * blocks
        self.resnets = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(dims))
        self.downsampler = Downsample(c_out, time=time) if down else None
        self.avg_shortcut = AvgDown(c_in, c_out, time=1 + time, space=1 + down)

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q o"]:
        y = x
        for block in self.resnets:
            y = block(y, stream)
        if self.downsampler is not None:
            y = self.downsampler(y, stream)
        return _add(y, self.avg_shortcut(x, stream))


class UpBlock(nn.Module):
    """A stage of the decoder; `residual` is Wan 2.2's kind, with a shortcut past it."""

    def __init__(self, c_in: int, c_out: int, blocks: int, *, up: bool, time: bool, residual: bool):
        super().__init__()
        dims = [c_in] + [c_out] * (blocks + 1)
        self.resnets = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(dims))
        self.upsampler = self.upsamplers = self.avg_shortcut = None
        if up and residual:
            self.upsampler = Upsample(c_out, c_out, time=time)
            self.avg_shortcut = DupUp(c_in, c_out, time=1 + time, space=2)
        elif up:
            self.upsamplers = nn.ModuleList([Upsample(c_out, c_out // 2, time=time)])

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b s p q o"]:
        y = x
        for block in self.resnets:
            y = block(y, stream)
        if self.upsampler is not None and self.avg_shortcut is not None:
            return _add(self.upsampler(y, stream), self.avg_shortcut(x, stream))
        return y if self.upsamplers is None else self.upsamplers[0](y, stream)

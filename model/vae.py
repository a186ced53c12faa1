"""The causal video autoencoder of Wan 2.1 and 2.2 (Wan technical report, arXiv 2503.20314, section 4.1).

Parameters carry the names of diffusers' AutoencoderKLWan, so its state_dicts load as they are.
Inside, activations are [b, t, h, w, c]: norms reduce over contiguous memory and every convolution
sees the channels-last layout that oneDNN and cuDNN are fastest in. Time is causal, and the first
frame is a group of its own: 4k + 1 frames become k + 1 latent frames.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from model.streaming import Stream

WAN21_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """The keys of diffusers' AutoencoderKLWan under their names (`temperal` is theirs)."""

    base_dim: int = 96
    decoder_base_dim: int | None = None  # None: as base_dim
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    dropout: float = 0.0  # 0 in every checkpoint; not used
    latents_mean: tuple[float, ...] = WAN21_MEAN
    latents_std: tuple[float, ...] = WAN21_STD
    is_residual: bool = False
    in_channels: int = 3
    out_channels: int = 3
    patch_size: int | None = None
    scale_factor_temporal: int = 4
    scale_factor_spatial: int = 8


def conv3d(x: Tensor, weight: Tensor, bias: Tensor | None, stride, padding) -> Tensor:
    """Convolution of [b, t, h, w, c] with a weight [o, c, kt, kh, kw], stride and zero padding (t, h, w)."""
    x = x.permute(0, 4, 1, 2, 3)
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16):
        # F.conv3d leaves oneDNN for a kernel 5 to 10 times slower when b == 1 and the clip is small.
        y = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1, 1), 1)
    else:
        y = F.conv3d(x, weight, bias, stride, padding)
    return y.permute(0, 2, 3, 4, 1)


class CausalConv3d(nn.Conv3d):
    """A convolution that sees `kt - 1` earlier frames, from the stream or zeros, and never a later one."""

    name: str = ""  # the layer's key in a Stream; VAE sets it to the module's path

    def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int, int], stride_t: int = 1):
        super().__init__(c_in, c_out, kernel, stride=(stride_t, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        kt, kh, kw = self.kernel_size
        if kt == kh == kw == 1:
            return F.linear(x, self.weight.flatten(1), self.bias)
        if kt > 1:
            x = stream.extend(self.name, x, keep=kt - self.stride[0])
        return conv3d(x, self.weight, self.bias, self.stride, (0, kh // 2, kw // 2))


class RMSNorm(nn.Module):
    """x / rms(x) over the channels, times gamma."""

    def __init__(self, dim: int, *ones: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *ones))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.gamma.flatten(), eps=1e-24)


class ResidualBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1 = RMSNorm(c_in, 1, 1, 1)
        self.conv1 = CausalConv3d(c_in, c_out, (3, 3, 3))
        self.norm2 = RMSNorm(c_out, 1, 1, 1)
        self.conv2 = CausalConv3d(c_out, c_out, (3, 3, 3))
        self.conv_shortcut = CausalConv3d(c_in, c_out, (1, 1, 1)) if c_in != c_out else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)), stream)
        h = self.conv2(F.silu(self.norm2(h)), stream)
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x, stream))


class Attention(nn.Module):
    """Single-head self-attention over the pixels of each frame."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = RMSNorm(dim, 1, 1)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        b, t, h, w, c = x.shape
        qkv = F.linear(self.norm(x), self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = qkv.view(b * t, 1, h * w, 3 * c).chunk(3, dim=-1)  # one head
        y = F.scaled_dot_product_attention(q, k, v).view(b, t, h, w, c)
        return x + F.linear(y, self.proj.weight.flatten(1), self.proj.bias)


class MidBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.resnets = nn.ModuleList([ResidualBlock(dim, dim), ResidualBlock(dim, dim)])
        self.attentions = nn.ModuleList([Attention(dim)])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.resnets[0](x, stream)
        x = self.attentions[0](x, stream)
        return self.resnets[1](x, stream)


class Downsample(nn.Module):
    """Halves height and width, and with `time` the frames after the first, pair by pair."""

    def __init__(self, dim: int, *, time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), stride_t=2) if time else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        conv = self.resample[1]
        x = F.pad(x, (0, 0, 0, 1, 0, 1))  # one column right, one row below
        x = conv3d(x, conv.weight.unsqueeze(2), conv.bias, (1, 2, 2), (0, 0, 0))
        if self.time_conv is None:
            return x
        if not stream.begins:
            return self.time_conv(x, stream)
        # The first frame goes by as it is, and is what the first pair has before it.
        first, x = x[:, :1], x[:, 1:]
        stream.past[self.time_conv.name] = first.clone()
        return torch.cat([first, self.time_conv(x, stream)], 1) if x.shape[1] else first


class Upsample(nn.Module):
    """Doubles height and width, and with `time` each frame after the first."""

    def __init__(self, dim: int, c_out: int, *, time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(dim, c_out, 3))
        self.time_conv = CausalConv3d(dim, dim * 2, (3, 1, 1)) if time else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if self.time_conv is not None:
            # The first frame goes by as it is and is nobody's history: time begins anew after it.
            first, x = (x[:, :1], x[:, 1:]) if stream.begins else (x[:, :0], x)
            if x.shape[1]:
                x = self.time_conv(x, stream)
                x = rearrange(x, "b t h w (r c) -> b (t r) h w c", r=2)
            x = torch.cat([first, x], 1) if first.shape[1] else x
        return double(x, self.resample[1].weight, self.resample[1].bias)


def double(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[b, t, h, w, c] to [b, t, 2h, 2w, o]: each pixel doubled both ways, then a 3x3 convolution.

    Both at once are one transposed convolution of stride 2, whose 4x4 kernel sums the weights that
    fall on the same pixel: 4/9 of the work, and the doubled picture never exists.
    """
    kernel = F.pad(weight, (0, 1, 0, 1)) + F.pad(weight, (1, 0, 0, 1))
    kernel = kernel + F.pad(weight, (0, 1, 1, 0)) + F.pad(weight, (1, 0, 1, 0))
    kernel = kernel.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    b, t = x.shape[:2]
    y = F.conv_transpose2d(
        x.flatten(0, 1).permute(0, 3, 1, 2), kernel, bias, stride=2, padding=1
    )
    return y.permute(0, 2, 3, 1).unflatten(0, (b, t))


class AvgDown(nn.Module):
    """The shortcut past a stage that shrinks: means over groups of (channel, time, row, column)."""

    def __init__(self, c_in: int, c_out: int, factor_t: int, factor_s: int):
        super().__init__()
        if c_in * factor_t * factor_s**2 % c_out:
            raise ValueError(
                f"dim_mult: a residual stage from {c_in} to {c_out} channels that shrinks by "
                f"{factor_t}x{factor_s}x{factor_s} has no whole groups; end dim_mult with two equal entries"
            )
        self.c_out, self.factor_t, self.factor_s = c_out, factor_t, factor_s

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if stream.begins:  # the first frame's group is filled up with zeros
            x = F.pad(x, (0, 0, 0, 0, 0, 0, self.factor_t - 1, 0))
        p, r = self.factor_s, self.factor_t
        groups = "b (t r) (h p) (w q) c -> b t h w (c r p q)"
        x = rearrange(x, groups, r=r, p=p, q=p)
        return x.unflatten(-1, (self.c_out, -1)).mean(-1)


class DupUp(nn.Module):
    """The shortcut past a stage that grows: channels repeated into time, rows and columns."""

    def __init__(self, c_in: int, c_out: int, factor_t: int, factor_s: int):
        super().__init__()
        self.factor_t, self.factor_s = factor_t, factor_s
        factor = factor_t * factor_s**2
        repeats = c_out * factor // c_in
        # source[s, o]: the channel that becomes output channel o of subpixel s = (time, row, column)
        subpixel = torch.arange(factor)[:, None] + torch.arange(c_out) * factor
        self.source = None if repeats == factor else (subpixel // repeats).flatten()

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        p, r = self.factor_s, self.factor_t
        if self.source is None:
            x = repeat(x, "b t h w c -> b (t r) (h p) (w q) c", r=r, p=p, q=p)
        else:
            x = x[..., self.source]
            x = rearrange(x, "b t h w (r p q c) -> b (t r) (h p) (w q) c", r=r, p=p, q=p)
        return x[:, r - 1 :] if stream.begins else x


class ResidualDownBlock(nn.Module):
    """A stage of Wan 2.2's encoder."""

    def __init__(self, c_in: int, c_out: int, blocks: int, *, down: bool, time: bool):
        super().__init__()
        dims = [c_in] + [c_out] * blocks
        self.resnets = nn.ModuleList(map(ResidualBlock, dims[:-1], dims[1:]))
        self.downsampler = Downsample(c_out, time=time) if down else None
        self.avg_shortcut = AvgDown(c_in, c_out, 2 if time else 1, 2 if down else 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        y = x
        for block in self.resnets:
            y = block(y, stream)
        if self.downsampler is not None:
            y = self.downsampler(y, stream)
        return y + self.avg_shortcut(x, stream)


class UpBlock(nn.Module):
    """A stage of the decoder; `residual` is Wan 2.2's kind, with a shortcut past it."""

    def __init__(self, c_in: int, c_out: int, blocks: int, *, up: bool, time: bool, residual: bool):
        super().__init__()
        dims = [c_in] + [c_out] * (blocks + 1)
        self.resnets = nn.ModuleList(map(ResidualBlock, dims[:-1], dims[1:]))
        self.upsampler = self.upsamplers = self.avg_shortcut = None
        if up and residual:
            self.upsampler = Upsample(c_out, c_out, time=time)
            self.avg_shortcut = DupUp(c_in, c_out, 2 if time else 1, 2)
        elif up:
            self.upsamplers = nn.ModuleList([Upsample(c_out, c_out // 2, time=time)])

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        y = x
        for block in self.resnets:
            y = block(y, stream)
        if self.upsampler is not None:
            return self.upsampler(y, stream) + self.avg_shortcut(x, stream)
        return y if self.upsamplers is None else self.upsamplers[0](y, stream)


class Encoder(nn.Module):
    def __init__(self, config: VAEConfig):
        super().__init__()
        dims = [config.base_dim * m for m in (1, *config.dim_mult)]
        self.conv_in = CausalConv3d(config.in_channels, dims[0], (3, 3, 3))
        self.down_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:], strict=True)):
            down = i < len(config.dim_mult) - 1
            time = down and config.temperal_downsample[i]
            blocks = config.num_res_blocks
            if config.is_residual:
                self.down_blocks.append(ResidualDownBlock(c_in, c_out, blocks, down=down, time=time))
                continue
            for c in [c_in] + [c_out] * (blocks - 1):
                self.down_blocks.append(ResidualBlock(c, c_out))
                if 0.5**i in config.attn_scales:
                    self.down_blocks.append(Attention(c_out))
            if down:
                self.down_blocks.append(Downsample(c_out, time=time))
        self.mid_block = MidBlock(dims[-1])
        self.norm_out = RMSNorm(dims[-1], 1, 1, 1)
        self.conv_out = CausalConv3d(dims[-1], 2 * config.z_dim, (3, 3, 3))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv_in(x, stream)
        for block in self.down_blocks:
            x = block(x, stream)
        x = self.mid_block(x, stream)
        return self.conv_out(F.silu(self.norm_out(x)), stream)


class Decoder(nn.Module):
    def __init__(self, config: VAEConfig):
        super().__init__()
        dim = config.decoder_base_dim or config.base_dim
        dims = [dim * m for m in (*config.dim_mult, config.dim_mult[-1])[::-1]]
        self.conv_in = CausalConv3d(config.z_dim, dims[0], (3, 3, 3))
        self.mid_block = MidBlock(dims[0])
        self.up_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(zip(dims[:-1], dims[1:], strict=True)):
            up = i < len(config.dim_mult) - 1
            time = up and config.temperal_downsample[::-1][i]
            if i > 0 and not config.is_residual:
                c_in //= 2  # Wan 2.1 halves the channels where it doubles the picture
            blocks, residual = config.num_res_blocks, config.is_residual
            self.up_blocks.append(UpBlock(c_in, c_out, blocks, up=up, time=time, residual=residual))
        self.norm_out = RMSNorm(dims[-1], 1, 1, 1)
        self.conv_out = CausalConv3d(dims[-1], config.out_channels, (3, 3, 3))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.mid_block(self.conv_in(x, stream), stream)
        for block in self.up_blocks:
            x = block(x, stream)
        return self.conv_out(F.silu(self.norm_out(x)), stream)


class VAE(nn.Module):
    """Frames [b, 3, f, H, W] in [-1, 1] to latents [b, z, t, h, w] and back; f = 4 (t - 1) + 1."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = CausalConv3d(2 * config.z_dim, 2 * config.z_dim, (1, 1, 1))
        self.post_quant_conv = CausalConv3d(config.z_dim, config.z_dim, (1, 1, 1))
        self.decoder = Decoder(config)
        for name, module in self.named_modules():
            if isinstance(module, CausalConv3d):
                module.name = name

    def encode_distribution(
        self, frames: Tensor, stream: Stream | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [b, z, t, h, w], not normalised.

        `stream` carries the history of earlier frames and takes these ones in: 4k + 1 frames at its
        beginning and 4k after it.
        """
        stream = stream or Stream(whole=True)
        time, space = self.config.scale_factor_temporal, self.config.scale_factor_spatial
        _, _, f, height, width = frames.shape
        if (f - 1 if stream.begins else f) % time or f == 0:
            raise ValueError(
                f"frames: {f} frames; a sequence begins with {time}k + 1 and goes on by {time}k"
            )
        if height % space or width % space:
            raise ValueError(f"frames: {width}x{height} pixels; both must be multiples of {space}")
        p = self.config.patch_size or 1
        x = rearrange(frames, "b c f (h p) (w q) -> b f h w (c q p)", p=p, q=p)
        x = self.encoder(x.contiguous(), stream)
        x = self.quant_conv(x, stream)
        stream.frames += x.shape[1]
        mean, logvar = rearrange(x, "b t h w (n c) -> n b c t h w", n=2)
        return mean, logvar.clamp(-30, 20)

    def encode(self, frames: Tensor, stream: Stream | None = None) -> Tensor:
        """The posterior's mean [b, z, t, h, w], not normalised; see `encode_distribution`."""
        return self.encode_distribution(frames, stream)[0]

    def decode(self, latents: Tensor, stream: Stream | None = None) -> Tensor:
        """Frames [b, 3, f, H, W] in [-1, 1] of latents [b, z, t, h, w] as `encode` gives them.

        `stream` carries the history of earlier latents and takes these ones in: f = 4 (t - 1) + 1 at
        its beginning and 4 t after it.
        """
        stream = stream or Stream(whole=True)
        x = rearrange(latents, "b c t h w -> b t h w c").contiguous()
        x = self.decoder(self.post_quant_conv(x, stream), stream)
        stream.frames += latents.shape[2]
        p = self.config.patch_size or 1
        return rearrange(x, "b f h w (c q p) -> b c f (h p) (w q)", p=p, q=p).clamp(-1, 1)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents to about zero mean and unit variance, as the transformer takes them."""
        mean, std = self._statistics(latents)
        return (latents - mean) * (1 / std)

    def denormalize(self, latents: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._statistics(latents)
        return latents / (1 / std) + mean

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean = latents.new_tensor(self.config.latents_mean).view(-1, 1, 1, 1)
        std = latents.new_tensor(self.config.latents_std).view(-1, 1, 1, 1)
        return mean, std

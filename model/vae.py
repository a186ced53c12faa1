"""The causal video autoencoder of Wan 2.1 and 2.2 (Wan technical report, arXiv:2503.20314, 4.1).

Parameters carry the names of diffusers' AutoencoderKLWan, so its state_dicts load as they are.
Time is causal and the first frame is a group of its own, so a clip can pass in chunks: with a
`Stream` to carry its history, any chunking gives what the whole clip gives at once.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.resample import Downsample, ResidualBlock, ResidualDownBlock, UpBlock
from model.shapes import latent_frames
from model.streaming import CausalConv3d, Pointwise, RMSNorm, Stream
from model.tiling import Tile, margins, reach, tiles

__all__ = ["VAE", "VAEConfig"]

WAN21_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip

#: Elements of one activation that pass through a stage at a time: what a CPU's caches and its
#: allocator's free lists hold. More frames at a time make nothing faster.
PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class VAEConfig:
    """The keys of diffusers' AutoencoderKLWan under their names (`temperal` is theirs)."""

    base_dim: int = 96
    decoder_base_dim: int | None = None  # None: as base_dim
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_scales: tuple[float, ...] = ()  # empty in every checkpoint; diffusers cannot run others
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


class Attention(nn.Module):
    """Single-head self-attention between the pixels of each frame, and a shortcut past it."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = RMSNorm(dim, 1, 1)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t h w c"]:
        b, t, h, w, c = x.shape
        if self._is_switched_off():
            return x
        qkv = F.linear(self.norm(x), self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = qkv.view(b * t, 1, h * w, 3 * c).chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v).view(b, t, h, w, c)
        return x + F.linear(y, self.proj.weight.flatten(1), self.proj.bias)

    def _is_switched_off(self) -> bool:
        """The last layer is zero and not being trained, as in a VAE that is to be a convolution."""
        proj = self.proj
        if torch.is_grad_enabled() and proj.weight.requires_grad:
            return False
        return not any(parameter.any() for parameter in proj.parameters())


class MidBlock(nn.Module):
    """The stage at the resolution of the latents, the only one in which all pixels meet."""

    def __init__(self, dim: int):
        super().__init__()
        self.resnets = nn.ModuleList([ResidualBlock(dim, dim), ResidualBlock(dim, dim)])
        self.attentions = nn.ModuleList([Attention(dim)])

    def forward(self, x: Float[Tensor, "b t h w c"], stream: Stream) -> Float[Tensor, "b t h w c"]:
        x = self.resnets[0](x, stream)
        return self.resnets[1](self.attentions[0](x), stream)


class Encoder(nn.Module):
    """Frames in patches to the parameters of the posterior."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        dims = [config.base_dim * m for m in (1, *config.dim_mult)]
        blocks = config.num_res_blocks
        self.conv_in = CausalConv3d(config.in_channels, dims[0], (3, 3, 3))
        self.down_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(pairwise(dims)):
            down = i < len(config.dim_mult) - 1
            time = down and config.temperal_downsample[i]
            if config.is_residual:
                block = ResidualDownBlock(c_in, c_out, blocks, down=down, time=time)
                self.down_blocks.append(block)
                continue
            for c in [c_in] + [c_out] * (blocks - 1):
                self.down_blocks.append(ResidualBlock(c, c_out))
            if down:
                self.down_blocks.append(Downsample(c_out, time=time))
        self.mid_block = MidBlock(dims[-1])
        self.norm_out = RMSNorm(dims[-1], 1, 1, 1)
        self.conv_out = CausalConv3d(dims[-1], 2 * config.z_dim, (3, 3, 3))
        #: Blocks up to the last that halves the picture.
        self.shrinking = len(self.down_blocks) - (1 if config.is_residual else blocks)
        self.reach = reach(len(config.dim_mult) - 1, 2 * blocks)

    def shrink(self, x: Float[Tensor, "b f h w c"], stream: Stream) -> Float[Tensor, "b t p q c"]:
        """All that happens at higher resolutions than that of the latents."""
        x = self.conv_in(x, stream)
        for block in self.down_blocks[: self.shrinking]:
            x = block(x, stream)
        return x

    def leave(self, x: Float[Tensor, "b t p q c"], stream: Stream) -> Float[Tensor, "b t p q z"]:
        """The rest, at the resolution of the latents."""
        for block in self.down_blocks[self.shrinking :]:
            x = block(x, stream)
        return self.conv_out(self.mid_block(x, stream), stream, self.norm_out)


class Decoder(nn.Module):
    """Latents to frames in patches."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        dim = config.decoder_base_dim or config.base_dim
        dims = [dim * m for m in (*config.dim_mult, config.dim_mult[-1])[::-1]]
        blocks, residual = config.num_res_blocks, config.is_residual
        self.conv_in = CausalConv3d(config.z_dim, dims[0], (3, 3, 3))
        self.mid_block = MidBlock(dims[0])
        self.up_blocks = nn.ModuleList()
        for i, (c_in, c_out) in enumerate(pairwise(dims)):
            up = i < len(config.dim_mult) - 1
            time = up and config.temperal_downsample[::-1][i]
            # Wan 2.1 halves the channels where it doubles the picture.
            c = c_in if residual or i == 0 else c_in // 2
            block = UpBlock(c, c_out, blocks, up=up, time=time, residual=residual)
            self.up_blocks.append(block)
        self.norm_out = RMSNorm(dims[-1], 1, 1, 1)
        self.conv_out = CausalConv3d(dims[-1], config.out_channels, (3, 3, 3))
        self.margins = margins(len(config.dim_mult), 2 * (blocks + 1))

    def forward(self, x: Float[Tensor, "b t h w z"], stream: Stream) -> Float[Tensor, "b f p q c"]:
        x = self.enter(x, stream)
        for block in self.up_blocks:
            x = block(x, stream)
        return self.conv_out(x, stream, self.norm_out)

    def enter(self, x: Float[Tensor, "b t h w z"], stream: Stream) -> Float[Tensor, "b t h w c"]:
        """All that happens at the resolution of the latents."""
        return self.mid_block(self.conv_in(x, stream), stream)

    def pieces(
        self, x: Float[Tensor, "b t h w c"], stream: Stream, tile: Tile, level: int = 0
    ) -> Iterator[Float[Tensor, "b _f p q c"]]:
        """A tile's frames, a few at a time, of what `enter` made of one latent frame.

        Depth first: a frame goes all the way up before the next one leaves its stage, so a stage
        never holds more than a piece of its own.
        """
        x = tile.narrow(x, level)
        if level > len(self.up_blocks):
            yield x
            return
        for piece in x.split(max(1, PIECE // x[:, 0].numel()), 1):
            if level < len(self.up_blocks):
                y = self.up_blocks[level](piece, stream)
            else:
                y = self.conv_out(piece, stream, self.norm_out)
            yield from self.pieces(y, stream, tile, level + 1)


class VAE(nn.Module):
    """Frames [b 3 f h w] in [-1, 1] to latents [b z t h w] and back; f = 4 (t - 1) + 1.

    What comes in may be of another dtype than the weights, and what goes out is of its dtype.
    """

    #: Height and width, in latent cells, of the parts in which pictures pass; None is whole ones.
    tile: tuple[int, int] | None = None

    def __init__(self, config: VAEConfig):
        super().__init__()
        if config.attn_scales:
            raise ValueError(f"attn_scales: must be empty, not {config.attn_scales}")
        stages = len(config.dim_mult) - 1
        time = 2 ** sum(config.temperal_downsample[:stages])
        space = 2**stages * (config.patch_size or 1)
        if (time, space) != (config.scale_factor_temporal, config.scale_factor_spatial):
            raise ValueError(
                f"scale_factor_temporal, scale_factor_spatial: dim_mult, temperal_downsample and "
                f"patch_size make them {time} and {space}, not {config.scale_factor_temporal} and "
                f"{config.scale_factor_spatial}"
            )
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = Pointwise(2 * config.z_dim, 2 * config.z_dim)
        self.post_quant_conv = Pointwise(config.z_dim, config.z_dim)
        self.decoder = Decoder(config)
        for name, module in self.named_modules():
            if isinstance(module, CausalConv3d):
                module.name = name

    def in_tiles(self, tile: tuple[int, int]) -> "VAE":
        """The same network, whose stages of higher resolution than the latents' see one tile at a
        time: the same results in less memory and more time, but no gradient.
        """
        if min(tile) < 1:
            raise ValueError(f"tile: must be two positive numbers of latent cells, not {tile}")
        twin = copy(self)
        twin.tile = tile
        return twin

    def stream(self) -> Stream:
        """A stream for a long clip. It asks for memory with each chunk where that is cheap, or
        memory is short.
        """
        lean = self.tile is not None or self.post_quant_conv.weight.device.type != "cpu"
        return Stream(lean=lean)

    def encode_distribution(
        self, frames: Float[Tensor, "b c f h w"], stream: Stream | None = None
    ) -> tuple[Float[Tensor, "b z t p q"], Float[Tensor, "b z t p q"]]:
        """Mean and log-variance of the posterior, not normalised.

        `stream` carries the history of earlier frames and takes these ones in. A clip begins with
        4k + 1 frames and goes on by multiples of 4; anything else is a ValueError.
        """
        stream = stream or Stream(whole=torch.is_grad_enabled())
        self._refuse_gradients()
        time, space = self.config.scale_factor_temporal, self.config.scale_factor_spatial
        _, _, f, height, width = frames.shape
        if stream.begins:
            latent_frames(f, time)
        elif f == 0 or f % time:
            raise ValueError(f"frames: a stream goes on by multiples of {time} frames, not {f}")
        if height % space or width % space:
            raise ValueError(f"frames: sides must be multiples of {space}, not {width}x{height}")
        p = self.config.patch_size or 1
        x = rearrange(self._own(frames), "b c f (h p) (w q) -> b f h w (c q p)", p=p, q=p)
        if torch.is_grad_enabled():
            groups = [f]
        else:
            groups = [time] * (f // time)
            if stream.begins:
                groups.insert(0, 1)
        encoded: list[Tensor] = []
        for group in x.split(groups, 1):
            shrunk = self._shrink(group, stream)
            encoded.append(self.quant_conv(self.encoder.leave(shrunk, stream)))
            stream.frames += encoded[-1].shape[1]
        both = torch.cat(encoded, 1).to(frames.dtype)
        mean, logvar = rearrange(both, "b t h w (n z) -> n b z t h w", n=2)
        return mean, logvar.clamp(-30, 20)

    def encode(
        self, frames: Float[Tensor, "b c f h w"], stream: Stream | None = None
    ) -> Float[Tensor, "b z t p q"]:
        """The posterior's mean, not normalised; see `encode_distribution`."""
        return self.encode_distribution(frames, stream)[0]

    def encode_stream(
        self, chunks: Iterable[Float[Tensor, "b c _f h w"]], stream: Stream | None = None
    ) -> Iterator[Float[Tensor, "b z 1 p q"]]:
        """What `encode` gives, one latent frame at a time, of a clip that comes in any chunks."""
        stream = stream or Stream()
        time = self.config.scale_factor_temporal
        waiting: Tensor | None = None
        for chunk in chunks:
            waiting = chunk if waiting is None else torch.cat([waiting, chunk], 2)
            while waiting.shape[2] >= (need := 1 if stream.begins else time):
                group, waiting = waiting[:, :, :need], waiting[:, :, need:]
                yield self.encode(group, stream)
        if waiting is not None and waiting.shape[2]:
            raise ValueError(
                f"frames: a clip has {time}k + 1 frames, but the last {waiting.shape[2]} of this "
                f"one make no group of {time}"
            )

    def decode(
        self, latents: Float[Tensor, "b z t h w"], stream: Stream | None = None
    ) -> Float[Tensor, "b c f p q"]:
        """Frames in [-1, 1] of latents as `encode` gives them, f = 4 (t - 1) + 1.

        `stream` carries the history of earlier latents and takes these ones in; after the first
        chunk f = 4t.
        """
        self._refuse_gradients()
        if torch.is_grad_enabled():
            stream = stream or Stream(whole=True)
            x = self.post_quant_conv(rearrange(self._own(latents), "b z t h w -> b t h w z"))
            x = self.decoder(x, stream).to(latents.dtype)
            stream.frames += latents.shape[2]
            p = self.config.patch_size or 1
            return rearrange(x, "b f h w (c q p) -> b c f (h p) (w q)", p=p, q=p).clamp(-1, 1)
        # After one by itself nothing comes: its history, kept, would take far more than its frame.
        stream = stream or Stream(whole=latents.shape[2] == 1)
        parts = [self._decode_one(part, stream) for part in latents.split(1, 2)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def decode_stream(
        self, chunks: Iterable[Float[Tensor, "b z _t h w"]], stream: Stream | None = None
    ) -> Iterator[Float[Tensor, "b c _f p q"]]:
        """What `decode` gives, the frames of one latent frame at a time: 1, then 4 and 4.

        With each chunk of frames, `stream` stands right behind it.
        """
        stream = stream or Stream()
        for chunk in chunks:
            for part in chunk.split(1, 2):
                yield self.decode(part, stream)

    def _shrink(self, x: Float[Tensor, "b f h w c"], stream: Stream) -> Tensor:
        if self.tile is None:
            return self.encoder.shrink(x, stream)
        scale = 2 ** (len(self.config.dim_mult) - 1)
        h, w = (cells // scale for cells in x.shape[2:4])
        canvas: Tensor | None = None
        for part in tiles((h, w), self.tile, ()):
            (top, bottom), (left, right) = part.rows, part.columns
            seen = part.around(self.encoder.reach)
            rows, columns = (slice(a * scale, b * scale) for a, b in (seen.rows, seen.columns))
            y = self.encoder.shrink(x[:, :, rows, columns], stream.at(f"{top},{left}"))
            if canvas is None:
                canvas = y.new_empty(*y.shape[:2], h, w, y.shape[-1])
            own = y[:, :, top - seen.rows[0] :, left - seen.columns[0] :]
            canvas[:, :, top:bottom, left:right] = own[:, :, : bottom - top, : right - left]
        assert canvas is not None  # a picture has tiles
        return canvas

    def _decode_one(self, latents: Tensor, stream: Stream) -> Tensor:
        b, _, _, h, w = latents.shape
        space, p = self.config.scale_factor_spatial, self.config.patch_size or 1
        f = 1 if stream.begins else self.config.scale_factor_temporal
        c = self.config.out_channels // p**2
        canvas = latents.new_empty(b, c, f, h * space, w * space)
        x = self.post_quant_conv(rearrange(self._own(latents), "b z t h w -> b t h w z"))
        x = self.decoder.enter(x, stream)
        for part in tiles((h, w), self.tile, self.decoder.margins):
            (top, bottom), (left, right) = part.rows, part.columns
            place = stream if self.tile is None else stream.at(f"{top},{left}")
            target = canvas[..., top * space : bottom * space, left * space : right * space]
            target = target.unflatten(-1, (-1, p)).unflatten(-3, (-1, p))  # b c f h p w q
            start = 0
            for piece in self.decoder.pieces(x, place, part):
                frames = rearrange(piece, "b f h w (c q p) -> b c f h p w q", p=p, q=p)
                target[:, :, start : start + frames.shape[2]] = frames
                start += frames.shape[2]
        stream.frames += 1
        return canvas.clamp_(-1, 1)

    def normalize(self, latents: Float[Tensor, "b z t h w"]) -> Float[Tensor, "b z t h w"]:
        """Latents as the transformer takes them, of about zero mean and unit variance."""
        mean, std = self._statistics(latents)
        return (latents - mean) * (1 / std)

    def denormalize(self, latents: Float[Tensor, "b z t h w"]) -> Float[Tensor, "b z t h w"]:
        """The inverse of `normalize`."""
        mean, std = self._statistics(latents)
        return latents / (1 / std) + mean

    def _refuse_gradients(self) -> None:
        if self.tile is not None and torch.is_grad_enabled():
            raise ValueError("tile: tiles carry no gradient; go through them in torch.no_grad()")

    def _own(self, x: Tensor) -> Tensor:
        """`x` in the dtype of the weights."""
        return x.to(self.post_quant_conv.weight.dtype)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        mean = latents.new_tensor(self.config.latents_mean).view(-1, 1, 1, 1)
        std = latents.new_tensor(self.config.latents_std).view(-1, 1, 1, 1)
        return mean, std

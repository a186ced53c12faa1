"""The Wan diffusion transformer: noisy latents, times and text in, velocity out.

A DiT (Peebles & Xie, 2023) on video latents. Every latent frame has its own diffusion time, so
clean frames (time 0) can condition noisy ones. Parameters carry the names of diffusers'
WanTransformer3DModel, so its state dicts load as they are.

Precision: weights may be bfloat16 while the modules in `FLOAT32_MODULES` stay float32; norms,
modulation and gated residuals are computed in float32 and rounded once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn

from model.attention import Attention, KeysValues
from model.rope import axis_widths, rope_table
from model.shapes import TokenGrid

__all__ = ["FLOAT32_MODULES", "ImageContext", "TextContext", "Transformer", "TransformerConfig"]

#: Parts of parameter names that stay float32 whatever the dtype of the rest (as in diffusers).
FLOAT32_MODULES = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """`transformer/config.json` under its own names; the defaults are diffusers'."""

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: int = 40
    cross_attn_norm: bool = True
    qk_norm: str = "rms_norm_across_heads"
    eps: float = 1e-6
    #: Width of CLIP's image tokens (Wan 2.1 image-to-video), and of the K/V projections' input.
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    #: Number of image tokens with learned positions (first-and-last-frame checkpoints).
    pos_embed_seq_len: int | None = None

    def __post_init__(self) -> None:
        counts = {
            name: getattr(self, name)
            for name in ("num_attention_heads", "in_channels", "out_channels", "text_dim",
                         "freq_dim", "ffn_dim", "num_layers")
        }  # fmt: skip
        for name, count in (*counts.items(), *(("patch_size", side) for side in self.patch_size)):
            if count < 1:
                raise ValueError(f"{name}: must be at least 1, not {count}")
        if self.attention_head_dim % 2:
            raise ValueError(f"attention_head_dim: must be even, not {self.attention_head_dim}")
        if min(axis_widths(self.attention_head_dim)) < 2:
            raise ValueError(
                f"attention_head_dim: must be at least 6 so that time, height and width each get "
                f"a channel pair, not {self.attention_head_dim}"
            )
        if self.qk_norm != "rms_norm_across_heads":
            raise ValueError(f"qk_norm: must be 'rms_norm_across_heads', not {self.qk_norm!r}")
        if (self.image_dim is None) != (self.added_kv_proj_dim is None):
            raise ValueError("image_dim and added_kv_proj_dim: give both or neither")
        if self.added_kv_proj_dim not in (None, self.width):
            raise ValueError(
                f"added_kv_proj_dim: must be the transformer's width {self.width}, "
                f"not {self.added_kv_proj_dim}"
            )

    @property
    def width(self) -> int:
        """Channels of a token (d)."""
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True, slots=True)
class TextContext:
    """What a prompt is to the transformer: keys and values (b l k e) of every layer."""

    layers: tuple[KeysValues, ...]


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What a CLIP-encoded image is to the transformer: keys and values of every layer."""

    layers: tuple[KeysValues, ...]


class Transformer(nn.Module):
    """Velocity of noisy latents: `Transformer(config)(latents, timestep, text)`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d = config.width
        self.config = config
        self.patch_embedding = nn.Conv3d(
            config.in_channels, d, config.patch_size, stride=config.patch_size
        )
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, d) / d**0.5)
        self.proj_out = nn.Linear(d, config.out_channels * math.prod(config.patch_size))

    def encode_text(self, embeds: Float[Tensor, "b l d_text"]) -> TextContext:
        """Prepare a prompt once for all steps. Padding rows are attended to like any other."""
        text = self.condition_embedder.text_embedder(embeds)
        return TextContext(tuple(layer.text_context(text) for layer in self._cross_attention()))

    def encode_image(self, embeds: Float[Tensor, "b l d_image"]) -> ImageContext:
        """Prepare CLIP tokens once for all steps: of one image, or of first and last in a row."""
        if self.condition_embedder.image_embedder is None:
            raise ValueError("image: this checkpoint's transformer has no image branch")
        image = self.condition_embedder.image_embedder(embeds)
        return ImageContext(tuple(layer.image_context(image) for layer in self._cross_attention()))

    def forward(
        self,
        latents: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b *t"],
        text: TextContext | Float[Tensor, "b l d_text"],
        image: ImageContext | Float[Tensor, "b l d_image"] | None = None,
        *,
        rope_scale: float = 1.0,
    ) -> Float[Tensor, "b c_out t h w"]:
        """Velocity (noise - data) at `latents`.

        `timestep` is in [0, 1000], one per clip or one per latent frame. `rope_scale` multiplies
        spatial positions, for grids larger than the trained ones.
        """
        text = self.encode_text(text) if isinstance(text, Tensor) else text
        image = self.encode_image(image) if isinstance(image, Tensor) else image
        grid = self._grid(latents, timestep)
        table = rope_table(
            grid, self.config.attention_head_dim, scale=rope_scale, device=latents.device
        )
        x = self._patchify(latents)  # b n d
        # Tokens in groups of one diffusion time: frames, or whole clips. A time's row is computed
        # once and broadcast over its group.
        times = timestep.view(len(timestep), -1)  # b g
        x = x.unflatten(1, (times.shape[1], -1))  # b g s d
        temb, modulation = self.condition_embedder.time(times, x.dtype)
        for i, block in enumerate(self.blocks):
            layer_image = None if image is None else image.layers[i]
            x = block(x, modulation, table, text.layers[i], layer_image)
        shift, scale = (self.scale_shift_table + temb.unsqueeze(-2)).chunk(2, dim=-2)
        x = modulate(x, shift, scale, self.config.eps)
        return self._unpatchify(self.proj_out(x.flatten(1, 2)), grid)

    def _cross_attention(self) -> Iterator[Attention]:
        return (cast("Block", block).attn2 for block in self.blocks)

    def _grid(self, latents: Tensor, timestep: Tensor) -> TokenGrid:
        b, c, *size = latents.shape
        if c != self.config.in_channels:
            raise ValueError(f"latents: must have {self.config.in_channels} channels, not {c}")
        for cells, patch, axis in zip(size, self.config.patch_size, "thw", strict=True):
            if cells % patch:
                raise ValueError(f"latents: {axis} must be a multiple of {patch}, not {cells}")
        grid = TokenGrid(*(s // p for s, p in zip(size, self.config.patch_size, strict=True)))
        if timestep.shape not in ((b,), (b, grid.t)):
            raise ValueError(
                f"timestep: must have shape ({b},) or ({b}, {grid.t}), not {tuple(timestep.shape)}"
            )
        return grid

    def _patchify(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        # Patches do not overlap, so the convolution is one linear map; as such it is much faster.
        pt, ph, pw = self.config.patch_size
        patches = rearrange(
            latents, "b c (t pt) (h ph) (w pw) -> b (t h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw
        )
        return F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def _unpatchify(
        self, x: Float[Tensor, "b n p"], grid: TokenGrid
    ) -> Float[Tensor, "b c_out t h w"]:
        pt, ph, pw = self.config.patch_size
        return rearrange(
            x,
            "b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)",
            t=grid.t, h=grid.h, w=grid.w, pt=pt, ph=ph, pw=pw,
        )  # fmt: skip


class Block(nn.Module):
    """Self-attention, cross-attention, feed-forward; the first and last modulated by time."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d, heads, eps = config.width, config.num_attention_heads, config.eps
        self.eps = eps
        self.attn1 = Attention(d, heads, eps)
        self.attn2 = Attention(d, heads, eps, config.added_kv_proj_dim)
        self.norm2 = nn.LayerNorm(d, eps) if config.cross_attn_norm else None
        self.ffn = FeedForward(d, config.ffn_dim, d, tanh=True)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, d) / d**0.5)

    def forward(
        self,
        x: Float[Tensor, "b g s d"],
        modulation: Float[Tensor, "b g 6 d"],
        table: Complex[Tensor, "n half"],
        text: KeysValues,
        image: KeysValues | None,
    ) -> Float[Tensor, "b g s d"]:
        rows = self.scale_shift_table + modulation.float()
        shift1, scale1, gate1, shift2, scale2, gate2 = rows.chunk(6, dim=-2)  # b g 1 d

        y = modulate(x, shift1, scale1, self.eps).flatten(1, 2)  # b n d
        x = add_gated(x, self.attn1.to_self(y, table).view_as(x), gate1)
        y = x if self.norm2 is None else layer_norm(self.norm2, x)
        x = x + self.attn2.to_context(y.flatten(1, 2), text, image).view_as(x)
        y = modulate(x, shift2, scale2, self.eps)
        return add_gated(x, self.ffn(y), gate2)


def layer_norm(norm: nn.LayerNorm, x: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
    """`norm` in float32, whatever the dtypes of the tokens and of its weights."""
    weight, bias = norm.weight.float(), norm.bias.float()
    return F.layer_norm(x.float(), norm.normalized_shape, weight, bias, norm.eps).type_as(x)


def modulate(
    x: Float[Tensor, "b g s d"],
    shift: Float[Tensor, "b g 1 d"],
    scale: Float[Tensor, "b g 1 d"],
    eps: float,
) -> Float[Tensor, "b g s d"]:
    """Adaptive layer norm (DiT, section 3.2), in float32: norm(x) * (1 + scale) + shift."""
    normed = F.layer_norm(x.float(), x.shape[-1:], eps=eps)
    return torch.addcmul(shift, normed, 1 + scale).type_as(x)


def add_gated(
    x: Float[Tensor, "b g s d"], y: Float[Tensor, "b g s d"], gate: Float[Tensor, "b g 1 d"]
) -> Float[Tensor, "b g s d"]:
    """Residual x + gate * y, in float32."""
    return torch.addcmul(x.float(), y.float(), gate).type_as(x)


class FeedForward(nn.Module):
    def __init__(self, d_in: int, d_hidden: int, d_out: int, *, tanh: bool) -> None:
        super().__init__()
        # Identity stands where diffusers has a dropout, so that the keys are the same.
        self.net = nn.Sequential(
            Gelu(d_in, d_hidden, tanh=tanh), nn.Identity(), nn.Linear(d_hidden, d_out)
        )

    def forward(self, x: Float[Tensor, "*axes d_in"]) -> Float[Tensor, "*axes d_out"]:
        return self.net(x)


class Gelu(nn.Module):
    """A linear layer and GELU (Hendrycks & Gimpel, 2016), exact or by their tanh formula."""

    def __init__(self, d_in: int, d_out: int, *, tanh: bool) -> None:
        super().__init__()
        self.tanh = tanh
        self.proj = nn.Linear(d_in, d_out)

    def forward(self, x: Float[Tensor, "*axes d_in"]) -> Float[Tensor, "*axes d_out"]:
        y = self.proj(x)
        # In bfloat16 PyTorch's CPU takes six times as long for tanh, and the two forms are nearer
        # to each other (5e-4) than rounding can tell.
        exact = not self.tanh or (y.device.type == "cpu" and y.dtype == torch.bfloat16)
        return F.gelu(y, approximate="none" if exact else "tanh")


class TwoLayers(nn.Module):
    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(d_in, d_out)
        self.linear_2 = nn.Linear(d_out, d_out)


class TextEmbedder(TwoLayers):
    def forward(self, x: Float[Tensor, "b l d_text"]) -> Float[Tensor, "b l d"]:
        return self.linear_2(F.gelu(self.linear_1(x), approximate="tanh"))


class TimeEmbedder(TwoLayers):
    def forward(self, x: Float[Tensor, "b g freq"]) -> Float[Tensor, "b g d"]:
        return self.linear_2(F.silu(self.linear_1(x)))


class ImageEmbedder(nn.Module):
    """CLIP tokens to the transformer's width; learned positions tell first frame from last."""

    def __init__(self, d_image: int, d: int, positions: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d_image)
        self.ff = FeedForward(d_image, d_image, d, tanh=False)
        self.norm2 = nn.LayerNorm(d)
        self.pos_embed = None
        if positions is not None:
            self.pos_embed = nn.Parameter(torch.zeros(1, positions, d_image))

    def forward(self, x: Float[Tensor, "b l d_image"]) -> Float[Tensor, "b l d"]:
        if self.pos_embed is not None:
            if x.shape[1] != self.pos_embed.shape[1]:
                raise ValueError(
                    f"image: this checkpoint takes {self.pos_embed.shape[1]} image tokens "
                    f"(first and last frame), not {x.shape[1]}"
                )
            x = x + self.pos_embed
        return layer_norm(self.norm2, self.ff(layer_norm(self.norm1, x)))


class ConditionEmbedder(nn.Module):
    """Time, text and image, each to the transformer's width."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d = config.width
        self.freq_dim = config.freq_dim
        self.time_embedder = TimeEmbedder(config.freq_dim, d)
        self.time_proj = nn.Linear(d, 6 * d)
        self.text_embedder = TextEmbedder(config.text_dim, d)
        self.image_embedder = None
        if config.image_dim is not None:
            self.image_embedder = ImageEmbedder(config.image_dim, d, config.pos_embed_seq_len)

    def time(
        self, timestep: Float[Tensor, "b g"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "b g d"], Float[Tensor, "b g 6 d"]]:
        """Time embedding, and its six modulation rows, in `dtype`.

        The embedder runs in its own dtype (float32); diffusers rounds before `time_proj`.
        """
        waves = sinusoid(timestep, self.freq_dim).to(self.time_embedder.linear_1.weight.dtype)
        temb = self.time_embedder(waves).to(dtype)
        return temb, self.time_proj(F.silu(temb)).unflatten(-1, (6, -1))


def sinusoid(position: Float[Tensor, "b g"], channels: int) -> Float[Tensor, "b g channels"]:
    """Sinusoidal embedding (Vaswani et al., 2017, section 3.5), cosines first, in float32."""
    exponents = torch.arange(channels // 2, dtype=torch.float32, device=position.device)
    frequencies = torch.exp(-math.log(10_000) * exponents / (channels // 2))
    angles = position.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)

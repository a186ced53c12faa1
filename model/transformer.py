"""The Wan diffusion transformer: noisy latents, times and text in, velocity out.

A DiT (Peebles & Xie, 2023) on video latents. Every latent frame has its own diffusion time, so
clean frames (time 0) can condition noisy ones. Parameters carry the names of diffusers'
WanTransformer3DModel, so its state dicts load as they are.

Precision: weights may be bfloat16 while the modules in `FLOAT32_MODULES` stay float32; norms,
modulation and gated residuals are computed in float32 and rounded once.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn

from model.attention import Attention, KeysValues
from model.embedders import ConditionEmbedder
from model.layers import FeedForward, layer_norm
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
        for name in ("attention_head_dim", "freq_dim"):
            if getattr(self, name) % 2:
                raise ValueError(f"{name}: must be even, not {getattr(self, name)}")
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


def staying(_block: nn.Module) -> AbstractContextManager[None]:
    """The weights of a block are where it works."""
    return nullcontext()


class Transformer(nn.Module):
    """Velocity of noisy latents: `Transformer(config)(latents, timestep, text)`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        d = config.width
        self.config = config
        self.patch_embedding = nn.Conv3d(
            config.in_channels, d, config.patch_size, stride=config.patch_size
        )
        self.condition_embedder = ConditionEmbedder(
            d,
            freq_dim=config.freq_dim,
            text_dim=config.text_dim,
            image_dim=config.image_dim,
            image_positions=config.pos_embed_seq_len,
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, d) / d**0.5)
        self.proj_out = nn.Linear(d, config.out_channels * math.prod(config.patch_size))
        #: Entered while a block works; `offload.py` then has its weights come and go.
        self.visit: Callable[[nn.Module], AbstractContextManager[None]] = staying

    @property
    def is_offloaded(self) -> bool:
        """Whether the blocks' weights wait in host memory."""
        return self.visit is not staying

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
            with self.visit(block):
                x = block(x, modulation, table, text.layers[i], layer_image)
        shift, scale = (self.scale_shift_table + temb.unsqueeze(-2)).chunk(2, dim=-2)
        x = modulate(x, shift, scale, self.config.eps)
        return self._unpatchify(self.proj_out(x.flatten(1, 2)), grid)

    def _cross_attention(self) -> Iterator[Attention]:
        for block in self.blocks:
            with self.visit(block):
                yield cast("Block", block).attn2

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

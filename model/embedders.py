"""What the transformer is conditioned on, brought to its width: time, text and image tokens."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.layers import FeedForward, layer_norm

__all__ = ["ConditionEmbedder"]


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

    def __init__(
        self,
        d: int,
        *,
        freq_dim: int,
        text_dim: int,
        image_dim: int | None,
        image_positions: int | None,
    ) -> None:
        super().__init__()
        self.freq_dim = freq_dim
        self.time_embedder = TimeEmbedder(freq_dim, d)
        self.time_proj = nn.Linear(d, 6 * d)
        self.text_embedder = TextEmbedder(text_dim, d)
        self.image_embedder = None
        if image_dim is not None:
            self.image_embedder = ImageEmbedder(image_dim, d, image_positions)

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

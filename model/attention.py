"""Multi-head attention of the Wan transformer, to its own tokens or to a prepared context."""

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

from model.rope import rotate

__all__ = ["Attention", "KeysValues", "attend"]

#: Keys and values, each with shape (b, l, k, e).
KeysValues = tuple[Tensor, Tensor]

#: Scores (2 bytes each) that `attend_by_parts` holds at a time: half of a core's usual 2 MiB of L2.
CACHED_SCORES = 2**20


def attend(
    q: Float[Tensor, "b n k e"], k: Float[Tensor, "b l k e"], v: Float[Tensor, "b l k e"]
) -> Float[Tensor, "b n d"]:
    """Softmax attention of every query over all keys; the heads' results side by side."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # b k n e
    # PyTorch's fused CPU kernel multiplies bfloat16 at the speed of float32.
    by_parts = q.device.type == "cpu" and q.dtype == torch.bfloat16
    out = attend_by_parts(q, k, v) if by_parts else F.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)  # b n d


def attend_by_parts(
    q: Float[Tensor, "b k n e"], k: Float[Tensor, "b k l e"], v: Float[Tensor, "b k l e"]
) -> Float[Tensor, "b k n e"]:
    """Attention as two products with a softmax between, for so many queries as fit the cache."""
    n, scale = q.shape[2], q.shape[3] ** -0.5
    q, kt, v = (x.flatten(0, 1) for x in (q * scale, k.transpose(2, 3), v))
    rows = max(1, min(n, CACHED_SCORES // kt.shape[2]))
    heads = max(1, CACHED_SCORES // (rows * kt.shape[2]))
    parts: list[Tensor] = []
    for q_heads, kt_heads, v_heads in zip(*(x.split(heads) for x in (q, kt, v)), strict=True):
        tiles = [(x @ kt_heads).softmax(-1) @ v_heads for x in q_heads.split(rows, dim=1)]
        parts.append(torch.cat(tiles, dim=1))
    return torch.cat(parts).unflatten(0, (-1, k.shape[1]))


class Attention(nn.Module):
    """Attention whose queries and keys are RMS-normalised over all heads together.

    `image_dim` adds the second pair of projections with which Wan 2.1 reads an image context.
    """

    def __init__(self, dim: int, heads: int, eps: float, image_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q = nn.RMSNorm(dim, eps=eps)
        self.norm_k = nn.RMSNorm(dim, eps=eps)
        if image_dim is not None:
            self.add_k_proj = nn.Linear(image_dim, dim)
            self.add_v_proj = nn.Linear(image_dim, dim)
            self.norm_added_k = nn.RMSNorm(dim, eps=eps)

    def split(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n k e"]:
        return x.unflatten(-1, (self.heads, -1))

    def text_context(self, text: Float[Tensor, "b l d"]) -> KeysValues:
        return self.split(self.norm_k(self.to_k(text))), self.split(self.to_v(text))

    def image_context(self, image: Float[Tensor, "b l d"]) -> KeysValues:
        keys = self.norm_added_k(self.add_k_proj(image))
        return self.split(keys), self.split(self.add_v_proj(image))

    def to_self(
        self, x: Float[Tensor, "b n d"], table: Complex[Tensor, "n half"]
    ) -> Float[Tensor, "b n d"]:
        """Attend to the tokens themselves, with rotary positions."""
        q = rotate(self.split(self.norm_q(self.to_q(x))), table)
        k = rotate(self.split(self.norm_k(self.to_k(x))), table)
        return self.to_out[0](attend(q, k, self.split(self.to_v(x))))

    def to_context(
        self, x: Float[Tensor, "b n d"], text: KeysValues, image: KeysValues | None
    ) -> Float[Tensor, "b n d"]:
        """Attend to the text and, apart from it, to the image; the two results are added."""
        q = self.split(self.norm_q(self.to_q(x)))
        out = attend(q, *text)
        if image is not None:
            out = out + attend(q, *image)
        return self.to_out[0](out)

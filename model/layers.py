"""The parts that blocks and embedders share: feed-forward network and float32 layer norm."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FeedForward", "layer_norm"]


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

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


def layer_norm(norm: nn.LayerNorm, x: Float[Tensor, "*axes d"]) -> Float[Tensor, "*axes d"]:
    """`norm` in float32, whatever the dtypes of the tokens and of its weights."""
    weight, bias = norm.weight.float(), norm.bias.float()
    return F.layer_norm(x.float(), norm.normalized_shape, weight, bias, norm.eps).type_as(x)

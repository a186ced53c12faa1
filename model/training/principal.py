"""Latents along their principal components: an autoencoder turned, not trained.

A trained autoencoder's channels are correlated: in kinora-tiny's 32, four directions hold 84 % of
the variance and sixteen 98.8 %. Diffusion adds the same noise in every direction, so such latents
waste most of it: what is large shows through until the noise level is almost 1, what is small is
drowned until it is almost 0, and the transformer has to carry noise that stands for nothing.
Encoder and decoder meet in linear layers, so the latents may be turned to their principal
components (Pearson 1901), the smallest dropped, and the others scaled towards equal variance,
all of it inside the weights and the configuration.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.vae import VAE

__all__ = ["Basis", "basis", "turned"]


@dataclass(frozen=True, slots=True)
class Basis:
    """Where components lie among posterior means `[z]`: mean = origin + axes @ components."""

    origin: Tensor  # [z]
    axes: Tensor  # [z, kept], orthonormal
    mean: Tensor  # [kept], of the components
    variance: Tensor  # [kept], descending


@torch.no_grad()
def basis(vae: VAE, means: Tensor, kept: int) -> Basis:
    """The `kept` directions in which posterior means `[z, n]` vary most, in float64."""
    lift = vae.post_quant_conv.weight.flatten(1).double()
    assert vae.post_quant_conv.bias is not None
    # The decoder pads with zeros, so the latent that it reads as zero has to stay the zero.
    origin = -torch.linalg.solve(lift, vae.post_quant_conv.bias.double())
    centred = means.double() - origin[:, None]
    _, axes = torch.linalg.eigh(centred @ centred.T / centred.shape[1])
    axes = axes[:, -kept:]
    variance, turn = torch.linalg.eigh(torch.cov(axes.T @ centred))
    axes = axes @ turn.flip(1)
    return Basis(origin, axes, axes.T @ centred.mean(1), variance.flip(0))


@torch.no_grad()
def turned(vae: VAE, onto: Basis, *, evenness: float) -> VAE:
    """`vae` with the components of `onto` as its latent channels.

    The standard deviation of a normalised channel is that of its component to the power of
    1 - `evenness`: 0 keeps the proportions, 1 makes all channels alike. Their mean square is 1.
    """
    z, kept = vae.config.z_dim, onto.axes.shape[1]
    spread = onto.variance.sqrt() ** evenness
    spread = spread * (onto.variance / spread**2).mean().sqrt()
    out = VAE(
        replace(
            vae.config,
            z_dim=kept,
            latents_mean=tuple(round(v, 5) for v in onto.mean.tolist()),
            latents_std=tuple(round(v, 5) for v in spread.tolist()),
        )
    )
    state = {name: value.double() for name, value in vae.state_dict().items()}
    to_axes = onto.axes.T @ state["quant_conv.weight"].flatten(1)[:z]
    weight = torch.einsum("kz,z...->k...", to_axes, state["encoder.conv_out.weight"])
    shift = state["quant_conv.bias"][:z] - onto.origin
    bias = to_axes @ state["encoder.conv_out.bias"] + onto.axes.T @ shift
    # The posterior is a point, as far as float16 can tell: diffusion takes its mean anyway.
    state["encoder.conv_out.weight"] = torch.cat([weight, torch.zeros_like(weight)])
    state["encoder.conv_out.bias"] = torch.cat([bias, torch.full_like(bias, -12.0)])
    lift = state["post_quant_conv.weight"].flatten(1) @ onto.axes
    state["decoder.conv_in.weight"] = torch.einsum(
        "oz...,zk->ok...", state["decoder.conv_in.weight"], lift
    )
    for name, width in (("quant_conv", 2 * kept), ("post_quant_conv", kept)):
        state[f"{name}.weight"] = torch.eye(width)[:, :, None, None, None]
        state[f"{name}.bias"] = torch.zeros(width)
    out.load_state_dict({name: value.float() for name, value in state.items()})
    return out.eval()

"""How much memory a clip takes, from sizes alone: what admission and device choice go by.

Activations are a number of copies of the tokens (or of a stage's frames), counted in what a process
really took; a test keeps the formulas within a factor of two of that. Attention's scores are not in
them: no implementation here keeps more than a few.
"""

import math
from dataclasses import dataclass

import torch

from model.config import CheckpointConfig
from model.shapes import TokenGrid, latent_frames
from model.transformer import Transformer, TransformerConfig
from model.vae import VAE, VAEConfig

__all__ = ["Memory", "compute_dtype", "decode_bytes", "denoise_bytes", "estimate"]

FLOAT32 = 4
#: Copies of the tokens that are alive in attention and in the feed-forward beside its hidden layer.
#: Norms, rotation and modulation are in float32, whatever the dtype of the weights.
ATTENTION_COPIES, FEED_FORWARD_COPIES = 12, 7
#: Copies of a stage's frames that are alive in a block of the VAE's decoder.
STAGE_COPIES = 11


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `weights` stay, `denoise` and `decode` come one after the other."""

    weights: int
    denoise: int
    decode: int

    @property
    def peak(self) -> int:
        return self.weights + max(self.denoise, self.decode)


def estimate(
    config: CheckpointConfig,
    *,
    width: int,
    height: int,
    frames: int,
    dtype: torch.dtype,
    guided: bool = True,
) -> Memory:
    """Memory of one clip on the device, text and image encoders left out.

    `guided` counts two branches, as classifier-free guidance runs them in one batch.
    """
    space, time = config.vae.scale_factor_spatial, config.vae.scale_factor_temporal
    _, ph, pw = config.transformer.patch_size
    grid = TokenGrid(
        latent_frames(frames, time),
        math.ceil(height / (space * ph)),
        math.ceil(width / (space * pw)),
    )
    experts = [e for e in (config.transformer, config.transformer_2) if e is not None]
    weights = sum(_parameters(expert) for expert in experts) * dtype.itemsize
    weights += _parameters(config.vae) * FLOAT32
    branches = 2 if guided else 1
    contexts = branches * len(experts) * _context_values(config.transformer, config.text_length)
    return Memory(
        weights=weights,
        denoise=branches * denoise_bytes(config.transformer, grid, dtype)
        + contexts * dtype.itemsize,
        decode=decode_bytes(config.vae, height=height, width=width),
    )


def denoise_bytes(config: TransformerConfig, grid: TokenGrid, dtype: torch.dtype) -> int:
    """Activations of one forward without gradients, for one clip of `grid` tokens."""
    tokens = config.width * FLOAT32
    hidden = 2 * config.ffn_dim * dtype.itemsize  # before and after GELU
    return grid.n * max(ATTENTION_COPIES * tokens, FEED_FORWARD_COPIES * tokens + hidden)


def decode_bytes(config: VAEConfig, *, height: int, width: int) -> int:
    """Activations and history of the decoder, for one latent frame at a time; float32."""
    dim = config.decoder_base_dim or config.base_dim
    patch = config.patch_size or 1
    levels = len(config.dim_mult)
    frames, largest, history = 1, 0, 0
    for level in range(levels):
        shrunk = patch * 2 ** (levels - 1 - level)
        cells = math.ceil(height / shrunk) * math.ceil(width / shrunk)
        channels = dim * config.dim_mult[levels - 1 - level]
        largest = max(largest, STAGE_COPIES * frames * cells * channels)
        # Each causal convolution keeps two frames; a block has two convolutions.
        history += 2 * 2 * (config.num_res_blocks + 1) * cells * channels
        if level < levels - 1 and config.temperal_downsample[::-1][level]:
            frames *= 2
    return (largest + history) * FLOAT32


def compute_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest dtype on `device` that keeps quality: bfloat16 where hardware multiplies it."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = torch.cpu.get_capabilities()
    multiplies = able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if multiplies else torch.float32


def _parameters(config: TransformerConfig | VAEConfig) -> int:
    with torch.device("meta"):
        module = Transformer(config) if isinstance(config, TransformerConfig) else VAE(config)
    return sum(parameter.numel() for parameter in module.parameters())


def _context_values(config: TransformerConfig, text_length: int) -> int:
    """Keys and values of a prompt in every layer."""
    return 2 * config.num_layers * text_length * config.width

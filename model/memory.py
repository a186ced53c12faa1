"""How much memory a clip takes, from sizes alone: what admission and device choice go by.

Activations are a number of copies of the tokens (or of a stage's frames), counted in what a process
really took; a test keeps the formulas within a factor of two of that. Attention's scores are not in
them: no implementation here keeps more than a few. Nor is what an allocator keeps for later.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model.canvas import Canvas
from model.config import CheckpointConfig
from model.guidance import BATCHED_TOKENS
from model.outline import FRUGAL_TILE, Sizes, latent_shape
from model.shapes import TokenGrid
from model.transformer import Transformer, TransformerConfig
from model.vae import PIECE, VAE, VAEConfig

__all__ = [
    "Memory",
    "compute_dtype",
    "decode_bytes",
    "decoder_memory",
    "denoise_bytes",
    "estimate",
]

FLOAT32 = 4
#: Copies of the tokens that are alive in attention and in the feed-forward beside its hidden layer.
#: Norms, rotation and modulation are in float32, whatever the dtype of the weights.
ATTENTION_COPIES, FEED_FORWARD_COPIES = 12, 7
#: Copies of a stage's frames that are alive in a block of the VAE's decoder.
STAGE_COPIES = 11
#: Copies of a window's latents in the solver, and of a latent frame's pixels on the way out.
LATENT_COPIES, FRAME_COPIES = 12, 4


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `weights` stay; `streams` are what the VAE remembers between two windows; `denoise`
    and `decode` come one after the other. None of it depends on how long a clip is.
    """

    weights: int
    streams: int
    denoise: int
    decode: int

    @property
    def peak(self) -> int:
        return self.weights + self.streams + max(self.denoise, self.decode)


def estimate(
    config: CheckpointConfig,
    sizes: Sizes,
    *,
    dtype: torch.dtype,
    guided: bool = True,
    weights: int | None = None,
    frugal: bool = False,
) -> Memory:
    """Memory of one clip on the device.

    `guided` counts two branches where classifier-free guidance runs them in one batch. `weights`,
    bytes, are those of transformers and VAE, if not given: text and image encoders left out.
    `frugal` is as `Pipeline.generate` means it.
    """
    time, t = config.vae.scale_factor_temporal, config.window_latents
    experts = [e for e in (config.transformer, config.transformer_2) if e is not None]
    if weights is None:
        weights = sum(_parameters(expert) for expert in experts) * dtype.itemsize
        weights += _parameters(config.vae) * FLOAT32
    grid = _tokens(config, sizes.base, t)
    branches = 2 if guided and not frugal and grid.n <= BATCHED_TOKENS else 1
    contexts = 2 if guided else 1
    context = contexts * len(experts) * _context_values(config.transformer, config.text_length)
    denoise = branches * denoise_bytes(config.transformer, grid, dtype)
    size = {"height": sizes.full.full_height, "width": sizes.full.full_width}
    decode, streams = decode_bytes(config.vae, **size), decoder_memory(config.vae, **size)
    if frugal:
        # What surrounds a tile makes it about twice as large, and is remembered as well.
        sides = [2 * cells * config.vae.scale_factor_spatial for cells in FRUGAL_TILE]
        decode = min(decode, decode_bytes(config.vae, height=sides[0], width=sides[1]))
    latents = math.prod(latent_shape(config, sizes.full, t)) * LATENT_COPIES * FLOAT32
    frames = FRAME_COPIES * 3 * time * size["height"] * size["width"] * FLOAT32
    if sizes.refine is not None:
        tile = TokenGrid(t, *sizes.refine.tile)
        denoise = max(denoise, denoise_bytes(config.transformer, tile, dtype))
        decode = max(decode, encode_bytes(config.vae, **size))
        streams += encoder_memory(config.vae, **size)
    return Memory(
        weights=weights,
        streams=streams,
        denoise=denoise + context * dtype.itemsize + latents,
        decode=decode + frames + latents,
    )


def denoise_bytes(config: TransformerConfig, grid: TokenGrid, dtype: torch.dtype) -> int:
    """Activations of one forward without gradients, for one clip of `grid` tokens."""
    tokens = config.width * FLOAT32
    hidden = 2 * config.ffn_dim * dtype.itemsize  # before and after GELU
    return grid.n * max(ATTENTION_COPIES * tokens, FEED_FORWARD_COPIES * tokens + hidden)


def decode_bytes(config: VAEConfig, *, height: int, width: int) -> int:
    """Activations of the decoder, for one latent frame at a time; float32.

    A stage takes a piece of its frames at a time, or one frame that is larger than that.
    """
    stages = _decoder_stages(config, height, width)
    return FLOAT32 * max(STAGE_COPIES * min(frames * n, max(n, PIECE)) for frames, n in stages)


def encode_bytes(config: VAEConfig, *, height: int, width: int) -> int:
    """Activations of the encoder, for one latent frame at a time; float32."""
    return FLOAT32 * max(
        STAGE_COPIES * frames * n for frames, n in _encoder_stages(config, height, width)
    )


def decoder_memory(config: VAEConfig, *, height: int, width: int) -> int:
    """What the decoder remembers: each causal convolution two frames, each block two of them."""
    convolutions = 2 * (config.num_res_blocks + 1)
    return FLOAT32 * sum(2 * convolutions * n for _, n in _decoder_stages(config, height, width))


def encoder_memory(config: VAEConfig, *, height: int, width: int) -> int:
    """What the encoder remembers."""
    convolutions = 2 * config.num_res_blocks
    return FLOAT32 * sum(2 * convolutions * n for _, n in _encoder_stages(config, height, width))


def _decoder_stages(config: VAEConfig, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Frames that pass a stage for one latent frame, and values of one such frame."""
    dim = config.decoder_base_dim or config.base_dim
    frames, levels = 1, len(config.dim_mult)
    for level in range(levels):
        yield frames, _values(config, dim, levels - 1 - level, height, width)
        if level < levels - 1 and config.temperal_downsample[::-1][level]:
            frames *= 2


def _encoder_stages(config: VAEConfig, height: int, width: int) -> Iterator[tuple[int, int]]:
    frames, levels = config.scale_factor_temporal, len(config.dim_mult)
    for level in range(levels):
        yield frames, _values(config, config.base_dim, level, height, width)
        if level < levels - 1 and config.temperal_downsample[level]:
            frames //= 2


def _values(config: VAEConfig, dim: int, level: int, height: int, width: int) -> int:
    shrunk = (config.patch_size or 1) * 2**level
    return math.ceil(height / shrunk) * math.ceil(width / shrunk) * dim * config.dim_mult[level]


def _tokens(config: CheckpointConfig, canvas: Canvas, t: int) -> TokenGrid:
    _, _, t, h, w = latent_shape(config, canvas, t)
    _, ph, pw = config.transformer.patch_size
    return TokenGrid(t, math.ceil(h / ph), math.ceil(w / pw))


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

"""How much memory a clip takes, from sizes alone: what admission and device choice go by.

What a forward, a decoded and an encoded latent frame take is counted (`footprint.py`); a test holds
that against what a process really takes. What an allocator keeps for later is not in it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch

from model.canvas import Canvas
from model.config import CheckpointConfig
from model.footprint import peak_bytes
from model.guidance import BATCHED_TOKENS
from model.outline import FRUGAL_TILE, Sizes, latent_shape
from model.shapes import TokenGrid
from model.streaming import Stream
from model.transformer import Transformer, TransformerConfig
from model.upsampler import Upsampler, UpsamplerConfig
from model.vae import VAE, VAEConfig

__all__ = ["Memory", "compute_dtype", "decoding", "denoising", "encoding", "estimate", "upsampling"]

FLOAT32 = 4
#: Copies of a window's latents in the solver, and of a latent frame's pixels on the way out.
LATENT_COPIES, FRAME_COPIES = 12, 3
#: Chunks after which a stream through the VAE remembers all that it ever will: the first stands for
#: one frame, the others for several.
CHUNKS = 2


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
    vae_dtype: torch.dtype = torch.float32,
    guided: bool = True,
    weights: int | None = None,
    lean: bool = False,
    frugal: bool = False,
) -> Memory:
    """Memory of one clip on the device.

    `guided` counts two branches where classifier-free guidance runs them in one batch. `weights`,
    bytes, are those of transformers and VAE, if not given: text and image encoders left out.
    `lean` streams are those of a GPU, and `frugal` is as `Pipeline.generate` means it.
    """
    time, t = config.vae.scale_factor_temporal, config.window_latents
    experts = [e for e in (config.transformer, config.transformer_2) if e is not None]
    if weights is None:
        weights = sum(_parameters(expert) for expert in experts) * dtype.itemsize
        weights += _parameters(config.vae) * vae_dtype.itemsize
    grid = _tokens(config, sizes.base, t)
    branches = 2 if guided and not frugal and grid.n <= BATCHED_TOKENS else 1
    contexts = 2 if guided else 1
    context = contexts * len(experts) * _context_values(config.transformer, config.text_length)
    denoise = denoising(config.transformer, grid, dtype, branches)
    size = (sizes.decoded.full_height, sizes.decoded.full_width)
    tile = FRUGAL_TILE if frugal else None
    decode, streams = decoding(config.vae, *size, vae_dtype, lean=lean or frugal, tile=tile)
    latents = math.prod(latent_shape(config, sizes.decoded, t)) * LATENT_COPIES * FLOAT32
    pixels = sizes.full.full_height * sizes.full.full_width
    frames = FRAME_COPIES * 3 * time * pixels * FLOAT32
    encode, remembered = encoding(config.vae, *size, vae_dtype, lean=lean or frugal, tile=tile)
    # What is given or edited is encoded, each time from the beginning, and by any checkpoint.
    decode = max(decode, encode + remembered)
    if sizes.refine is not None:
        refined = TokenGrid(t, *sizes.refine.tile)
        denoise = max(denoise, denoising(config.transformer, refined, dtype))
        decode, streams = max(decode, encode), streams + remembered
    if config.upsampler is not None and sizes.decoded != sizes.full:
        decode = max(decode, upsampling(config.upsampler, sizes.base, sizes.full, vae_dtype))
    return Memory(
        weights=weights,
        streams=streams,
        denoise=denoise + context * dtype.itemsize + latents,
        decode=decode + frames + latents,
    )


@cache
def denoising(
    config: TransformerConfig, grid: TokenGrid, dtype: torch.dtype, clips: int = 1
) -> int:
    """Activations of one forward without gradients, for `clips` clips of `grid` tokens."""
    sides = [
        count * p for count, p in zip((grid.t, grid.h, grid.w), config.patch_size, strict=True)
    ]
    with torch.device("meta"):
        # One block after the other works, in the memory of the one before.
        transformer = Transformer(replace(config, num_layers=1)).to(dtype)
        latents = torch.empty(clips, config.in_channels, *sides, dtype=dtype)
        times = torch.empty(clips, grid.t)
        prompt = torch.empty(clips, 1, config.text_dim, dtype=dtype)
    text = transformer.encode_text(prompt)
    return peak_bytes(lambda: transformer(latents, times, text))[0]


@cache
def decoding(
    config: VAEConfig,
    height: int,
    width: int,
    dtype: torch.dtype,
    *,
    lean: bool,
    tile: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """What a latent frame takes to decode, and what the decoder remembers of those before it: with
    a `tile` that is more, as each has a past of its own, margins and all.
    """
    space = config.scale_factor_spatial
    with torch.device("meta"):
        vae = _in_tiles(VAE(config).to(dtype), tile)
        latents = torch.empty(1, config.z_dim, 1, height // space, width // space)

    def decode() -> Stream:
        stream = Stream(lean=lean)
        for _ in range(CHUNKS):
            vae.decode(latents, stream)
        return stream

    return _beside(decode)


@cache
def encoding(
    config: VAEConfig,
    height: int,
    width: int,
    dtype: torch.dtype,
    *,
    lean: bool,
    tile: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """What the frames of a latent frame take to encode, and what the encoder remembers."""
    with torch.device("meta"):
        vae = _in_tiles(VAE(config).to(dtype), tile)
        frames = torch.empty(1, 3, config.scale_factor_temporal, height, width)

    def encode() -> Stream:
        stream = Stream(lean=lean)
        vae.encode(frames[:, :, :1], stream)
        for _ in range(CHUNKS - 1):
            vae.encode(frames, stream)
        return stream

    return _beside(encode)


@cache
def upsampling(config: UpsamplerConfig, base: Canvas, full: Canvas, dtype: torch.dtype) -> int:
    """What a frame of `base` takes, beside those before it, to become one of `full`."""
    with torch.device("meta"):
        upsampler = Upsampler(config).to(dtype)
        frame = torch.empty(1, 3, 1, base.height, base.width)
        before = torch.empty(1, 3, config.past_frames, base.height, base.width)
    return peak_bytes(lambda: upsampler.enlarge(frame, full, before))[0]


def _in_tiles(vae: VAE, tile: tuple[int, int] | None) -> VAE:
    return vae if tile is None else vae.in_tiles(tile)


def _beside(run: Callable[[], Stream]) -> tuple[int, int]:
    """The most that was alive beside what the stream holds at the end, and that."""
    most, kept = peak_bytes(lambda: run().past)
    return most - kept, kept


def _tokens(config: CheckpointConfig, canvas: Canvas, t: int) -> TokenGrid:
    _, _, t, h, w = latent_shape(config, canvas, t)
    _, ph, pw = config.transformer.patch_size
    return TokenGrid(t, math.ceil(h / ph), math.ceil(w / pw))


def compute_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest dtype on `device` that keeps quality: bfloat16 where hardware multiplies it."""
    if torch.device(device).type == "cuda":
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if multiplies else torch.float32
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

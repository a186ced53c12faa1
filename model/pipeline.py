"""A checkpoint on a device, and the way from a request to frames.

Devices and dtypes are decided here and nowhere else in `model`. Text encoder and transformers run
in the dtype asked for; latents, solver and VAE stay in float32.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model import conditioning
from model.canvas import Canvas, to_uint8
from model.checkpoint import load_transformer, load_vae
from model.clip import ImageEncoder
from model.config import CheckpointConfig, read_config
from model.request import Capabilities, Request, Resolved, resolve
from model.sampling import Prompt, Sampler, planned, tile_spans, windows
from model.shapes import latent_frames
from model.shards import CheckpointError
from model.text import TextEncoder
from model.transformer import Transformer
from model.upscale import Refine, base_size
from model.vae import VAE

__all__ = ["Pipeline", "Progress"]

#: The largest picture that is made: full HD, lying or standing, on any grid.
MAX_PIXELS = 1920 * 1088

Stage = Literal["text", "denoise", "decode"]


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `steps` pieces of a stage's work are done."""

    stage: Stage
    step: int
    steps: int


class Pipeline:
    """Frames from requests, with one loaded checkpoint. Made by `Pipeline.load`."""

    def __init__(
        self,
        config: CheckpointConfig,
        *,
        text: TextEncoder,
        clip: ImageEncoder | None,
        vae: VAE,
        transformers: tuple[Transformer, ...],
    ) -> None:
        self.config = config
        self.capabilities = _capabilities(config)
        self._refine = _refine(config)
        self._text = text
        self._clip = clip
        self._vae = vae
        self._transformers = transformers
        self._device = next(vae.parameters()).device

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Pipeline":
        """Load a Wan checkpoint in the diffusers folder layout; raise CheckpointError."""
        config = read_config(folder)
        folder = config.folder
        clip = None
        if config.transformer.image_dim is not None:
            clip = ImageEncoder.load(folder, device=device, dtype=dtype)
        parts = {"transformer": config.transformer, "transformer_2": config.transformer_2}
        length = config.text_length
        return cls(
            config,
            text=TextEncoder.load(folder, device=device, dtype=dtype, max_length=length),
            clip=clip,
            vae=load_vae(folder / "vae", config.vae, device=device),
            transformers=tuple(
                load_transformer(folder / name, part, device=device, dtype=dtype)
                for name, part in parts.items()
                if part is not None
            ),
        )

    def generate(
        self,
        request: Request,
        noise: Tensor | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        """Check `request` (ValueError "<field>: …") and yield its frames in chunks, in order.

        `noise` stands in for what the seed would draw: floats in the shape of the latents (of the
        small clip, where the size asked for is refined from one). `on_step` is told of each piece
        of work done, in the thread that takes the frames; what it raises stops the work.
        """
        resolved = resolve(request, self.capabilities)
        canvas = Canvas.of(resolved.width, resolved.height, self.capabilities.grid)
        generator = torch.Generator().manual_seed(resolved.seed)
        shape = self._latent_shape(resolved.frames, self._small(canvas) or canvas)
        # Drawn on the CPU in float32, so that a seed means the same noise on every device.
        drawn = torch.randn(shape, generator=generator)
        if noise is None:
            noise = drawn
        elif tuple(noise.shape) != shape or not noise.is_floating_point():
            raise ValueError(f"noise: must be floats of shape {shape}, not {tuple(noise.shape)}")
        return self._frames(resolved, canvas, noise, generator, on_step or _unheard)

    @torch.no_grad()
    def _frames(
        self,
        request: Resolved,
        canvas: Canvas,
        noise: Tensor,
        generator: torch.Generator,
        report: Callable[[Progress], None],
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        count = _Count("text", 1, report)
        prompt = self._encode_prompt(request)
        count.done()

        shape = self._latent_shape(request.frames, canvas)
        small = self._small(canvas)
        count = _Count("denoise", self._work(request, small, shape), report)
        sampler = Sampler(self.config, self._transformers, self._vae, request, prompt, count.done)
        latents = sampler.sample(small or canvas, noise.to(self._device, torch.float32))
        if small is not None and self._refine is not None:
            enlarged = canvas.resize(self._decode(latents, small, count))
            latents = conditioning.encode(self._vae, enlarged)
            fresh = torch.randn(shape, generator=generator).to(self._device)
            latents = sampler.refine(canvas, self._refine, latents, fresh)

        count = _Count("decode", shape[2], report)
        for frames in self._decode(latents, canvas, count):
            yield to_uint8(frames).cpu()

    def _encode_prompt(self, request: Resolved) -> Prompt:
        guided = max(request.guidance, request.guidance_2) > 1
        prompts = [request.prompt, request.negative_prompt] if guided else [request.prompt]
        images = [image for image in (request.image, request.last_image) if image is not None]
        seen = None if self._clip is None else self._clip.encode(images)
        return Prompt(self._text.encode(prompts), seen)

    def _decode(
        self, latents: Float[Tensor, "1 z t h w"], canvas: Canvas, count: "_Count"
    ) -> Iterator[Float[Tensor, "1 3 f h w"]]:
        """Frames in [-1, 1], cropped to the canvas, of one latent frame at a time."""
        parts = (self._vae.denormalize(part) for part in latents.split(1, dim=2))
        for frames in self._vae.decode_stream(parts):
            count.done()
            yield canvas.crop(frames)

    def _small(self, canvas: Canvas) -> Canvas | None:
        """The canvas of the clip that this one is refined from, or None if it is made directly."""
        refine = self._refine
        if refine is None or canvas.width * canvas.height <= refine.base_pixels:
            return None
        grid = self.capabilities.grid
        return Canvas.of(*base_size(canvas.width, canvas.height, grid, refine.base_pixels), grid)

    def _work(self, request: Resolved, small: Canvas | None, shape: tuple[int, ...]) -> int:
        """Pieces of work in making latents of `shape`."""
        parts = len(windows(self.config, shape[2]))
        steps = planned(request, self.config).steps * parts
        if small is None or self._refine is None:
            return steps
        # Enlarging passes each latent frame through the VAE; refining takes each tile each step.
        rows, columns = tile_spans(self._refine, self.config, shape)
        return steps + shape[2] + self._refine.steps * len(rows) * len(columns) * parts

    def _latent_shape(self, frames: int, canvas: Canvas) -> tuple[int, ...]:
        vae = self.config.vae
        t = latent_frames(frames, vae.scale_factor_temporal)
        space = vae.scale_factor_spatial
        return (1, vae.z_dim, t, canvas.full_height // space, canvas.full_width // space)


@dataclass(slots=True)
class _Count:
    """The pieces of a stage's work, reported as they get done."""

    stage: Stage
    steps: int
    report: Callable[[Progress], None]
    step: int = 0

    def done(self) -> None:
        self.step += 1
        self.report(Progress(self.stage, self.step, self.steps))


def _unheard(_progress: Progress) -> None:
    """Nobody wants to know."""


def _capabilities(config: CheckpointConfig) -> Capabilities:
    edits = () if config.conditioned_by_channels else ("edit",)
    default = config.defaults
    experts = 1 if config.transformer_2 is None else 2
    return Capabilities(
        model_id=config.model_id,
        modes=(*(mode for mode in config.modes if mode != "frames"), *edits),
        grid=math.lcm(*config.grid),
        frame_factor=config.vae.scale_factor_temporal,
        max_frames=config.max_frames,
        max_pixels=MAX_PIXELS,
        width=default.width,
        height=default.height,
        frames=default.frames,
        fps=default.fps,
        steps=default.steps,
        guidance=default.guidance,
        guidance_2=(default.guidance_2 or default.guidance) if experts == 2 else None,
        flow_shift=config.schedule.shift,
    )


def _refine(config: CheckpointConfig) -> Refine | None:
    """The section "refine" of `kinora.json`, or None where it is missing or has no steps."""
    if not config.refine.get("steps"):
        return None
    try:
        return Refine.from_json(config.refine)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{config.folder / 'kinora.json'}: refine: {error}") from error

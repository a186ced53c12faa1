"""One window of a clip on one checkpoint: from noise, and what is given, to latents."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from model import conditioning
from model.canvas import Canvas
from model.clip import ImageEncoder
from model.conditioning import Conditioning
from model.config import CheckpointConfig
from model.denoise import Experts, Velocity
from model.guidance import BATCHED_TOKENS, guide
from model.request import Resolved
from model.schedule import Schedule, ScheduleConfig, schedule, schedule_from, tail
from model.transformer import Transformer
from model.upsampler import Upsampler
from model.upscale import Refine, Tiled, spans
from model.vae import VAE
from model.windows import Window

__all__ = ["Sampler", "drawn", "noised", "planned", "refine_plan", "tile_spans"]

Scales = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Sampler:
    """A resolved request, its encoded prompts and the networks that make its latents.

    `text` holds the prompt of each shot and, where guidance needs it, the negative prompt last.
    `frugal` is less memory for more time: one branch of guidance after the other, decoded in tiles.
    """

    config: CheckpointConfig
    transformers: tuple[Transformer, ...]
    vae: VAE
    clip: ImageEncoder | None
    request: Resolved
    text: Float[Tensor, "p l d"]
    upsampler: Upsampler | None = None
    frugal: bool = False

    def channels(
        self,
        canvas: Canvas,
        shape: tuple[int, ...],
        first: Image.Image,
        last: Image.Image | None,
    ) -> tuple[Conditioning, Float[Tensor, "1 l d"] | None]:
        """A window's first and last picture for a checkpoint that takes channels.

        Beside them, how CLIP sees the pictures, for checkpoints that have it.
        """
        pictures = [first] if last is None else [first, last]
        seen = None if self.clip is None else self.clip.encode(pictures)
        given = [canvas.picture(picture) for picture in pictures]
        return conditioning.condition_channels(
            self.vae, shape, given[0], None if last is None else given[1]
        ), seen

    def experts(
        self,
        window: Window,
        shape: tuple[int, ...],
        seen: Float[Tensor, "1 l d"] | None,
    ) -> Experts:
        """The guided velocity fields of a window's prompt, for latents of `shape`."""
        scales = (self.request.guidance, self.request.guidance_2)
        return self._experts(self._fields(window, shape, seen, scales))

    def tiled(
        self,
        window: Window,
        shape: tuple[int, ...],
        seen: Float[Tensor, "1 l d"] | None,
        how: Refine,
        tick: Callable[[], None],
    ) -> Experts:
        """The same without guidance, for large latents, tile by tile; `tick` follows each tile."""
        rows, columns = tile_spans(how, self.config, shape)
        tile = (*shape[:3], rows[0].stop - rows[0].start, columns[0].stop - columns[0].start)
        fields = self._fields(window, tile, seen, (1.0, 1.0))
        return self._experts([Tiled(field, rows, columns, tick) for field in fields])

    def _experts(self, fields: list[Velocity]) -> Experts:
        boundary = (self.config.boundary_ratio or 0.0) * self.config.schedule.train_steps
        return Experts(fields[0], *fields[1:], boundary=boundary)

    def _fields(
        self,
        window: Window,
        shape: tuple[int, ...],
        seen: Float[Tensor, "1 l d"] | None,
        scales: Scales,
    ) -> list[Velocity]:
        patch = self.config.transformer.patch_size
        t, h, w = (cells // p for cells, p in zip(shape[2:], patch, strict=True))
        rows = [window.prompt] + [-1] * (len(self.text) > len(self.request.shots))
        return [
            guide(
                transformer,
                self.text[rows],
                scale,
                image=seen,
                tokens=BATCHED_TOKENS + 1 if self.frugal else t * h * w,
                rope_scale=rope_scale(self.config.train_grid, h, w),
            )
            for transformer, scale in zip(self.transformers, scales, strict=False)
        ]


def drawn(seed: int, window: int, stage: str, shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """The noise of a window's stage, on the CPU in float32: the same on every device.

    What the first window is denoised from is what the seed alone gives, as in diffusers.
    """
    if window or stage != "denoise":
        digest = hashlib.sha256(f"{seed} {window} {stage}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big") >> 1
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noised(latents: Tensor, noise: Tensor, plan: Schedule) -> Tensor:
    """`latents` at the noise level where `plan` begins."""
    sigma = plan.sigmas[0].item()
    return (1 - sigma) * latents + sigma * noise


def schedule_config(request: Resolved, config: CheckpointConfig) -> ScheduleConfig:
    """The checkpoint's, with the shift asked for."""
    return replace(config.schedule, shift=float(request.flow_shift))


def planned(request: Resolved, config: CheckpointConfig) -> Schedule:
    """The noise levels of a resolved request; an edit takes the last part only."""
    full = schedule(schedule_config(request, config), request.steps)
    return full if request.strength is None else tail(full, request.strength)


def refine_plan(request: Resolved, config: CheckpointConfig, how: Refine) -> Schedule:
    """The noise levels at which an enlarged clip is refined."""
    return schedule_from(schedule_config(request, config), how.strength, how.steps)


def tile_spans(
    how: Refine, config: CheckpointConfig, shape: tuple[int, ...]
) -> tuple[list[slice], list[slice]]:
    """Rows and columns of tiles, in latent cells, over latents of `shape`."""
    _, *patch = config.transformer.patch_size
    rows, columns = (
        [slice(s.start * p, s.stop * p) for s in spans(cells // p, tile, how.overlap)]
        for cells, p, tile in zip(shape[3:], patch, how.tile, strict=True)
    )
    return rows, columns


def rope_scale(train_grid: tuple[int, int] | None, h: int, w: int) -> float:
    """What brings the positions of a grid larger than the trained one back to its size.

    The measure is the area, so that a standing clip is treated as a lying one.
    """
    if train_grid is None:
        return 1.0
    return min(1.0, math.sqrt(math.prod(train_grid) / (h * w)))

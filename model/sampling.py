"""One request on one checkpoint: from noise to latents, at one size or enlarged tile by tile."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from model import conditioning
from model.canvas import Canvas, from_uint8
from model.conditioning import Conditioning
from model.config import CheckpointConfig
from model.denoise import DenoiseState, Experts, Velocity, denoise
from model.guidance import guide
from model.request import Resolved
from model.schedule import Schedule, ScheduleConfig, schedule, schedule_from, tail
from model.shapes import latent_frames
from model.transformer import Transformer
from model.upscale import Refine, Tiled, spans
from model.vae import VAE

__all__ = ["Prompt", "Sampler"]

# Frames of a source clip that are encoded at a time; a bound on memory, not on the result.
_CHUNK = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt and, where guidance needs it, negative prompt (p is 1 or 2); CLIP's view of images."""

    text: Float[Tensor, "p l d"]
    image: Float[Tensor, "1 image_l image_d"] | None = None


@dataclass(frozen=True, slots=True)
class Sampler:
    """A resolved request, its encoded prompt and the networks that make its latents.

    `tick` is called after each piece of work: a denoise step, or a tile of one.
    """

    config: CheckpointConfig
    transformers: tuple[Transformer, ...]
    vae: VAE
    request: Resolved
    prompt: Prompt
    tick: Callable[[], None]

    def sample(
        self, canvas: Canvas, noise: Float[Tensor, "1 z t h w"]
    ) -> Float[Tensor, "1 z t h w"]:
        """Latents of the clip as large as `canvas`, from noise or from the clip to edit."""
        request = self.request
        plan = planned(request, self.config)
        latents = noise
        if request.video is not None:
            chunks = map(from_uint8, _in_chunks(request.video.to(noise.device)))
            latents = _noised(conditioning.encode(self.vae, canvas.resize(chunks)), noise, plan)
        t = _length(windows(self.config, noise.shape[2])[0])
        shape = (*noise.shape[:2], t, *noise.shape[3:])
        fields = self._fields(shape, (request.guidance, request.guidance_2))
        return self._denoise(canvas, plan, fields, latents, self.tick)

    def refine(
        self, canvas: Canvas, how: Refine, latents: Tensor, noise: Tensor
    ) -> Float[Tensor, "1 z t h w"]:
        """`latents` of an enlarged clip, noised a little and denoised in tiles."""
        plan = schedule_from(schedule_config(self.request, self.config), how.strength, how.steps)
        rows, columns = tile_spans(how, self.config, tuple(latents.shape))
        t = _length(windows(self.config, latents.shape[2])[0])
        tile = (*latents.shape[:2], t, _length(rows[0]), _length(columns[0]))
        fields = self._fields(tile, (1.0, 1.0))
        fields = [Tiled(field, rows, columns, self.tick) for field in fields]
        return self._denoise(canvas, plan, fields, _noised(latents, noise, plan))

    def _denoise(
        self,
        canvas: Canvas,
        plan: Schedule,
        fields: list[Velocity],
        latents: Tensor,
        tick: Callable[[], None] | None = None,
    ) -> Tensor:
        """Denoise window after window; each is given the latents it shares with the last one."""
        given = self._given(canvas, tuple(latents.shape))
        boundary = (self.config.boundary_ratio or 0.0) * self.config.schedule.train_steps
        experts = Experts(fields[0], *fields[1:], boundary=boundary)
        done = latents[:, :, :0]
        for span in windows(self.config, latents.shape[2]):
            known = given.window(span, done[:, :, span.start :])
            part = latents[:, :, span]
            for state in denoise(plan, experts, known, DenoiseState(0, part)):
                part = state.latents
                if tick is not None:
                    tick()
            done = torch.cat([done[:, :, : span.start], part], dim=2)
        return done

    def _given(self, canvas: Canvas, shape: tuple[int, ...]) -> Conditioning:
        request = self.request
        first = None if request.image is None else canvas.picture(request.image)
        last = None if request.last_image is None else canvas.picture(request.last_image)
        if first is None:
            return conditioning.free(shape, next(self.vae.parameters()).device)
        if self.config.conditioned_by_channels:
            return conditioning.condition_channels(self.vae, shape, first, last)
        return conditioning.clean_frames(self.vae, shape, first, last)

    def _fields(self, shape: tuple[int, ...], scales: tuple[float, float]) -> list[Velocity]:
        """Each expert's guided velocity field for latents of `shape`."""
        patch = self.config.transformer.patch_size
        t, h, w = (cells // p for cells, p in zip(shape[2:], patch, strict=True))
        return [
            guide(
                transformer,
                self.prompt.text,
                scale,
                image=self.prompt.image,
                tokens=t * h * w,
                rope_scale=rope_scale(self.config.train_grid, h, w),
            )
            for transformer, scale in zip(self.transformers, scales, strict=False)
        ]


def schedule_config(request: Resolved, config: CheckpointConfig) -> ScheduleConfig:
    """The checkpoint's, with the shift asked for."""
    return replace(config.schedule, shift=float(request.flow_shift))


def planned(request: Resolved, config: CheckpointConfig) -> Schedule:
    """The noise levels of a resolved request; an edit takes the last part only."""
    full = schedule(schedule_config(request, config), request.steps)
    return full if request.strength is None else tail(full, request.strength)


def windows(config: CheckpointConfig, t: int) -> list[slice]:
    """The stretches, in latent frames, in which a clip of `t` latent frames is denoised."""
    if config.window_frames is None:
        return [slice(0, t)]
    length = latent_frames(config.window_frames, config.vae.scale_factor_temporal)
    return spans(t, length, config.window_overlap)


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


def _noised(latents: Tensor, noise: Tensor, plan: Schedule) -> Tensor:
    """`latents` at the noise level where `plan` begins."""
    sigma = plan.sigmas[0].item()
    return (1 - sigma) * latents + sigma * noise


def _in_chunks(video: UInt8[Tensor, "f h w 3"]) -> Iterator[UInt8[Tensor, "g h w 3"]]:
    """The first frame alone, then a multiple of four at a time, as the VAE takes them."""
    yield video[:1]
    yield from (video[start : start + _CHUNK] for start in range(1, len(video), _CHUNK))


def _length(span: slice) -> int:
    return span.stop - span.start

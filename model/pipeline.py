"""A checkpoint on a device, and the way from a request to frames.

Devices and dtypes are decided here and nowhere else in `model`. Text encoder and transformers run
in the dtype asked for; latents, solver and VAE stay in float32.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from model import given
from model.canvas import Canvas
from model.checkpoint import load_transformer, load_vae
from model.clip import ImageEncoder
from model.config import CheckpointConfig, read_config
from model.place import STAGES, Place, Tail
from model.progress import Counts, Progress
from model.request import Capabilities, Request, Resolved
from model.resolve import resolve
from model.rollout import Rollout, Sizes
from model.sampling import Sampler, planned, tile_spans
from model.shapes import latent_frames
from model.shards import CheckpointError
from model.text import TextEncoder
from model.transformer import Transformer
from model.upscale import Refine, base_size
from model.vae import VAE
from model.windows import Window, plan, shot_latents

__all__ = ["Pipeline"]

#: The largest picture that is made: full HD, lying or standing, on any grid.
MAX_PIXELS = 1920 * 1088


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
        *,
        resume: Mapping[str, Tensor] | None = None,
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        """Check `request` (ValueError "<field>: …") and yield its frames in chunks, in order.

        `noise` stands in for what the seed would draw: floats in the shape of the new latents (of
        the small clip, where the size asked for is refined from one). `on_step` is told of each
        piece of work done, in the thread that takes the frames; what it raises stops the work.
        `resume` is what `Progress.state` gave for the same request and noise: only the frames after
        `frames_done(resume)` are made, the same bits as without the interruption.
        """
        resolved = resolve(request, self.capabilities)
        sizes = self._sizes(resolved)
        windows = self.windows(resolved)
        if noise is not None:
            t = windows[-1].end - windows[0].first
            shape = self._latent_shape(t, sizes.base)
            if tuple(noise.shape) != shape or not noise.is_floating_point():
                raise ValueError(
                    f"noise: must be floats of shape {shape}, not {tuple(noise.shape)}"
                )
            noise = noise.to(self._device, torch.float32)
        if resume is not None:
            # Its shapes are those of any beginning; what it goes on from is encoded only then.
            self._nowhere(sizes).restored(resume)
        return self._frames(resolved, sizes, windows, noise, on_step or _unheard, resume)

    @torch.no_grad()
    def _frames(
        self,
        request: Resolved,
        sizes: Sizes,
        windows: list[Window],
        noise: Tensor | None,
        report: Callable[[Progress], None],
        resume: Mapping[str, Tensor] | None,
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        place = self._nowhere(sizes)
        if resume is None:
            place = self._beginning(request, sizes, windows)
        else:
            place = place.restored(resume)
        counts = self._counts(request, sizes, windows, place, report)
        guided = max(request.guidance, request.guidance_2) > 1
        prompts = [shot.prompt for shot in request.shots]
        prompts += [request.negative_prompt] if guided else []
        # One by one: a prompt then means the same bits, whatever is encoded beside it.
        text = torch.cat([self._text.encode([prompt]) for prompt in prompts])
        counts.text(place)
        sampler = Sampler(self.config, self._transformers, self._vae, self._clip, request, text)
        yield from Rollout(sampler, sizes, windows, noise, counts, place).frames()

    def _nowhere(self, sizes: Sizes) -> Place:
        """A place with no latents yet."""
        empty = [
            Tail(0, torch.zeros(self._latent_shape(0, canvas), device=self._device))
            for canvas in (sizes.base, sizes.full)
        ]
        return Place(*empty)

    def _beginning(self, request: Resolved, sizes: Sizes, windows: list[Window]) -> Place:
        """Where a clip begins: with the latents, or the picture, that it goes on from."""
        place = replace(self._nowhere(sizes), decoded=windows[0].first)
        frames = given.preceding_frames(request.before, self.capabilities.frame_factor)
        if frames is None:
            return place
        frames = frames.to(self._device)
        if self.config.conditioned_by_channels:
            return replace(place, picture=frames[-1:])
        base = Tail(0, given.preceding(self._vae, sizes.base, frames))
        full = place.full
        if sizes.refine is not None:
            full = Tail(0, given.preceding(self._vae, sizes.full, frames))
        return replace(place, base=base, full=full)

    def _sizes(self, request: Resolved) -> Sizes:
        grid, refine = self.capabilities.grid, self._refine
        full = Canvas.of(request.width, request.height, grid)
        if refine is None or full.width * full.height <= refine.base_pixels:
            return Sizes(full, full)
        small = base_size(full.width, full.height, grid, refine.base_pixels)
        return Sizes(full, Canvas.of(*small, grid), refine)

    def windows(self, request: Resolved) -> list[Window]:
        """The windows of a clip; a last picture is the last latent frame that is decoded."""
        config, factor = self.config, self.capabilities.frame_factor
        channels = config.conditioned_by_channels
        frames = [shot.frames for shot in request.shots]
        shots = shot_latents(frames, factor, goes_on=request.before is not None)
        before = 0
        if request.before is not None:
            past = given.preceding_frames(request.before, factor)
            before = 1 if past is None or channels else latent_frames(len(past), factor)
        after = 0
        if request.after is not None:
            after = min(2, math.ceil(len(request.after) / factor))
        elif request.loop:
            after = 2 if sum(shots) > 3 else 1
        last = request.last_image is not None and not channels
        shots[-1] -= last
        windows = plan(
            shots,
            length=config.window_latents,
            overlap=1 if channels else config.window_overlap,
            before=before,
            after=1 if last else after,
            loop=request.loop,
            anew=channels,
        )
        return [*windows[:-1], replace(windows[-1], end=windows[-1].end + last)]

    def _counts(
        self,
        request: Resolved,
        sizes: Sizes,
        windows: list[Window],
        place: Place,
        report: Callable[[Progress], None],
    ) -> Counts:
        """Pieces of work, and how many of them are done at `place`."""
        steps = planned(request, self.config).steps
        tiles = 0
        if sizes.refine is not None:
            shape = self._latent_shape(1, sizes.full)
            tiles = math.prod(map(len, tile_spans(sizes.refine, self.config, shape)))

        # For each window: pieces until it is denoised, until it is enlarged, until it is refined.
        ends: list[tuple[int, ...]] = []
        for window in windows:
            own = (window.end - window.first) if sizes.refine else 0
            refined = tiles * sizes.refine.steps if sizes.refine else 0
            ends.append((steps, steps + own, steps + own + refined))
        done = sum(pieces[-1] for pieces in ends[: place.window])
        if place.window < len(windows):
            done += (0, *ends[place.window])[place.stage]
            if place.solving is not None:
                refining = STAGES[place.stage] == "refine"
                done += place.solving.step * (tiles if refining else 1)
        decoded = sum(window.end - window.first for window in windows[: place.window])
        if place.window < len(windows) and STAGES[place.stage] == "decode":
            decoded += place.decoded - windows[place.window].first
        return Counts(
            report,
            denoise=sum(pieces[-1] for pieces in ends),
            decode=sum(window.end - window.first for window in windows),
            denoised=done,
            decoded=decoded,
        )

    def _latent_shape(self, t: int, canvas: Canvas) -> tuple[int, ...]:
        vae = self.config.vae
        space = vae.scale_factor_spatial
        return (1, vae.z_dim, t, canvas.full_height // space, canvas.full_width // space)


def _unheard(_progress: Progress) -> None:
    """Nobody wants to know."""


def _capabilities(config: CheckpointConfig) -> Capabilities:
    default = config.defaults
    experts = 1 if config.transformer_2 is None else 2
    return Capabilities(
        model_id=config.model_id,
        modes=_modes(config),
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


def _modes(config: CheckpointConfig) -> tuple[str, ...]:
    """What can be asked for: what the checkpoint was trained on, and what follows from it."""
    modes = [mode for mode in config.modes if mode != "frames"]
    if not config.conditioned_by_channels:
        modes.append("edit")
    if "frames" in config.modes:
        modes += ["extend", "lead_in", "loop", "storyboard"]
    elif config.conditioned_by_channels and "image" in config.modes:
        modes += ["extend", "storyboard"]
    return tuple(modes)


def _refine(config: CheckpointConfig) -> Refine | None:
    """The section "refine" of `kinora.json`, or None where it is missing or has no steps."""
    if not config.refine.get("steps"):
        return None
    try:
        return Refine.from_json(config.refine)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{config.folder / 'kinora.json'}: refine: {error}") from error

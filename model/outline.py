"""A request as work to be done: the sizes, the windows, and how many pieces of work there are."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from model.canvas import Canvas
from model.config import CheckpointConfig
from model.given import preceding_frames
from model.place import STAGES, Place
from model.progress import Counts, Progress
from model.request import Resolved
from model.sampling import planned, tile_spans
from model.shapes import latent_frames
from model.upscale import Refine, base_size
from model.windows import Window, plan, shot_latents

__all__ = ["FRUGAL_TILE", "Sizes", "counts", "latent_shape", "sizes", "windows"]


#: Latent cells (height, width) that are decoded at a time where memory is short.
FRUGAL_TILE = (32, 32)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The picture asked for, and the one that is denoised: smaller where it is to be enlarged.

    Its latents by `refine`, or else its frames by the checkpoint's upsampler.
    """

    full: Canvas
    base: Canvas
    refine: Refine | None = None

    @property
    def decoded(self) -> Canvas:
        """The picture that the last latents are of."""
        return self.base if self.refine is None else self.full


def sizes(width: int, height: int, config: CheckpointConfig, refine: Refine | None) -> Sizes:
    """The sizes of a clip of `width` x `height` pixels."""
    grid = math.lcm(*config.grid)
    full = Canvas.of(width, height, grid)
    if refine is None or width * height <= refine.base_pixels:
        return Sizes(full, full)
    small = base_size(width, height, grid, refine.base_pixels)
    base = Canvas.of(*small, grid)
    return Sizes(full, base, refine if config.upsampler is None else None)


def windows(request: Resolved, config: CheckpointConfig) -> list[Window]:
    """The windows of a clip; a last picture is the last latent frame that is decoded."""
    channels, factor = config.conditioned_by_channels, config.vae.scale_factor_temporal
    frames = [shot.frames for shot in request.shots]
    past = preceding_frames(request.before, factor)
    shots = shot_latents(frames, factor, goes_on=past is not None)
    before = after = 0
    if past is not None:
        before = 1 if channels else latent_frames(len(past), factor)
    if request.after is not None:
        after = min(2, math.ceil(len(request.after) / factor))
    elif request.loop:
        # Two stand for eight frames of the opening, which windows before the last have to make.
        after = 2 if sum(shots) > 3 and (len(shots) == 1 or sum(shots[:-1]) > 2) else 1
    last = request.last_image is not None
    shots[-1] -= last
    planned_windows = plan(
        shots,
        length=config.window_latents,
        overlap=1 if channels else config.window_overlap,
        before=before,
        after=1 if last else after,
        loop=request.loop,
        anew=channels,
    )
    *others, final = planned_windows
    return [*others, replace(final, end=final.end + last)]


def counts(
    request: Resolved,
    config: CheckpointConfig,
    sizes: Sizes,
    windows: list[Window],
    place: Place,
    report: Callable[[Progress], None],
) -> Counts:
    """The pieces of work in a clip, and how many of them are done at `place`."""
    steps, enlarging, refining = planned(request, config).steps, 0, 0
    if sizes.refine is not None:
        shape = latent_shape(config, sizes.full, 1)
        refining = math.prod(map(len, tile_spans(sizes.refine, config, shape)))
        enlarging = 1

    def pieces(window: Window) -> tuple[int, ...]:
        """Before the window is denoised, enlarged, refined and decoded."""
        enlarged = steps + enlarging * (window.end - window.first)
        refined = enlarged + (sizes.refine.steps * refining if sizes.refine else 0)
        return 0, steps, enlarged, refined

    done = sum(pieces(window)[-1] for window in windows[: place.window])
    decoded = sum(window.end - window.first for window in windows[: place.window])
    if place.window < len(windows):
        window, stage = windows[place.window], STAGES[place.stage]
        done += pieces(window)[place.stage]
        if place.solving is not None:
            done += place.solving.step * (refining if stage == "refine" else 1)
        if stage == "decode":
            decoded += place.decoded - window.first
    return Counts(
        report,
        denoise=sum(pieces(window)[-1] for window in windows),
        decode=sum(window.end - window.first for window in windows),
        denoised=done,
        decoded=decoded,
    )


def latent_shape(config: CheckpointConfig, canvas: Canvas, t: int) -> tuple[int, ...]:
    """Of the latents [1 z t h w] of a picture as large as `canvas`."""
    space = config.vae.scale_factor_spatial
    return (1, config.vae.z_dim, t, canvas.full_height // space, canvas.full_width // space)

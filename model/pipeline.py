"""A checkpoint on a device, and the way from a request to frames.

Devices and dtypes are decided here and nowhere else in `model`. Text encoder and transformers run
in the dtype asked for, the VAE in one of its own; latents and solver stay in float32.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from model import given, outline
from model.checkpoint import load_transformer, load_upsampler, load_vae, weight_bytes
from model.clip import ImageEncoder
from model.config import CheckpointConfig, read_config
from model.memory import Memory, estimate
from model.offload import offload as offload_blocks
from model.offload import offloaded, resident_bytes
from model.outline import FRUGAL_TILE, Sizes
from model.place import STAGES, Place, Tail
from model.progress import Progress
from model.request import Capabilities, Request, Resolved
from model.resolve import resolve
from model.rollout import Rollout
from model.sampling import Sampler
from model.shards import CheckpointError, refuse_unknown
from model.text import TextEncoder
from model.transformer import Transformer
from model.upsampler import Upsampler
from model.upscale import Refine
from model.vae import VAE
from model.windows import Window

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
        upsampler: Upsampler | None = None,
    ) -> None:
        self.config = config
        self.capabilities = _capabilities(config)
        self._refine = _refine(config)
        self._text = text
        self._clip = clip
        self._vae = vae
        self._transformers = transformers
        self._upsampler = upsampler
        self._device = next(vae.parameters()).device

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        vae_dtype: torch.dtype = torch.float32,
        offload: bool = False,
    ) -> "Pipeline":
        """Load a Wan checkpoint in the diffusers folder layout; raise CheckpointError.

        With `offload` prompts are encoded on the host, and the weights of the transformers wait
        there and come to the device block by block: slower, for weights that it could not hold.
        """
        config = read_config(folder)
        folder = config.folder
        clip = None
        if config.transformer.image_dim is not None:
            clip = ImageEncoder.load(folder, device=device, dtype=dtype)
        parts = {"transformer": config.transformer, "transformer_2": config.transformer_2}
        length, first = config.text_length, "cpu" if offload else device
        transformers = tuple(
            load_transformer(
                folder / name,
                part,
                device=first,
                dtype=dtype,
                loras=[lora for lora in config.loras if lora.into == name],
            )
            for name, part in parts.items()
            if part is not None
        )
        for transformer in transformers if offload else ():
            offload_blocks(transformer, torch.device(device))
        upsampler = None
        if config.upsampler is not None:
            path = folder / "upsampler"
            upsampler = load_upsampler(path, config.upsampler, device=device, dtype=vae_dtype)
        return cls(
            config,
            text=TextEncoder.load(folder, device=first, dtype=dtype, max_length=length),
            clip=clip,
            vae=load_vae(folder / "vae", config.vae, device=device, dtype=vae_dtype),
            transformers=transformers,
            upsampler=upsampler,
        )

    @staticmethod
    def needed(
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        *,
        vae_dtype: torch.dtype = torch.float32,
    ) -> int:
        """Bytes that a clip of the checkpoint's own size takes on a device with all weights there.

        For a choice before anything is loaded: what has less should `load` with a smaller
        `vae_dtype`, or with `offload`.
        """
        config = read_config(folder)
        default = config.defaults
        sizes = outline.sizes(default.width, default.height, config, _refine(config))
        weights = weight_bytes(config.folder, dtype, vae_dtype)
        counted = estimate(
            config, sizes, dtype=dtype, vae_dtype=vae_dtype, weights=weights, lean=True
        )
        return counted.peak

    def generate(
        self,
        request: Request,
        noise: Tensor | None = None,
        on_step: Callable[[Progress], None] | None = None,
        *,
        resume: Mapping[str, Tensor] | None = None,
        frugal: bool = False,
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        """Check `request` (ValueError "<field>: …") and yield its frames in chunks, in order.

        `noise` stands in for what the seed would draw: floats in the shape of the new latents (of
        the small clip, where the size asked for is refined from one). `on_step` is told of each
        piece of work done, in the thread that takes the frames; what it raises stops the work.
        `resume` is what `Progress.state` gave for the same request and noise: only the frames after
        `frames_done(resume)` are made, the same bits as without the interruption. `frugal` takes
        less memory and more time, as `Pipeline.load(offload=True)` does and with one branch of
        guidance after the other and tiles to decode; it may take up what was begun without, up to
        rounding.
        """
        resolved = resolve(request, self.capabilities)
        sizes = outline.sizes(resolved.width, resolved.height, self.config, self._refine)
        windows = outline.windows(resolved, self.config)
        if noise is not None:
            t = windows[-1].end - windows[0].first
            shape = outline.latent_shape(self.config, sizes.base, t)
            if tuple(noise.shape) != shape or not noise.is_floating_point():
                raise ValueError(
                    f"noise: must be floats of shape {shape}, not {tuple(noise.shape)}"
                )
            noise = noise.to(self._device, torch.float32)
        if resume is not None:
            # Its shapes are those of any beginning; what it goes on from is encoded only then.
            place = self._nowhere(sizes).restored(resume)
            if sizes.refine is None and STAGES[place.stage] in ("enlarge", "refine"):
                raise ValueError("resume: is in the middle of refining, which this clip is not")
        heard = on_step or _unheard
        return self._frames(resolved, sizes, windows, noise, heard, resume, frugal=frugal)

    def memory(
        self, width: int, height: int, *, guided: bool = True, frugal: bool = False
    ) -> Memory:
        """Memory on the device of a clip of this size, however long, with all that is loaded."""
        sizes = outline.sizes(width, height, self.config, self._refine)
        dtype = next(self._transformers[0].parameters()).dtype
        waiting = self._transformers[0].is_offloaded
        weights, staying = 0, list[nn.Module | None]([self._vae, self._clip, self._upsampler])
        if not waiting:
            staying.append(self._text)
        if waiting or (frugal and self._device.type != "cpu"):
            weights = sum(map(resident_bytes, self._transformers))
        else:
            staying += self._transformers
        weights += sum(p.nbytes for m in staying if m is not None for p in m.parameters())
        return estimate(
            self.config,
            sizes,
            dtype=dtype,
            vae_dtype=next(self._vae.parameters()).dtype,
            guided=guided,
            weights=weights,
            lean=self._device.type != "cpu",
            frugal=frugal,
        )

    @torch.no_grad()
    def _frames(
        self,
        request: Resolved,
        sizes: Sizes,
        windows: list[Window],
        noise: Tensor | None,
        report: Callable[[Progress], None],
        resume: Mapping[str, Tensor] | None,
        *,
        frugal: bool,
    ) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        vae = self._vae.in_tiles(FRUGAL_TILE) if frugal else self._vae
        place = self._nowhere(sizes)
        if resume is None:
            place = self._beginning(vae, request, sizes, windows)
        else:
            place = place.restored(resume)
        counts = outline.counts(request, self.config, sizes, windows, place, report)
        guided = max(request.guidance, request.guidance_2) > 1
        prompts = [shot.prompt for shot in request.shots]
        prompts += [request.negative_prompt] if guided else []
        # One by one: a prompt then means the same bits, whatever is encoded beside it.
        text = torch.cat([self._text.encode([prompt]) for prompt in prompts]).to(self._device)
        counts.text(place)
        with ExitStack() as stack:
            for transformer in self._transformers if frugal and self._device.type != "cpu" else ():
                stack.enter_context(offloaded(transformer, self._device))
            sampler = Sampler(
                self.config,
                self._transformers,
                vae,
                self._clip,
                request,
                text,
                self._upsampler,
                frugal,
            )
            yield from Rollout(sampler, sizes, windows, noise, counts, place).frames()

    def _nowhere(self, sizes: Sizes) -> Place:
        """A place with no latents yet."""
        base, full = (
            torch.zeros(outline.latent_shape(self.config, canvas, 0), device=self._device)
            for canvas in (sizes.base, sizes.full)
        )
        return Place(Tail(0, base), Tail(0, full))

    def _beginning(self, vae: VAE, request: Resolved, sizes: Sizes, windows: list[Window]) -> Place:
        """Where a clip begins: with the latents, or the picture, that it goes on from."""
        place = replace(self._nowhere(sizes), decoded=windows[0].first)
        frames = given.preceding_frames(request.before, self.capabilities.frame_factor)
        if frames is None:
            return place
        frames = frames.to(self._device)
        if self.config.conditioned_by_channels:
            return replace(place, picture=frames[-1:])
        base = Tail(0, given.preceding(vae, sizes.base, frames))
        full = place.full
        if sizes.refine is not None:
            full = Tail(0, given.preceding(vae, sizes.full, frames))
        return replace(place, base=base, full=full)


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
        strength=default.strength,
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
    where = f"{config.folder / 'kinora.json'}: refine"
    refuse_unknown(where, config.refine, (field.name for field in fields(Refine)))
    if not config.refine.get("steps"):
        if config.upsampler is not None:
            raise CheckpointError(
                f"{where}: must say, with steps above 0, from which size on clips are made small "
                "and enlarged by the upsampler/ that lies beside it"
            )
        return None
    try:
        return Refine.from_json(config.refine)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error

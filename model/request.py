"""What may be asked of a checkpoint: the request, the checkpoint's abilities, and the check."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

__all__ = ["Capabilities", "Request", "Resolved", "resolve"]

MAX_SEED = 2**63 - 1
#: Pixels; less is no picture, whatever the grid.
MIN_SIDE = 16
_MAX_STEPS = 1000
_DEFAULT_STRENGTH = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One clip to make. What is None takes the checkpoint's default.

    `width` and `height` are pixels of any size, `frames` is 4k + 1. `image` is the first frame and
    `last_image` the last, both stretched to the size. `video` (uint8) is a clip to edit: denoising
    starts from it at noise `strength`, in (0, 1]. `guidance_2` is for the low-noise expert of
    checkpoints with two. `fps` says how the frames are meant to be played; it changes none of them.
    """

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_2: float | None = None
    seed: int = 0
    image: Image.Image | None = None
    last_image: Image.Image | None = None
    video: UInt8[Tensor, "f h w 3"] | None = None
    strength: float | None = None
    fps: float | None = None
    flow_shift: float | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resolved:
    """A `Request` that the checkpoint can make, every default filled in.

    `guidance_2` is `guidance` where there is no second expert; `strength` is None without a video.
    """

    prompt: str
    negative_prompt: str
    width: int
    height: int
    frames: int
    steps: int
    guidance: float
    guidance_2: float
    seed: int
    image: Image.Image | None
    last_image: Image.Image | None
    video: UInt8[Tensor, "f h w 3"] | None
    strength: float | None
    fps: float
    flow_shift: float


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a loaded checkpoint can do, and what it does unless told otherwise.

    `modes` is out of "text", "image" (a first frame), "first_last" (both ends) and "edit". Sizes
    are padded to multiples of `grid` pixels; a clip has `frame_factor` · k + 1 frames.
    """

    model_id: str
    modes: tuple[str, ...]
    grid: int
    frame_factor: int
    max_frames: int
    max_pixels: int
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guidance: float
    guidance_2: float | None
    flow_shift: float

    @property
    def image_conditioning(self) -> bool:
        return "image" in self.modes or "first_last" in self.modes


def resolve(request: Request, able: Capabilities) -> Resolved:
    """`request` with every default filled in; ValueError "<field>: …" if it cannot be made."""
    _check_text("prompt", request.prompt)
    _check_text("negative_prompt", request.negative_prompt)
    if request.video is not None:
        request = _shaped_like_video(request, request.video)
    given = {f.name: getattr(request, f.name) for f in fields(request)}
    names = ("width", "height", "frames", "steps", "guidance", "fps", "flow_shift")
    given |= {name: getattr(able, name) for name in names if given[name] is None}
    given["guidance_2"] = _second_guidance(request, able)
    filled = Resolved(**given)
    _check_size(filled, able)
    _check_integer("steps", filled.steps, 1, _MAX_STEPS)
    _check_integer("seed", filled.seed, 0, MAX_SEED)
    _check_number("guidance", filled.guidance, at_least=0)
    _check_number("guidance_2", filled.guidance_2, at_least=0)
    _check_number("fps", filled.fps, above=0)
    _check_number("flow_shift", filled.flow_shift, above=0)
    _check_mode(filled, able)
    return filled


def _second_guidance(request: Request, able: Capabilities) -> Any:
    """As diffusers: a guidance given alone holds for both experts."""
    if able.guidance_2 is None and request.guidance_2 is not None:
        raise ValueError("guidance_2: this checkpoint has one transformer, use guidance")
    choices = (request.guidance_2, request.guidance, able.guidance_2, able.guidance)
    return next(choice for choice in choices if choice is not None)


def _shaped_like_video(request: Request, video: Any) -> Request:
    if not isinstance(video, Tensor) or video.dtype != torch.uint8:
        raise ValueError("video: must be a uint8 tensor [frames, height, width, 3]")
    if video.ndim != 4 or video.shape[-1] != 3:
        raise ValueError(
            f"video: must have the shape [frames, height, width, 3], not {list(video.shape)}"
        )
    frames, height, width, _ = video.shape
    for name, asked, has in (
        ("frames", request.frames, frames),
        ("height", request.height, height),
        ("width", request.width, width),
    ):
        if asked is not None and asked != has:
            raise ValueError(f"video: has {name} {has}, but the request asks for {asked}")
    strength = _DEFAULT_STRENGTH if request.strength is None else request.strength
    return replace(request, frames=frames, height=height, width=width, strength=strength)


def _check_size(request: Resolved, able: Capabilities) -> None:
    _check_integer("width", request.width, MIN_SIDE, able.max_pixels // MIN_SIDE)
    _check_integer("height", request.height, MIN_SIDE, able.max_pixels // MIN_SIDE)
    if request.width * request.height > able.max_pixels:
        raise ValueError(
            f"width: {request.width}x{request.height} is more than the {able.max_pixels} pixels "
            f"that {able.model_id} makes"
        )
    _check_integer("frames", request.frames, 1, able.max_frames)
    rest = (request.frames - 1) % able.frame_factor
    if rest:
        raise ValueError(
            f"frames: must be {able.frame_factor}k + 1, such as {request.frames - rest}, "
            f"not {request.frames}"
        )


def _check_mode(request: Resolved, able: Capabilities) -> None:
    for name in ("image", "last_image"):
        value = getattr(request, name)
        if value is not None and not isinstance(value, Image.Image):
            raise ValueError(f"{name}: must be a PIL image, not {type(value).__name__}")
    if request.strength is not None:
        if request.video is None:
            raise ValueError("strength: says how far a video is changed, but no video is given")
        _check_number("strength", request.strength, above=0, at_most=1)
    if request.last_image is not None and request.image is None:
        raise ValueError("last_image: needs image, the first frame, beside it")
    if request.video is not None:
        if request.image is not None:
            raise ValueError("video: cannot be given together with image")
        if "edit" not in able.modes:
            raise ValueError(f"video: {able.model_id} cannot edit videos")
    elif request.last_image is not None:
        if "first_last" not in able.modes:
            raise ValueError(f"last_image: {able.model_id} takes no last frame")
        if request.frames == 1:
            raise ValueError("last_image: needs a clip of more than one frame")
    elif request.image is not None and "image" not in able.modes:
        if "first_last" in able.modes:
            raise ValueError(f"last_image: {able.model_id} needs the last frame beside the first")
        raise ValueError(f"image: {able.model_id} makes videos from text only")
    elif request.image is None and "text" not in able.modes:
        raise ValueError(f"image: {able.model_id} needs an image to start from")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{name}: must be text in valid Unicode, not {value!r:.80}")


def _check_integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: must be a whole number from {low} to {high}, not {value!r:.80}")


def _check_number(
    name: str,
    value: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float = 100,
) -> None:
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and value <= at_most
    )
    if not fits:
        low = f"above {above}" if at_least is None else f"from {at_least}"
        raise ValueError(f"{name}: must be a number {low} to {at_most}, not {value!r:.80}")

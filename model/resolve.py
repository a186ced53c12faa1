"""The check of a request against what a checkpoint can do."""

from dataclasses import fields, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from model.request import Capabilities, Request, Resolved, Shot

__all__ = ["resolve"]

MAX_SEED = 2**63 - 1
#: Pixels; less is no picture, whatever the grid.
MIN_SIDE = 16
#: Frames; a shorter loop has no middle between its beginning and its end.
MIN_LOOP = 9
#: Frames a second; no clip is meant to be played faster.
MAX_FPS = 120
_MAX_STEPS = 1000

#: The mode that each way of conditioning asks for, and the fields that it cannot be combined with.
_NEEDS = {
    "video": ("edit", ("image", "before", "after", "last_image", "loop")),
    "before": ("extend", ("image", "loop")),
    "after": ("lead_in", ("last_image", "loop")),
    "loop": ("loop", ("last_image",)),
    "shots": ("storyboard", ()),
}


def resolve(request: Request, able: Capabilities) -> Resolved:
    """`request` with every default filled in; ValueError "<field>: …" if it cannot be made."""
    _check_text("prompt", request.prompt)
    _check_text("negative_prompt", request.negative_prompt)
    for name in ("video", "before", "after"):
        _check_frames(name, getattr(request, name))
    _check_shots(request.shots, able)
    _check_flag("loop", request.loop)
    _check_mode(request, able)
    if request.video is not None:
        request = _shaped_like_video(request, request.video, able)
    elif request.strength is not None:
        raise ValueError("strength: says how far a video is changed, but no video is given")
    given = {f.name: getattr(request, f.name) for f in fields(Resolved)}
    given["frames"] = _frames(request, able)
    names = ("width", "height", "steps", "guidance", "fps", "flow_shift")
    given |= {name: getattr(able, name) for name in names if given[name] is None}
    given["guidance_2"] = _second_guidance(request, able)
    given["shots"] = request.shots or (Shot(request.prompt, given["frames"]),)
    filled = Resolved(**given)
    try:
        _check_size(filled, able)
        _check_length(filled, able)
    except ValueError as error:
        if request.video is None:
            raise
        raise ValueError(f"video: its {str(error).replace(': ', ' ', 1)}") from None
    _check_integer("steps", filled.steps, 1, _MAX_STEPS)
    _check_integer("seed", filled.seed, 0, MAX_SEED)
    _check_number("guidance", filled.guidance, at_least=0)
    _check_number("guidance_2", filled.guidance_2, at_least=0)
    _check_number("fps", filled.fps, above=0, at_most=MAX_FPS)
    _check_number("flow_shift", filled.flow_shift, above=0)
    return filled


def _frames(request: Request, able: Capabilities) -> Any:
    """The length asked for; else that of the shots, else the default."""
    shots = sum(shot.frames for shot in request.shots)
    if request.frames is None:
        return shots or able.frames - (request.before is not None)
    if request.shots and request.frames != shots:
        raise ValueError(f"shots: their frames sum to {shots}, but frames is {request.frames}")
    return request.frames


def _second_guidance(request: Request, able: Capabilities) -> Any:
    """As diffusers: a guidance given alone holds for both experts."""
    if able.guidance_2 is None and request.guidance_2 is not None:
        raise ValueError("guidance_2: this checkpoint has one transformer, use guidance")
    choices = (request.guidance_2, request.guidance, able.guidance_2, able.guidance)
    return next(choice for choice in choices if choice is not None)


def _shaped_like_video(request: Request, video: Tensor, able: Capabilities) -> Request:
    frames, height, width, _ = video.shape
    for name, asked, has in (
        ("frames", request.frames, frames),
        ("height", request.height, height),
        ("width", request.width, width),
    ):
        if asked is not None and asked != has:
            raise ValueError(f"video: has {name} {has}, but the request asks for {asked}")
    strength = able.strength if request.strength is None else request.strength
    _check_number("strength", strength, above=0, at_most=1)
    return replace(request, frames=frames, height=height, width=width, strength=strength)


def _check_size(request: Resolved, able: Capabilities) -> None:
    _check_integer("width", request.width, MIN_SIDE, able.max_pixels // MIN_SIDE)
    _check_integer("height", request.height, MIN_SIDE, able.max_pixels // MIN_SIDE)
    if request.width * request.height > able.max_pixels:
        raise ValueError(
            f"width: {request.width}x{request.height} is more than the {able.max_pixels} pixels "
            f"that {able.model_id} makes"
        )


def _check_length(request: Resolved, able: Capabilities) -> None:
    _check_integer("frames", request.frames, 1, able.max_frames)
    factor, first = able.frame_factor, 0 if request.before is not None else 1
    rest = (request.frames - first) % factor
    if rest:
        nearest = max(request.frames - rest, factor) if not first else request.frames - rest
        rule = f"{factor}k + 1" if first else f"{factor}k after the frames before it"
        raise ValueError(f"frames: must be {rule}, such as {nearest}, not {request.frames}")
    if request.loop and request.frames < MIN_LOOP:
        raise ValueError(f"frames: a loop has at least {MIN_LOOP}, not {request.frames}")
    if request.last_image is not None and request.frames == 1:
        raise ValueError("last_image: needs a clip of more than one frame")


def _check_mode(request: Request, able: Capabilities) -> None:
    for name in ("image", "last_image"):
        value = getattr(request, name)
        if value is not None and not isinstance(value, Image.Image):
            raise ValueError(f"{name}: must be a PIL image, not {type(value).__name__}")
    given = {name for name in ("image", "last_image", *_NEEDS) if _is_given(request, name)}
    for name, (mode, others) in _NEEDS.items():
        if name not in given:
            continue
        if mode not in able.modes:
            raise ValueError(f"{name}: {able.model_id} has no mode {mode!r}")
        for other in others:
            if other in given:
                raise ValueError(f"{name}: cannot be given together with {other}")
    if "last_image" in given:
        if not given & {"image", "before"}:
            raise ValueError("last_image: needs image, the first frame, beside it, or before")
        if "first_last" not in able.modes:
            raise ValueError(f"last_image: {able.model_id} takes no last frame")
    elif "image" in given and "image" not in able.modes:
        if "first_last" in able.modes:
            raise ValueError(f"last_image: {able.model_id} needs the last frame beside the first")
        raise ValueError(f"image: {able.model_id} makes videos from text only")
    if not given & {"image", "before", "video"} and "text" not in able.modes:
        raise ValueError(f"image: {able.model_id} needs an image to start from")


def _is_given(request: Request, name: str) -> bool:
    value = getattr(request, name)
    if isinstance(value, bool | tuple):
        return bool(value)
    return value is not None


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be true or false, not {value!r:.80}")


def _check_frames(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Tensor) or value.dtype != torch.uint8:
        raise ValueError(f"{name}: must be a uint8 tensor [frames, height, width, 3]")
    if value.ndim != 4 or value.shape[-1] != 3 or 0 in value.shape:
        raise ValueError(
            f"{name}: must have the shape [frames, height, width, 3], not {list(value.shape)}"
        )


def _check_shots(shots: Any, able: Capabilities) -> None:
    if not isinstance(shots, tuple):
        raise ValueError(f"shots: must be a tuple of Shots, not {shots!r:.80}")
    for i, shot in enumerate(shots):
        if not isinstance(shot, Shot):
            raise ValueError(f"shots: must be Shots, not {type(shot).__name__}")
        _check_text("shots", shot.prompt)
        _check_integer(f"shots: frames of shot {i + 1}", shot.frames, able.frame_factor, 10**6)


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

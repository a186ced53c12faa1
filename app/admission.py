"""From what a client asked to what will be rendered: every value chosen, or the request refused.

All of it is decided against the capabilities that the model's workers registered; nothing here
knows a model. A value that a model cannot do is refused by the name of its field, never ignored
and never bent.
"""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from app.api.schemas import VideoCreate, VideoRemix, Wanted
from app.clips import Clip
from app.contract import capabilities
from app.contract.capabilities import Capabilities, Unsupported
from app.contract.job import JobSpec
from app.contract.settings import Settings
from app.errors import InvalidRequest, Unavailable
from app.intake import Image

#: The contract's words for what a model is given -> the API's names of the fields.
FIELDS = {"image": "input_reference", "last_image": "last_frame", "frames": "seconds"}
SEEDS = 2**31


def choose_model(
    name: str | None, given: set[str], models: list[Capabilities], default: str
) -> Capabilities:
    """The model that `name` means, checked to take the kinds of input that are given."""
    if not models:
        raise Unavailable(
            "No model is being served: no worker has registered one yet.",
            param="model",
            headers={"retry-after": "5"},
        )
    with _refusals("model_not_found"):
        model = capabilities.resolve(name, models, default)
    with _refusals():
        model.check_conditioning(given)
    return model


def resolve(
    wanted: VideoCreate,
    model: Capabilities,
    settings: Settings,
    image: Image | None,
    last_image: Image | None,
) -> JobSpec:
    """The complete specification of the job; the references' blob keys are still to be added."""
    width, height = _size(wanted, model, image, last_image)
    fps = wanted.fps or model.fps
    frames = model.frames
    if wanted.seconds is not None:
        with _refusals():
            frames = model.frames_for(wanted.seconds, fps)
    return _spec(wanted, model, settings, (width, height), frames, fps)


def resolve_edit(
    wanted: VideoRemix, model: Capabilities, settings: Settings, clip: Clip, param: str
) -> JobSpec:
    """The specification of a job that starts from `clip` and keeps its size, rate and length, up to
    the last frame that the model's frame rule allows. `param` is what a refused clip is called.
    """
    frames = clip.frames - (clip.frames - 1) % model.frame_step
    with _refusals():
        model.check_size(clip.width, clip.height, param)
        model.check_frames(frames, param, clip.fps)
    spec = _spec(wanted, model, settings, (clip.width, clip.height), frames, clip.fps)
    return replace(spec, strength=wanted.strength)


def _spec(
    wanted: Wanted,
    model: Capabilities,
    settings: Settings,
    size: tuple[int, int],
    frames: int,
    fps: int,
) -> JobSpec:
    _check_length(wanted.prompt, "prompt", settings.max_prompt_chars)
    _check_length(wanted.negative_prompt or "", "negative_prompt", settings.max_prompt_chars)
    steps = wanted.num_inference_steps or model.steps
    with _refusals():
        if steps > model.max_steps:
            raise Unsupported(
                "num_inference_steps", f"{model.model_id} takes at most {model.max_steps} steps."
            )
    width, height = size
    return JobSpec(
        model=model.model_id,
        prompt=wanted.prompt,
        negative_prompt=wanted.negative_prompt or "",
        width=width,
        height=height,
        frames=frames,
        fps=fps,
        steps=steps,
        guidance=model.guidance if wanted.guidance_scale is None else wanted.guidance_scale,
        flow_shift=model.flow_shift if wanted.flow_shift is None else wanted.flow_shift,
        seed=secrets.randbelow(SEEDS) if wanted.seed is None else wanted.seed,
    )


def given_in(wanted: VideoCreate) -> set[str]:
    """What the request brings beside its prompt, in the contract's words."""
    fields = {"image": wanted.input_reference, "last_image": wanted.last_frame}
    return {name for name, value in fields.items() if value is not None}


def _size(
    wanted: VideoCreate, model: Capabilities, image: Image | None, last_image: Image | None
) -> tuple[int, int]:
    """The size asked for, else the reference's, else the model's; the references must have it."""
    first = image or last_image
    if wanted.size is not None:
        width, height = wanted.size
    elif first is not None:
        width, height = first.width, first.height
    else:
        width, height = model.width, model.height
    with _refusals():
        model.check_size(width, height)
    for param, given in (("input_reference", image), ("last_frame", last_image)):
        if given is not None and (given.width, given.height) != (width, height):
            raise InvalidRequest(
                f"{param} is {given.width}x{given.height}; it must match the requested size, "
                f"{width}x{height}.",
                param=param,
                code="size_mismatch",
            )
    return width, height


def _check_length(text: str, param: str, limit: int) -> None:
    if len(text) > limit:
        raise InvalidRequest(
            f"{param} has {len(text)} characters; at most {limit} are taken.",
            param=param,
            code="string_above_max_length",
        )


@contextmanager
def _refusals(code: str = "unsupported_value") -> Generator[None]:
    """What the capabilities refuse is the client's request to change."""
    try:
        yield
    except Unsupported as refused:
        param = FIELDS.get(refused.param, refused.param)
        raise InvalidRequest(str(refused), param=param, code=code) from None

"""From what a client asked to what will be rendered: every value chosen, or the request refused.

All of it is decided against the capabilities that the model's workers registered; nothing here
knows a model. A value that a model cannot do is refused by the name of its field, never ignored
and never bent.
"""

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate, pairwise

from app.api.fields import Shot, Size
from app.api.schemas import ImageGenerate, VideoBlend, VideoCreate, VideoExtend, VideoRemix, Wanted
from app.clips import Clip
from app.contract import capabilities, job
from app.contract.capabilities import Capabilities, Unsupported
from app.contract.job import JobSpec
from app.contract.settings import Settings
from app.errors import InvalidRequest, Unavailable
from app.intake import Image

#: The contract's words for what a model is given -> the API's names of the fields.
FIELDS = {
    "image": "input_reference",
    "last_image": "last_frame",
    "frames": "seconds",
    "shots": "storyboard",
    "still": "image",
}
#: Seconds: OpenAI's limits of an extension, and of a video that was extended.
MAX_ADDED_S = 20
MAX_TOTAL_S = 120
SEEDS = 2**31


def choose_model(
    name: str | None, given: set[str], models: list[Capabilities], default: str, **called: str
) -> Capabilities:
    """The model that `name` means, checked to take the kinds of input that are given; `called` is
    what this call calls them, where that is not as FIELDS says.
    """
    if not models:
        raise Unavailable(
            "No model is being served: no worker has registered one yet.",
            param="model",
            headers={"retry-after": "5"},
        )
    with _refusals("model_not_found"):
        model = capabilities.resolve(name, models, default)
    with _refusals(**called):
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
    size = _size(wanted.size, model, {"input_reference": image, "last_frame": last_image})
    fps = wanted.fps or model.fps
    shots = _shots(wanted.storyboard, model, settings, fps)
    frames = sum(shot.frames for shot in shots) or model.frames
    if wanted.seconds is not None:
        with _refusals():
            asked = model.frames_for(wanted.seconds, fps)
        if shots and asked != frames:
            raise InvalidRequest(
                f"seconds is {wanted.seconds:g}, but the storyboard's parts last"
                f" {frames / fps:g} seconds; leave it out.",
                param="seconds",
            )
        frames = asked
    if wanted.loop and frames <= 2 * model.frame_step:
        least = (2 * model.frame_step + 1) / fps
        raise InvalidRequest(f"A loop needs {least:g} seconds at least.", param="seconds")
    if last_image is not None and frames == 1:
        raise InvalidRequest("A last frame needs a clip of several frames.", param="seconds")
    spec = _spec(wanted, model, settings, size, frames, fps)
    shots = tuple(replace(s, prompt=styled(s.prompt, wanted.style, model)) for s in shots)
    return replace(spec, shots=shots, loop=bool(wanted.loop))


def resolve_still(
    wanted: ImageGenerate, model: Capabilities, settings: Settings, source: Image | None
) -> JobSpec:
    """The specification of a picture: a clip of one frame."""
    size = _size(wanted.size, model, {"image": source})
    spec = _spec(wanted, model, settings, size, 1, model.fps)
    return replace(spec, output=wanted.output_format or "png")


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
    return replace(spec, strength=wanted.strength or model.strength)


def resolve_extension(
    wanted: VideoExtend, model: Capabilities, settings: Settings, clip: Clip
) -> JobSpec:
    """The specification of a job that makes `clip` longer: before it or behind it, there perhaps
    so that it leads back to the clip's beginning.
    """
    sides = sides_of(wanted)
    frames = _added(wanted.seconds, model, clip, goes_on="before" in sides)
    with _refusals():
        model.check_size(clip.width, clip.height, "video")
    _check_total(frames + clip.frames, clip.fps)
    spec = _spec(wanted, model, settings, (clip.width, clip.height), frames, clip.fps)
    return replace(spec, stitch=True, **{f"{side}_frames": clip.frames for side in sides})


def sides_of(wanted: VideoExtend) -> set[str]:
    """On which sides of the new frames the source is: before them, after them, or both."""
    if wanted.direction != "backward":
        return {"before", "after"} if wanted.loop else {"before"}
    if wanted.loop:
        raise InvalidRequest("loop: a video is made a loop at its end only.", param="loop")
    return {"after"}


def resolve_blend(
    wanted: VideoBlend, model: Capabilities, settings: Settings, first: Clip, last: Clip
) -> JobSpec:
    """The specification of a job that leads from the clip `first` into the clip `last`."""
    for what, one, other in (
        ("size", f"{first.width}x{first.height}", f"{last.width}x{last.height}"),
        ("rate", f"{first.fps} frames per second", f"{last.fps} frames per second"),
    ):
        if one != other:
            raise InvalidRequest(
                f"to_video has another {what} than from_video: {other}, not {one}.",
                param="to_video",
                code="size_mismatch",
            )
    with _refusals():
        model.check_size(first.width, first.height, "from_video")
    frames = _added(wanted.seconds, model, first, goes_on=True)
    _check_total(first.frames + frames + last.frames, first.fps)
    spec = _spec(wanted, model, settings, (first.width, first.height), frames, first.fps)
    return replace(spec, stitch=True, before_frames=first.frames, after_frames=last.frames)


def _added(seconds: float | None, model: Capabilities, clip: Clip, *, goes_on: bool) -> int:
    """The number of new frames beside a clip, whose rate they have."""
    if seconds is not None and seconds > MAX_ADDED_S:
        raise InvalidRequest(
            f"seconds: at most {MAX_ADDED_S} seconds can be added at a time.", param="seconds"
        )
    with _refusals():
        return model.frames_for(seconds or model.frames / model.fps, clip.fps, goes_on=goes_on)


def _check_total(frames: int, fps: int) -> None:
    # By whole seconds: 60 of them and three times 20 are one frame more than 120.
    if round(frames / fps) > MAX_TOTAL_S:
        raise InvalidRequest(
            f"The result would last {frames / fps:.2f} seconds; at most {MAX_TOTAL_S} are made.",
            param="seconds",
        )


def _shots(
    storyboard: list[Shot] | None, model: Capabilities, settings: Settings, fps: int
) -> tuple[job.Shot, ...]:
    """The storyboard's parts in frames. They end where their times say, so that rounding does not
    add up, and the last one ends where the model's frame rule has an end.
    """
    if not storyboard:
        return ()
    for place, shot in enumerate(storyboard):
        _check_length(shot.prompt, f"storyboard.{place}.prompt", settings.max_prompt_chars)
    times = list(accumulate(shot.seconds for shot in storyboard))
    with _refusals():
        total = model.frames_for(times[-1], fps, "storyboard")
    ends = [0, *(round(time * fps) for time in times[:-1]), total]
    lengths = [end - start for start, end in pairwise(ends)]
    for place, frames in enumerate(lengths):
        if frames < model.frame_step:
            raise InvalidRequest(
                f"storyboard.{place}.seconds: a part needs {model.frame_step} frames at least,"
                f" {model.frame_step / fps:g} seconds.",
                param=f"storyboard.{place}.seconds",
            )
    pairs = zip(storyboard, lengths, strict=True)
    return tuple(job.Shot(prompt=shot.prompt, frames=frames) for shot, frames in pairs)


def styled(prompt: str, style: str | None, model: Capabilities) -> str:
    """The prompt with the words that the model knows the style by."""
    if style is None:
        return prompt
    with _refusals():
        return f"{prompt}, {model.words_of(style)}"


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
    if wanted.guidance_scale_2 is not None and model.guidance_2 is None:
        raise InvalidRequest(
            f"{model.model_id} has one expert; guidance_scale_2 is for models with two.",
            param="guidance_scale_2",
            code="unsupported_value",
        )
    guidance_2 = model.guidance_2
    if guidance_2 is not None:  # as in diffusers, one that is given alone holds for both experts
        given = (wanted.guidance_scale_2, wanted.guidance_scale)
        guidance_2 = next((scale for scale in given if scale is not None), guidance_2)
    width, height = size
    return JobSpec(
        model=model.model_id,
        prompt=styled(wanted.prompt, wanted.style, model),
        negative_prompt=wanted.negative_prompt or "",
        width=width,
        height=height,
        frames=frames,
        fps=fps,
        steps=steps,
        guidance=model.guidance if wanted.guidance_scale is None else wanted.guidance_scale,
        guidance_2=guidance_2,
        flow_shift=model.flow_shift if wanted.flow_shift is None else wanted.flow_shift,
        seed=secrets.randbelow(SEEDS) if wanted.seed is None else wanted.seed,
    )


def given_in(wanted: VideoCreate) -> set[str]:
    """What the request brings beside its prompt, in the contract's words."""
    fields = {
        "image": wanted.input_reference,
        "last_image": wanted.last_frame,
        "loop": wanted.loop or None,
        "shots": wanted.storyboard,
    }
    return {name for name, value in fields.items() if value is not None}


def _size(
    asked: Size | None, model: Capabilities, references: dict[str, Image | None]
) -> tuple[int, int]:
    """The size asked for, else the reference's, else the model's; the references must have it."""
    given = {param: (image.width, image.height) for param, image in references.items() if image}
    size = asked or next(iter(given.values()), (model.width, model.height))
    width, height = size
    with _refusals():
        model.check_size(width, height)
    for param, (wide, high) in given.items():
        if (wide, high) != (width, height):
            raise InvalidRequest(
                f"{param} is {wide}x{high}; it must match the requested size, {width}x{height}.",
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
def _refusals(code: str = "unsupported_value", **called: str) -> Generator[None]:
    """What the capabilities refuse is the client's request to change."""
    try:
        yield
    except Unsupported as refused:
        param = (FIELDS | called).get(refused.param, refused.param)
        raise InvalidRequest(str(refused), param=param, code=code) from None

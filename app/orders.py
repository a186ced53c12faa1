"""From what a client asks for to a queued job, for each kind of request.

In each of them the order is the same: is it a repetition, which model, what does it start from,
every value resolved, stored.
"""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from app import admission
from app.api.fields import MAX_SEED, validated
from app.api.schemas import (
    MAX_PRIORITY,
    ImageEdit,
    ImageGenerate,
    VideoBlend,
    VideoCreate,
    VideoExtend,
    VideoRemix,
    VideoWanted,
    Wanted,
)
from app.auth import Caller
from app.clips import of_picture
from app.contract.capabilities import Capabilities
from app.contract.job import Job, JobSpec
from app.parts import Parts
from app.sources import Source, clip_of, ids_of, image_of
from app.submission import (
    Attempt,
    Order,
    Sent,
    fingerprint_of,
    first_sent,
    model_for,
    submit,
    submit_all,
)


def create(parts: Parts, wanted: VideoCreate, sent: Sent) -> Job:
    """A new video, or several that differ in their seeds; the first one is returned."""
    if first := first_sent(parts, sent):
        return first
    model = model_for(parts, wanted.model, admission.given_in(wanted), sent)
    image = image_of(parts, wanted.input_reference, sent.owner, "input_reference")
    last_image = image_of(parts, wanted.last_frame, sent.owner, "last_frame")
    spec = admission.resolve(wanted, model, parts.settings, image, last_image)
    order = Order(
        spec=spec,
        model_name=wanted.model or model.model_id,
        inputs={"image": image, "last_image": last_image},
        extra=_told(wanted, "create", seconds=_text(wanted.seconds)),
        priority=wanted.priority or 0,
        webhook_url=wanted.webhook_url,
    )
    orders = [replace(order, spec=_seeded(spec, copy)) for copy in range(wanted.n or 1)]
    return submit_all(parts, orders, sent)[0]


def create_batched(
    parts: Parts, fields: dict[str, Any], caller: Caller, *, key: str, batch_id: str
) -> Job:
    """The video that a line of a batch asks for; `key` makes sure that there is one."""
    wanted = validated(VideoCreate, fields)
    fingerprint = fingerprint_of({"batch": batch_id, "fields": fields})
    attempt = Attempt(key=key, is_retry=False)
    sent = Sent(caller=caller, attempt=attempt, fingerprint=fingerprint, batch_id=batch_id)
    return create(parts, wanted, sent)


def edit(
    parts: Parts, wanted: VideoRemix, source: Source, sent: Sent, param: str, operation: str
) -> Job:
    """A video made anew from another one; `param` is what the request calls that."""
    if first := first_sent(parts, sent):
        return first
    model = _model(parts, wanted, source, {"video"}, sent, video=param)
    # Frames that the frame rule would cut off are not too many.
    most = model.max_frames + model.frame_step - 1
    with clip_of(parts, source, model, param, most) as clip:
        spec = admission.resolve_edit(wanted, model, parts.settings, clip, param)
        told = _told(wanted, operation, sources=ids_of(source), seconds=_same(source, spec))
        order = Order(
            spec=spec,
            model_name=_name(wanted, model, source),
            inputs={"video": clip},
            extra=told,
            priority=wanted.priority or 0,
            webhook_url=wanted.webhook_url,
            remixed_from=next(iter(ids_of(source)), None),
        )
        return submit(parts, order, sent)


def extend(parts: Parts, wanted: VideoExtend, source: Source, sent: Sent) -> Job:
    """A video made longer at one of its ends."""
    if first := first_sent(parts, sent):
        return first
    sides = admission.sides_of(wanted)
    why = "loop" if wanted.loop else "direction"
    model = _model(parts, wanted, source, sides, sent, before="video", after=why)
    with clip_of(parts, source, model, "video") as clip:
        told = _told(wanted, "extension", sources=ids_of(source), seconds=_sum(source, wanted))
        order = Order(
            spec=admission.resolve_extension(wanted, model, parts.settings, clip),
            model_name=_name(wanted, model, source),
            inputs=dict.fromkeys(sides, clip),
            extra=told | {"direction": wanted.direction or "forward"},
            priority=wanted.priority or 0,
            webhook_url=wanted.webhook_url,
            remixed_from=next(iter(ids_of(source)), None),
        )
        return submit(parts, order, sent)


def blend(parts: Parts, wanted: VideoBlend, first: Source, last: Source, sent: Sent) -> Job:
    """Two videos as one, with a way between them."""
    if job := first_sent(parts, sent):
        return job
    ends = {"before": "from_video", "after": "to_video"}
    model = _model(parts, wanted, first, set(ends), sent, **ends)
    with ExitStack() as opened:
        clips = [
            opened.enter_context(clip_of(parts, source, model, param))
            for source, param in ((first, "from_video"), (last, "to_video"))
        ]
        order = Order(
            spec=admission.resolve_blend(wanted, model, parts.settings, *clips),
            model_name=_name(wanted, model, first),
            inputs={"before": clips[0], "after": clips[1]},
            extra=_told(wanted, "blend", sources=ids_of(first, last)),
            priority=wanted.priority or 0,
            webhook_url=wanted.webhook_url,
            remixed_from=next(iter(ids_of(first, last)), None),
        )
        return submit(parts, order, sent)


def draw(parts: Parts, wanted: ImageGenerate, sent: Sent) -> list[Job]:
    """Pictures, new or made from another one, that differ in their seeds."""
    if first := first_sent(parts, sent):
        return _with_siblings(parts, first)
    edited = isinstance(wanted, ImageEdit)
    given = {"still"} if edited else set[str]()
    model = model_for(parts, wanted.model, given, sent, image="model")
    source = image_of(parts, wanted.image, sent.owner, "image") if edited else None
    spec = admission.resolve_still(wanted, model, parts.settings, source)
    order = Order(
        spec=spec,
        model_name=wanted.model or model.model_id,
        inputs={},
        extra=_told(wanted, "image", metadata=wanted.user and {"user": wanted.user}),
        priority=MAX_PRIORITY,  # somebody waits, and it is done soon
    )
    with ExitStack() as opened:
        if source is not None:
            clip = opened.enter_context(of_picture(source.png, source.width, source.height))
            strength = wanted.strength if isinstance(wanted, ImageEdit) else None
            spec = replace(spec, strength=strength or model.strength)
            order = replace(order, inputs={"video": clip})
        orders = [replace(order, spec=_seeded(spec, copy)) for copy in range(wanted.n or 1)]
        made = submit_all(parts, orders, sent)
    # Where the same request came twice at once, what the other one made.
    return made if len(made) == len(orders) else _with_siblings(parts, made[0])


def _with_siblings(parts: Parts, first: Job) -> list[Job]:
    """All jobs of a request."""
    ids = [first.id, *first.extra.get("siblings", [])]
    found = parts.store.get_all(ids)
    return [found[job_id] for job_id in ids if job_id in found]


def _model(
    parts: Parts, wanted: VideoWanted, source: Source, given: set[str], sent: Sent, **called: str
) -> Capabilities:
    """The model that is named, else the source's."""
    name = source.spec.model if wanted.model is None and isinstance(source, Job) else wanted.model
    return model_for(parts, name, given, sent, **called)


def _name(wanted: VideoWanted, model: Capabilities, source: Source) -> str:
    """What to call the model: as the client does, now or when it made the source."""
    before = source.model_name if isinstance(source, Job) else None
    return wanted.model or before or model.model_id


def _told(wanted: Wanted, operation: str, **more: Any) -> dict[str, Any]:
    """What the API tells again of a request, beside the specification."""
    told: dict[str, Any] = {
        "operation": operation,
        "prompt": wanted.prompt,
        "style": wanted.style,
    }
    if isinstance(wanted, VideoWanted):
        told["metadata"] = wanted.metadata
    return {name: value for name, value in (told | more).items() if value}


def _seeded(spec: JobSpec, copy: int) -> JobSpec:
    return replace(spec, seed=(spec.seed + copy) % (MAX_SEED + 1))


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else str(seconds).removesuffix(".0")


def _same(source: Source, spec: JobSpec) -> str | None:
    """The length that was asked for when the source was made, if all of it is kept."""
    if not isinstance(source, Job) or source.spec.clip_frames != spec.frames:
        return None
    return source.extra.get("seconds")


def _sum(source: Source, wanted: VideoExtend) -> str | None:
    """The length that the client reckons with: what it asked for before, and now."""
    if not isinstance(source, Job) or wanted.seconds is None:
        return None
    before = source.extra.get("seconds")
    return None if before is None else f"{float(before) + wanted.seconds:g}"

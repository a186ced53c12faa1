"""From a request to a queued job: references stored, row committed, worker woken, in that order.

The official SDK sends a create again when it timed out, without an idempotency key, so the same
body arriving as a declared retry is answered with the first job. Two deliberate equal requests
are two jobs.
"""

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from app import admission
from app.api.schemas import VideoCreate, VideoRemix
from app.clips import Clip
from app.contract.blobs import BlobNotFound
from app.contract.capabilities import Capabilities
from app.contract.job import DuplicateKey, Job, JobSpec, Status, input_key, input_prefix
from app.contract.store import new_job_id
from app.errors import Conflict, InvalidRequest, RateLimited
from app.intake import Image
from app.parts import Parts

MAX_KEY_CHARS = 255


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the headers say about whether this request was sent before."""

    key: str | None
    is_retry: bool

    @classmethod
    def of(cls, request: Request) -> Self:
        """Reads `Idempotency-Key` and the SDK's own retry count."""
        key = request.headers.get("idempotency-key") or None
        if key is not None and len(key) > MAX_KEY_CHARS:
            raise InvalidRequest(
                f"Idempotency-Key may have at most {MAX_KEY_CHARS} characters.",
                param="idempotency-key",
            )
        return cls(key, request.headers.get("x-stainless-retry-count", "0") not in ("", "0"))


AttemptOf = Annotated[Attempt, Depends(Attempt.of)]


def submit(
    parts: Parts, wanted: VideoCreate, owner: str, attempt: Attempt, fingerprint: str
) -> Job:
    """The queued job for this request, or the one that an earlier sending of it made."""
    if first := _first_sent(parts, owner, attempt, fingerprint):
        return first
    model = _model(parts, wanted.model, admission.given_in(wanted))
    image = parts.intake.read(wanted.input_reference, "input_reference")
    last_image = parts.intake.read(wanted.last_frame, "last_frame")
    spec = admission.resolve(wanted, model, parts.settings, image, last_image)
    return _store(
        parts,
        spec,
        {"image": image, "last_image": last_image},
        owner=owner,
        model_name=wanted.model or model.model_id,
        extra={} if wanted.seconds is None else {"seconds": f"{wanted.seconds:g}"},
        body_hash=fingerprint,
        idempotency_key=attempt.key,
    )


def submit_edit(
    parts: Parts,
    wanted: VideoRemix,
    source: UploadFile | Job,
    param: str,
    owner: str,
    attempt: Attempt,
    fingerprint: str,
) -> Job:
    """As `submit`, for a video made from another one; `param` is what the request calls that."""
    if first := _first_sent(parts, owner, attempt, fingerprint):
        return first
    asked, told, remixed = wanted.model, wanted.model, None
    if isinstance(source, Job):
        remixed = source.id
        asked, told = asked or source.spec.model, told or source.model_name
    model = _model(parts, asked, {"video"})
    try:
        with _clip(parts, source, model, param) as clip:
            return _store(
                parts,
                admission.resolve_edit(wanted, model, parts.settings, clip, param),
                {"video": clip},
                owner=owner,
                model_name=told or model.model_id,
                remixed_from=remixed,
                body_hash=fingerprint,
                idempotency_key=attempt.key,
            )
    except BlobNotFound:  # deleted, or expired, after its row was read
        raise _expired(param) from None


def _clip(
    parts: Parts, source: UploadFile | Job, model: Capabilities, param: str
) -> AbstractContextManager[Clip]:
    """The uploaded file's frames, or those of a finished video."""
    if isinstance(source, UploadFile):
        # Frames that the frame rule would cut off are not too many.
        frames = model.max_frames + model.frame_step - 1
        return parts.clips.read(source.file, model.max_pixels, frames, param)
    if source.status is not Status.COMPLETED:
        raise InvalidRequest(
            f"{param}: the video {source.id} is {source.status}; it must be completed.",
            param=param,
            code="video_not_ready",
        )
    if source.output_key is None:
        raise _expired(param)
    spec = source.spec
    return nullcontext(Clip(source.output_key, spec.width, spec.height, spec.frames, spec.fps))


def _expired(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param}: the video is no longer available.", param=param, code="video_expired"
    )


def fingerprint_of(fields: dict[str, Any]) -> str:
    """A hash of everything the request says, its files included."""

    def plain(value: object) -> str:
        if isinstance(value, UploadFile):
            digest = hashlib.file_digest(value.file, "sha256").hexdigest()  # type: ignore[arg-type]
            value.file.seek(0)
            return f"file:{digest}"
        raise TypeError(type(value))

    text = json.dumps(fields, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _first_sent(parts: Parts, owner: str, attempt: Attempt, fingerprint: str) -> Job | None:
    """The job of the same request, when this one is its client library's repetition."""
    if not attempt.is_retry or attempt.key is not None:
        return None
    return parts.store.recent(owner, fingerprint, parts.settings.duplicate_window_s)


def _model(parts: Parts, name: str | None, given: set[str]) -> Capabilities:
    """The model to use, once there is room for another job."""
    _check_room(parts)
    models = [model.capabilities for model in parts.store.models.list()]
    return admission.choose_model(name, given, models, parts.settings.default_model)


def _check_room(parts: Parts) -> None:
    limit = parts.settings.max_queued
    if parts.store.waiting() >= limit:
        raise RateLimited(
            f"The queue is full: {limit} jobs are waiting.",
            code="queue_full",
            headers={"retry-after": "30"},
        )


def _store(parts: Parts, spec: JobSpec, inputs: dict[str, Image | Clip | None], **row: Any) -> Job:
    """Blobs first, then the row that names them; no row, no blobs. Wakes a worker for a new job."""
    job_id = new_job_id()
    created = False
    try:
        for name, given in inputs.items():
            if given is not None:
                spec = replace(spec, **{name: _put(parts, job_id, name, given)})
        job, created = parts.store.create(spec, job_id=job_id, **row)
    except DuplicateKey as error:
        raise Conflict(str(error).capitalize() + ".", param="idempotency-key") from None
    finally:
        if not created:
            parts.blobs.delete_prefix(input_prefix(job_id))
    if created:
        parts.queue.announce(job)
    return job


def _put(parts: Parts, job_id: str, name: str, given: Image | Clip) -> str:
    """Stores an input; returns its key."""
    if isinstance(given, Image):
        key = input_key(job_id, f"{name}.png")
        parts.blobs.put(key, given.png, "image/png")
        return key
    key = input_key(job_id, f"{name}.mp4")
    if isinstance(given.source, str):
        parts.blobs.copy(given.source, key)
    else:
        parts.blobs.put(key, given.source, "video/mp4")
    return key

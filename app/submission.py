"""From a request to a queued job: references stored, row committed, worker woken, in that order.

The official SDK sends a create again when it timed out, without an idempotency key, so the same
body arriving as a declared retry is answered with the first job. Two deliberate equal requests
are two jobs.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from app import admission
from app.api.schemas import VideoCreate
from app.contract.job import DuplicateKey, Job, JobSpec, input_key, input_prefix
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
    if attempt.is_retry and attempt.key is None:
        first = parts.store.recent(owner, fingerprint, parts.settings.duplicate_window_s)
        if first is not None:
            return first
    _check_room(parts)
    models = [model.capabilities for model in parts.store.models.list()]
    model = admission.choose_model(wanted, models, parts.settings.default_model)
    image = parts.intake.read(wanted.input_reference, "input_reference")
    last_image = parts.intake.read(wanted.last_frame, "last_frame")
    spec = admission.resolve(wanted, model, parts.settings, image, last_image)
    job, created = _store(
        parts,
        spec,
        {"image": image, "last_image": last_image},
        owner=owner,
        model_name=wanted.model or model.model_id,
        extra={} if wanted.seconds is None else {"seconds": f"{wanted.seconds:g}"},
        body_hash=fingerprint,
        idempotency_key=attempt.key,
    )
    if created:
        parts.queue.announce(job)
    return job


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


def _check_room(parts: Parts) -> None:
    limit = parts.settings.max_queued
    if parts.store.waiting() >= limit:
        raise RateLimited(
            f"The queue is full: {limit} jobs are waiting.",
            code="queue_full",
            headers={"retry-after": "30"},
        )


def _store(
    parts: Parts, spec: JobSpec, images: dict[str, Image | None], **row: Any
) -> tuple[Job, bool]:
    """Blobs first, then the row that names them; no row, no blobs."""
    job_id = new_job_id()
    created = False
    try:
        for name, image in images.items():
            if image is not None:
                key = input_key(job_id, f"{name}.png")
                parts.blobs.put(key, image.png, "image/png")
                spec = replace(spec, **{name: key})
        job, created = parts.store.create(spec, job_id=job_id, **row)
    except DuplicateKey as error:
        raise Conflict(str(error).capitalize() + ".", param="idempotency-key") from None
    finally:
        if not created:
            parts.blobs.delete_prefix(input_prefix(job_id))
    return job, created

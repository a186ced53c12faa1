"""From a specification to a queued job: references stored, row committed, worker woken, in that
order.

The official SDK sends a create again when it timed out, without an idempotency key, so the same
body arriving as a declared retry is answered with the first job; where the first sending is still
under way, it is answered with the retry's. Two deliberate equal requests are two jobs.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import UploadFile

from app import admission
from app.auth import Caller
from app.clips import Clip
from app.contract.capabilities import Capabilities
from app.contract.creation import Draft, new_job_id
from app.contract.job import DuplicateKey, Job, JobSpec, input_key, input_prefix
from app.errors import Conflict, InvalidRequest
from app.intake import Image
from app.parts import Parts
from app.receivers import checked_url

MAX_KEY_CHARS = 255
#: Priority of what runs only when nothing else waits.
BACKGROUND = -1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Who sent a request, whether for the first time, and a hash of all that it says."""

    caller: Caller
    attempt: Attempt
    fingerprint: str
    #: the batch that it is a line of; such a request waits for all others
    batch_id: str | None = None
    #: when, by this process's clock
    at: float = field(default_factory=time.monotonic)

    @property
    def owner(self) -> str:
        """Whose the video will be."""
        return self.caller.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job to be made: its specification, what it starts from, and what is kept beside it."""

    spec: JobSpec
    #: the model as the client named it
    model_name: str
    #: name of the spec's field -> what is stored and named there
    inputs: dict[str, Image | Clip | None]
    #: what the API tells again
    extra: dict[str, Any]
    priority: int = 0
    webhook_url: str | None = None
    remixed_from: str | None = None


def first_sent(parts: Parts, sent: Sent) -> Job | None:
    """The job of the same request, when this one is its repetition: by its key, or, without one, by
    its client library's count.
    """
    if (key := sent.attempt.key) is not None:
        try:
            return parts.store.promised(sent.owner, key, sent.fingerprint)
        except DuplicateKey as error:
            raise contradiction(error) from None
    if not sent.attempt.is_retry:
        return None
    return parts.store.recent(sent.owner, sent.fingerprint, parts.settings.duplicate_window_s)


def model_for(
    parts: Parts, name: str | None, given: set[str], sent: Sent, **called: str
) -> Capabilities:
    """The model to use, once there is room for another job. Raises LimitReached.

    `called` is as of `admission.choose_model`.
    """
    if sent.batch_id is None:
        parts.store.limits.check(sent.caller.key, parts.settings.max_queued)
    models = [model.capabilities for model in parts.store.models.list()]
    return admission.choose_model(name, given, models, parts.settings.default_model, **called)


def submit(parts: Parts, order: Order, sent: Sent) -> Job:
    """The queued job of this order, or the one that an earlier sending of it made."""
    return submit_all(parts, [order], sent)[0]


def submit_all(parts: Parts, orders: list[Order], sent: Sent) -> list[Job]:
    """As `submit` for orders of one request, all or none of them. The first one's job stands for
    the request when it is sent again.

    Blobs first, then the rows that name them; no rows, no blobs. Where the database broke off there
    may be rows; if not, the courier removes the blobs.
    """
    if (url := orders[0].webhook_url) is not None:
        checked_url(url, parts.settings, "webhook_url")
    worded = _worded(parts, orders[0].spec)  # of all: they differ in their seeds alone
    ids, needed = [new_job_id() for _ in orders], False
    try:
        drafts = [
            _draft(parts, replace(order, spec=replace(worded, seed=order.spec.seed)), ids, at, sent)
            for at, order in enumerate(orders)
        ]
        jobs, needed = parts.store.create_all(
            drafts,
            owner=sent.owner,
            key=sent.caller.key,
            max_queued=parts.settings.max_queued,
            batch_id=sent.batch_id,
            body_hash=sent.fingerprint,
            idempotency_key=sent.attempt.key,
            is_retry=sent.attempt.is_retry,
            within_s=_within_s(parts, sent),
        )
    except DuplicateKey as error:
        raise contradiction(error) from None
    except SQLAlchemyError:
        needed = True
        raise
    finally:
        if not needed:
            for job_id in ids:
                parts.blobs.delete_prefix(input_prefix(job_id))
    if needed:
        parts.queue.wake(worded.model, [job.id for job in jobs])
    return jobs


def _within_s(parts: Parts, sent: Sent) -> float:
    """How old a job of the same request may be: one that a retry repeats, or one of a retry that
    overtook this request, which took longer than its client waited.
    """
    window_s = parts.settings.duplicate_window_s
    return window_s if sent.attempt.is_retry else min(window_s, time.monotonic() - sent.at)


def contradiction(error: DuplicateKey) -> Conflict:
    """What is answered when a key came with another request before."""
    said = str(error)
    return Conflict(f"{said[:1].upper()}{said[1:]}.", param="idempotency-key")


def fingerprint_of(fields: dict[str, Any]) -> str:
    """A hash of everything the request says, its files included. Raises InvalidRequest."""

    def plain(value: object) -> str:
        if isinstance(value, UploadFile):
            digest = hashlib.file_digest(value.file, "sha256").hexdigest()  # type: ignore[arg-type]
            value.file.seek(0)
            return f"file:{digest}"
        raise TypeError(type(value))

    try:
        text = json.dumps(fields, sort_keys=True, default=plain)
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from None
    return hashlib.sha256(text.encode()).hexdigest()


def _worded(parts: Parts, spec: JobSpec) -> JobSpec:
    """The specification once its prompts are found to be allowed, short ones written out."""
    parts.hooks.moderate(spec.prompt, *(shot.prompt for shot in spec.shots))
    if spec.shots:
        return spec
    return replace(spec, prompt=parts.hooks.expand(spec.prompt, spec.seconds))


def _draft(parts: Parts, order: Order, ids: list[str], at: int, sent: Sent) -> Draft:
    """The order with the number `at`, once what it starts from is stored."""
    spec, job_id = order.spec, ids[at]
    keys: dict[int, str] = {}  # what is given twice is stored once
    for name, given in order.inputs.items():
        if given is not None:
            key = keys.get(id(given)) or _put(parts, job_id, name, given)
            keys[id(given)] = key
            spec = replace(spec, **{name: key})
    siblings = [other for other in ids if other != job_id]
    return Draft(
        spec=spec,
        id=job_id,
        model_name=order.model_name,
        extra=order.extra | ({"siblings": siblings} if siblings else {}),
        priority=BACKGROUND if sent.batch_id is not None else order.priority,
        webhook_url=order.webhook_url,
        remixed_from=order.remixed_from,
    )


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

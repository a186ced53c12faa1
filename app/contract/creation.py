"""A new job's row, the promise of its idempotency key, and what counts against a key's limits."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from app.contract import limits
from app.contract.database import now
from app.contract.job import DuplicateKey, Job, JobSpec, Stage, Status
from app.contract.keys import ApiKey
from app.contract.rows import job_of, visible
from app.contract.tables import idempotency, jobs

#: Marks, in `extra`, a job that a client library's retry made.
RETRY = "retry"


def new_job_id() -> str:
    """An id that cannot be guessed."""
    return "video_" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job that is to be stored."""

    spec: JobSpec
    #: given when blobs were stored under it already
    id: str = field(default_factory=new_job_id)
    #: the model as the client named it
    model_name: str | None = None
    #: what the API tells again
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    #: higher ones run first
    priority: int = 0
    webhook_url: str | None = None
    remixed_from: str | None = None


def row_of(draft: Draft, **given: Any) -> dict[str, Any]:
    """The row of a queued job; `given` are columns as they are."""
    spec, extra = draft.spec, draft.extra
    said = [extra.get("prompt", ""), spec.prompt, *(shot.prompt for shot in spec.shots)]
    return given | {
        "id": draft.id,
        "model_name": draft.model_name or spec.model,
        "priority": draft.priority,
        "remixed_from": draft.remixed_from,
        "webhook_url": draft.webhook_url,
        "model": spec.model,
        "spec": spec.to_json(),
        "status": Status.QUEUED,
        "stage": Stage.QUEUED,
        "progress": 0.0,
        "extra": json.dumps(extra, ensure_ascii=False),
        "attempt": 0,
        "losses": 0,
        "cancel_requested": False,
        "created_at": now(),
        "seconds": spec.frames / spec.fps,
        "words": "\n".join(dict.fromkeys(said)).casefold(),
        "kind": "video" if spec.output == "mp4" else "image",
    }


def insert(
    connection: sa.Connection,
    row: dict[str, Any],
    key: ApiKey | None,
    max_queued: int | None,
) -> Job:
    """Stores a row if the limits leave room for it. Raises LimitReached."""
    if row["batch_id"] is None:
        limits.take_job(connection, key, max_queued, row["seconds"])
    else:
        limits.take_background(connection, key, row["seconds"])
    return job_of(connection.execute(sa.insert(jobs).values(row).returning(*jobs.c)).one())


def promise(connection: sa.Connection, row: dict[str, Any], key: str) -> None:
    """Keeps a row's job for all requests with an idempotency key. Raises IntegrityError when the
    key was used before, and its job is still there.
    """
    gone = sa.select(jobs.c.id).where(jobs.c.deleted_at.is_not(None))
    connection.execute(
        sa.delete(idempotency).where(
            idempotency.c.owner == row["owner"],
            idempotency.c.key == key,
            idempotency.c.job_id.in_(gone),
        )
    )
    kept = {"owner": row["owner"], "key": key, "job_id": row["id"]}
    kept |= {"body_hash": row["body_hash"] or "", "created_at": now()}
    connection.execute(sa.insert(idempotency).values(kept))


def first_of_body(
    connection: sa.Connection, owner: str, body_hash: str, within_s: float, *, retries: bool = False
) -> Job | None:
    """The newest job made from the same request body in the last `within_s` seconds; with
    `retries`, of those that a client library's retry made.
    """
    made = jobs.c.created_at
    query = visible(owner).where(
        jobs.c.body_hash == body_hash, made > now() - within_s, made <= now()
    )
    newest = query.order_by(made.desc()).limit(None if retries else 1)
    found = map(job_of, connection.execute(newest))
    return next((job for job in found if not retries or RETRY in job.extra), None)


def first_of_key(
    connection: sa.Connection, owner: str, key: str | None, body_hash: str | None
) -> Job | None:
    """The job that was made with an idempotency key, unless it was deleted since. Raises
    DuplicateKey when it came with another body then.
    """
    if key is None:
        return None
    query = (
        sa.select(*jobs.c, idempotency.c.body_hash.label("first_hash"))
        .join(idempotency, jobs.c.id == idempotency.c.job_id)
        .where(idempotency.c.owner == owner, idempotency.c.key == key)
    )
    found = connection.execute(query).first()
    if found is not None and found.first_hash != (body_hash or ""):
        raise DuplicateKey(key)
    return job_of(found) if found is not None and found.deleted_at is None else None

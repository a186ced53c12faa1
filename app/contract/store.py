"""The jobs' rows, which are the truth about every job.

Every status move is an UPDATE whose WHERE clause is its guard; a move that is refused raises
`MoveRefused` and changes nothing. What a worker writes is fenced by its attempt, so that one that
lost its lease and woke up again can change nothing.

    create ──► queued ──claim──► in_progress ──complete──► completed
                 │  ▲                │ │ │
                 │  └─release, lose──┘ │ └──fail──► failed
                 └──────────────cancel─┴──────────► failed (cancelled)
"""

import json
import secrets
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.contract.database import Database, now
from app.contract.job import (
    DuplicateKey,
    Job,
    JobNotFound,
    JobSpec,
    MoveRefused,
    Output,
    Stage,
    Status,
)
from app.contract.keys import Keys
from app.contract.models import Models
from app.contract.tables import idempotency, jobs
from app.contract.upkeep import TO_CANCELLED, TO_QUEUED, Upkeep, to_failed


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and whether more follows."""

    jobs: list[Job]
    has_more: bool


class Store:
    """All rows: jobs here, API keys in `keys`, served models in `models`, the courier's
    work in `upkeep`. Safe between threads.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keys = Keys(database)
        self.models = Models(database)
        self.upkeep = Upkeep(database)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connects to `sqlite:///FILE` or `postgresql://…`; the tables must exist already."""
        return cls(Database(url))

    def close(self) -> None:
        """Closes pooled connections."""
        self.database.close()

    # What the API does. `owner` is an API key's id; None means every owner's.

    def create(
        self,
        spec: JobSpec,
        *,
        owner: str = "",
        model_name: str | None = None,
        job_id: str | None = None,
        priority: int = 0,
        extra: dict[str, Any] | None = None,
        remixed_from: str | None = None,
        body_hash: str | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[Job, bool]:
        """Stores a queued job; returns it and True, or the first job of this idempotency key and
        False. Raises DuplicateKey when the key came with another `body_hash` before.

        Higher `priority` runs first. `job_id` is given when blobs were stored under it already.
        """
        job_id = job_id or new_job_id()
        row = {
            "id": job_id,
            "owner": owner,
            "model": spec.model,
            "model_name": model_name or spec.model,
            "spec": spec.to_json(),
            "status": Status.QUEUED,
            "stage": Stage.QUEUED,
            "progress": 0.0,
            "priority": priority,
            "extra": json.dumps(extra or {}, ensure_ascii=False),
            "body_hash": body_hash,
            "remixed_from": remixed_from,
            "attempt": 0,
            "losses": 0,
            "cancel_requested": False,
            "created_at": now(),
        }
        try:
            with self.database.write() as connection:
                created = connection.execute(sa.insert(jobs).values(row).returning(*jobs.c)).one()
                if idempotency_key is not None:
                    promise = {"owner": owner, "key": idempotency_key, "job_id": job_id}
                    promise |= {"body_hash": body_hash or "", "created_at": now()}
                    connection.execute(sa.insert(idempotency).values(promise))
            return _job(created), True
        except IntegrityError:
            first = idempotency_key and self._first_of_key(owner, idempotency_key, body_hash)
            if not first:
                raise
            return first, False

    def _first_of_key(self, owner: str, key: str, body_hash: str | None) -> Job | None:
        query = (
            sa.select(*jobs.c, idempotency.c.body_hash.label("first_hash"))
            .join(idempotency, jobs.c.id == idempotency.c.job_id)
            .where(idempotency.c.owner == owner, idempotency.c.key == key)
        )
        with self.database.read() as connection:
            found = connection.execute(query).first()
        if found is not None and found.first_hash != (body_hash or ""):
            raise DuplicateKey(key)
        return _job(found) if found is not None else None

    def recent(self, owner: str, body_hash: str, within_s: float) -> Job | None:
        """The newest job made from the same request body in the last `within_s` seconds."""
        query = (
            _visible(owner)
            .where(jobs.c.body_hash == body_hash, jobs.c.created_at > now() - within_s)
            .order_by(jobs.c.created_at.desc())
            .limit(1)
        )
        with self.database.read() as connection:
            found = connection.execute(query).first()
        return _job(found) if found is not None else None

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """The job as it is now. Raises JobNotFound, also for a deleted one."""
        with self.database.read() as connection:
            found = connection.execute(_visible(owner).where(jobs.c.id == job_id)).first()
        if found is None:
            raise JobNotFound(job_id)
        return _job(found)

    def list(
        self,
        owner: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> Page:
        """At most `limit` jobs by time of creation, beginning behind the job `after`. Raises
        JobNotFound when `after` is unknown.
        """
        place = (jobs.c.created_at, jobs.c.id)
        query = _visible(owner).limit(limit + 1)
        query = query.order_by(*(c.desc() if newest_first else c.asc() for c in place))
        if after is not None:
            cursor = self.get(after, owner)
            here, there = sa.tuple_(*place), sa.tuple_(cursor.created_at, cursor.id)
            query = query.where(here < there if newest_first else here > there)
        with self.database.read() as connection:
            found = [_job(row) for row in connection.execute(query)]
        return Page(found[:limit], len(found) > limit)

    def queue_position(self, job: Job) -> int:
        """How many queued jobs of the same model run before this one."""
        sooner = sa.or_(
            jobs.c.priority > job.priority,
            sa.and_(
                jobs.c.priority == job.priority,
                sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(job.created_at, job.id),
            ),
        )
        query = sa.select(sa.func.count()).where(
            jobs.c.status == Status.QUEUED, jobs.c.model == job.spec.model, sooner
        )
        with self.database.read() as connection:
            return connection.execute(query).scalar_one()

    def counts(self) -> dict[tuple[str, Status], int]:
        """Number of jobs by (model, status)."""
        query = sa.select(jobs.c.model, jobs.c.status, sa.func.count()).group_by(
            jobs.c.model, jobs.c.status
        )
        with self.database.read() as connection:
            return {(m, Status(s)): n for m, s, n in connection.execute(query)}

    def waiting(self, owner: str | None = None) -> int:
        """Number of queued jobs."""
        query = sa.select(sa.func.count()).where(jobs.c.status == Status.QUEUED)
        if owner is not None:
            query = query.where(jobs.c.owner == owner)
        with self.database.read() as connection:
            return connection.execute(query).scalar_one()

    def cancel(self, job_id: str, owner: str | None = None) -> Job:
        """Ends a queued job at once; asks the worker of a running one to stop (it will be failed
        with `cancelled`). Raises JobNotFound, or MoveRefused when the job is finished already.
        """
        with self.database.write() as connection:
            job = _locked(connection, job_id, owner)
            if job.finished:
                raise MoveRefused(job_id, "cancel", job.status)
            return _job(_cancel(connection, job))

    def delete(self, job_id: str, owner: str | None = None) -> Job:
        """Hides the job at once and cancels it if it is not finished; the courier removes row and
        blobs when no worker has it any more. Raises JobNotFound.
        """
        with self.database.write() as connection:
            job = _locked(connection, job_id, owner)
            if not job.finished:
                _cancel(connection, job)
            hide = sa.update(jobs).where(jobs.c.id == job_id).values(deleted_at=now())
            return _job(connection.execute(hide.returning(*jobs.c)).one())

    # What a worker does

    def claim(self, model: str, worker: str, lease_s: float) -> Job | None:
        """queued → in_progress for the first job of this model's queue, or None when it is empty.

        The message that woke the worker does not choose: the order is here alone, so that lost,
        doubled and late messages change nothing.
        """
        first = (
            sa.select(jobs.c.id)
            .where(jobs.c.status == Status.QUEUED, jobs.c.model == model)
            .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        take = (
            sa.update(jobs)
            .where(jobs.c.id == first, jobs.c.status == Status.QUEUED)
            .values(
                status=Status.IN_PROGRESS,
                stage=Stage.TEXT,
                progress=0.0,
                attempt=jobs.c.attempt + 1,
                worker=worker,
                lease_until=now() + lease_s,
                started_at=sa.func.coalesce(jobs.c.started_at, now()),
            )
            .returning(*jobs.c)
        )
        with self.database.write() as connection:
            taken = connection.execute(take).first()
        return _job(taken) if taken is not None else None

    def beat(
        self, job_id: str, attempt: int, lease_s: float, stage: Stage, progress: float
    ) -> bool:
        """Extends the lease and records progress; returns whether cancelling was asked for. Raises
        MoveRefused when the lease is lost.
        """
        values = {"lease_until": now() + lease_s, "stage": stage, "progress": progress}
        return self._fenced("beat", job_id, attempt, values).cancel_requested

    def complete(
        self, job_id: str, attempt: int, output: Output, expire_s: float | None = None
    ) -> Job:
        """in_progress → completed, unless cancelling was asked for. Raises MoveRefused."""
        values = {
            "status": Status.COMPLETED,
            "stage": Stage.UPLOAD,
            "progress": 1.0,
            "worker": None,
            "lease_until": None,
            "finished_at": now(),
            "expires_at": None if expire_s is None else now() + expire_s,
            "output_key": output.key,
            "output_bytes": output.size_bytes,
            "thumbnail_key": output.thumbnail_key,
        }
        return self._fenced("complete", job_id, attempt, values, ~jobs.c.cancel_requested)

    def fail(self, job_id: str, attempt: int, code: str, message: str) -> Job:
        """in_progress → failed. Raises MoveRefused."""
        return self._fenced("fail", job_id, attempt, to_failed(code, message))

    def release(self, job_id: str, attempt: int) -> Job:
        """in_progress → queued by the worker itself, which is shutting down; keeps its place in the
        queue and counts no loss. Raises MoveRefused, also when cancelling was asked for.
        """
        return self._fenced("release", job_id, attempt, TO_QUEUED, ~jobs.c.cancel_requested)

    def _fenced(
        self, move: str, job_id: str, attempt: int, values: dict[str, Any], *guards: Any
    ) -> Job:
        update = (
            sa.update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.attempt == attempt,
                jobs.c.status == Status.IN_PROGRESS,
                *guards,
            )
            .values(values)
            .returning(*jobs.c)
        )
        with self.database.write() as connection:
            moved = connection.execute(update).first()
            if moved is not None:
                return _job(moved)
            found = connection.execute(sa.select(*jobs.c).where(jobs.c.id == job_id)).first()
        raise MoveRefused(job_id, move, _state(found))


def new_job_id() -> str:
    """An id that cannot be guessed."""
    return "video_" + secrets.token_hex(16)


def _visible(owner: str | None) -> sa.Select[Any]:
    query = sa.select(*jobs.c).where(jobs.c.deleted_at.is_(None))
    return query if owner is None else query.where(jobs.c.owner == owner)


def _locked(connection: sa.Connection, job_id: str, owner: str | None) -> Job:
    found = connection.execute(_visible(owner).where(jobs.c.id == job_id).with_for_update()).first()
    if found is None:
        raise JobNotFound(job_id)
    return _job(found)


def _cancel(connection: sa.Connection, job: Job) -> sa.Row[Any]:
    values = TO_CANCELLED if job.status is Status.QUEUED else {"cancel_requested": True}
    update = sa.update(jobs).where(jobs.c.id == job.id, jobs.c.status == job.status).values(values)
    return connection.execute(update.returning(*jobs.c)).one()


def _state(row: sa.Row[Any] | None) -> str:
    if row is None:
        return "gone"
    cancelling = ", cancelling" if row.cancel_requested else ""
    return f"{row.status} (attempt {row.attempt}{cancelling})"


def _job(row: sa.Row[Any]) -> Job:
    values = {name: getattr(row, name) for name in Job.__dataclass_fields__}
    values["spec"] = JobSpec.from_json(row.spec)
    values["status"], values["stage"] = Status(row.status), Stage(row.stage)
    values["extra"] = json.loads(row.extra)
    return Job(**values)

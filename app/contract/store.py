"""The jobs' rows, which are the truth about every job.

Every status move is an UPDATE whose WHERE clause is its guard; a move that is refused raises
`MoveRefused` and changes nothing. What a worker writes is fenced by its attempt, so that one that
lost its lease and woke up again can change nothing.

    create ──► queued ──claim──► in_progress ──complete──► completed
                 │  ▲                │ │ │
                 │  └─release, lose──┘ │ └──fail──► failed
                 └──────────────cancel─┴──────────► failed (cancelled)
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.contract import creation, eta, limits, line, moves
from app.contract.batches import Batches
from app.contract.checkpoints import Checkpoints
from app.contract.creation import Draft
from app.contract.database import Database, now
from app.contract.files import Files
from app.contract.job import Job, JobNotFound, JobSpec, MoveRefused, Output, Stage, Status
from app.contract.keys import ApiKey, Keys
from app.contract.limits import Limits
from app.contract.models import Models
from app.contract.pages import CursorNotFound, page
from app.contract.rows import job_of, owned, visible
from app.contract.tables import jobs
from app.contract.timings import Timings
from app.contract.upkeep import TO_QUEUED, Upkeep, to_failed
from app.contract.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and whether more follows."""

    jobs: list[Job]
    has_more: bool


class Store:
    """All rows: jobs here, the other tables in the attributes. Safe between threads."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.keys = Keys(database)
        self.limits = Limits(database)
        self.models = Models(database)
        self.timings = Timings(database)
        self.files = Files(database)
        self.batches = Batches(database)
        self.webhooks = Webhooks(database)
        self.checkpoints = Checkpoints(database)
        self.upkeep = Upkeep(database)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connects to `sqlite:///FILE` or `postgresql://…`; the tables must exist already."""
        return cls(Database(url))

    def close(self) -> None:
        """Closes pooled connections."""
        self.database.close()

    # What the API does. `owner` is a key's tenant; None means every owner's.

    def create(self, draft: Draft | JobSpec, **request: Any) -> tuple[Job, bool]:
        """`create_all` for one job."""
        one = draft if isinstance(draft, Draft) else Draft(spec=draft)
        stored, created = self.create_all([one], **request)
        return stored[0], created

    def create_all(
        self,
        drafts: list[Draft],
        *,
        owner: str = "",
        key: ApiKey | None = None,
        max_queued: int | None = None,
        batch_id: str | None = None,
        body_hash: str | None = None,
        idempotency_key: str | None = None,
        is_retry: bool = False,
        within_s: float = 0.0,
    ) -> tuple[list[Job], bool]:
        """Stores the queued jobs of one request, all or none; returns them and True, or the first
        job of the same request and False. Raises DuplicateKey when the key came with another
        `body_hash` before, and LimitReached when there is no room for the jobs.

        `key` is whose limits count, `max_queued` how many jobs may wait in all. The first job
        stands for the request when it is sent again: with its idempotency key or, without one, as a
        retry. Such a job is `within_s` seconds old at most: what a retry repeats, and what a retry
        made that overtook this request.
        """
        if any(draft.webhook_url is not None for draft in drafts):
            self.webhooks.secret_of(owner)  # now, since whoever tells of the end only reads it
        if is_retry:
            drafts = [
                replace(draft, extra=draft.extra | {creation.RETRY: True}) for draft in drafts
            ]
        common = {"owner": owner, "key_id": key.id if key is not None else "", "batch_id": batch_id}
        rows = [
            creation.row_of(draft, **common, body_hash=None if at else body_hash)
            for at, draft in enumerate(drafts)
        ]
        try:
            with self.database.write() as connection:
                first = creation.first_of_key(connection, owner, idempotency_key, body_hash)
                if idempotency_key is None and body_hash is not None and within_s:
                    limits.lock(connection)  # so that of two at once one sees the other
                    first = creation.first_of_body(
                        connection, owner, body_hash, within_s, retries=not is_retry
                    )
                if first is not None:
                    return [first], False
                stored = [creation.insert(connection, row, key, max_queued) for row in rows]
                if idempotency_key is not None:
                    creation.promise(connection, rows[0], idempotency_key)
                return stored, True
        except IntegrityError:  # another process was faster with the same idempotency key
            with self.database.read() as connection:
                first = creation.first_of_key(connection, owner, idempotency_key, body_hash)
            if first is None:
                raise
            return [first], False

    def promised(self, owner: str, idempotency_key: str, body_hash: str) -> Job | None:
        """The job that was made with this key. Raises DuplicateKey for another body's."""
        with self.database.read() as connection:
            return creation.first_of_key(connection, owner, idempotency_key, body_hash)

    def recent(self, owner: str, body_hash: str, within_s: float) -> Job | None:
        """The newest job made from the same request body in the last `within_s` seconds."""
        with self.database.read() as connection:
            return creation.first_of_body(connection, owner, body_hash, within_s)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """The job as it is now. Raises JobNotFound, also for a deleted one."""
        with self.database.read() as connection:
            found = connection.execute(visible(owner).where(jobs.c.id == job_id)).first()
        if found is None:
            raise JobNotFound(job_id)
        return job_of(found)

    def get_all(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Those of these jobs that there are, by id."""
        with self.database.read() as connection:
            found = connection.execute(visible(None).where(jobs.c.id.in_(job_ids)))
            return {row.id: job_of(row) for row in found}

    def list(
        self,
        owner: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
        statuses: Collection[Status] = (),
        search: str = "",
    ) -> Page:
        """At most `limit` videos by time of creation, beginning behind the job `after`; with
        `statuses`, in one of those; with `search`, whose prompts have all its words. Raises
        JobNotFound when `after` is unknown.
        """
        query = visible(owner).where(jobs.c.kind == "video")
        if statuses:
            query = query.where(jobs.c.status.in_(statuses))
        for word in search.casefold().split():
            query = query.where(jobs.c.words.contains(word, autoescape=True))
        try:
            with self.database.read() as connection:
                rows, more = page(
                    connection,
                    jobs,
                    query,
                    known=owned(owner),  # a client may delete what it lists
                    after=after,
                    limit=limit,
                    newest_first=newest_first,
                )
        except CursorNotFound as unknown:
            raise JobNotFound(unknown.after) from None
        return Page([job_of(row) for row in rows], more)

    def queue_position(self, job: Job) -> int:
        """How many queued jobs of the same model run before this one."""
        with self.database.read() as connection:
            return line.position(connection, job)

    def eta_s(self, job: Job) -> float | None:
        """Seconds until the job is done, its wait included; None when nothing is known of it."""
        with self.database.read() as connection:
            return eta.remaining_s(connection, job)

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
            job = moves.locked(connection, job_id, owner)
            if job.finished:
                raise MoveRefused(job_id, "cancel", job.status)
            return moves.cancel(connection, job)

    def delete(self, job_id: str, owner: str | None = None) -> Job:
        """Hides the job at once and cancels it if it is not finished; the courier removes row and
        blobs when no worker has it any more. Raises JobNotFound.
        """
        with self.database.write() as connection:
            moves.locked(connection, job_id, owner)
            hide = sa.update(jobs).where(jobs.c.id == job_id).values(deleted_at=now())
            hidden = job_of(connection.execute(hide.returning(*jobs.c)).one())
            return hidden if hidden.finished else moves.cancel(connection, hidden)

    # What a worker does

    def claim(self, model: str, worker: str, lease_s: float) -> Job | None:
        """queued → in_progress for the first job of this model's queue, or None when it is empty.

        The message that woke the worker does not choose: the order is here alone, so that lost,
        doubled and late messages change nothing.
        """
        with self.database.write() as connection:
            return moves.claim(connection, model, worker, lease_s)

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
        self,
        move: str,
        job_id: str,
        attempt: int,
        values: dict[str, Any],
        *guards: sa.ColumnElement[bool],
    ) -> Job:
        with self.database.write() as connection:
            return moves.fenced(connection, move, job_id, attempt, values, *guards)

"""What the courier does to the rows: jobs of lost workers, deleted jobs, expired outputs."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract import events
from app.contract.database import Database, now
from app.contract.job import Stage, Status
from app.contract.settings import LONGEST_LEASE_S
from app.contract.tables import checkpoints, files, idempotency, jobs, keys

CANCELLED = "cancelled"
WORKER_LOST = "worker_lost"
LOST_MESSAGE = "The job was given up: too many workers were lost while they had it."

#: A job that nobody works on and that waits for a worker. What a checkpoint has of it is done.
TO_QUEUED: dict[str, Any] = {
    "status": Status.QUEUED,
    "stage": Stage.QUEUED,
    "progress": sa.func.coalesce(
        sa.select(checkpoints.c.progress)
        .where(checkpoints.c.job_id == jobs.c.id)
        .scalar_subquery(),
        0.0,
    ),
    "worker": None,
    "lease_until": None,
}


def to_failed(code: str, message: str) -> dict[str, Any]:
    """The values of a failed row."""
    return {
        "status": Status.FAILED,
        "error_code": code,
        "error_message": message,
        "worker": None,
        "lease_until": None,
        "finished_at": now(),
    }


TO_CANCELLED = to_failed(CANCELLED, "The job was cancelled.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What became of jobs whose worker was lost: job id -> model."""

    requeued: dict[str, str]
    failed: dict[str, str]
    cancelled: dict[str, str]


class Upkeep:
    """Moves that no client and no worker asks for. Any number of couriers may do them at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def shorten_leases(self, lease_s: float) -> None:
        """Leases that end later than any does that was given by the present time end in `lease_s`:
        the database's clock was put back. A worker that lives makes its own longer again.
        """
        too_long = sa.update(jobs).where(jobs.c.lease_until > now() + LONGEST_LEASE_S)
        with self._database.write() as connection:
            connection.execute(too_long.values(lease_until=now() + lease_s))

    def lose_expired(self, max_losses: int) -> Lost:
        """Takes from their workers the jobs whose lease ran out."""
        return self._lose(jobs.c.lease_until < now(), max_losses, WORKER_LOST, LOST_MESSAGE)

    def lose_of_worker(self, worker: str, max_losses: int) -> Lost:
        """Takes its jobs from a worker known to be dead, without waiting for the lease."""
        return self._lose(jobs.c.worker == worker, max_losses, WORKER_LOST, LOST_MESSAGE)

    def lose_attempt(
        self, job_id: str, attempt: int, max_losses: int, code: str, message: str
    ) -> Lost:
        """Gives back a job that may go better another time; `code` and `message` are its error when
        it was lost too often.
        """
        mine = sa.and_(jobs.c.id == job_id, jobs.c.attempt == attempt)
        return self._lose(mine, max_losses, code, message)

    def _lose(self, lost: sa.ColumnElement[bool], max_losses: int, code: str, message: str) -> Lost:
        cancelled, too_often = jobs.c.cancel_requested, jobs.c.losses + 1 >= max_losses
        # Each rules out the others: between two UPDATEs a cancel may come, or a lease run out, and
        # a cancelled job must not be queued. The next round finds it.
        outcomes = (
            (cancelled, TO_CANCELLED),
            (~cancelled & too_often, to_failed(code, message)),
            (~cancelled & ~too_often, TO_QUEUED),
        )
        ids: list[dict[str, str]] = []
        with self._database.write() as connection:
            for condition, values in outcomes:
                update = (
                    sa.update(jobs)
                    .where(jobs.c.status == Status.IN_PROGRESS, lost, condition)
                    .values(losses=jobs.c.losses + 1, **values)
                    .returning(jobs.c.id, jobs.c.model)
                )
                ids.append({row.id: row.model for row in connection.execute(update)})
            events.job_finished(connection, *ids[0], *ids[1])
        return Lost(cancelled=ids[0], failed=ids[1], requeued=ids[2])

    def waiting_by_model(self, older_than_s: float) -> dict[str, int]:
        """Queued jobs of each model that were made at least `older_than_s` seconds ago, or later
        than now: then the database's clock was put back.
        """
        made = jobs.c.created_at
        query = (
            sa.select(jobs.c.model, sa.func.count().label("waiting"))
            .where(
                jobs.c.status == Status.QUEUED,
                sa.or_(made <= now() - older_than_s, made > now()),
            )
            .group_by(jobs.c.model)
        )
        with self._database.read() as connection:
            return {row.model: row.waiting for row in connection.execute(query)}

    def deleted(self, limit: int = 100) -> list[str]:
        """Ids of deleted jobs that no worker has."""
        query = sa.select(jobs.c.id).where(
            jobs.c.deleted_at.is_not(None), jobs.c.status.in_((Status.COMPLETED, Status.FAILED))
        )
        return self._ids(query, limit)

    def purge(self, job_id: str) -> None:
        """Removes the row of a deleted job, after its blobs."""
        with self._database.write() as connection:
            connection.execute(sa.delete(idempotency).where(idempotency.c.job_id == job_id))
            connection.execute(
                sa.delete(jobs).where(jobs.c.id == job_id, jobs.c.deleted_at.is_not(None))
            )

    def expired(self, limit: int = 100) -> list[str]:
        """Ids of finished jobs whose outputs have reached their end."""
        query = sa.select(jobs.c.id).where(
            jobs.c.status == Status.COMPLETED,
            jobs.c.expires_at < now(),
            jobs.c.output_key.is_not(None),
        )
        return self._ids(query, limit)

    def forget_output(self, job_id: str) -> None:
        """Records that an expired job's outputs are gone."""
        update = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.expires_at < now())
        with self._database.write() as connection:
            connection.execute(update.values(output_key=None, thumbnail_key=None))

    def kept_attempt(self, job_id: str) -> int:
        """The attempt whose output is the job's; 0 when there is none, or the job was deleted."""
        query = sa.select(jobs.c.attempt).where(
            jobs.c.id == job_id, jobs.c.output_key.is_not(None), jobs.c.deleted_at.is_(None)
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar() or 0

    def since(self) -> float:
        """When the oldest of what this database knows was made; now, while it knows nothing."""
        oldest = (sa.select(sa.func.min(table.c.created_at)) for table in (jobs, files, keys))
        times = sa.union_all(*oldest).subquery("times")
        first = sa.func.min(times.c[0], type_=sa.Double())
        with self._database.read() as connection:
            return connection.execute(sa.select(sa.func.coalesce(first, now()))).scalar_one()

    def known(self, job_ids: set[str]) -> set[str]:
        """Those of the ids that have a row."""
        with self._database.read() as connection:
            query = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids))
            return set(connection.execute(query).scalars())

    def unfinished(self, job_ids: set[str]) -> set[str]:
        """Those of the ids whose jobs wait or run."""
        with self._database.read() as connection:
            query = sa.select(jobs.c.id).where(
                jobs.c.id.in_(job_ids), jobs.c.status.in_((Status.QUEUED, Status.IN_PROGRESS))
            )
            return set(connection.execute(query).scalars())

    def kept(self, job_ids: set[str]) -> set[str]:
        """Those of the ids whose jobs wait or run, or have something kept (checkpoints.py)."""
        kept = sa.select(checkpoints.c.job_id).where(checkpoints.c.job_id.in_(job_ids))
        with self._database.read() as connection:
            ids = set(connection.execute(kept).scalars())
        return ids | self.unfinished(job_ids)

    def _ids(self, query: sa.Select[Any], limit: int) -> list[str]:
        with self._database.read() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

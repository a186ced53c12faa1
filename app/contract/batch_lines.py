"""The requests of a batch: each became a job, or was refused."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database
from app.contract.job import Job, Status
from app.contract.rows import job_of
from app.contract.tables import batch_lines, jobs

_JOB = sa.and_(jobs.c.id == batch_lines.c.job_id, jobs.c.deleted_at.is_(None))
_OF_JOBS = batch_lines.outerjoin(jobs, _JOB)
_COMPLETED = sa.and_(batch_lines.c.job_id.is_not(None), jobs.c.status == Status.COMPLETED)
_FAILED = sa.or_(
    batch_lines.c.error.is_not(None),
    jobs.c.status == Status.FAILED,
    sa.and_(batch_lines.c.job_id.is_not(None), jobs.c.id.is_(None)),  # deleted by its owner
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A request of a batch. `job` is None when it was refused, or its video was deleted."""

    number: int
    custom_id: str
    job_id: str | None
    job: Job | None
    #: the refusal: OpenAI's error body
    status_code: int | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many of a batch's requests have ended, and how."""

    completed: int
    failed: int


class BatchLines:
    """The table of requests of batches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, batch_id: str, limit: int) -> list[int]:
        """Numbers of the first lines that are neither a job nor refused."""
        query = (
            sa.select(batch_lines.c.line)
            .where(
                batch_lines.c.batch_id == batch_id,
                batch_lines.c.job_id.is_(None),
                batch_lines.c.error.is_(None),
            )
            .order_by(batch_lines.c.line)
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def became(self, batch_id: str, line: int, job_id: str) -> bool:
        """Records the job of a line; returns False where the line was refused meanwhile."""
        return self._write(batch_id, line, {"job_id": job_id}, batch_lines.c.error.is_(None))

    def refused(self, batch_id: str, line: int, status_code: int, error: dict[str, Any]) -> None:
        """Records why a line has no job."""
        self._write(batch_id, line, {"status_code": status_code, "error": json.dumps(error)})

    def refuse_waiting(self, batch_id: str, status_code: int, error: dict[str, Any]) -> None:
        """Refuses every line that has no job."""
        update = sa.update(batch_lines).where(
            batch_lines.c.batch_id == batch_id,
            batch_lines.c.job_id.is_(None),
            batch_lines.c.error.is_(None),
        )
        with self._database.write() as connection:
            connection.execute(update.values(status_code=status_code, error=json.dumps(error)))

    def unfinished(self, batch_id: str) -> list[str]:
        """Ids of the batch's jobs that have not ended."""
        query = sa.select(jobs.c.id).where(
            jobs.c.batch_id == batch_id,  # also those that no line names yet
            jobs.c.deleted_at.is_(None),
            jobs.c.status.in_((Status.QUEUED, Status.IN_PROGRESS)),
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def counts(self, batch_id: str) -> Counts:
        """How many have ended."""
        query = (
            sa.select(
                sa.func.count().filter(_COMPLETED).label("completed"),
                sa.func.count().filter(_FAILED).label("failed"),
            )
            .select_from(_OF_JOBS)
            .where(batch_lines.c.batch_id == batch_id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one()
        return Counts(completed=row.completed, failed=row.failed)

    def list(self, batch_id: str) -> list[Line]:
        """Every line with its job."""
        mine = sa.select(*batch_lines.c).where(batch_lines.c.batch_id == batch_id)
        theirs = (
            sa.select(*jobs.c)
            .select_from(batch_lines.join(jobs, _JOB))
            .where(batch_lines.c.batch_id == batch_id)
        )
        with self._database.read() as connection:
            made = {row.id: job_of(row) for row in connection.execute(theirs)}
            rows = connection.execute(mine.order_by(batch_lines.c.line)).all()
        return [
            Line(
                number=row.line,
                custom_id=row.custom_id,
                job_id=row.job_id,
                job=made.get(row.job_id),
                status_code=row.status_code,
                error=json.loads(row.error) if row.error else None,
            )
            for row in rows
        ]

    def _write(
        self, batch_id: str, line: int, values: dict[str, Any], *guards: sa.ColumnElement[bool]
    ) -> bool:
        here = (batch_lines.c.batch_id == batch_id, batch_lines.c.line == line, *guards)
        with self._database.write() as connection:
            return bool(
                connection.execute(sa.update(batch_lines).where(*here).values(values)).rowcount
            )

"""The guarded UPDATEs by which a job's status changes, in the caller's transaction."""

from typing import Any

import sqlalchemy as sa

from app.contract import events, line
from app.contract.database import now
from app.contract.job import Job, JobNotFound, MoveRefused, SpecError, Stage, Status
from app.contract.rows import job_of, state_of, visible
from app.contract.tables import jobs
from app.contract.upkeep import TO_CANCELLED, to_failed


def locked(connection: sa.Connection, job_id: str, owner: str | None) -> Job:
    """The job, which nobody else can move before the transaction ends. Raises JobNotFound."""
    found = connection.execute(visible(owner).where(jobs.c.id == job_id).with_for_update()).first()
    if found is None:
        raise JobNotFound(job_id)
    return job_of(found)


def cancel(connection: sa.Connection, job: Job) -> Job:
    """Ends a locked, queued job; asks the worker of a running one to stop."""
    values = TO_CANCELLED if job.status is Status.QUEUED else {"cancel_requested": True}
    update = sa.update(jobs).where(jobs.c.id == job.id, jobs.c.status == job.status).values(values)
    cancelled = connection.execute(update.returning(*jobs.c)).one()
    if job.status is Status.QUEUED:
        events.job_finished(connection, job.id)
    return job_of(cancelled)


def claim(connection: sa.Connection, model: str, worker: str, lease_s: float) -> Job | None:
    """Gives the first job in line to a worker; None when nothing waits for the model. A job that
    cannot be read fails, so that none waits behind it.
    """
    values = {
        "status": Status.IN_PROGRESS,
        "stage": Stage.TEXT,
        "attempt": jobs.c.attempt + 1,
        "worker": worker,
        "lease_until": now() + lease_s,
        "started_at": sa.func.coalesce(jobs.c.started_at, now()),
    }
    while (first := line.first_in_line(connection, model)) is not None:
        job_id, owner = first
        update = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.status == Status.QUEUED)
        taken = connection.execute(update.values(values).returning(*jobs.c)).first()
        if taken is None:  # it was cancelled meanwhile
            continue
        line.took_turn(connection, model, owner)
        try:
            return job_of(taken)
        except SpecError as unreadable:
            failed = sa.update(jobs).where(jobs.c.id == job_id)
            connection.execute(failed.values(to_failed("invalid_job", str(unreadable))))
            events.job_finished(connection, job_id)
    return None


def fenced(
    connection: sa.Connection,
    move: str,
    job_id: str,
    attempt: int,
    values: dict[str, Any],
    *guards: sa.ColumnElement[bool],
) -> Job:
    """What the worker of this attempt writes to its job. Raises MoveRefused when it is no longer
    its job, or a guard does not hold.
    """
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
    moved = connection.execute(update).first()
    if moved is None:
        found = connection.execute(sa.select(*jobs.c).where(jobs.c.id == job_id)).first()
        raise MoveRefused(job_id, move, state_of(found))
    if moved.status in (Status.COMPLETED, Status.FAILED):
        events.job_finished(connection, job_id)
    return job_of(moved)

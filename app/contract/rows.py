"""From the rows of the table `jobs` to `Job`."""

import json
from typing import Any

import sqlalchemy as sa

from app.contract.job import Job, JobSpec, Stage, Status
from app.contract.tables import jobs


def job_of(row: sa.Row[Any]) -> Job:
    """The job that a row of all columns holds."""
    values = {name: getattr(row, name) for name in Job.__dataclass_fields__}
    values["spec"] = JobSpec.from_json(row.spec)
    values["status"], values["stage"] = Status(row.status), Stage(row.stage)
    values["extra"] = json.loads(row.extra)
    return Job(**values)


def owned(owner: str | None) -> sa.Select[Any]:
    """The jobs of an owner, deleted ones too while they have a row; None is everybody's."""
    query = sa.select(*jobs.c)
    return query if owner is None else query.where(jobs.c.owner == owner)


def visible(owner: str | None) -> sa.Select[Any]:
    """The jobs that an owner can see."""
    return owned(owner).where(jobs.c.deleted_at.is_(None))


def state_of(row: sa.Row[Any] | None) -> str:
    """What a refused move found, for its message."""
    if row is None:
        return "gone"
    cancelling = ", cancelling" if row.cancel_requested else ""
    return f"{row.status} (attempt {row.attempt}{cancelling})"

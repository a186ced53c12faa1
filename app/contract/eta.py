"""When a job will be done: what lies before it, at the pace that was measured."""

import sqlalchemy as sa

from app.contract import line
from app.contract.database import now
from app.contract.job import Job, Status
from app.contract.models import ALIVE_S
from app.contract.tables import jobs, workers
from app.contract.timings import estimate

#: With less done, a job's own pace says too little.
MIN_PROGRESS = 0.02


def remaining_s(connection: sa.Connection, job: Job) -> float | None:
    """Seconds until the job is done, its wait included; None when nothing is known of it."""
    if job.finished:
        return None
    run_s = estimate(connection, job.spec)
    if job.status is Status.IN_PROGRESS:
        return _running_s(connection, job, run_s)
    if run_s is None:
        return None
    alive = sa.select(sa.func.count()).where(
        workers.c.model == job.spec.model, workers.c.seen_at > now() - ALIVE_S
    )
    serving = connection.execute(alive).scalar_one()
    if not serving:
        return None
    return _video_before(connection, job) * run_s / _length(job) / serving + run_s


def _running_s(connection: sa.Connection, job: Job, run_s: float | None) -> float | None:
    if run_s is not None:
        return (1 - job.progress) * run_s
    if job.started_at is None or job.progress < MIN_PROGRESS:
        return None
    elapsed = connection.execute(sa.select(now() - job.started_at)).scalar_one()
    return max(0.0, elapsed) * (1 - job.progress) / job.progress


def _video_before(connection: sa.Connection, job: Job) -> float:
    """Seconds of video that the workers have to make before they come to this job."""
    model = jobs.c.model == job.spec.model
    running = sa.select(
        sa.func.coalesce(sa.func.sum(jobs.c.seconds * (1.0 - jobs.c.progress)), 0.0)
    ).where(model, jobs.c.status == Status.IN_PROGRESS)
    mean = sa.select(sa.func.avg(jobs.c.seconds)).where(model, jobs.c.status == Status.QUEUED)
    ahead = line.position(connection, job)
    waiting = ahead * (connection.execute(mean).scalar() or 0.0) if ahead else 0.0
    return connection.execute(running).scalar_one() + waiting


def _length(job: Job) -> float:
    return job.spec.frames / job.spec.fps

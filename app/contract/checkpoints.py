"""What of an unfinished job is kept: the part of its clip that is encoded, and where to go on.

A clip is made of segments, closed groups of pictures, that are stored as they get done. They serve
three ends: they are joined to the finished file, a client can watch them while later ones are made,
and a worker that takes a job over does not make them again. A checkpoint beside them holds what the
model needs to go on. All of it lies under `work/`, a folder for each attempt.
"""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.job import MoveRefused, Status
from app.contract.tables import checkpoints, jobs

INIT = "init.mp4"
STATE = "state.safetensors"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stored part of a clip: the attempt that stored it, and how many frames it has."""

    attempt: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The segments of a clip in their order, and the state to go on from, if one was saved.

    The segments may reach further than the state; what is made again is the same to the bit.
    """

    job_id: str
    segments: tuple[Segment, ...]
    #: the attempt whose state is to be gone on from; None before the first
    state_attempt: int | None
    #: share of the work that is done there
    progress: float

    @property
    def init_key(self) -> str:
        """Blob key of the header that comes before the segments."""
        attempt = self.segments[0].attempt if self.segments else 1
        return work_key(self.job_id, attempt, INIT)

    def segment_key(self, index: int) -> str:
        """Blob key of a segment."""
        return segment_key(self.job_id, self.segments[index].attempt, index)

    @property
    def state_key(self) -> str | None:
        """Blob key of the state."""
        if self.state_attempt is None:
            return None
        return work_key(self.job_id, self.state_attempt, STATE)


class Checkpoints:
    """The table of checkpoints; whoever writes to it must hold the job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Checkpoint | None:
        """What is kept of a job, or None: nothing yet, or nothing any more."""
        query = sa.select(checkpoints).where(checkpoints.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Checkpoint(
            job_id=job_id,
            segments=tuple(Segment(*pair) for pair in json.loads(row.segments)),
            state_attempt=row.state_attempt,
            progress=row.progress,
        )

    def record(self, job_id: str, attempt: int, segments: list[Segment]) -> None:
        """Says which segments are stored. Raises MoveRefused when the lease is lost."""
        self._write(job_id, attempt, {"segments": _json(segments)})

    def save(self, job_id: str, attempt: int, segments: list[Segment], progress: float) -> None:
        """Says that this attempt's state is stored. Where it is ahead of the one before, the job
        gets on, and losses before it count no more. Raises MoveRefused when the lease is lost.
        """
        values = {"segments": _json(segments), "state_attempt": attempt, "progress": progress}
        before = sa.select(checkpoints.c.progress).where(checkpoints.c.job_id == job_id)
        ahead = sa.func.coalesce(before.scalar_subquery(), 0.0) < progress
        self._write(job_id, attempt, values, losses=sa.case((ahead, 0), else_=jobs.c.losses))

    def over(self, keep_s: float, limit: int = 100) -> list[str]:
        """Ids of ended jobs of which something is kept: completed ones `keep_s` seconds after
        their end, as somebody may be watching, the others at once.
        """
        query = (
            sa.select(jobs.c.id)
            .join(checkpoints, checkpoints.c.job_id == jobs.c.id)
            .where(
                sa.or_(
                    jobs.c.status == Status.FAILED,
                    sa.and_(
                        jobs.c.status == Status.COMPLETED, jobs.c.finished_at <= now() - keep_s
                    ),
                )
            )
            .limit(limit)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def remove(self, job_id: str) -> None:
        """Forgets what was kept of a job, after its blobs."""
        with self._database.write() as connection:
            connection.execute(sa.delete(checkpoints).where(checkpoints.c.job_id == job_id))

    def _write(self, job_id: str, attempt: int, values: dict[str, Any], **job: Any) -> None:
        held = (
            sa.update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.attempt == attempt,
                jobs.c.status == Status.IN_PROGRESS,
            )
            .values(job or {"attempt": attempt})
        )
        mine = checkpoints.c.job_id == job_id
        values |= {"updated_at": now()}
        with self._database.write() as connection:
            if connection.execute(held).rowcount == 0:  # else the job's row is locked for the rest
                raise MoveRefused(job_id, "checkpoint", "no longer this attempt's")
            if connection.execute(sa.update(checkpoints).where(mine).values(values)).rowcount == 0:
                first = {"job_id": job_id, "progress": 0.0} | values
                connection.execute(sa.insert(checkpoints).values(first))


def work_prefix(job_id: str) -> str:
    """All that is kept of an unfinished job."""
    return f"work/{job_id}/"


def work_key(job_id: str, attempt: int, name: str) -> str:
    """Where an attempt keeps a file."""
    return f"{work_prefix(job_id)}{attempt}/{name}"


def segment_key(job_id: str, attempt: int, index: int) -> str:
    """Where an attempt keeps a segment."""
    return work_key(job_id, attempt, f"{index:05}.m4s")


def _json(segments: list[Segment]) -> str:
    return json.dumps([(segment.attempt, segment.frames) for segment in segments])

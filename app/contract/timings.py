"""How long jobs take, learned from those that were rendered, to tell others when theirs is done."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database
from app.contract.job import JobSpec
from app.contract.tables import timings

#: Weight of the newest measurement: high enough to follow a change of hardware within ten jobs.
WEIGHT = 0.2
#: Stages whose time does not depend on the size of the clip.
CONSTANT = ("text",)
STAGES = ("text", "step", "decode", "upload")


class Timings:
    """The table of stage times. `step` is one denoising step over the whole clip; the other stages
    are measured once a job.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, spec: JobSpec, seconds: Mapping[str, float]) -> None:
        """Takes in what a finished job measured, by stage. Raises ValueError for an unknown one."""
        unknown = sorted(seconds.keys() - set(STAGES))
        if unknown:
            raise ValueError(f"seconds: {', '.join(unknown)} is none of {', '.join(STAGES)}")
        with self._database.write() as connection:
            for stage, measured in seconds.items():
                _record(
                    connection, _place(spec) | {"stage": stage}, _per_frame(stage, measured, spec)
                )

    def estimate(self, spec: JobSpec) -> float | None:
        """Seconds that a whole run of this spec takes; None while nothing is known of the model.

        What was measured at another size is scaled by the number of pixels.
        """
        with self._database.read() as connection:
            return estimate(connection, spec)


def estimate(connection: sa.Connection, spec: JobSpec) -> float | None:
    """As `Timings.estimate`, in the caller's transaction."""
    rows = connection.execute(sa.select(*timings.c).where(timings.c.model == spec.model)).all()
    times = {
        stage: _nearest(stage, [row for row in rows if row.stage == stage], spec)
        for stage in STAGES
    }
    if times["step"] is None:
        return None
    return sum((time or 0.0) * (spec.steps_made if s == "step" else 1) for s, time in times.items())


def _nearest(stage: str, rows: list[sa.Row[Any]], spec: JobSpec) -> float | None:
    """The stage's seconds for the spec, from the row whose clips are most like it."""
    if not rows:
        return None
    place, pixels = _place(spec), spec.width * spec.height

    def distance(row: sa.Row[Any]) -> float:
        there, here = row.width * row.height * row.frames, pixels * place["frames"]
        same = (row.width, row.height, row.frames) == (spec.width, spec.height, place["frames"])
        return 0.0 if same else max(there / here, here / there)

    row = min(rows, key=distance)
    if stage in CONSTANT:
        return row.seconds
    return row.seconds * spec.frames * pixels / (row.width * row.height)


def _record(connection: sa.Connection, place: dict[str, Any], seconds: float) -> None:
    here = sa.and_(*(timings.c[name] == value for name, value in place.items()))
    moved = timings.c.seconds + WEIGHT * (seconds - timings.c.seconds)
    update = sa.update(timings).where(here).values(seconds=moved, samples=timings.c.samples + 1)
    if connection.execute(update).rowcount == 0:
        connection.execute(sa.insert(timings).values(place | {"seconds": seconds, "samples": 1}))


def _per_frame(stage: str, seconds: float, spec: JobSpec) -> float:
    return seconds if stage in CONSTANT else seconds / spec.frames


def _place(spec: JobSpec) -> dict[str, Any]:
    """The row of a spec: lengths are rounded up to a power of two."""
    frames = 1 << (spec.frames - 1).bit_length()
    return {"model": spec.model, "width": spec.width, "height": spec.height, "frames": frames}

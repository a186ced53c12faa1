"""How much may be asked for: by each key, and of the queue as a whole.

What is counted is what the rows say, in the transaction that adds to it, so that any number of API
processes keep one limit together. Requests a minute are counted in Redis instead (rate.py).
"""

import math

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.job import Status
from app.contract.keys import ApiKey
from app.contract.tables import files, jobs, usage

#: Any number: PostgreSQL's advisory lock that serialises what is counted here.
LIMITS_LOCK = 0x6C696D
HOUR_S = 3600
DAY_HOURS = 24
#: When another try makes sense while jobs are in the way: they take minutes, not hours.
SOON_S = 30


class LimitReached(RuntimeError):
    """More was asked for than may be; `retry_after_s` is None where waiting does not help."""

    def __init__(self, message: str, *, code: str, retry_after_s: int | None) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s


class Limits:
    """Asks whether there is room, before the work of making something is done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, key: ApiKey | None, max_queued: int | None, seconds: float = 0.0) -> None:
        """Raises LimitReached if one more job of `seconds` would be too much now."""
        with self._database.read() as connection:
            _check(connection, key, max_queued, seconds)

    def forget(self) -> None:
        """Removes what counts no more."""
        with self._database.write() as connection:
            connection.execute(sa.delete(usage).where(usage.c.hour <= _HOUR - DAY_HOURS))


def take_job(
    connection: sa.Connection, key: ApiKey | None, max_queued: int | None, seconds: float
) -> None:
    """Counts one more job in the transaction that stores it. Raises LimitReached."""
    lock(connection)
    _check(connection, key, max_queued, seconds)
    if key is not None:
        _spend(connection, key, seconds)


def take_background(connection: sa.Connection, key: ApiKey | None, seconds: float) -> None:
    """As `take_job` for a job of a batch, which does not count among those that wait or run."""
    if key is not None:
        lock(connection)
        _check_seconds(connection, key, seconds)
        _check_storage(connection, key)
        _spend(connection, key, seconds)


def _spend(connection: sa.Connection, key: ApiKey, seconds: float) -> None:
    here = {"key_id": key.id, "hour": connection.execute(sa.select(_HOUR)).scalar_one()}
    mine = sa.and_(usage.c.key_id == key.id, usage.c.hour == here["hour"])
    more = sa.update(usage).where(mine).values(seconds=usage.c.seconds + seconds)
    if connection.execute(more).rowcount == 0:
        connection.execute(sa.insert(usage).values(here | {"seconds": seconds}))


def lock(connection: sa.Connection) -> None:
    """Makes others who count wait. SQLite's writers do so anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LIMITS_LOCK)))


def stored_bytes(connection: sa.Connection, key_id: str) -> int:
    """Bytes of the key's files and finished videos."""
    kept = sa.select(sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)).where(
        files.c.key_id == key_id, files.c.deleted_at.is_(None)
    )
    made = sa.select(sa.func.coalesce(sa.func.sum(jobs.c.output_bytes), 0)).where(
        jobs.c.key_id == key_id, jobs.c.deleted_at.is_(None), jobs.c.output_key.is_not(None)
    )
    return sum(int(connection.execute(query).scalar_one()) for query in (kept, made))


_HOUR = sa.cast(sa.func.floor(now() / HOUR_S), sa.Integer)


def _check(
    connection: sa.Connection, key: ApiKey | None, max_queued: int | None, seconds: float
) -> None:
    queued = jobs.c.status == Status.QUEUED
    if max_queued is not None and _count(connection, queued) >= max_queued:
        raise LimitReached(
            f"The queue is full: {max_queued} jobs are waiting.",
            code="queue_full",
            retry_after_s=SOON_S,
        )
    if key is None:
        return
    may, mine = key.limits, jobs.c.key_id == key.id
    if may.queued is not None and _count(connection, queued, mine) >= may.queued:
        raise LimitReached(
            f"This key may have {may.queued} jobs waiting, and it has.",
            code="too_many_queued",
            retry_after_s=SOON_S,
        )
    unfinished = sa.or_(queued, jobs.c.status == Status.IN_PROGRESS)
    if may.jobs is not None and _count(connection, unfinished, mine) >= may.jobs:
        raise LimitReached(
            f"This key may have {may.jobs} jobs queued or in progress, and it has.",
            code="too_many_jobs",
            retry_after_s=SOON_S,
        )
    _check_seconds(connection, key, seconds)
    _check_storage(connection, key)


def _count(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> int:
    """Jobs outside batches; a batch is background work with a limit of its own."""
    query = sa.select(sa.func.count()).where(jobs.c.batch_id.is_(None), *conditions)
    return connection.execute(query).scalar_one()


def _check_seconds(connection: sa.Connection, key: ApiKey, seconds: float) -> None:
    limit = key.limits.seconds_day
    if limit is None:
        return
    if seconds > limit:
        raise LimitReached(
            f"This key may ask for {limit:g} seconds of video a day, and this video has"
            f" {seconds:g}.",
            code="daily_seconds_reached",
            retry_after_s=None,
        )
    moment = connection.execute(sa.select(now())).scalar_one()
    hour = math.floor(moment / HOUR_S)
    query = sa.select(usage.c.hour, usage.c.seconds).where(
        usage.c.key_id == key.id, usage.c.hour > hour - DAY_HOURS
    )
    used = connection.execute(query.order_by(usage.c.hour)).all()
    over = sum(row.seconds for row in used) + seconds - limit
    if over <= 0:
        return
    free_at = hour
    for row in used:  # until enough of the oldest hours is a day ago; rounding may ask for them all
        over, free_at = over - row.seconds, row.hour + DAY_HOURS
        if over <= 0:
            break
    raise LimitReached(
        f"This key may ask for {limit:g} seconds of video a day, and they are used up.",
        code="daily_seconds_reached",
        retry_after_s=max(1, math.ceil(free_at * HOUR_S - moment)),
    )


def _check_storage(connection: sa.Connection, key: ApiKey, size_bytes: int = 0) -> None:
    limit = key.limits.storage_bytes
    if limit is None:
        return
    stored = stored_bytes(connection, key.id)
    if stored >= limit or stored + size_bytes > limit:
        raise LimitReached(
            f"This key may store {limit} bytes, and has stored {stored}."
            " Delete videos or files first.",
            code="storage_full",
            retry_after_s=None,
        )


def take_storage(connection: sa.Connection, key: ApiKey | None, size_bytes: int) -> None:
    """Makes sure that so many bytes more may be stored. Raises LimitReached."""
    if key is not None:
        lock(connection)
        _check_storage(connection, key, size_bytes)

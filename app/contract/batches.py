"""Batches: many requests in one file, rendered when nothing else waits. An API process reads the
file and makes the jobs; this is what all processes know of it.

    create ──► validating ──► in_progress ──► finalizing ──► completed
                   │               │ └─ after a day ──┴────► expired
                   └──► failed     └─ cancelling ─────┴────► cancelled
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.contract import events
from app.contract.batch_lines import BatchLines
from app.contract.database import Database, now
from app.contract.job import DuplicateKey
from app.contract.pages import check_id, page
from app.contract.settings import LONGEST_LEASE_S
from app.contract.tables import batch_lines, batches

#: The only window that clients can ask for.
WINDOW_S = 24 * 3600


class BatchStatus(StrEnum):
    """The states that OpenAI's clients know."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


ENDED = frozenset(
    (BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)
)


class BatchNotFound(LookupError):
    """No such batch, or it belongs to somebody else."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id} does not exist")


class BatchEnded(RuntimeError):
    """A batch cannot be cancelled: it has ended."""

    def __init__(self, batch_id: str, status: str) -> None:
        super().__init__(f"batch {batch_id} is {status} already")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch's row. Times are Unix seconds of the database's clock."""

    id: str
    owner: str
    key_id: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    #: how long the files that the batch writes are kept; None is for ever
    output_expire_s: float | None
    status: BatchStatus
    #: what the client calls metadata
    labels: dict[str, str]
    #: why the input file was refused: code, message, line, param
    errors: list[dict[str, Any]]
    total: int
    created_at: float
    expires_at: float
    in_progress_at: float | None
    cancelling_at: float | None
    finalizing_at: float | None
    finished_at: float | None


class Batches:
    """The table of batches; `lines` has the requests of each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.lines = BatchLines(database)

    def create(
        self,
        *,
        owner: str,
        key_id: str,
        endpoint: str,
        input_file_id: str,
        labels: dict[str, str],
        output_expire_s: float | None,
        idempotency_key: str | None = None,
        within_s: float = 0.0,
    ) -> Batch:
        """A batch whose file is still to be read; the first of this key, or, without one, that was
        made of the same request in the last `within_s` seconds. Raises DuplicateKey when the key
        came with another request before.
        """
        row = {
            "id": "batch_" + secrets.token_hex(16),
            "owner": owner,
            "key_id": key_id,
            "endpoint": endpoint,
            "input_file_id": input_file_id,
            "output_expire_s": output_expire_s,
            "status": BatchStatus.VALIDATING,
            "labels": json.dumps(labels, ensure_ascii=False),
            "errors": "[]",
            "total": 0,
            "created_at": now(),
            "expires_at": now() + WINDOW_S,
            "idempotency_key": idempotency_key,
        }
        insert = sa.insert(batches).values(row).returning(*batches.c)
        try:
            with self._database.write() as connection:
                first = _first(connection, row, within_s)
                return _batch(first or connection.execute(insert).one())
        except IntegrityError:  # another process was faster with the same idempotency key
            with self._database.read() as connection:
                first = _first(connection, row, within_s)
            if first is None:
                raise
            return _batch(first)

    def get(self, batch_id: str, owner: str | None = None) -> Batch:
        """The batch as it is now. Raises BatchNotFound."""
        check_id(batch_id, BatchNotFound)
        with self._database.read() as connection:
            query = _visible(owner).where(batches.c.id == batch_id)
            found = connection.execute(query).first()
        if found is None:
            raise BatchNotFound(batch_id)
        return _batch(found)

    def list(
        self, owner: str | None = None, *, after: str | None = None, limit: int = 20
    ) -> tuple[list[Batch], bool]:
        """A page of batches, newest first, and whether more follow. Raises CursorNotFound."""
        with self._database.read() as connection:
            rows, more = page(connection, batches, _visible(owner), after=after, limit=limit)
        return [_batch(row) for row in rows], more

    def cancel(self, batch_id: str, owner: str | None = None) -> Batch:
        """Asks for the end of a batch. Raises BatchNotFound, or BatchEnded."""
        batch = self.get(batch_id, owner)
        stoppable = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
        if batch.status in stoppable:
            values = {"status": BatchStatus.CANCELLING, "cancelling_at": now(), "lease_until": None}
            self._move(batch_id, stoppable, values)
            batch = self.get(batch_id, owner)
        if batch.status in ENDED:
            raise BatchEnded(batch_id, batch.status)
        return batch

    # What the API process does that works on a batch

    def take(self, lease_s: float) -> Batch | None:
        """An unfinished batch that nobody works on, the one waiting longest, or None."""
        held = batches.c.lease_until
        # One that ends later than any does was given before the database's clock was put back.
        free = sa.or_(held.is_(None), held < now(), held > now() + LONGEST_LEASE_S)
        unfinished = batches.c.status.not_in(ENDED)
        with self._database.read() as connection:
            if not connection.execute(sa.select(sa.exists().where(unfinished, free))).scalar():
                return None
        longest = (
            sa.select(batches.c.id)
            .where(unfinished, free)
            .order_by(batches.c.lease_until.asc().nulls_first(), batches.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        take = sa.update(batches).where(batches.c.id == longest, unfinished, free)
        with self._database.write() as connection:
            taken = connection.execute(
                take.values(lease_until=now() + lease_s).returning(*batches.c)
            ).first()
        return _batch(taken) if taken is not None else None

    def hold(self, batch_id: str, lease_s: float) -> Batch:
        """Extends the lease; returns the batch, which a cancel may have changed."""
        update = sa.update(batches).where(batches.c.id == batch_id)
        with self._database.write() as connection:
            held = update.values(lease_until=now() + lease_s).returning(*batches.c)
            return _batch(connection.execute(held).one())

    def overdue(self, batch_id: str) -> bool:
        """Whether the batch's window has closed."""
        query = sa.select(batches.c.expires_at <= now()).where(batches.c.id == batch_id)
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())

    def refuse(self, batch_id: str, errors: Sequence[dict[str, Any]]) -> None:
        """validating → failed: the file is not one of requests."""
        values = {"status": BatchStatus.FAILED, "errors": json.dumps(errors), "finished_at": now()}
        self._move(batch_id, (BatchStatus.VALIDATING,), values)

    def begin(self, batch_id: str, custom_ids: Mapping[int, str]) -> None:
        """validating → in_progress: the file's requests are known, by their lines."""
        lines = [
            {"batch_id": batch_id, "line": number, "custom_id": custom_id}
            for number, custom_id in custom_ids.items()
        ]
        values = {"status": BatchStatus.IN_PROGRESS, "in_progress_at": now(), "total": len(lines)}
        update = sa.update(batches).where(
            batches.c.id == batch_id, batches.c.status == BatchStatus.VALIDATING
        )
        with self._database.write() as connection:
            if connection.execute(update.values(values)).rowcount:
                connection.execute(sa.insert(batch_lines), lines)

    def finalize(self, batch_id: str) -> None:
        """in_progress → finalizing: every request has its answer."""
        values = {"status": BatchStatus.FINALIZING, "finalizing_at": now()}
        self._move(batch_id, (BatchStatus.IN_PROGRESS,), values)

    def finish(
        self,
        batch_id: str,
        status: BatchStatus,
        output_file_id: str | None,
        error_file_id: str | None,
    ) -> None:
        """finalizing or cancelling → `status`, with the files that were written."""
        values = {
            "status": status,
            "finished_at": now(),
            "output_file_id": output_file_id,
            "error_file_id": error_file_id,
        }
        self._move(batch_id, (BatchStatus.FINALIZING, BatchStatus.CANCELLING), values)

    def _move(self, batch_id: str, sources: Sequence[BatchStatus], values: dict[str, Any]) -> None:
        """One guarded UPDATE; when its guard does not hold, somebody else moved the batch."""
        update = sa.update(batches).where(batches.c.id == batch_id, batches.c.status.in_(sources))
        with self._database.write() as connection:
            moved = connection.execute(update.values(values).returning(batches.c.owner)).first()
            if moved is not None and values["status"] in ENDED:
                events.happened(connection, moved.owner, f"batch.{values['status']}", batch_id)


def _visible(owner: str | None) -> sa.Select[Any]:
    query = sa.select(*batches.c)
    return query if owner is None else query.where(batches.c.owner == owner)


def _first(connection: sa.Connection, row: dict[str, Any], within_s: float) -> sa.Row[Any] | None:
    """The row that a row to be stored repeats: of its key or, without one, a recent one."""
    said = ("owner", "endpoint", "input_file_id", "output_expire_s", "labels")
    same = sa.and_(*(batches.c[name].is_not_distinct_from(row[name]) for name in said))
    if (key := row["idempotency_key"]) is None:
        made = batches.c.created_at
        recent = sa.select(*batches.c).where(same, made > now() - within_s, made <= now())
        return connection.execute(recent.order_by(made.desc())).first()
    of_key = sa.select(*batches.c, same.label("same")).where(
        batches.c.owner == row["owner"], batches.c.idempotency_key == key
    )
    found = connection.execute(of_key).first()
    if found is not None and not found.same:
        raise DuplicateKey(key)
    return found


def _batch(row: sa.Row[Any]) -> Batch:
    values = {name: getattr(row, name) for name in Batch.__dataclass_fields__}
    values["labels"], values["errors"] = json.loads(row.labels), json.loads(row.errors)
    values["status"] = BatchStatus(row.status)
    return Batch(**values)

"""The models that workers serve, as the workers register them, with their heartbeats."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.capabilities import Capabilities
from app.contract.database import Database, now
from app.contract.tables import workers

#: A worker that was silent for so long is not alive.
ALIVE_S = 30.0
#: A model whose last worker was silent for so long is no longer offered. Longer than ALIVE_S, since
#: a worker that restarts or loads takes minutes, and the jobs may as well wait for it in the queue.
OFFERED_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is offered, and how many living workers serve it."""

    capabilities: Capabilities
    workers: int
    #: Unix seconds of the first worker's registration still known
    created_at: float
    seen_at: float


class Models:
    """The table of workers, seen as the models they serve."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, worker: str, capabilities: Capabilities) -> None:
        """A worker has loaded its checkpoint and is ready for jobs."""
        row = _row(capabilities)
        # It has been there since it came first: the oldest model is the default one.
        self._put(worker, {k: v for k, v in row.items() if k != "started_at"}, row)

    def beat(self, worker: str, capabilities: Capabilities) -> None:
        """The worker is still there. It may have been forgotten meanwhile: on a host that slept, or
        by a clock that jumped, it was silent for long.
        """
        self._put(worker, {"seen_at": now()}, _row(capabilities))

    def _put(self, worker: str, values: dict[str, Any], row: dict[str, Any]) -> None:
        """Changes a worker's `values`, or adds the whole `row`."""
        with self._database.write() as connection:
            update = sa.update(workers).where(workers.c.name == worker).values(values)
            if connection.execute(update).rowcount == 0:
                connection.execute(sa.insert(workers).values(row | {"name": worker}))

    def leave(self, worker: str) -> None:
        """The worker has ended in order; its model stays offered for a while."""
        with self._database.write() as connection:
            update = sa.update(workers).where(workers.c.name == worker)
            connection.execute(update.values(seen_at=now() - ALIVE_S))

    def list(self) -> list[Model]:
        """The models on offer, first registered first."""
        query = (
            sa.select(*workers.c, (workers.c.seen_at > now() - ALIVE_S).label("alive"))
            .where(workers.c.seen_at > now() - OFFERED_S)
            .order_by(workers.c.seen_at.desc())
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        models: list[Model] = []
        for model in {row.model for row in rows}:
            same = [row for row in rows if row.model == model]  # the most recently seen comes first
            models.append(
                Model(
                    capabilities=Capabilities.from_json(same[0].capabilities),
                    workers=sum(row.alive for row in same),
                    created_at=min(row.started_at for row in same),
                    seen_at=same[0].seen_at,
                )
            )
        return sorted(models, key=lambda m: (m.created_at, m.capabilities.model_id))

    def forget(self) -> int:
        """Removes workers that are no longer offered; returns how many."""
        with self._database.write() as connection:
            old = sa.delete(workers).where(workers.c.seen_at <= now() - OFFERED_S)
            return connection.execute(old).rowcount


def _row(capabilities: Capabilities) -> dict[str, Any]:
    return {
        "model": capabilities.model_id,
        "capabilities": capabilities.to_json(),
        "started_at": now(),
        "seen_at": now(),
    }

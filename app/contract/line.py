"""The order in which queued jobs are claimed.

Owners take turns, so that one who sends a hundred jobs delays another by one. Within an owner,
higher priority comes first, then age. Jobs of a priority below 0 are background work: they are
claimed only when no owner has another job waiting for the model.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.job import Job, Status
from app.contract.tables import jobs, turns

#: Any number: the class of PostgreSQL's advisory locks that serialise the claims of one model.
CLAIM_LOCK = 0x636C61

_ORDINARY = jobs.c.priority >= 0
_TURN = sa.func.coalesce(turns.c.turn, 0)
#: Decides between owners who were never served: whose oldest job is older.
_FIRST = sa.func.coalesce(
    sa.func.min(jobs.c.created_at).filter(_ORDINARY), sa.func.min(jobs.c.created_at)
)
_TAKING_TURNS = jobs.outerjoin(
    turns, sa.and_(turns.c.model == jobs.c.model, turns.c.owner == jobs.c.owner)
)


def _waiting(model: str) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status == Status.QUEUED, jobs.c.model == model)


def first_in_line(connection: sa.Connection, model: str) -> tuple[str, str] | None:
    """(id, owner) of the job to claim next, or None when the queue is empty.

    On PostgreSQL, other claims for this model wait until the transaction ends.
    """
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(CLAIM_LOCK, sa.func.hashtext(model))
        connection.execute(sa.select(lock))
    owner = (
        sa.select(jobs.c.owner)
        .select_from(_TAKING_TURNS)
        .where(_waiting(model))
        .group_by(jobs.c.owner, turns.c.turn)
        .order_by(sa.func.max(jobs.c.priority) < 0, _TURN, _FIRST, jobs.c.owner)
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(jobs.c.id, jobs.c.owner)
        .where(_waiting(model), jobs.c.owner == owner)
        .order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)
        .limit(1)
    )
    found = connection.execute(query).first()
    return (found.id, found.owner) if found is not None else None


def took_turn(connection: sa.Connection, model: str, owner: str) -> None:
    """Puts an owner behind all others who wait for the model."""
    last = sa.select(sa.func.coalesce(sa.func.max(turns.c.turn), 0)).where(turns.c.model == model)
    values: dict[str, Any] = {"turn": last.scalar_subquery() + 1}
    mine = sa.update(turns).where(turns.c.model == model, turns.c.owner == owner)
    if connection.execute(mine.values(values)).rowcount == 0:
        values |= {"model": model, "owner": owner}
        connection.execute(sa.insert(turns).values(values))


def position(connection: sa.Connection, job: Job) -> int:
    """How many queued jobs of the model are claimed before this one, if no more come."""
    background = job.priority < 0
    kind = ~_ORDINARY if background else _ORDINARY
    sooner = sa.or_(
        jobs.c.priority > job.priority,
        sa.and_(
            jobs.c.priority == job.priority,
            sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(job.created_at, job.id),
        ),
    )
    mine = sa.select(sa.func.count()).where(
        _waiting(job.spec.model), jobs.c.owner == job.owner, kind, sooner
    )
    rank = connection.execute(mine).scalar_one()
    owners = _owners(connection, job.spec.model)
    me = next((owner for owner in owners if owner.name == job.owner), None)
    if me is None:  # it was claimed meanwhile
        return 0
    ahead = sum(owner.ordinary for owner in owners) if background else 0
    for other in owners:
        if other is not me:
            first = other.place(background=background) < me.place(background=background)
            waiting = other.background if background else other.ordinary
            ahead += min(waiting, rank + first)
    return ahead + rank


@dataclass(frozen=True, slots=True)
class _Owner:
    """What an owner has waiting for a model."""

    name: str
    turn: int
    first: float
    ordinary: int
    background: int

    def place(self, *, background: bool) -> tuple[int, int, float, str]:
        """Smaller comes first in each round. Background work begins when all ordinary jobs are
        claimed: then those who had fewest of them have waited longest.
        """
        return (self.ordinary if background else 0), self.turn, self.first, self.name


def _owners(connection: sa.Connection, model: str) -> list[_Owner]:
    query = (
        sa.select(
            jobs.c.owner.label("name"),
            _TURN.label("turn"),
            _FIRST.label("first"),
            sa.func.count().filter(_ORDINARY).label("ordinary"),
            sa.func.count().filter(~_ORDINARY).label("background"),
        )
        .select_from(_TAKING_TURNS)
        .where(_waiting(model))
        .group_by(jobs.c.owner, turns.c.turn)
    )
    return [_Owner(*row) for row in connection.execute(query)]

"""The order in which queued jobs are claimed.

Owners take turns, so that one who sends a hundred jobs delays another by one. Within an owner,
higher priority comes first, then age. Jobs of a priority below 0 are background work: they are
claimed only when no owner has another job waiting for the model.
"""

from typing import Any

import sqlalchemy as sa

from app.contract.job import Job, Status
from app.contract.tables import jobs, turns

#: Any number: the class of PostgreSQL's advisory locks that serialise the claims of one model.
CLAIM_LOCK = 0x636C61

_BACKGROUND = sa.func.max(jobs.c.priority) < 0
_TURN = sa.func.coalesce(turns.c.turn, 0)


def _waiting(model: str) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status == Status.QUEUED, jobs.c.model == model)


def first_in_line(connection: sa.Connection, model: str) -> tuple[str, str] | None:
    """(id, owner) of the job to claim next, or None when the queue is empty.

    On PostgreSQL, other claims for this model wait until the transaction ends.
    """
    if connection.dialect.name == "postgresql":
        lock = sa.func.pg_advisory_xact_lock(CLAIM_LOCK, sa.func.hashtext(model))
        connection.execute(sa.select(lock))
    taking_turns = jobs.outerjoin(
        turns, sa.and_(turns.c.model == jobs.c.model, turns.c.owner == jobs.c.owner)
    )
    owner = (
        sa.select(jobs.c.owner)
        .select_from(taking_turns)
        .where(_waiting(model))
        .group_by(jobs.c.owner, turns.c.turn)
        .order_by(_BACKGROUND, _TURN, sa.func.min(jobs.c.created_at), jobs.c.owner)
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
    model, background = job.spec.model, job.priority < 0
    same_kind = (jobs.c.priority < 0) == background
    sooner = sa.or_(
        jobs.c.priority > job.priority,
        sa.and_(
            jobs.c.priority == job.priority,
            sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(job.created_at, job.id),
        ),
    )
    mine = sa.select(sa.func.count()).where(
        _waiting(model), jobs.c.owner == job.owner, same_kind, sooner
    )
    rank = connection.execute(mine).scalar_one()
    others = connection.execute(
        sa.select(sa.func.count().label("waiting"), _TURN.label("turn"))
        .select_from(
            jobs.outerjoin(
                turns, sa.and_(turns.c.model == jobs.c.model, turns.c.owner == jobs.c.owner)
            )
        )
        .where(_waiting(model), jobs.c.owner != job.owner, same_kind)
        .group_by(jobs.c.owner, turns.c.turn)
    ).all()
    turn = sa.select(turns.c.turn).where(turns.c.model == model, turns.c.owner == job.owner)
    my_turn = connection.execute(turn).scalar() or 0
    ahead = rank + sum(min(row.waiting, rank + (row.turn < my_turn)) for row in others)
    if background:
        ordinary = sa.select(sa.func.count()).where(_waiting(model), jobs.c.priority >= 0)
        ahead += connection.execute(ordinary).scalar_one()
    return ahead

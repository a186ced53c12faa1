"""Deliveries of events: what is to be sent, what was tried, and what came of it."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.events import PENDING
from app.contract.pages import page
from app.contract.sending import Answer
from app.contract.tables import deliveries, delivery_attempts, events, webhook_secrets
from app.contract.tables import webhook_endpoints as endpoints

DELIVERED = "delivered"
FAILED = "failed"
#: Events are tried for so long, as OpenAI's are.
GIVE_UP_S = 72 * 3600
#: Waits after the first, second, ... failed attempt; the last one repeats.
BACKOFF_S = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event that is to be sent to one receiver now, and how often that was tried, this time
    included.
    """

    id: str
    event_id: str
    body: str
    url: str
    #: each signs: during a rotation there are two
    secrets: tuple[str, ...]
    attempt: int


class Outbox:
    """The tables of events, deliveries and attempts. Any number of couriers may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, limit: int, per_receiver: int, lease_s: float) -> list[Delivery]:
        """Up to `limit` due deliveries for this process to make within `lease_s` seconds.

        No receiver has more than `per_receiver` under way at a time, so that a slow one delays
        nobody else; new events come before those that failed already.
        """
        pending, due = deliveries.c.status == PENDING, deliveries.c.next_at <= now()
        with self._database.read() as connection:
            if connection.execute(sa.select(sa.exists().where(pending, due))).scalar() is False:
                return []
        held = deliveries.c.lease_until >= now()
        rank = sa.func.row_number().over(
            partition_by=deliveries.c.receiver,
            order_by=(sa.case((held, 0), else_=1), deliveries.c.attempts, deliveries.c.next_at),
        )
        ranked = (
            sa.select(
                deliveries.c.id,
                deliveries.c.attempts,
                deliveries.c.next_at,
                rank.label("rank"),
                sa.case((held, 1), else_=0).label("held"),
            )
            .where(pending, sa.or_(held, due))
            .subquery()
        )
        chosen = (
            sa.select(ranked.c.id)
            .where(ranked.c.rank <= per_receiver, ranked.c.held == 0)
            .order_by(ranked.c.attempts, ranked.c.next_at)
            .limit(limit)
        )
        free = sa.or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until < now())
        with self._database.write() as connection:
            ids = list(connection.execute(chosen).scalars())
            take = sa.update(deliveries).where(deliveries.c.id.in_(ids), pending, free, due)
            values = {"lease_until": now() + lease_s, "attempts": deliveries.c.attempts + 1}
            taken = connection.execute(take.values(values).returning(deliveries.c.id)).scalars()
            return [_delivery(row) for row in connection.execute(_details(list(taken)))]

    def record(self, delivery: Delivery, answer: Answer) -> str | None:
        """Writes down an attempt; returns the status that the delivery has by it.

        None is for one that changes nothing but the list of attempts, since it took longer than its
        lease, or not even that, as the receiver is no more.
        """
        wait_s = BACKOFF_S[min(delivery.attempt, len(BACKOFF_S)) - 1]
        later = now() + wait_s
        over = later > deliveries.c.created_at + GIVE_UP_S
        outcome = DELIVERED if answer.accepted else sa.case((over, FAILED), else_=PENDING)
        update = (
            sa.update(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.attempts == delivery.attempt)
            .values(status=outcome, next_at=later, lease_until=None)
            .returning(deliveries.c.status)
        )
        attempt = {
            "delivery_id": delivery.id,
            "number": delivery.attempt,
            "at": now(),
            "seconds": answer.seconds,
            "status_code": answer.status_code,
            "error": answer.error and answer.error[:256],
        }
        with self._database.write() as connection:
            still = sa.select(deliveries.c.id).where(deliveries.c.id == delivery.id)
            if connection.execute(still).first() is None:  # its endpoint was deleted meanwhile
                return None
            connection.execute(sa.insert(delivery_attempts).values(attempt))
            return connection.execute(update).scalar()

    def list(
        self,
        owner: str,
        *,
        endpoint_id: str | None = None,
        subject: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> tuple[list[dict[str, Any]], bool]:
        """A page of deliveries with their attempts, newest first. Raises CursorNotFound.

        Each is a dict of the columns of delivery and event, and `attempts`, a list of dicts.
        """
        query = (
            sa.select(*deliveries.c, events.c.type, events.c.subject)
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.owner == owner)
        )
        if endpoint_id is not None:
            query = query.where(deliveries.c.endpoint_id == endpoint_id)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        with self._database.read() as connection:
            rows, more = page(connection, deliveries, query, after=after, limit=limit)
            of_these = sa.select(*delivery_attempts.c).where(
                delivery_attempts.c.delivery_id.in_([row.id for row in rows])
            )
            tried = connection.execute(of_these.order_by(delivery_attempts.c.number))
            attempts = [dict(attempt) for attempt in tried.mappings()]
        names = query.selected_columns.keys()
        return [
            dict(zip(names, row, strict=True))
            | {"attempts": [a for a in attempts if a["delivery_id"] == row.id]}
            for row in rows
        ], more

    def forget(self, older_than_s: float) -> int:
        """Removes events of long ago with their deliveries; returns how many."""
        with self._database.write() as connection:
            old = sa.delete(events).where(events.c.created_at < now() - older_than_s)
            return connection.execute(old).rowcount


def body_of(event_id: str, kind: str, subject: str, created_at: float) -> str:
    """The body of an event: the id of what it is about, which the receiver then asks for."""
    event = {"id": event_id, "object": "event", "created_at": int(created_at), "type": kind}
    return json.dumps(event | {"data": {"id": subject}})


def _details(ids: list[str]) -> sa.Select[Any]:
    columns: list[sa.ColumnElement[Any]] = [
        deliveries.c.id,
        deliveries.c.event_id,
        deliveries.c.attempts,
        sa.func.coalesce(endpoints.c.url, deliveries.c.url).label("url"),
        sa.func.coalesce(endpoints.c.secret, webhook_secrets.c.secret).label("secret"),
        sa.case((endpoints.c.old_secret_until >= now(), endpoints.c.old_secret)).label("old"),
        events.c.type,
        events.c.subject,
        events.c.created_at,
    ]
    return (
        sa.select(*columns)
        .join(events, events.c.id == deliveries.c.event_id)
        .outerjoin(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .outerjoin(webhook_secrets, webhook_secrets.c.owner == deliveries.c.owner)
        .where(deliveries.c.id.in_(ids))
        .order_by(deliveries.c.attempts, deliveries.c.next_at)
    )


def _delivery(row: sa.Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        body=body_of(row.event_id, row.type, row.subject, row.created_at),
        url=row.url,
        secrets=tuple(secret for secret in (row.secret, row.old) if secret),
        attempt=row.attempts,
    )

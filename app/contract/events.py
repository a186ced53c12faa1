"""What happened to videos and batches, for webhooks: written in the transaction that does it, so
that nothing is told that did not happen, and nothing that happened is left out.
"""

import secrets

import httpx
import sqlalchemy as sa

from app.contract.database import now
from app.contract.job import Status
from app.contract.tables import deliveries, events, jobs, webhook_endpoints

#: Event types that an endpoint may ask for.
EVENT_TYPES = (
    "video.completed",
    "video.failed",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
)
#: State of a delivery that was not made yet, for its row.
PENDING = "pending"


def job_finished(connection: sa.Connection, *job_ids: str) -> None:
    """Tells of videos that this transaction brought to their end; deleted ones nobody asks about,
    and for pictures somebody waits.
    """
    columns = (jobs.c.id, jobs.c.owner, jobs.c.status, jobs.c.webhook_url)
    query = sa.select(*columns).where(
        jobs.c.id.in_(job_ids), jobs.c.deleted_at.is_(None), jobs.c.kind == "video"
    )
    for job in connection.execute(query).all():
        kind = "video.completed" if job.status == Status.COMPLETED else "video.failed"
        happened(connection, job.owner, kind, job.id, job.webhook_url)


def happened(
    connection: sa.Connection, owner: str, kind: str, subject: str, url: str | None = None
) -> None:
    """Writes the event and one delivery for each endpoint of the owner that wants it, and for
    `url`. Without a receiver there is no event.
    """
    query = sa.select(webhook_endpoints.c.id).where(
        webhook_endpoints.c.owner == owner, webhook_endpoints.c.event_types.contains(f'"{kind}"')
    )
    # An endpoint that is deleted now is deleted afterwards, with its delivery: a row that names one
    # that is gone would undo the whole transaction.
    query = query.with_for_update(read=True, key_share=True)
    receivers = [{"endpoint_id": e, "url": None, "receiver": e} for e in connection.scalars(query)]
    if url is not None:
        receivers.append({"endpoint_id": None, "url": url, "receiver": _receiver(owner, url)})
    if not receivers:
        return
    event_id = "evt_" + secrets.token_hex(12)
    event = {"id": event_id, "owner": owner, "type": kind, "subject": subject, "created_at": now()}
    connection.execute(sa.insert(events).values(event))
    for receiver in receivers:
        row = {
            "id": "whd_" + secrets.token_hex(12),
            "event_id": event_id,
            "owner": owner,
            "status": PENDING,
            "attempts": 0,
            "next_at": now(),
            "created_at": now(),
        }
        connection.execute(sa.insert(deliveries).values(row | receiver))


def _receiver(owner: str, url: str) -> str:
    """Deliveries of one owner to one host share a place: they are slow together. The URL is read as
    when it was taken and will be when it is used: another reader may refuse it, and no video ends
    then.
    """
    return f"{owner} {httpx.URL(url).netloc.decode()}"[:256]

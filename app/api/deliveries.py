"""`/v1/webhook_deliveries`: what was and will be sent to whom, and what signs the deliveries to
the `webhook_url` of a request.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from app.api.document import COMMON
from app.auth import Owner, caller_of
from app.contract.outbox import PENDING
from app.contract.pages import CursorNotFound
from app.errors import InvalidRequest
from app.parts import PartsOf

router = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=[Depends(caller_of)])


class SecretObject(BaseModel):
    """What signs the deliveries to the `webhook_url` of a request."""

    object: Literal["webhook_secret"] = "webhook_secret"
    signing_secret: str


class AttemptObject(BaseModel):
    """One attempt at a delivery."""

    attempted_at: int
    seconds: float
    status_code: int | None
    error: str | None


class DeliveryObject(BaseModel):
    """An event on its way to one receiver."""

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_id: str
    event_type: str
    subject: Annotated[str, Field(description="The video or batch that the event is about.")]
    webhook_endpoint_id: str | None
    url: str | None
    status: Annotated[str, Field(description="pending, delivered, or failed after 72 hours")]
    created_at: int
    next_attempt_at: int | None
    attempts: list[AttemptObject]


class DeliveryPage(BaseModel):
    """A page of deliveries; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[DeliveryObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get("/webhook_secret", responses=COMMON)
def retrieve_secret(owner: Owner, parts: PartsOf) -> SecretObject:
    """The secret that signs deliveries to the `webhook_url` of a request."""
    return SecretObject(signing_secret=parts.store.webhooks.secret_of(owner))


@router.post("/webhook_secret/rotate", responses=COMMON)
def rotate_request_secret(owner: Owner, parts: PartsOf) -> SecretObject:
    """Replace that secret at once."""
    return SecretObject(signing_secret=parts.store.webhooks.rotate_secret_of(owner))


@router.get("/webhook_deliveries", responses=COMMON)
def list_deliveries(
    owner: Owner,
    parts: PartsOf,
    endpoint_id: Annotated[str | None, Query(description="Only to this endpoint")] = None,
    subject: Annotated[str | None, Query(description="Only about this video or batch")] = None,
    after: Annotated[str | None, Query(description="The `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DeliveryPage:
    """What was and will be sent, newest first, with every attempt. Kept for 30 days."""
    for param, text in (("endpoint_id", endpoint_id), ("subject", subject)):
        if "\0" in (text or ""):
            raise InvalidRequest(f"{param}: there is nothing with this id.", param=param)
    try:
        rows, more = parts.store.webhooks.outbox.list(
            owner, endpoint_id=endpoint_id, subject=subject, after=after or None, limit=limit
        )
    except CursorNotFound as unknown:
        raise InvalidRequest(f"after: {unknown}.", param="after") from None
    ids = [row["id"] for row in rows] or [None]
    data = [delivery(row) for row in rows]
    return DeliveryPage(data=data, first_id=ids[0], last_id=ids[-1], has_more=more)


def delivery(row: dict[str, Any]) -> DeliveryObject:
    """A delivery as the API shows it."""
    return DeliveryObject(
        id=row["id"],
        event_id=row["event_id"],
        event_type=row["type"],
        subject=row["subject"],
        webhook_endpoint_id=row["endpoint_id"],
        url=row["url"],
        status=row["status"],
        created_at=int(row["created_at"]),
        next_attempt_at=int(row["next_at"]) if row["status"] == PENDING else None,
        attempts=[
            AttemptObject(
                attempted_at=int(attempt["at"]),
                seconds=round(attempt["seconds"], 3),
                status_code=attempt["status_code"],
                error=attempt["error"],
            )
            for attempt in row["attempts"]
        ],
    )

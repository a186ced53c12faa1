"""`/v1/webhook_endpoints`: who is told of which events, and the secrets that sign them."""
# ruff: noqa: FAST003  (the id in the path is taken by `endpoint_of`, which the rule does not follow)

import secrets as random
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, BeforeValidator, Field

from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, MISSING, body_of
from app.api.fields import Fields, Flag, Text, parsed, validated
from app.auth import Owner, caller_of
from app.contract.events import EVENT_TYPES
from app.contract.outbox import body_of as event_body
from app.contract.pages import CursorNotFound
from app.contract.sending import Sender
from app.contract.webhooks import Endpoint, EndpointNotFound
from app.errors import Conflict, InvalidRequest, NotFound
from app.parts import PartsOf
from app.receivers import checked_url

#: More than that are a mistake.
MAX_ENDPOINTS = 50

EventType = Literal[
    "video.completed",
    "video.failed",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
]
EventTypes = Annotated[
    list[EventType],
    Field(min_length=1, fail_fast=True, description="What to be told of."),
    BeforeValidator(parsed),
]
Name = Annotated[Text, Field(min_length=1, max_length=256, description="For people to read.")]
Url = Annotated[Text, Field(min_length=1, max_length=2048, description="Where events are sent.")]

router = APIRouter(prefix="/v1", tags=["webhooks"], dependencies=[Depends(caller_of)])


class EndpointCreate(Fields):
    """A new webhook endpoint."""

    name: Name
    url: Url
    event_types: EventTypes


class EndpointUpdate(Fields):
    """What is to change of a webhook endpoint."""

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None


class SecretRotate(Fields):
    """Whether deliveries are signed with the old secret too, for a day."""

    keep_old_secret_active_for_24_hours: Flag = False


class EndpointTest(Fields):
    """What to send."""

    event_type: EventType


class EndpointObject(BaseModel):
    """A webhook endpoint as the API shows it."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    created_at: int
    updated_at: int


class EndpointWithSecret(EndpointObject):
    """As it is shown when the secret was just made."""

    signing_secret: str


class EndpointPage(BaseModel):
    """A page of webhook endpoints; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[EndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EndpointDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class TestResult(BaseModel):
    """How the receiver answered."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class EventTypeList(BaseModel):
    """The events there are."""

    object: Literal["list"] = "list"
    data: list[str] = list(EVENT_TYPES)


After = Annotated[str | None, Query(description="The `last_id` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100)]


def endpoint_of(
    endpoint_id: Annotated[str, Path(description="The id of a webhook endpoint")],
    owner: Owner,
    parts: PartsOf,
) -> Endpoint:
    """The endpoint named in the path. Raises NotFound, also for another owner's."""
    try:
        return parts.store.webhooks.get(endpoint_id, owner)
    except EndpointNotFound:
        raise _no_endpoint(endpoint_id) from None


EndpointOf = Annotated[Endpoint, Depends(endpoint_of)]


@router.get("/webhook_event_types", responses=COMMON)
def list_event_types() -> EventTypeList:
    """The events that an endpoint can be told of."""
    return EventTypeList()


@router.post(
    "/webhook_endpoints",
    responses=COMMON | {409: ERRORS[409]},
    openapi_extra=body_of(EndpointCreate),
)
def create_endpoint(owner: Owner, fields: BodyFields, parts: PartsOf) -> EndpointWithSecret:
    """Be told of events at a URL. The signing secret is shown here and never again."""
    wanted = validated(EndpointCreate, fields)
    url = checked_url(wanted.url, parts.settings, "url")
    if len(parts.store.webhooks.list(owner, limit=MAX_ENDPOINTS)[0]) >= MAX_ENDPOINTS:
        raise Conflict(f"There are {MAX_ENDPOINTS} webhook endpoints already; delete one first.")
    made = parts.store.webhooks.create(owner, wanted.name, url, wanted.event_types)
    return with_secret(made)


@router.get("/webhook_endpoints", responses=COMMON)
def list_endpoints(
    owner: Owner, parts: PartsOf, after: After = None, limit: Limit = 20
) -> EndpointPage:
    """Webhook endpoints, newest first, a page at a time."""
    try:
        endpoints, more = parts.store.webhooks.list(owner, after=after or None, limit=limit)
    except CursorNotFound as unknown:
        raise InvalidRequest(f"after: {unknown}.", param="after") from None
    ids = [endpoint.id for endpoint in endpoints] or [None]
    data = [shown(endpoint) for endpoint in endpoints]
    return EndpointPage(data=data, first_id=ids[0], last_id=ids[-1], has_more=more)


@router.get("/webhook_endpoints/{endpoint_id}", responses=MISSING)
def retrieve_endpoint(endpoint: EndpointOf) -> EndpointObject:
    """A webhook endpoint."""
    return shown(endpoint)


@router.post(
    "/webhook_endpoints/{endpoint_id}", responses=MISSING, openapi_extra=body_of(EndpointUpdate)
)
def update_endpoint(
    endpoint: EndpointOf, owner: Owner, fields: BodyFields, parts: PartsOf
) -> EndpointObject:
    """Change what is given of a webhook endpoint."""
    wanted = validated(EndpointUpdate, fields)
    url = None if wanted.url is None else checked_url(wanted.url, parts.settings, "url")
    try:
        changed = parts.store.webhooks.update(
            endpoint.id, owner, name=wanted.name, url=url, event_types=wanted.event_types
        )
    except EndpointNotFound:
        raise _no_endpoint(endpoint.id) from None
    return shown(changed)


@router.delete("/webhook_endpoints/{endpoint_id}", responses=MISSING)
def delete_endpoint(endpoint: EndpointOf, owner: Owner, parts: PartsOf) -> EndpointDeleted:
    """Send nothing more to an endpoint, also not what it has missed."""
    try:
        parts.store.webhooks.delete(endpoint.id, owner)
    except EndpointNotFound:
        raise _no_endpoint(endpoint.id) from None
    return EndpointDeleted(id=endpoint.id)


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    responses=MISSING,
    openapi_extra=body_of(SecretRotate),
)
def rotate_secret(
    endpoint: EndpointOf, owner: Owner, fields: BodyFields, parts: PartsOf
) -> EndpointWithSecret:
    """Replace the signing secret; the new one is shown here and never again."""
    keep_old = validated(SecretRotate, fields).keep_old_secret_active_for_24_hours
    try:
        return with_secret(parts.store.webhooks.rotate(endpoint.id, owner, keep_old=keep_old))
    except EndpointNotFound:
        raise _no_endpoint(endpoint.id) from None


@router.post(
    "/webhook_endpoints/{endpoint_id}/test", responses=MISSING, openapi_extra=body_of(EndpointTest)
)
def test_endpoint(endpoint: EndpointOf, fields: BodyFields, parts: PartsOf) -> TestResult:
    """Send a made-up event now, and see how the receiver answers."""
    kind = validated(EndpointTest, fields).event_type
    event_id = f"evt_test_{random.token_hex(8)}"
    body = event_body(event_id, kind, f"{kind.partition('.')[0]}_test", time.time())
    sender = Sender(parts.settings.webhook_timeout_s, parts.settings.webhook_allow_private)
    answer = sender.send(endpoint.url, (endpoint.secret,), event_id, body)
    if answer.status_code is None:
        raise InvalidRequest(
            f"The receiver did not answer: {answer.error}.", code="webhook_unreachable"
        )
    return TestResult(
        webhook_endpoint_id=endpoint.id, event_type=kind, status_code=answer.status_code
    )


def shown(endpoint: Endpoint) -> EndpointObject:
    """An endpoint as the API shows it."""
    return EndpointObject(**_fields(endpoint))


def with_secret(endpoint: Endpoint) -> EndpointWithSecret:
    """An endpoint with its new secret."""
    return EndpointWithSecret(**_fields(endpoint), signing_secret=endpoint.secret)


def _fields(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": f"whsec_…{endpoint.secret[-4:]}",
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
    }


def _no_endpoint(endpoint_id: str) -> NotFound:
    said = f"There is no webhook endpoint with the id {endpoint_id[:80]!r}."
    return NotFound(said, code="webhook_endpoint_not_found")

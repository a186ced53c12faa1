"""`/v1/batches`: many requests for videos in one file, made when nothing else waits."""
# ruff: noqa: FAST003  (the id in the path is taken by `batch_of`, which the rule does not follow)

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, BeforeValidator, Field

from app import uploads
from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, MISSING, body_of
from app.api.fields import Fields, Metadata, Text, parsed, validated
from app.api.files import ExpiresAfter
from app.auth import CallerOf, Owner, caller_of
from app.contract.batches import Batch, BatchEnded, BatchNotFound, BatchStatus
from app.contract.job import DuplicateKey
from app.contract.pages import CursorNotFound
from app.errors import Conflict, InvalidRequest, NotFound
from app.parts import Parts, PartsOf
from app.submission import AttemptOf, contradiction

WINDOW = "24h"

router = APIRouter(prefix="/v1/batches", tags=["batches"], dependencies=[Depends(caller_of)])


class BatchCreate(Fields):
    """A file of requests to work through."""

    input_file_id: Annotated[
        Text, Field(min_length=1, description="An uploaded file with the purpose batch.")
    ]
    endpoint: Annotated[Literal["/v1/videos"], Field(description="What every line asks for.")]
    completion_window: Annotated[Literal["24h"], Field(description="After which it expires.")]
    metadata: Metadata | None = None
    output_expires_after: Annotated[ExpiresAfter | None, BeforeValidator(parsed)] = None


class BatchError(BaseModel):
    """What is wrong with the input file."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(BaseModel):
    """Why a batch failed."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch as the API shows it."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    input_file_id: str
    completion_window: str = WINDOW
    status: BatchStatus
    errors: BatchErrors | None
    output_file_id: str | None
    error_file_id: str | None
    metadata: dict[str, str] | None
    request_counts: RequestCounts
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None


class BatchPage(BaseModel):
    """A page of batches; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.post("", responses=COMMON | {409: ERRORS[409]}, openapi_extra=body_of(BatchCreate))
def create_batch(
    caller: CallerOf, attempt: AttemptOf, fields: BodyFields, parts: PartsOf
) -> BatchObject:
    """Have a file of requests worked through within 24 hours, behind all other work."""
    wanted = validated(BatchCreate, fields)
    file = uploads.find(parts, caller.owner, wanted.input_file_id, "input_file_id", ("batch",))
    expires = wanted.output_expires_after
    try:
        batch = parts.store.batches.create(
            owner=caller.owner,
            key_id=caller.key.id if caller.key is not None else "",
            endpoint=wanted.endpoint,
            input_file_id=file.id,
            labels=wanted.metadata or {},
            output_expire_s=None if expires is None else expires.seconds,
            idempotency_key=attempt.key,
            within_s=parts.settings.duplicate_window_s if attempt.is_retry else 0.0,
        )
    except DuplicateKey as error:
        raise contradiction(error) from None
    return shown(parts, batch)


@router.get("", responses=COMMON)
def list_batches(
    owner: Owner,
    parts: PartsOf,
    after: Annotated[str | None, Query(description="The `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BatchPage:
    """Batches, newest first, a page at a time."""
    try:
        batches, more = parts.store.batches.list(owner, after=after or None, limit=limit)
    except CursorNotFound as unknown:
        raise InvalidRequest(f"after: {unknown}.", param="after") from None
    ids = [batch.id for batch in batches] or [None]
    data = [shown(parts, batch) for batch in batches]
    return BatchPage(data=data, first_id=ids[0], last_id=ids[-1], has_more=more)


def batch_of(
    batch_id: Annotated[str, Path(description="The id of a batch")], owner: Owner, parts: PartsOf
) -> Batch:
    """The batch named in the path. Raises NotFound, also for another owner's."""
    try:
        return parts.store.batches.get(batch_id, owner)
    except BatchNotFound:
        said = f"There is no batch with the id {batch_id[:80]!r}."
        raise NotFound(said, code="batch_not_found") from None


BatchOf = Annotated[Batch, Depends(batch_of)]


@router.get("/{batch_id}", responses=MISSING)
def retrieve_batch(batch: BatchOf, parts: PartsOf) -> BatchObject:
    """A batch and how far it is."""
    return shown(parts, batch)


@router.post("/{batch_id}/cancel", responses=MISSING | {409: ERRORS[409]})
def cancel_batch(batch: BatchOf, parts: PartsOf) -> BatchObject:
    """Stop a batch. What is made already stays, and is in its output file."""
    try:
        return shown(parts, parts.store.batches.cancel(batch.id))
    except BatchEnded as ended:
        raise Conflict(f"The batch is {ended.status} already.", code="batch_ended") from None


def shown(parts: Parts, batch: Batch) -> BatchObject:
    """A batch as the API shows it."""
    counts = parts.store.batches.lines.counts(batch.id)

    def ended(*statuses: BatchStatus) -> int | None:
        return _second(batch.finished_at) if batch.status in statuses else None

    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        input_file_id=batch.input_file_id,
        status=batch.status,
        errors=_errors(batch),
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        metadata=batch.labels or None,
        request_counts=RequestCounts(
            total=batch.total, completed=counts.completed, failed=counts.failed
        ),
        created_at=int(batch.created_at),
        expires_at=int(batch.expires_at),
        in_progress_at=_second(batch.in_progress_at),
        finalizing_at=_second(batch.finalizing_at),
        cancelling_at=_second(batch.cancelling_at),
        completed_at=ended(BatchStatus.COMPLETED),
        failed_at=ended(BatchStatus.FAILED),
        expired_at=ended(BatchStatus.EXPIRED),
        cancelled_at=ended(BatchStatus.CANCELLED),
    )


def _errors(batch: Batch) -> BatchErrors | None:
    errors: list[dict[str, Any]] = batch.errors
    return BatchErrors(data=[BatchError(**error) for error in errors]) if errors else None


def _second(moment: float | None) -> int | None:
    return None if moment is None else int(moment)

"""`/v1/videos`: make, watch, list, cancel and delete videos."""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from app import orders
from app.api.access import JobOf, SentOf, no_video
from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, MAKING, MISSING, body_of
from app.api.fields import validated
from app.api.objects import Video, VideoDeleted, VideoPage
from app.api.schemas import VideoCreate
from app.api.shown import followed, video, with_outlook
from app.auth import Owner, caller_of
from app.contract.job import JobNotFound, MoveRefused, Status
from app.errors import Conflict, InvalidRequest
from app.parts import PartsOf

router = APIRouter(prefix="/v1/videos", tags=["videos"], dependencies=[Depends(caller_of)])


@router.post("", responses=COMMON | MAKING, openapi_extra=body_of(VideoCreate))
def create_video(fields: BodyFields, sent: SentOf, parts: PartsOf, response: Response) -> Video:
    """Ask for a video. The answer is its job, which is then polled."""
    return followed(orders.create(parts, validated(VideoCreate, fields), sent), parts, response)


@router.get("", responses=COMMON)
def list_videos(
    owner: Owner,
    parts: PartsOf,
    after: Annotated[str | None, Query(description="The `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of creation")] = "desc",
    search: Annotated[str, Query(max_length=256, description="Words of the prompt")] = "",
    status: Annotated[str, Query(description="One or several of them, with commas")] = "",
) -> VideoPage:
    """Videos by time of creation, a page at a time."""
    try:
        page = parts.store.list(
            owner,
            after=after or None,
            limit=limit,
            newest_first=order == "desc",
            statuses=_statuses(status),
            search=_plain(search),
        )
    except JobNotFound:
        raise InvalidRequest(f"after: there is no video {after!r}.", param="after") from None
    ids = [job.id for job in page.jobs] or [None]
    return VideoPage(
        data=[video(job) for job in page.jobs],
        first_id=ids[0],
        last_id=ids[-1],
        has_more=page.has_more,
    )


@router.get("/{video_id}", responses=MISSING)
def retrieve_video(job: JobOf, parts: PartsOf, response: Response) -> Video:
    """A video and how far it is."""
    return followed(job, parts, response)


@router.delete("/{video_id}", responses=MISSING)
def delete_video(job: JobOf, owner: Owner, parts: PartsOf) -> VideoDeleted:
    """Delete a video; one that is still being made is cancelled first."""
    try:
        parts.store.delete(job.id, owner)
    except JobNotFound:
        raise no_video(job.id) from None
    return VideoDeleted(id=job.id)


@router.post("/{video_id}/cancel", responses=MISSING | {409: ERRORS[409]})
def cancel_video(job: JobOf, owner: Owner, parts: PartsOf) -> Video:
    """Stop making a video. It ends as `failed` with the error code `cancelled`."""
    try:
        return with_outlook(parts.store.cancel(job.id, owner), parts)
    except JobNotFound:
        raise no_video(job.id) from None
    except MoveRefused as refused:
        raise Conflict(f"The video is {refused.found} already.", code="video_finished") from None


def _statuses(text: str) -> list[Status]:
    try:
        return [Status(name.strip()) for name in text.split(",") if name.strip()]
    except ValueError:
        raise InvalidRequest(
            f"status: {text[:80]!r} is not out of {', '.join(Status)}.", param="status"
        ) from None


def _plain(search: str) -> str:
    if "\0" in search:  # PostgreSQL's text has no place for it
        raise InvalidRequest("search must not contain the character NUL.", param="search")
    return search

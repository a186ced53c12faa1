"""`/v1/videos`: make, watch, list, cancel, delete and download videos."""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

import time
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from app.api import content
from app.api.body import BodyFields
from app.api.schemas import (
    ErrorAnswer,
    JobError,
    Video,
    VideoCreate,
    VideoDeleted,
    VideoEdit,
    VideoPage,
    VideoRemix,
)
from app.auth import Owner
from app.contract.job import Job, JobNotFound, MoveRefused, Status
from app.errors import Conflict, InvalidRequest, NotFound, from_validation
from app.parts import Parts, PartsOf
from app.submission import AttemptOf, fingerprint_of, submit, submit_edit

T = TypeVar("T", bound=BaseModel)
Responses = dict[int | str, dict[str, Any]]
ERRORS: Responses = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in (
        (400, "A parameter is missing, unknown or not possible"),
        (401, "The API key is missing or wrong"),
        (403, "Not allowed from here"),
        (404, "There is no such video"),
        (409, "Not possible in the video's state"),
        (413, "The body is too large"),
        (416, "The range lies outside the file"),
        (429, "Too many jobs are waiting"),
        (503, "A part of the service is down"),
    )
}
COMMON: Responses = {status: ERRORS[status] for status in (400, 401, 403, 503)}
MISSING: Responses = COMMON | {404: ERRORS[404]}
MAKING: Responses = {status: ERRORS[status] for status in (409, 413, 429)}


def body_of(fields: type[BaseModel]) -> dict[str, Any]:
    """How the document describes a body that is taken as JSON and as a form."""
    types = ("application/json", "multipart/form-data")
    schema = fields.model_json_schema()
    content = {media_type: {"schema": schema} for media_type in types}
    return {"requestBody": {"required": True, "content": content}}


POLL_MS = 1000
MAX_POLL_MS = 10_000

router = APIRouter(prefix="/v1/videos", tags=["videos"])


def job_of(
    video_id: Annotated[str, Path(description="The id of a video")], owner: Owner, parts: PartsOf
) -> Job:
    """The job named in the path. Raises NotFound, also for another owner's."""
    return find(video_id, owner, parts)


def find(video_id: str, owner: str, parts: Parts, param: str | None = None) -> Job:
    """The owner's job of this id. Raises NotFound."""
    if "\0" in video_id:  # PostgreSQL would not even compare it
        raise _no_video(video_id, param)
    try:
        return parts.store.get(video_id, owner)
    except JobNotFound:
        raise _no_video(video_id, param) from None


JobOf = Annotated[Job, Depends(job_of)]


@router.post("", responses=COMMON | MAKING, openapi_extra=body_of(VideoCreate))
def create_video(
    owner: Owner, fields: BodyFields, attempt: AttemptOf, parts: PartsOf, response: Response
) -> Video:
    """Ask for a video. The answer is its job, which is then polled."""
    wanted = validated(VideoCreate, fields)
    job = submit(parts, wanted, owner, attempt, fingerprint_of(fields))
    return followed(job, parts, response)


@router.post("/edits", responses=MISSING | MAKING, openapi_extra=body_of(VideoEdit))
def edit_video(
    owner: Owner, fields: BodyFields, attempt: AttemptOf, parts: PartsOf, response: Response
) -> Video:
    """Make a video from an uploaded one, or from a finished one."""
    wanted = validated(VideoEdit, fields)
    video = wanted.video
    source = video if isinstance(video, UploadFile) else find(video.id, owner, parts, "video")
    fingerprint = fingerprint_of({"edit": fields})
    job = submit_edit(parts, wanted, source, "video", owner, attempt, fingerprint)
    return followed(job, parts, response)


@router.post("/{video_id}/remix", responses=MISSING | MAKING, openapi_extra=body_of(VideoRemix))
def remix_video(
    job: JobOf,
    owner: Owner,
    fields: BodyFields,
    attempt: AttemptOf,
    parts: PartsOf,
    response: Response,
) -> Video:
    """Make a finished video anew with another prompt."""
    wanted = validated(VideoRemix, fields)
    fingerprint = fingerprint_of({"remix": job.id, "fields": fields})
    made = submit_edit(parts, wanted, job, "video_id", owner, attempt, fingerprint)
    return followed(made, parts, response)


def validated(kind: type[T], fields: dict[str, Any]) -> T:
    """The body's fields as a request of this kind. Raises InvalidRequest."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise from_validation(error.errors()) from None


@router.get("", responses=COMMON)
def list_videos(
    owner: Owner,
    parts: PartsOf,
    after: Annotated[str | None, Query(description="The `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of creation")] = "desc",
) -> VideoPage:
    """Videos by time of creation, a page at a time."""
    try:
        page = parts.store.list(
            owner, after=after or None, limit=limit, newest_first=order == "desc"
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
        raise _no_video(job.id) from None
    return VideoDeleted(id=job.id)


@router.post("/{video_id}/cancel", responses=MISSING | {409: ERRORS[409]})
def cancel_video(job: JobOf, owner: Owner, parts: PartsOf) -> Video:
    """Stop making a video. It ends as `failed` with the error code `cancelled`."""
    try:
        return video(parts.store.cancel(job.id, owner))
    except JobNotFound:
        raise _no_video(job.id) from None
    except MoveRefused as refused:
        raise Conflict(f"The video is {refused.found} already.", code="video_finished") from None


@router.head("/{video_id}/content", include_in_schema=False)
@router.get(
    "/{video_id}/content",
    responses=MISSING
    | {s: ERRORS[s] for s in (409, 416)}
    | {206: {"description": "The range asked for"}},
    response_class=Response,
)
def download_content(
    job: JobOf,
    parts: PartsOf,
    request: Request,
    variant: Annotated[Literal["video", "thumbnail"], Query()] = "video",
) -> Response:
    """The MP4 of a finished video, or its WebP thumbnail. Ranges and conditional requests work."""
    return content.answer(request, parts.blobs, stored_file(job, variant))


def stored_file(job: Job, variant: str) -> content.StoredFile:
    """Where a finished video's file is.

    Raises Conflict while the video is being made, and NotFound when there is no such file.
    """
    if not job.finished:
        raise Conflict(
            f"The video is {job.status}, {job.percent} % done; download it when it is completed.",
            code="video_not_ready",
        )
    if job.status is Status.FAILED:
        raise NotFound(f"The video failed: {job.error_message}", code="video_failed")
    if job.output_key is None:
        raise NotFound("The video is no longer available: it has expired.", code="video_expired")
    key = job.thumbnail_key if variant == "thumbnail" else job.output_key
    if key is None:
        raise NotFound("This video has no thumbnail.", code="no_thumbnail")
    suffix = key.rpartition(".")[2]
    media_type = {"mp4": "video/mp4"}.get(suffix, f"image/{suffix}")
    name = f"{' '.join(job.spec.prompt.split())[:60].strip()}.{suffix}".replace("/", "-")
    return content.StoredFile(key, media_type, name, job.finished_at or job.created_at)


def followed(job: Job, parts: Parts, response: Response) -> Video:
    """A job with its place in the queue, and in a header when another look is worth it.

    The SDK reads that header from its first poll only and keeps it for the whole wait.
    """
    ahead = parts.store.queue_position(job) if job.status is Status.QUEUED else None
    wait_ms = 0 if job.finished else min(MAX_POLL_MS, POLL_MS * (1 + (ahead or 0)))
    response.headers["openai-poll-after-ms"] = str(wait_ms)
    return video(job).model_copy(update={"queue_position": ahead})


def video(job: Job) -> Video:
    """A job as the API shows it."""
    spec = job.spec
    error = JobError(code=job.error_code or "failed", message=job.error_message or "")
    return Video(
        id=job.id,
        status=job.status.value,
        progress=job.percent,
        model=job.model_name,
        prompt=spec.prompt,
        size=f"{spec.width}x{spec.height}",
        seconds=job.extra.get("seconds", f"{spec.seconds:g}"),
        created_at=int(job.created_at),
        completed_at=_second(job.finished_at) if job.status is Status.COMPLETED else None,
        expires_at=_second(job.expires_at),
        remixed_from_video_id=job.remixed_from,
        error=error if job.status is Status.FAILED else None,
        stage=job.stage.value,
        started_at=_second(job.started_at),
        frames=spec.frames,
        fps=spec.fps,
        seed=spec.seed,
        negative_prompt=spec.negative_prompt,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance,
        flow_shift=spec.flow_shift,
        attempt=job.attempt,
        eta_seconds=eta_seconds(job),
    )


def eta_seconds(job: Job) -> int | None:
    """How much longer the job takes if the rest goes at the pace of what is done."""
    if job.status is not Status.IN_PROGRESS or job.started_at is None or job.progress < 0.02:
        return None
    elapsed = max(0.0, time.time() - job.started_at)
    return round(elapsed * (1 - job.progress) / job.progress)


def _second(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


def _no_video(video_id: str, param: str | None = None) -> NotFound:
    said = f"There is no video with the id {video_id[:80]!r}."
    return NotFound(said, param=param, code="video_not_found")

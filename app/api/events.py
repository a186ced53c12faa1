"""`/v1/videos/{id}/events`: a job's progress as server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import StreamingResponse

from app.api.access import JobOf
from app.api.document import EVENTS, MISSING
from app.api.shown import video
from app.auth import caller_of
from app.following import Following, Seen, data_url
from app.parts import PartsOf

#: Seconds after which something is sent in any case, so that no proxy takes the stream for dead.
IDLE_S = 15.0
#: Milliseconds after which a client that lost the stream is to come back.
RETRY_MS = 1000
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

router = APIRouter(prefix="/v1/videos", tags=["videos"], dependencies=[Depends(caller_of)])


@router.get(
    "/{video_id}/events", responses=MISSING | {200: EVENTS}, response_class=StreamingResponse
)
async def follow_video(
    job: JobOf,
    parts: PartsOf,
    last_event_id: Annotated[
        str, Header(description="What was received last; nothing unchanged since is sent again")
    ] = "",
) -> StreamingResponse:
    """Watch a video being made: `video` events with the video object, `preview` events with a
    picture of what it looks like so far. The stream ends with the job.
    """
    stream = _events(parts.following, job.id, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


async def _events(following: Following, job_id: str, last: str) -> AsyncIterator[str]:
    """The stream's text. An id says which job's state and which picture the client has."""
    version, _, picture = last.partition("-")
    yield f"retry: {RETRY_MS}\n\n"
    async for seen in following.changes(job_id, IDLE_S):
        if seen is None:
            yield ": ping\n\n"
            continue
        if seen.version != version or seen.is_last:
            version = seen.version
            yield _event(*_told(seen, job_id), f"{version}-{picture}")
        if seen.preview is not None and str(seen.picture) != picture:
            picture = str(seen.picture)
            told = {"id": job_id, "progress": seen.job.percent if seen.job else 0}
            told["preview"] = data_url(seen.preview)
            yield _event("preview", json.dumps(told), f"{version}-{picture}")


def _told(seen: Seen, job_id: str) -> tuple[str, str]:
    """The kind of the event and its data."""
    if seen.job is None:
        return "deleted", json.dumps({"id": job_id})
    eta_seconds = None if seen.eta_s is None else round(seen.eta_s)
    outlook = {"queue_position": seen.ahead, "eta_seconds": eta_seconds}
    return "video", video(seen.job).model_copy(update=outlook).model_dump_json()


def _event(kind: str, data: str, event_id: str) -> str:
    return f"event: {kind}\nid: {event_id}\ndata: {data}\n\n"

"""`/v1/videos/{id}/stream.m3u8`: a clip as HLS, to be watched while later parts are being made.

RFC 8216. The parts are fragmented MP4 that the worker stored as they got done.
"""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

import math
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from app.api import content
from app.api.access import JobOf
from app.api.document import ERRORS, MISSING
from app.auth import caller_of
from app.contract.checkpoints import Checkpoint
from app.contract.job import Job, Status
from app.errors import Conflict, NotFound
from app.parts import Parts, PartsOf

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
INIT = "init.mp4"
SEGMENT = re.compile(r"(\d{1,6})\.m4s", re.ASCII)

router = APIRouter(prefix="/v1/videos", tags=["videos"], dependencies=[Depends(caller_of)])


@router.get(
    "/{video_id}/stream.m3u8",
    responses=MISSING | {409: ERRORS[409], 200: {"content": {PLAYLIST_TYPE: {}}}},
    response_class=Response,
)
def playlist(job: JobOf, parts: PartsOf) -> Response:
    """The HLS playlist of a clip; it grows until the clip is completed."""
    kept = _kept(job, parts)
    lengths = [segment.frames / job.spec.fps for segment in kept.segments]
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{math.ceil(max(lengths))}",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="stream/{INIT}"',
    ]
    for index, length in enumerate(lengths):
        lines += [f"#EXTINF:{length:.5f},", f"stream/{index:05}.m4s"]
    if job.status is Status.COMPLETED:
        lines.append("#EXT-X-ENDLIST")
    headers = {"cache-control": "no-cache"}
    return Response("\n".join([*lines, ""]), media_type=PLAYLIST_TYPE, headers=headers)


@router.get(
    "/{video_id}/stream/{name}",
    responses=MISSING | {status: ERRORS[status] for status in (409, 416)},
    response_class=Response,
)
def part(
    job: JobOf,
    parts: PartsOf,
    request: Request,
    name: Annotated[str, Path(description="A part, as the playlist names it")],
) -> Response:
    """A part of a clip that is being made: fragmented MP4."""
    kept = _kept(job, parts)
    index = SEGMENT.fullmatch(name)
    if name == INIT:
        key = kept.init_key
    elif index is not None and int(index[1]) < len(kept.segments):
        key = kept.segment_key(int(index[1]))
    else:
        raise NotFound(f"The stream has no part {name[:80]!r}.", code="no_such_part")
    file = content.StoredFile(key, "video/mp4", name, job.started_at or job.created_at)
    return content.answer(request, parts.blobs, file)


def _kept(job: Job, parts: Parts) -> Checkpoint:
    """The parts that are there. Raises Conflict before the first one, NotFound after the end."""
    if job.status is Status.FAILED:
        raise NotFound(f"The video failed: {job.error_message}", code="video_failed")
    kept = parts.store.checkpoints.get(job.id)
    if kept is not None and kept.segments:
        return kept
    if job.status is Status.COMPLETED:
        raise NotFound("The stream is over; download the content.", code="stream_ended")
    raise Conflict(
        f"The video is {job.status}, and no part of it is done yet.",
        code="video_not_ready",
        headers={"retry-after": "1"},
    )

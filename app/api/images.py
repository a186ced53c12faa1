"""`/v1/images`: pictures, made as clips of one frame. A call waits for its pictures."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from anyio import CancelScope
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from app import orders
from app.api.access import SentOf
from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, EVENTS, MAKING, body_of
from app.api.events import HEADERS
from app.api.fields import validated
from app.api.objects import Picture, Pictures
from app.api.schemas import ImageEdit, ImageGenerate
from app.auth import caller_of
from app.contract.blobs import BlobNotFound
from app.contract.job import Job, JobNotFound, Status
from app.errors import Forbidden, InvalidRequest, JobFailed, NotInTime, fault_body
from app.following import Seen
from app.parts import Parts, PartsOf
from app.submission import Sent

#: Seconds without news after which a stream shows that it is alive.
IDLE_S = 15.0
WAITING = COMMON | MAKING | {504: ERRORS[504], 200: {"model": Pictures} | EVENTS}

router = APIRouter(prefix="/v1/images", tags=["images"], dependencies=[Depends(caller_of)])


@router.post("/generations", responses=WAITING, openapi_extra=body_of(ImageGenerate))
async def generate_images(
    fields: BodyFields, sent: SentOf, parts: PartsOf, request: Request
) -> Response:
    """Make pictures from text."""
    wanted = validated(ImageGenerate, fields)
    return await _answer(wanted, sent, parts, request, "image_generation")


@router.post("/edits", responses=WAITING, openapi_extra=body_of(ImageEdit))
async def edit_image(
    fields: BodyFields, sent: SentOf, parts: PartsOf, request: Request
) -> Response:
    """Make a picture anew with a prompt."""
    wanted = validated(ImageEdit, fields)
    return await _answer(wanted, sent, parts, request, "image_edit")


async def _answer(
    wanted: ImageGenerate, sent: Sent, parts: Parts, request: Request, kind: str
) -> Response:
    if wanted.stream and (wanted.n or 1) > 1:
        raise InvalidRequest("n must be 1 in a stream.", param="n")
    if wanted.partial_images and not wanted.stream:
        raise InvalidRequest("partial_images needs stream.", param="partial_images")
    key = sent.caller.key
    if wanted.response_format == "url" and key and not key.allows("videos", reading=True):
        raise Forbidden(
            "What url names is read with the scope videos:read, which this key does not have:"
            " ask for b64_json.",
            param="response_format",
            code="insufficient_scope",
        )
    jobs = await run_in_threadpool(orders.draw, parts, wanted, sent)
    address = parts.settings.public_url or str(request.base_url)
    linked = address.rstrip("/") if wanted.response_format == "url" else None
    if wanted.stream:
        events = _events(parts, jobs[0], wanted.partial_images or 0, linked, kind)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
    given = False
    try:
        async with asyncio.timeout(parts.settings.image_wait_s):
            done = await asyncio.gather(*(_finished(parts, job) for job in jobs))
        pictures = [await run_in_threadpool(_picture, parts, job, linked) for job in done]
        given = True
    except TimeoutError:
        raise NotInTime(
            f"The pictures were not done within {parts.settings.image_wait_s:g} seconds."
            " Ask for a video of one frame instead, and poll it.",
        ) from None
    finally:
        if not given:
            await _forget(parts, jobs)
    body = Pictures(created=int(time.time()), data=pictures, **_common(done[0]))
    return Response(body.model_dump_json(exclude_none=True), media_type="application/json")


async def _finished(parts: Parts, job: Job) -> Job:
    """The job when it is completed. Raises JobFailed."""
    async for seen in parts.following.changes(job.id, IDLE_S):
        if seen is not None and seen.is_last:
            return _completed(seen)
    raise JobFailed("The service was stopped.", code="stopped")


def _completed(seen: Seen) -> Job:
    if seen.job is None:
        raise JobFailed("The picture was deleted.", code="cancelled")
    if seen.job.status is not Status.COMPLETED:
        raise JobFailed(seen.job.error_message or "The job failed.", code=seen.job.error_code)
    return seen.job


def _picture(parts: Parts, job: Job, linked: str | None) -> Picture:
    """The picture itself, which is then kept no longer, or its address."""
    revised = job.spec.prompt if job.spec.prompt != job.extra.get("prompt") else None
    if linked is not None:
        return Picture(url=f"{linked}/v1/videos/{job.id}/content", revised_prompt=revised)
    try:
        data = parts.blobs.get(job.output_key or "")
    except BlobNotFound:
        raise JobFailed("The picture is no longer there.", code="video_expired") from None
    _drop(parts, [job])
    return Picture(b64_json=base64.b64encode(data).decode(), revised_prompt=revised)


def _drop(parts: Parts, jobs: list[Job]) -> None:
    for job in jobs:
        try:
            parts.store.delete(job.id, job.owner)
        except JobNotFound:
            continue


async def _forget(parts: Parts, jobs: list[Job]) -> None:
    """Pictures that nobody is given, because one of them failed or the client is gone, go."""
    with CancelScope(shield=True):
        await run_in_threadpool(_drop, parts, jobs)


def _common(job: Job) -> dict[str, Any]:
    return {"size": f"{job.spec.width}x{job.spec.height}", "output_format": job.spec.output}


async def _events(
    parts: Parts, job: Job, partial: int, linked: str | None, kind: str
) -> AsyncIterator[str]:
    """OpenAI's events: at most `partial` of the worker's small pictures, then the result."""
    common = {"background": "opaque", "quality": "auto"} | _common(job)
    shown, last, given = 0, 0, False
    try:
        async for seen in parts.following.changes(job.id, IDLE_S):
            if seen is None:
                yield ": ping\n\n"
            elif seen.is_last:
                picture = await run_in_threadpool(_picture, parts, _completed(seen), linked)
                told, given = common | picture.model_dump(exclude_none=True), True
                yield _event(f"{kind}.completed", told)
            elif seen.preview is not None and seen.picture != last and shown < partial:
                small = base64.b64encode(seen.preview.picture).decode()
                told = common | {"b64_json": small, "partial_image_index": shown}
                yield _event(f"{kind}.partial_image", told | {"output_format": "webp"})
                shown, last = shown + 1, seen.picture
    except JobFailed as fault:  # the status of the answer has been sent long ago
        yield f"event: error\ndata: {json.dumps(fault_body(fault))}\n\n"
    finally:
        if not given:
            await _forget(parts, [job])


def _event(kind: str, told: dict[str, Any]) -> str:
    data = {"type": kind, "created_at": int(time.time())} | told
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

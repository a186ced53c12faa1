"""`/v1/videos/{id}/content`: the finished clip, and the smaller files that were made with it."""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api import content
from app.api.access import JobOf
from app.api.document import ERRORS, MISSING
from app.auth import caller_of
from app.contract import outputs
from app.contract.job import Job, Status
from app.errors import Conflict, NotFound
from app.parts import PartsOf

Variant = Literal[
    "video", "thumbnail", "spritesheet", "spritesheet_map", "preview_webp", "preview_gif"
]
#: variant -> (name of the file beside the clip, what a person would call it)
BESIDE = {
    "thumbnail": (outputs.THUMBNAIL, ""),
    "spritesheet": (outputs.SPRITES, " (sprites)"),
    "spritesheet_map": (outputs.SPRITE_MAP, " (sprites)"),
    "preview_webp": (outputs.PREVIEW_WEBP, " (preview)"),
    "preview_gif": (outputs.PREVIEW_GIF, " (preview)"),
}
MEDIA_TYPES = {
    "mp4": "video/mp4",
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
}
NAME_CHARS = 60

router = APIRouter(prefix="/v1/videos", tags=["videos"], dependencies=[Depends(caller_of)])


@router.head("/{video_id}/content", include_in_schema=False)
@router.get(
    "/{video_id}/content",
    responses=MISSING
    | {status: ERRORS[status] for status in (409, 416)}
    | {206: {"description": "The range asked for"}, 307: {"description": "Where the file is"}},
    response_class=Response,
)
def download_content(
    job: JobOf,
    parts: PartsOf,
    request: Request,
    variant: Annotated[Variant, Query(description="Which file of the video")] = "video",
    download: Annotated[
        bool | None, Query(description="Let a browser save the file and not show it")
    ] = None,
    redirect: Annotated[
        bool | None, Query(description="Whether the storage may send it itself, where it does")
    ] = None,
) -> Response:
    """The MP4 of a finished video, or a file that was made with it. Ranges and conditional requests
    work.
    """
    file = stored_file(job, variant, attached=bool(download))
    redirect_s = 0.0 if redirect is False else parts.settings.download_redirect_s
    return content.answer(request, parts.blobs, file, redirect_s)


@router.head("/{video_id}/spritesheet.jpg", include_in_schema=False)
@router.get("/{video_id}/spritesheet.jpg", include_in_schema=False)
def sprites(job: JobOf, parts: PartsOf, request: Request) -> Response:
    """The sprite sheet under the name by which its map refers to it."""
    return content.answer(request, parts.blobs, stored_file(job, "spritesheet"))


def stored_file(job: Job, variant: Variant, *, attached: bool = False) -> content.StoredFile:
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
    key, media_type, suffix = job.output_key, MEDIA_TYPES[job.spec.output], ""
    if variant != "video":
        name, suffix = BESIDE[variant]
        if job.spec.output != "mp4" and variant != "thumbnail":
            raise NotFound(f"A picture has no {variant}.", param="variant", code="no_such_variant")
        key, media_type = outputs.beside(key, name), outputs.CONTENT_TYPES[name]
    return content.StoredFile(
        key=key,
        media_type=media_type,
        name=f"{_title(job)}{suffix}.{key.rpartition('.')[2]}",
        modified=job.finished_at or job.created_at,
        attached=attached,
    )


def _title(job: Job) -> str:
    """The beginning of the prompt, for a file's name."""
    prompt = job.extra.get("prompt", job.spec.prompt)
    return " ".join(prompt.split())[:NAME_CHARS].strip().replace("/", "-")

"""`/v1/videos/…`: videos made from other videos, and the characters that no model here can keep."""
# ruff: noqa: FAST003  (the id in the path is taken by `job_of`, which the rule does not follow)

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from app import orders
from app.api.access import JobOf, SentOf, source_of
from app.api.body import BodyFields
from app.api.document import MAKING, MISSING, body_of
from app.api.fields import validated
from app.api.objects import Character, Video
from app.api.schemas import CharacterCreate, VideoBlend, VideoEdit, VideoExtend, VideoRemix
from app.api.shown import followed
from app.auth import caller_of
from app.errors import InvalidRequest, NotFound
from app.parts import PartsOf

router = APIRouter(prefix="/v1/videos", tags=["videos"], dependencies=[Depends(caller_of)])


@router.post("/edits", responses=MISSING | MAKING, openapi_extra=body_of(VideoEdit))
def edit_video(fields: BodyFields, sent: SentOf, parts: PartsOf, response: Response) -> Video:
    """Make a video from an uploaded one, or from a finished one."""
    wanted = validated(VideoEdit, fields)
    source = source_of(wanted.video, sent.owner, parts, "video")
    return followed(orders.edit(parts, wanted, source, sent, "video", "edit"), parts, response)


@router.post("/{video_id}/remix", responses=MISSING | MAKING, openapi_extra=body_of(VideoRemix))
def remix_video(
    job: JobOf, fields: BodyFields, sent: SentOf, parts: PartsOf, response: Response
) -> Video:
    """Make a finished video anew with another prompt."""
    wanted = validated(VideoRemix, fields)
    return followed(orders.edit(parts, wanted, job, sent, "video_id", "remix"), parts, response)


@router.post("/extensions", responses=MISSING | MAKING, openapi_extra=body_of(VideoExtend))
def extend_video(fields: BodyFields, sent: SentOf, parts: PartsOf, response: Response) -> Video:
    """Make a video longer, at its end or at its beginning. Its own frames stay as they are."""
    wanted = validated(VideoExtend, fields)
    source = source_of(wanted.video, sent.owner, parts, "video")
    return followed(orders.extend(parts, wanted, source, sent), parts, response)


@router.post("/blends", responses=MISSING | MAKING, openapi_extra=body_of(VideoBlend))
def blend_videos(fields: BodyFields, sent: SentOf, parts: PartsOf, response: Response) -> Video:
    """Join two videos with a way that leads from the one into the other."""
    wanted = validated(VideoBlend, fields)
    first = source_of(wanted.from_video, sent.owner, parts, "from_video")
    last = source_of(wanted.to_video, sent.owner, parts, "to_video")
    return followed(orders.blend(parts, wanted, first, last, sent), parts, response)


@router.post("/characters", responses=MISSING, openapi_extra=body_of(CharacterCreate))
def create_character(fields: BodyFields) -> Character:
    """Keep somebody's looks for later videos: refused, as no model here can do that."""
    validated(CharacterCreate, fields)
    raise InvalidRequest(
        "No model that is served here can keep the looks of a character for other videos."
        " Extend or edit the clip instead, or give a frame of it as input_reference.",
        param="model",
        code="unsupported_value",
    )


@router.get("/characters/{character_id}", responses=MISSING)
def retrieve_character(
    character_id: Annotated[str, Path(description="The id of a character")],
) -> Character:
    """A character; there are none."""
    raise NotFound(
        f"There is no character with the id {character_id[:80]!r}.", code="character_not_found"
    )

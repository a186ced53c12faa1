"""What handlers share: the job that a path or a field names, and the body as the request it is."""

from typing import Annotated

from fastapi import Depends, Path, Request
from starlette.datastructures import UploadFile

from app import uploads
from app.api.body import BodyFields
from app.api.fields import VideoReference
from app.auth import CallerOf, Owner
from app.contract.job import Job, JobNotFound
from app.errors import NotFound
from app.parts import Parts, PartsOf
from app.sources import Source
from app.submission import AttemptOf, Sent, fingerprint_of


def job_of(
    video_id: Annotated[str, Path(description="The id of a video")], owner: Owner, parts: PartsOf
) -> Job:
    """The job named in the path. Raises NotFound, also for another owner's."""
    return find(video_id, owner, parts)


def find(video_id: str, owner: str, parts: Parts, param: str | None = None) -> Job:
    """The owner's job of this id. Raises NotFound."""
    if "\0" in video_id:  # PostgreSQL would not even compare it
        raise no_video(video_id, param)
    try:
        return parts.store.get(video_id, owner)
    except JobNotFound:
        raise no_video(video_id, param) from None


JobOf = Annotated[Job, Depends(job_of)]


def sent_of(caller: CallerOf, attempt: AttemptOf, fields: BodyFields, request: Request) -> Sent:
    """Who asks for something to be made, and how to know the same request again."""
    said = {"path": request.url.path, "fields": fields}
    return Sent(caller=caller, attempt=attempt, fingerprint=fingerprint_of(said))


SentOf = Annotated[Sent, Depends(sent_of)]


def source_of(given: UploadFile | VideoReference, owner: str, parts: Parts, param: str) -> Source:
    """The file, or the owner's file or job that is named. Raises NotFound or InvalidRequest."""
    if isinstance(given, UploadFile):
        return given
    if given.id is not None:
        return find(given.id, owner, parts, param)
    return uploads.find(parts, owner, given.file_id or "", param)


def no_video(video_id: str, param: str | None = None) -> NotFound:
    """The answer to an id that is nobody's, or somebody else's."""
    said = f"There is no video with the id {video_id[:80]!r}."
    return NotFound(said, param=param, code="video_not_found")

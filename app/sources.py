"""The pictures and videos that a request starts from: sent with it, sent before, made here, or
elsewhere.
"""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import BinaryIO

from starlette.datastructures import UploadFile

from app import uploads
from app.api.fields import ImageReference
from app.clips import Clip
from app.contract.blobs import BlobNotFound
from app.contract.capabilities import Capabilities
from app.contract.files import File
from app.contract.job import Job, Status
from app.errors import InvalidRequest
from app.intake import Image
from app.parts import Parts

#: A video: sent with the request, sent before it, or made here.
Source = UploadFile | File | Job


def image_of(
    parts: Parts, reference: UploadFile | ImageReference | None, owner: str, param: str
) -> Image | None:
    """The picture that a request's field gives or names; None when the field is absent."""
    intake = parts.intake
    if reference is None:
        return None
    if isinstance(reference, UploadFile):
        return intake.from_upload(reference, param)
    if reference.image_url is not None:
        return intake.from_url(reference.image_url, param)
    name = reference.file_id or ""
    return intake.from_bytes(uploads.read_file(parts, owner, name, param, intake.max_bytes), param)


@contextmanager
def clip_of(
    parts: Parts, source: Source, model: Capabilities, param: str, max_frames: int | None = None
) -> Generator[Clip]:
    """The source's frames, an MP4 that lasts as long as the block. Raises InvalidRequest."""
    if not isinstance(source, Job):
        limit = parts.settings.max_video_frames if max_frames is None else max_frames
        with (
            _opened(parts, source, param) as file,
            parts.clips.read(file, model.max_pixels, limit, param) as clip,
        ):
            yield clip
        return
    if source.status is not Status.COMPLETED:
        raise InvalidRequest(
            f"{param}: the video {source.id} is {source.status}; it must be completed.",
            param=param,
            code="video_not_ready",
        )
    if source.output_key is None:
        raise expired(param)
    spec = source.spec
    if spec.output != "mp4":
        raise InvalidRequest(
            f"{param}: {source.id} is a picture, not a video.", param=param, code="invalid_video"
        )
    try:
        yield Clip(source.output_key, spec.width, spec.height, spec.clip_frames, spec.fps)
    except BlobNotFound:  # deleted, or expired, after its row was read
        raise expired(param) from None


def _opened(
    parts: Parts, source: UploadFile | File, param: str
) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, UploadFile):
        return nullcontext(source.file)
    return uploads.open_file(parts, source.owner, source.id, param)


def expired(param: str) -> InvalidRequest:
    """The video was there once."""
    return InvalidRequest(
        f"{param}: the video is no longer available.", param=param, code="video_expired"
    )


def ids_of(*sources: Source) -> list[str]:
    """The ids of those that are videos of this service."""
    return [source.id for source in sources if isinstance(source, Job)]

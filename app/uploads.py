"""Files that clients upload once and name in requests: stored, found again, and read."""

import re
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePath
from typing import BinaryIO

from app.auth import Caller
from app.contract.blobs import BlobNotFound
from app.contract.files import File, FileNotFound, file_key, new_file_id
from app.contract.limits import LimitReached
from app.errors import InvalidRequest
from app.parts import Parts

#: What may be named where an image or a video is wanted. A batch's files hold text.
MEDIA = ("vision", "user_data")
MAX_FILENAME_CHARS = 200


def store(
    parts: Parts,
    caller: Caller,
    data: bytes | BinaryIO,
    *,
    purpose: str,
    filename: str,
    expire_s: float | None,
    file_id: str | None = None,
) -> File:
    """A new file of the caller's: the bytes first, then the row that names them. Raises
    LimitReached.
    """
    file_id = file_id or new_file_id()
    info = parts.blobs.put(file_key(file_id), data, "application/octet-stream")
    try:
        return parts.store.files.create(
            file_id=file_id,
            owner=caller.owner,
            key=caller.key,
            purpose=purpose,
            filename=clean_name(filename),
            size_bytes=info.size_bytes,
            expire_s=expire_s,
        )
    except LimitReached:
        parts.blobs.delete(file_key(file_id))
        raise


def find(
    parts: Parts, owner: str, file_id: str, param: str, purposes: tuple[str, ...] = MEDIA
) -> File:
    """The owner's file that a request names in `param`. Raises InvalidRequest."""
    try:
        file = parts.store.files.get(file_id, owner)
    except FileNotFound:
        raise _missing(file_id, param) from None
    if file.purpose not in purposes:
        raise InvalidRequest(
            f"{param}: the file {file.id} has the purpose {file.purpose}; it must be"
            f" {' or '.join(purposes)}.",
            param=param,
        )
    return file


def read_file(parts: Parts, owner: str, file_id: str, param: str, limit_bytes: int) -> bytes:
    """The bytes of the file that a request names in `param`. Raises InvalidRequest."""
    file = find(parts, owner, file_id, param)
    if file.size_bytes > limit_bytes:
        raise InvalidRequest(
            f"{param}: the file has {file.size_bytes} bytes; at most {limit_bytes} are taken here.",
            param=param,
        )
    try:
        return parts.blobs.get(file_key(file.id))
    except BlobNotFound:
        raise _missing(file_id, param) from None


@contextmanager
def open_file(parts: Parts, owner: str, file_id: str, param: str) -> Generator[BinaryIO]:
    """As `read_file` for large ones: a temporary copy that lasts as long as the block."""
    file = find(parts, owner, file_id, param)
    with tempfile.TemporaryFile() as copy:
        try:
            for chunk in parts.blobs.stream(file_key(file.id)):
                copy.write(chunk)
        except BlobNotFound:
            raise _missing(file_id, param) from None
        copy.seek(0)
        yield copy


def clean_name(filename: str) -> str:
    """A client's file name without folders and control characters, for people to read."""
    name = PurePath(filename.replace("\\", "/")).name
    return re.sub(r"[\x00-\x1f\x7f]", "", name)[-MAX_FILENAME_CHARS:] or "upload"


def _missing(file_id: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"{param}: there is no file with the id {file_id[:80]!r}.",
        param=param,
        code="file_not_found",
    )

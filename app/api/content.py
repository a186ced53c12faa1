"""Sending a stored file: whole, in part, or not at all when the client has it already.

RFC 9110, sections 13 (conditions) and 14 (ranges).
"""

import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from app.contract.blobs import BlobNotFound, Blobs
from app.errors import NotFound, UnsatisfiableRange

RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that never changes under its key, so that the key is its version."""

    key: str
    media_type: str
    name: str
    modified: float
    #: whether a browser is to save it and not to show it
    attached: bool = False

    @property
    def etag(self) -> str:
        """A strong validator."""
        return f'"{self.key.removeprefix("videos/")}"'


def answer(request: Request, blobs: Blobs, file: StoredFile, redirect_s: float = 0.0) -> Response:
    """200 with the file, 206 with the range asked for, 304, or 416. HEAD has the same headers.

    With `redirect_s`, a 307 to where the storage itself serves the file for so long, if it does.
    """
    try:
        return _answer(request, blobs, file, redirect_s)
    except BlobNotFound:
        raise NotFound("The video is no longer available.", code="video_expired") from None


def _answer(request: Request, blobs: Blobs, file: StoredFile, redirect_s: float) -> Response:
    size = blobs.info(file.key).size_bytes
    headers = {
        "etag": file.etag,
        "last-modified": formatdate(int(file.modified), usegmt=True),
        "cache-control": "private, no-cache",
        "accept-ranges": "bytes",
        "content-type": file.media_type,
        "content-disposition": _disposition(file.name, attached=file.attached),
        "x-content-type-options": "nosniff",
    }
    if _is_known(request, file):
        return Response(status_code=304, headers=headers)
    if redirect_s and request.method == "GET":
        url = blobs.signed_url(file.key, redirect_s)
        if url is not None and urlsplit(url).netloc != request.url.netloc:
            # (a client drops its key at another origin only, and S3 refuses two ways to be known)
            return RedirectResponse(url, 307, {"cache-control": "no-store"})
    start, end, status = 0, size, 200
    if (wanted := _range(request, file, size)) is not None:
        start, end, status = *wanted, 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    if request.method == "HEAD" or start == end:
        return Response(status_code=status, headers=headers)
    return StreamingResponse(blobs.stream(file.key, start, end), status, headers)


def _is_known(request: Request, file: StoredFile) -> bool:
    """Whether the client's copy is this version."""
    match = request.headers.get("if-none-match")
    if match is not None:
        tags = {tag.strip().removeprefix("W/") for tag in match.split(",")}
        return "*" in tags or file.etag in tags
    since = request.headers.get("if-modified-since")
    return since is not None and _not_after(file.modified, since)


def _range(request: Request, file: StoredFile, size: int) -> tuple[int, int] | None:
    """The first and the behind-last byte asked for; None for the whole file.

    Several ranges at once, other units and malformed headers may be ignored by a server, and are.
    """
    match = RANGE.fullmatch(request.headers.get("range", "").strip())
    if match is None or (not match[1] and not match[2]):
        return None
    condition = request.headers.get("if-range")
    if (
        condition is not None
        and condition != file.etag
        and not _not_after(file.modified, condition)
    ):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2] or size) + 1)
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise UnsatisfiableRange(
            f"The range lies outside the file's {size} bytes.",
            param="range",
            headers={"content-range": f"bytes */{size}"},
        )
    return start, end


def _not_after(modified: float, date: str) -> bool:
    try:
        return int(modified) <= parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return False


def _disposition(name: str, *, attached: bool) -> str:
    plain = re.sub(r"[^\w. -]", "", name.encode("ascii", "ignore").decode(), flags=re.ASCII).strip()
    kind = "attachment" if attached else "inline"
    return f"{kind}; filename=\"{plain or 'video.mp4'}\"; filename*=UTF-8''{quote(name, safe='')}"

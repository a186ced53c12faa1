"""Untrusted images: from wherever a request points, to a clean PNG.

An image comes as an upload, as a data URL or as an https URL. Its type is read from its first
bytes, never from what the client calls it, and it is decoded in a child process with limits
(`app/decoding.py`). Only the PNG written there goes on; the client's bytes are dropped.
"""

import base64
import binascii
import re
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import UploadFile

from app.errors import InvalidRequest
from app.fetching import Fetcher, FetchError

DECODER = Path(__file__).with_name("decoding.py")
DECODE_MEMORY_BYTES = 1 << 30
DECODE_CPU_S = 10
DECODE_WALL_S = 15
#: The decoder's exit status when it refuses an image -> the code of that.
REFUSALS = {2: "invalid_image", 3: "image_too_large"}
#: Images that are decoded at once; together they take this many times the memory at worst.
DECODERS = 4

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
DATA_URL = re.compile(
    r"data:(?P<type>[\w.+/-]*)(?P<options>(?:;[\w.=+-]+)*?)(?P<base64>;base64)?,", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Image:
    """A decoded and re-encoded reference image."""

    png: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads reference images within the service's limits."""

    max_bytes: int
    max_pixels: int
    fetcher: Fetcher
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(DECODERS))

    def from_upload(self, file: UploadFile, param: str) -> Image:
        """An image that came with the request."""
        return self.from_bytes(file.file.read(self.max_bytes + 1), param)

    def from_url(self, url: str, param: str) -> Image:
        """An image named by an https URL or carried in a data URL."""
        if url[:5].lower() == "data:":
            return self.from_bytes(_data_url(url, param), param)
        try:
            return self.from_bytes(self.fetcher.fetch(url), param)
        except FetchError as error:
            message = f"{param}: {error}. A data: URL carries the picture itself."
            raise InvalidRequest(message, param=param, code="invalid_url") from None

    def from_bytes(self, data: bytes, param: str) -> Image:
        """An image from its file's bytes: PNG, JPEG or WebP."""
        if not data:
            raise InvalidRequest(f"{param} is an empty file.", param=param, code="invalid_image")
        if len(data) > self.max_bytes:
            limit = self.max_bytes / 2**20
            raise InvalidRequest(
                f"{param} is larger than {limit:.0f} MiB.", param=param, code="image_too_large"
            )
        if not data.startswith(MAGIC) or (data[:4] == b"RIFF" and data[8:12] != b"WEBP"):
            raise InvalidRequest(
                f"{param} is not a PNG, JPEG or WebP image.", param=param, code="invalid_image"
            )
        png = self._decode(data, param)
        width, height = struct.unpack(">II", png[16:24])  # IHDR is always a PNG's first chunk
        return Image(png, width, height)

    def _decode(self, data: bytes, param: str) -> bytes:
        limits = map(str, (DECODE_MEMORY_BYTES, DECODE_CPU_S, self.max_pixels))
        try:
            with self.slots:
                child = subprocess.run(
                    [sys.executable, "-I", str(DECODER), *limits],
                    input=data,
                    capture_output=True,
                    timeout=DECODE_WALL_S,
                    check=False,
                    env={},
                    cwd="/",
                )
        except subprocess.TimeoutExpired:
            raise InvalidRequest(
                f"{param} takes too long to decode.", param=param, code="invalid_image"
            ) from None
        if child.returncode == 0:
            return child.stdout
        code = REFUSALS.get(child.returncode)
        said = child.stderr.decode(errors="replace") if code else "cannot be decoded"
        raise InvalidRequest(f"{param} {said[:300]}.", param=param, code=code or "invalid_image")


def _data_url(url: str, param: str) -> bytes:
    head = DATA_URL.match(url[:256])
    if head is None or not head["base64"]:
        raise InvalidRequest(
            f"{param} must look like data:image/png;base64 and then a comma and the data.",
            param=param,
            code="invalid_url",
        )
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            f"{param} holds characters that are not base64.", param=param, code="invalid_url"
        ) from None

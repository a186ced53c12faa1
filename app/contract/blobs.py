"""Object storage for references and finished videos: a local folder or an S3 bucket."""

import os
import re
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import SEEK_END
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, S3Store

from app.contract.settings import Settings, SettingsError

PART_BYTES = 8 * 2**20
READ_BYTES = 2**18
#: Seconds that a server may say nothing while it is listened to.
SILENCE_S = 30.0
#: How a folder's store names a file until all of it is written.
STAGED = re.compile(r"#\d+$")


class BlobNotFound(LookupError):
    """No blob is stored under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored under {key}")
        self.key = key


class BlobDamaged(RuntimeError):
    """What is stored is not what was written."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """Size in bytes, ETag and age of a stored blob; `modified_at` is by the store's clock."""

    key: str
    size_bytes: int
    etag: str
    modified_at: float


class Blobs:
    """Keys are relative paths made by the program (job.py), never by a client."""

    def __init__(self, store: LocalStore | S3Store) -> None:
        self._store = store
        self._attributes = isinstance(store, S3Store)  # a folder has no place for content types

    @classmethod
    def open(cls, settings: Settings) -> "Blobs":
        """The store at `settings.storage_url`; a local folder is made when it is missing."""
        url = urlsplit(settings.storage_url)
        if url.scheme == "file":
            return cls(LocalStore(Path(unquote(url.path)), mkdir=True, automatic_cleanup=True))
        if url.scheme != "s3" or not url.netloc:
            raise SettingsError(
                f"KINORA_STORAGE_URL is {settings.storage_url!r}, but must be file:///FOLDER or s3://BUCKET"
            )
        options: dict[str, str] = {"region": settings.s3_region}
        if settings.s3_endpoint:
            options["endpoint"] = settings.s3_endpoint
        if settings.s3_access_key_id:
            options["access_key_id"] = settings.s3_access_key_id
            options["secret_access_key"] = settings.s3_secret_access_key
        store = S3Store(
            url.netloc,
            prefix=url.path.strip("/") or None,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": timedelta(seconds=SILENCE_S),
                # Of a whole request, which takes as long as its reader does; 30 s by default.
                "timeout": timedelta(days=1),
            },
            # Whoever can wait for a server that is down does so itself, and can be interrupted.
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
            **options,  # type: ignore[arg-type]
        )
        return cls(store)

    def put(self, key: str, data: bytes | Path | BinaryIO, content_type: str) -> BlobInfo:
        """Stores bytes, or a file from its beginning, under `key`, all or nothing. Raises
        BlobDamaged unless the store then reports the size that was written.
        """
        size = _size(data)
        attributes = {"Content-Type": content_type} if self._attributes else None
        obstore.put(
            self._store, key, data, chunk_size=PART_BYTES, max_concurrency=2, attributes=attributes
        )
        info = self.info(key)
        if info.size_bytes != size:
            raise BlobDamaged(
                f"{key} has {info.size_bytes} bytes in the store, but {size} were written"
            )
        return info

    def copy(self, key: str, to: str) -> None:
        """Stores what is under `key` under `to` as well. Raises BlobNotFound."""
        with _not_found(key):
            obstore.copy(self._store, key, to)

    def get(self, key: str) -> bytes:
        """The whole blob. Raises BlobNotFound."""
        with _not_found(key):
            return bytes(obstore.get(self._store, key).bytes())

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` (exclusive), in chunks. Raises BlobNotFound at once,
        not when the first chunk is asked for.
        """
        wanted: Any = {"range": {"offset": start}} if end is None else {"range": (start, end)}
        if start == 0 and end is None:  # an empty blob has no range at all
            wanted = None
        with _not_found(key):
            result = obstore.get(self._store, key, options=wanted)
        return (bytes(chunk) for chunk in result.stream(min_chunk_size=READ_BYTES))

    def info(self, key: str) -> BlobInfo:
        """Size and ETag. Raises BlobNotFound."""
        with _not_found(key):
            meta = obstore.head(self._store, key)
        return _info(key, meta)

    def list(self, prefix: str = "") -> Iterator[BlobInfo]:
        """The blobs whose key begins with the folder `prefix`."""
        store: Any = self._store
        for batch in store.list(prefix or None):
            for meta in batch:
                yield _info(meta["path"], meta)

    def signed_url(self, key: str, for_s: float) -> str | None:
        """A URL at which anybody can read the blob for so long; None when the store is a folder."""
        if not isinstance(self._store, S3Store):
            return None
        return obstore.sign(self._store, "GET", key, timedelta(seconds=for_s))

    def delete(self, key: str) -> None:
        """Removes a blob; one that is missing is no error."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:  # S3 says nothing of it, a folder does
            return

    def delete_prefix(self, prefix: str) -> None:
        """Removes every blob of the folder `prefix`, which must not be empty."""
        if not prefix.strip("/"):
            raise ValueError("prefix: an empty one would remove everything")
        for blob in list(self.list(prefix)):
            self.delete(blob.key)

    def remove_unfinished(self, before: float) -> int:
        """Removes what killed processes had stored a part of and nobody wrote to since `before`;
        returns how many. A folder lists no such files; a bucket has a rule for its own.
        """
        if not isinstance(self._store, LocalStore):
            return 0
        removed = 0
        for folder, _, names in os.walk(str(self._store.prefix)):
            for file in (Path(folder, name) for name in names if STAGED.search(name)):
                with suppress(FileNotFoundError):  # it was finished meanwhile
                    if file.stat().st_mtime < before:
                        file.unlink()
                        removed += 1
        return removed

    def check(self) -> None:
        """Writes, reads and removes a small blob; raises what goes wrong."""
        key = f"health/{secrets.token_hex(8)}"  # of its own: several processes check at once
        self.put(key, b"ok", "text/plain")
        self.delete(key)


def _info(key: str, meta: Any) -> BlobInfo:
    etag = (meta["e_tag"] or "").strip('"')
    return BlobInfo(key, meta["size"], etag, meta["last_modified"].timestamp())


def _size(data: bytes | Path | BinaryIO) -> int:
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, Path):
        return data.stat().st_size
    size = data.seek(0, SEEK_END)
    data.seek(0)
    return size


@contextmanager
def _not_found(key: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound(key) from error

"""Stored objects that nobody needs: left by a process that died between storing and recording, or
by a job that never began.
"""

import time
from collections.abc import Callable, Iterator

import structlog

from app.contract.blobs import BlobInfo, Blobs
from app.contract.store import Store

#: Looking at every object takes time and, with S3, money.
EVERY_S = 3600.0
#: Rows that are asked for at a time.
CHUNK = 500

log = structlog.get_logger()


def remove_orphans(store: Store, blobs: Blobs, older_than_s: float) -> int:
    """Removes objects older than this whose job or file has no row, inputs and work of ended jobs,
    and what was stored in part; returns how many.

    The age keeps what is just being stored, and lets a database be restored from a backup. What is
    older than all of the database belongs to another: this one may be new, or named by mistake.
    """
    since, before = store.upkeep.since(), time.time() - older_than_s
    known: dict[str, Callable[[set[str]], set[str]]] = {
        "videos": store.upkeep.known,
        "inputs": store.upkeep.unfinished,  # of a job that was cancelled before any worker had it
        "work": store.upkeep.kept,
        "files": store.files.known,
        "health": lambda _ids: set(),
    }
    removed = 0
    for folder, known_of in known.items():
        for chunk in _chunks(blobs.list(folder)):
            rows = known_of({_id(blob) for blob in chunk})
            for blob in chunk:
                if _id(blob) not in rows and since < blob.modified_at < before:
                    blobs.delete(blob.key)
                    removed += 1
    removed += blobs.remove_unfinished(before)
    if removed:
        log.info("orphans.removed", objects=removed)
    return removed


def _id(blob: BlobInfo) -> str:
    """The job or file that an object belongs to: the folder's second part."""
    return blob.key.split("/")[1]


def _chunks(blobs: Iterator[BlobInfo]) -> Iterator[list[BlobInfo]]:
    chunk: list[BlobInfo] = []
    for blob in blobs:
        chunk.append(blob)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    yield chunk

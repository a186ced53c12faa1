"""A worker's folder for temporary files, and what is left of those of workers that were killed.

Nobody who is killed removes anything. A worker holds a lock beside its folder for as long as it
runs; the next one to start on that disk removes the folders whose locks nobody holds.
"""

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from worker.locks import locked
from worker.settings import WorkerSettings

#: How often a lock is tried that another process may only be looking at.
TRIES = 10
HELD = ".held"

log = structlog.get_logger()


def folder_of(worker: WorkerSettings, name: str) -> Path:
    """Where a worker of this name has its temporary files."""
    return (worker.scratch or Path(tempfile.gettempdir())) / f"kinora-{name}"


def emptied(worker: WorkerSettings, name: str) -> Path:
    """This worker's folder, private, without what its child that was killed left in it."""
    folder = folder_of(worker, name)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    return folder


@contextmanager
def held(worker: WorkerSettings, name: str) -> Generator[None]:
    """Keeps this worker's folder for it, and removes those of workers that run no more; its own at
    the end.
    """
    folder = folder_of(worker, name)
    with suppress(OSError):  # the child, which needs the folder, tells of it
        folder.parent.mkdir(parents=True, exist_ok=True)
    own = _lock_of(folder)
    tries = 1
    while (lock := locked(own)) is None and tries < TRIES:
        time.sleep(0.1)
        tries += 1
    if lock is None:
        log.warning("scratch.shared", folder=str(folder), hint="names of workers must be unique")
    for other in folder.parent.glob(f"kinora-*{HELD}"):
        if other != own and (free := locked(other)) is not None:
            log.info("scratch.removed", folder=other.stem)
            _remove(other.with_name(other.stem))
            free.close()
    try:
        yield
    finally:
        if lock is not None:
            _remove(folder)
            lock.close()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + HELD)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)

"""Waiting for a service that is down, as long as the job is held: its work is not thrown away."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from obstore.exceptions import BaseError as StorageError
from sqlalchemy.exc import DBAPIError

from worker.progress import Lease

T = TypeVar("T")
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0

log = structlog.get_logger()


def patiently(action: Callable[[], T], lease: Lease, patience_s: float) -> T:
    """The result of `action`, which talks to the object storage or the database: repeated until
    they answer, for `patience_s` seconds at most. Raises what it raised last, or an Interrupted.
    """
    deadline = time.monotonic() + patience_s
    pause = FIRST_PAUSE_S
    while True:
        lease.check()
        try:
            return action()
        except (StorageError, OSError, DBAPIError) as error:
            if time.monotonic() + pause > deadline:
                raise
            log.warning("service.awaited", error=str(error))
        lease.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)

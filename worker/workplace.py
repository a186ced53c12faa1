"""What a worker has at hand for every job."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.contract.blobs import Blobs
from app.contract.previews import Previews
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from model import Pipeline
from worker.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """A loaded checkpoint and the services that a job needs."""

    pipeline: Pipeline
    store: Store
    blobs: Blobs
    queue: Queue
    previews: Previews
    settings: Settings
    worker: WorkerSettings
    #: bytes of the device that the weights and a job may take together
    usable: int
    #: a folder for this worker alone
    scratch: Path
    #: whether the worker is to hand its job back
    stopping: Callable[[], bool] = lambda: False

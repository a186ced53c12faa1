"""The one child of a GPU worker: it alone imports torch, holds the checkpoint and renders.

A CUDA context does not survive a fork, so nothing of torch may be there before it. Its parent
(`gpu.py`) starts another where it dies.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.sharedctypes import RawValue
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.contract import logs
from app.contract.blobs import Blobs
from app.contract.previews import Previews
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from worker import metrics, scratch
from worker.settings import WorkerSettings
from worker.sweep import tell

if TYPE_CHECKING:
    from worker.workplace import Workplace

T = TypeVar("T")

#: Seconds between a worker's signs of life.
SEEN_S = 5.0
#: Longest time without a job of a worker that fails one after another.
LONGEST_PAUSE_S = 60.0
#: Exit status of a worker whose checkpoint cannot be loaded: starting it again would not help.
UNUSABLE = 3
#: Exit status of a child whose GPU failed; its parent starts another.
GPU_FAILED = 4

log = structlog.get_logger()


class Flag:
    """Set once, and seen by both processes. It has no lock, unlike multiprocessing's Event, that a
    process which is killed while it looks would hold for ever.
    """

    def __init__(self) -> None:
        self._value = RawValue("b", 0)

    def set(self) -> None:
        """From now on it is set."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Whether one of the processes has set it."""
        return bool(self._value.value)


class Child:
    """The child process: loads the checkpoint on a thread, then takes one job for each message."""

    def __init__(
        self, settings: Settings, worker: WorkerSettings, stopping: Flag, unusable: Flag
    ) -> None:
        self._settings, self._worker = settings, worker
        self._name = worker.name  # of the parent: it outlives the children
        self._stopping, self._unusable = stopping, unusable
        self._ready = threading.Event()
        self._place: Workplace | None = None
        #: whether a child had a GPU: when that is lost, none computes on the CPU instead
        self._had_gpu = Flag()
        #: jobs that were taken from former children, in memory that all of them share
        self._lost = RawValue("i", 0)
        #: jobs, one after another, that failed as they might where a worker is broken
        self._faults = 0

    def start(self) -> None:
        """Called after the fork, and again in the child that replaces one that died."""
        self._ready.clear()
        logs.setup(
            self._settings.log_level,
            self._settings.log_format,
            process="worker",
            worker=self._name,
        )
        threading.Thread(target=self._live, name="load", daemon=True).start()

    def work(self) -> None:
        """Claims and renders the next job of the model's queue, if there is one."""
        model = self._worker.served_id
        while not self._ready.wait(timeout=0.5) and not self._stopping.is_set():
            continue
        if self._stopping.is_set():  # the message came too late: another worker is to have it
            self._wake(model, [""])
            return
        assert self._place is not None
        from worker.render import render

        if not self._gpu_answers():
            self._lost.value += 1  # the job that it failed with
            self._wake(model, [""])
            os._exit(GPU_FAILED)
        if not self._room():
            return  # the job stays queued, and the courier sends its message again
        job = self._place.store.claim(model, self._name, self._settings.lease_s)
        if job is None:
            return
        if render(job, self._place):
            self._faults = 0
        else:
            self._faults += 1
            self._pause(min(2.0 ** (self._faults - 1), LONGEST_PAUSE_S))

    def _pause(self, seconds: float) -> None:
        """Leaves the next jobs, and another try of this one, to other workers: one that is broken
        would fail them faster than the others can make theirs, until the queue was empty.
        """
        log.warning("worker.pausing", seconds=seconds, faults=self._faults)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping.is_set():
            time.sleep(0.1)

    def _gpu_answers(self) -> bool:
        """Whether this process can still compute. After some of CUDA's errors it never can again:
        each job that it took would fail at once, one after another, until the queue was empty.
        """
        import torch

        if not torch.cuda.is_initialized():
            return True
        try:
            torch.cuda.synchronize(self._device())
        except RuntimeError as error:
            log.critical("gpu.failed", error=str(error).partition("\n")[0])
            return False
        return True

    def _room(self) -> bool:
        """Whether there is space for a job's files; else it would only fail here."""
        assert self._place is not None
        folder = self._place.scratch
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # /tmp is cleaned of what is old
        free = shutil.disk_usage(folder).free
        if free < self._worker.min_scratch_mb * 2**20:
            log.error("scratch.full", folder=str(folder), free_bytes=free)
            return False
        return True

    def _live(self) -> None:
        """Loads, registers, and gives a sign of life from then on."""
        try:
            store = Store.open(self._settings.database_url)
            self._disown(store)
            self._place = self._load(store)
            from worker.abilities import capabilities_of  # torch: a lost job must not wait for it

            capabilities = capabilities_of(
                self._place.pipeline, self._worker.served_id, self._device()
            )
        except Exception as error:
            from model import CheckpointError

            # Which says all there is to say.
            trace = not isinstance(error, CheckpointError)
            folder = str(self._worker.checkpoint)
            log.exception("checkpoint.unusable", folder=folder, error=str(error), exc_info=trace)
            self._unusable.set()
            os.kill(os.getppid(), signal.SIGTERM)
            return
        _insist(lambda: store.models.register(self._name, capabilities))
        self._ready.set()
        log.info("worker.ready", model=capabilities.model_id)
        while True:
            time.sleep(SEEN_S)
            _insist(lambda: store.models.beat(self._name, capabilities))

    def _disown(self, store: Store) -> None:
        """A job that a former child of this worker had needs not wait for its lease to run out."""
        lost = _insist(lambda: store.upkeep.lose_of_worker(self._name, self._settings.max_losses))
        metrics.REQUEUED.inc(self._lost.value)  # a child counts on from where the former one was
        tell(lost)
        self._lost.value += len(lost.requeued)
        self._wake(self._worker.served_id, lost.requeued)

    def _wake(self, model: str, job_ids: Iterable[str]) -> None:
        queue = Queue(self._settings.redis_url)
        queue.wake(model, job_ids)
        queue.close()

    def _load(self, store: Store) -> "Workplace":
        import torch

        from model import Pipeline
        from model.memory import compute_dtype
        from worker.abilities import fitting, usable_bytes
        from worker.workplace import Workplace

        began = time.monotonic()
        worker = self._worker
        if worker.torch_threads:
            torch.set_num_threads(worker.torch_threads)
        device = self._device()
        dtype = compute_dtype(device) if worker.dtype == "auto" else getattr(torch, worker.dtype)
        usable = usable_bytes(device)
        vae_dtype, offload = fitting(worker.folder, device, dtype, worker.offload, usable)
        chosen = {"dtype": str(dtype), "vae_dtype": str(vae_dtype), "offload": offload}
        log.info("checkpoint.loading", device=device, **chosen)
        pipeline = Pipeline.load(
            worker.folder, device=device, dtype=dtype, vae_dtype=vae_dtype, offload=offload
        )
        metrics.LOAD_SECONDS.set(time.monotonic() - began)
        metrics.serve(worker.metrics_port)
        return Workplace(
            pipeline=pipeline,
            store=store,
            blobs=Blobs.open(self._settings),
            queue=Queue(self._settings.redis_url),
            previews=Previews(self._settings.redis_url),
            settings=self._settings,
            worker=worker,
            usable=usable,
            scratch=scratch.emptied(worker, self._name),
            stopping=self._stopping.is_set,
        )

    def _device(self) -> str:
        import torch

        if self._worker.device != "auto":
            return self._worker.device
        if torch.cuda.is_available():
            self._had_gpu.set()
        return "cuda" if self._had_gpu.is_set() else "cpu"


def _insist(action: Callable[[], T]) -> T:
    """Repeats what needs the database until it answers: the worker may have been started first."""
    while True:
        try:
            return action()
        except SQLAlchemyError as error:
            log.warning("database.unready", error=str(error))
            time.sleep(1.0)

"""A worker's hold on its job: heartbeats, progress, and the reasons to stop."""

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.contract.job import Job, MoveRefused, Stage
from app.contract.store import Store
from worker.metrics import StageClock

#: What part of the work each stage is. Within a stage, progress follows its steps or chunks that
#: are done; the stages of a long clip take turns.
SHARES = {Stage.TEXT: 0.02, Stage.DENOISE: 0.78, Stage.DECODE: 0.17, Stage.UPLOAD: 0.03}

POLL_S = 0.1
#: Exit status of a process whose job stands still; its parent starts another.
STALLED = 5

log = structlog.get_logger()


class Interrupted(Exception):
    """The job must not go on here."""


class Cancelled(Interrupted):
    """The client asked for it."""


class LeaseLost(Interrupted):
    """The job may be somebody else's by now; nothing of it may be written."""


class Stopping(Interrupted):
    """This worker is shutting down; another one is to go on."""


class Lease:
    """Holds a claimed job: a thread beats every `heartbeat_s` seconds and writes the progress with
    the beat, so that a job costs one small UPDATE a second whatever the number of steps.

    `report` and `check` raise an Interrupted; every step, chunk and file must pass one of them.
    Where none is passed for `stall_s` seconds (0 is for ever) the process ends: a call into a GPU
    that hangs never returns, and nothing but its end sets the job, and the worker, free.
    """

    def __init__(
        self,
        job: Job,
        store: Store,
        *,
        lease_s: float,
        heartbeat_s: float,
        stall_s: float = 0.0,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Progress begins at the row's, which is above 0 when another worker did a part."""
        self._job = job
        self._store = store
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._passed = time.monotonic()
        self._stopping = stopping
        self._done: dict[Stage, float] = {}
        self._position = (Stage.TEXT, job.progress)
        self._interruption: type[Interrupted] | None = None
        self._clock = StageClock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clock.stop()
        self._released.set()
        self._thread.join()

    def report(self, stage: Stage, step: int, steps: int) -> None:
        """Records that `step` of the stage's `steps` are done; raises when the job must stop."""
        self._clock.enter(stage)
        self._done[stage] = SHARES[stage] * min(1.0, step / max(1, steps))
        self._position = (stage, max(self._position[1], sum(self._done.values())))
        self.check()

    @property
    def progress(self) -> float:
        """Share of the work that is done."""
        return self._position[1]

    @property
    def seconds(self) -> dict[Stage, float]:
        """How long the job was in each stage, once the lease is given up."""
        return self._clock.seconds

    def check(self) -> None:
        """Raises Cancelled or LeaseLost when there is reason to."""
        self._passed = time.monotonic()
        if self._interruption is not None:
            raise self._interruption

    def check_stopping(self) -> None:
        """Raises Stopping when the worker is to end; call it where the job can be handed over."""
        if self._stopping():
            raise Stopping

    def check_any(self) -> None:
        """Raises what `check` or `check_stopping` raise."""
        self.check()
        self.check_stopping()

    def wait(self, seconds: float) -> None:
        """Waits; raises as soon as there is any reason to stop."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.check_any()
            time.sleep(min(left, POLL_S))

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._released.wait(self._heartbeat_s):
            if 0 < self._stall_s < time.monotonic() - self._passed:
                log.critical("job.stalled", job_id=self._job.id, stage=self._position[0])
                os._exit(STALLED)
            try:
                stage, progress = self._position
                cancelling = self._store.beat(
                    self._job.id, self._job.attempt, self._lease_s, stage, progress
                )
            except MoveRefused as error:
                log.info("lease.over", found=error.found)
                self._interruption = LeaseLost
                return
            except SQLAlchemyError as error:
                log.warning("lease.unrenewed", error=str(error))
                if time.monotonic() - renewed > self._lease_s:
                    self._interruption = LeaseLost
                    return
                continue
            renewed = time.monotonic()
            if cancelling:
                self._interruption = Cancelled

"""One look at the jobs for everybody who watches: the event streams share a single poller.

Each watched job is read once for every look, however many clients follow it, in one query for all
of them. What a client is sent is rendered once, too.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.contract.job import Job, Stage, Status
from app.contract.previews import Preview, Previews
from app.contract.store import Store

#: Seconds between two looks.
LOOK_S = 0.5
#: Jobs whose place in the queue is counted anew at a look, in turns: it costs several queries each.
COUNTS = 20
#: Stages in which there are pictures of a job.
PICTURED = (Stage.DENOISE, Stage.DECODE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it was at the last look; None when it has been deleted."""

    job: Job | None
    ahead: int | None = None
    eta_s: float | None = None
    preview: Preview | None = None

    @property
    def version(self) -> str:
        """Changes with whatever a client is told of the job, its picture aside."""
        if self.job is None:
            return "deleted"
        eta = None if self.eta_s is None else round(self.eta_s)
        told = (
            self.job.status,
            self.job.stage,
            self.job.percent,
            self.job.attempt,
            self.ahead,
            eta,
        )
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    @property
    def picture(self) -> int:
        """The version of its picture; 0 when there is none."""
        return 0 if self.preview is None else self.preview.version

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.job is None or self.job.finished


def data_url(preview: Preview) -> str:
    """A picture as the address of itself."""
    return "data:image/webp;base64," + base64.b64encode(preview.picture).decode()


@dataclass(slots=True)
class Watch:
    """What is known of a watched job, and how many watch it."""

    seen: Seen | None = None
    watchers: int = 0
    counted: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Following:
    """Lives on the application's event loop, from `start` to `stop`."""

    def __init__(self, store: Store, previews: Previews) -> None:
        self._store, self._previews = store, previews
        self._stopping: Callable[[], bool] = lambda: False
        self._watches: dict[str, Watch] = {}
        self._wanted = asyncio.Event()
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def start(self, stopping: Callable[[], bool]) -> None:
        """Begins to look whenever somebody watches; ends all streams once `stopping` says so, as
        the server waits for them before it stops.
        """
        self._stopping = stopping
        self._task = asyncio.create_task(self._live())

    async def stop(self) -> None:
        """Ends every stream."""
        self._stopped = True
        if self._task is not None:
            await self._task

    @asynccontextmanager
    async def watching(self, job_id: str) -> AsyncGenerator[Watch]:
        """A job that is looked at as long as the block lasts."""
        watch = self._watches.setdefault(job_id, Watch())
        watch.watchers += 1
        self._wanted.set()
        try:
            yield watch
        finally:
            watch.watchers -= 1
            if not watch.watchers:
                self._watches.pop(job_id, None)

    async def changes(self, job_id: str, idle_s: float) -> AsyncIterator[Seen | None]:
        """The job at once and after each change until its end; None after `idle_s` seconds without
        one. Ends early when the service stops.
        """
        async with self.watching(job_id) as watch:
            told: Seen | None = None
            while not self._stopped:
                changed = watch.changed
                seen = watch.seen
                if seen is not None and seen is not told:
                    told = seen
                    yield seen
                    if seen.is_last:
                        return
                    continue
                try:
                    # Not `wait_for`: Python 3.11's drops a cancellation that comes with the news.
                    async with asyncio.timeout(idle_s):
                        await changed.wait()
                except TimeoutError:
                    yield None

    async def _live(self) -> None:
        while not self._stopped:
            began = time.monotonic()
            if self._watches:
                try:
                    found = await asyncio.to_thread(self._look, self._outdated())
                except SQLAlchemyError as error:
                    log.warning("database.unready", error=str(error))
                except Exception:  # no thread to spare, perhaps; everybody else waits for the next
                    log.exception("following.failed")
                else:
                    self._tell(found)
            await self._pause(began)
            self._stopped = self._stopped or self._stopping()
        for watch in self._watches.values():
            watch.changed.set()

    async def _pause(self, began: float) -> None:
        """Until the next look, or until somebody watches who knows nothing yet."""
        while not self._stopped and time.monotonic() - began < LOOK_S:
            self._wanted.clear()
            try:
                async with asyncio.timeout(LOOK_S / 5):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            if any(watch.seen is None for watch in self._watches.values()):
                return

    def _outdated(self) -> dict[str, Seen | None]:
        """The watched jobs, those first whose outlook is oldest, and what was seen of each."""
        watches = sorted(self._watches.items(), key=lambda entry: entry[1].counted)
        for _, watch in watches[:COUNTS]:
            watch.counted = time.monotonic()
        return {job_id: watch.seen for job_id, watch in watches}

    def _look(self, before: dict[str, Seen | None]) -> dict[str, Seen]:
        """All of the jobs as they are now. Runs on a thread."""
        jobs = self._store.get_all(before)
        pictured = [i for i, job in jobs.items() if job.stage in PICTURED and not job.finished]
        pictures = self._previews.get_all(pictured)
        found: dict[str, Seen] = {}
        for turn, (job_id, seen) in enumerate(before.items()):
            job = jobs.get(job_id)
            if job is None or job.finished:
                found[job_id] = Seen(job)
                continue
            if turn < COUNTS:
                queued = job.status is Status.QUEUED
                ahead = self._store.queue_position(job) if queued else None
                eta_s = self._store.eta_s(job)
            else:
                ahead, eta_s = (seen.ahead, seen.eta_s) if seen is not None else (None, None)
            found[job_id] = Seen(job, ahead, eta_s, pictures.get(job_id))
        return found

    def _tell(self, found: dict[str, Seen]) -> None:
        for job_id, seen in found.items():
            watch = self._watches.get(job_id)
            if watch is None:
                continue
            before = watch.seen
            if before is None or (before.version, before.picture) != (seen.version, seen.picture):
                watch.seen = seen
                watch.changed.set()
                watch.changed = asyncio.Event()

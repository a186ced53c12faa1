"""The model at work on one job: its frames, with progress, previews and checkpoints on the way."""

import gc
import io
import time
import traceback
from collections.abc import Callable, Iterator

import numpy as np
import structlog
import torch
from PIL import Image

from app.contract.job import Job, Stage
from app.contract.outputs import fitted
from app.contract.previews import Preview
from model import Progress, Request, frames_done
from worker.checkpointing import State
from worker.encode import Frames
from worker.failures import is_out_of_memory
from worker.progress import Lease
from worker.workplace import Workplace

#: A preview is made at most this often, and takes no more than this share of the time.
PREVIEW_S = 1.0
PREVIEW_SHARE = 0.05
PREVIEW_SIDE = 256

STAGES = {"text": Stage.TEXT, "denoise": Stage.DENOISE, "decode": Stage.DECODE}

log = structlog.get_logger()


class Generation:
    """Frames of one job. `checkpoint` is told of every step, and may raise to stop the work."""

    def __init__(
        self,
        job: Job,
        place: Workplace,
        lease: Lease,
        checkpoint: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._job, self._place, self._lease = job, place, lease
        self._checkpoint = checkpoint
        self._last: Progress | None = None
        self._previews = 0
        self._preview_after = time.monotonic() + PREVIEW_S

    def frames(
        self, request: Request, state: State | None = None, done: int = 0
    ) -> Iterator[Frames]:
        """The frames after the first `done`, uint8 `[f, h, w, 3]` in chunks, gone on with from
        `state`, which may lie further back.

        When memory runs out, all of it is freed, and the work goes on once from its last step in a
        way that takes less; where it is known to be short, the work begins in that way.
        """
        spec, pipeline = self._job.spec, self._place.pipeline
        is_short = pipeline.memory(spec.width, spec.height).peak > self._place.usable
        for last_try, frugal in ((False, is_short), (True, True)):
            try:
                for frames in self._generate(request, state, done, frugal=frugal):
                    done += len(frames)
                    yield frames
                break
            except (MemoryError, RuntimeError) as error:
                if last_try or not is_out_of_memory(error):
                    raise
                log.warning("memory.short", error=str(error).partition("\n")[0])
                _forget(error)
            if self._last is not None:
                state = self._last.state()
            _free()
        if done != self._job.spec.frames:
            raise RuntimeError(f"the model made {done} frames, not {self._job.spec.frames}")

    def _generate(
        self, request: Request, state: State | None, done: int, *, frugal: bool
    ) -> Iterator[Frames]:
        """The frames after the first `done`; the state may lie further back."""
        known = done - (0 if state is None else frames_done(state))
        chunks = self._place.pipeline.generate(
            request, on_step=self._step, resume=state, frugal=frugal
        )
        for chunk in chunks:
            frames = chunk.cpu().numpy()[known:]
            known = max(0, known - len(chunk))
            if len(frames):
                self._show(lambda last=frames[-1]: last)
                yield frames

    def _step(self, progress: Progress) -> None:
        self._last = progress
        self._lease.report(STAGES[progress.stage], progress.step, progress.steps)
        if (preview := progress.preview) is not None:
            self._show(lambda: preview().numpy())
        self._checkpoint(progress)

    def _show(self, picture: Callable[[], np.ndarray]) -> None:
        """Publishes a small picture for those who watch, if the last one is old enough."""
        began = time.monotonic()
        if began < self._preview_after:
            return
        image = Image.fromarray(picture())
        image = image.resize(fitted(*image.size, PREVIEW_SIDE))
        data = io.BytesIO()
        image.save(data, "WEBP", quality=60, method=0)
        self._previews += 1
        version = self._job.attempt * 1_000_000 + self._previews
        self._place.previews.put(self._job.id, Preview(version, data.getvalue()))
        now = time.monotonic()
        self._preview_after = now + max(PREVIEW_S, (now - began) / PREVIEW_SHARE)


def _forget(error: BaseException) -> None:
    """Lets go of what the functions that failed were holding."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

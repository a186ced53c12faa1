"""Keeping what is done of a job outside this process, so that another worker can go on with it.

Kept are the segments of its clip, each as soon as it is encoded, and from time to time the model's
state with the frames that are in no segment yet. A state counts once the database names it; the
segments it needs are named there before. What cannot be kept now is kept later: a job is never
failed for it.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from obstore.exceptions import BaseError as StorageError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sqlalchemy.exc import SQLAlchemyError
from torch import Tensor, from_numpy

from app.contract.blobs import BlobDamaged
from app.contract.checkpoints import INIT, STATE, Checkpoint, Segment, segment_key, work_key
from app.contract.job import Job, MoveRefused
from model import Progress, frames_done
from worker.encode import EncodeError
from worker.patience import patiently
from worker.progress import Lease, LeaseLost, Stopping
from worker.segments import Segments
from worker.workplace import Workplace

#: After storage failed, the next segment is not tried before so many seconds.
PAUSE_S = 10.0
#: What goes wrong where something cannot be kept now; safetensors has its own word for a full disk.
UNKEPT = (StorageError, BlobDamaged, OSError, SafetensorError, SQLAlchemyError)
#: Between windows the state is saved when the last one is older than this share of the interval.
WINDOW_SHARE = 1 / 6
MODEL = "model."
TAIL = "tail"

State = dict[str, Tensor]
log = structlog.get_logger()


class Checkpointing:
    """What is kept of one attempt at a job. `segments` is the clip in the making."""

    def __init__(
        self, job: Job, place: Workplace, lease: Lease, segments: Segments, folder: Path
    ) -> None:
        self._job, self._place, self._lease = job, place, lease
        self._folder = folder
        self._segments = segments
        segments.finished = self._keep
        self._kept: list[Segment] = []  # as the row has them
        self._published = 0  # so many of them are those of `segments`
        self._named = True  # whether the row has them all
        self._not_before = 0.0
        self._saved = time.monotonic()
        self._stage = ""

    def step(self, progress: Progress) -> None:
        """Saves the state when it is time to, or when the worker is stopping: then it raises
        Stopping. Call it in the model's `on_step`.
        """
        every = self._place.worker.checkpoint_s
        new_window = self._stage == "decode" and progress.stage == "denoise"
        self._stage = progress.stage
        try:
            self._lease.check_stopping()
        except Stopping:
            self._try_saving(progress)
            raise
        age = time.monotonic() - self._saved
        if age >= every or (new_window and age >= every * WINDOW_SHARE):
            self._try_saving(progress)

    def _try_saving(self, progress: Progress) -> None:
        began = time.monotonic()
        try:
            self.save(progress)
            log.info("checkpoint.saved", seconds=round(time.monotonic() - began, 3))
        except MoveRefused as refused:
            raise LeaseLost from refused
        except UNKEPT as error:
            log.warning("checkpoint.unsaved", error=str(error))
        self._saved = time.monotonic()

    def save(self, progress: Progress) -> None:
        """Stores segments and state. Raises what storage and database raise, and MoveRefused."""
        tail = self._segments.pending()
        self._publish()
        tensors = {MODEL + name: tensor for name, tensor in progress.state().items()}
        path = self._folder / STATE
        written = str(self._segments.written)
        save_file(tensors | {TAIL: from_numpy(tail)}, path, {"written": written})
        job = self._job
        key = work_key(job.id, job.attempt, STATE)
        self._place.blobs.put(key, path, "application/octet-stream")
        self._place.store.checkpoints.save(job.id, job.attempt, self._kept, self._lease.progress)

    def _keep(self) -> None:
        """Stores a new segment if that is possible now; the encoding thread calls it."""
        if time.monotonic() < self._not_before:
            return
        try:
            self._publish()
        except (*UNKEPT, MoveRefused) as error:
            log.warning("segment.unkept", error=str(error))
            self._not_before = time.monotonic() + PAUSE_S

    def finish(self) -> None:
        """Stores the segments that could not be stored as they got done: those who watch are to see
        the end of the clip.
        """
        try:
            patiently(self._publish, self._lease, self._place.worker.patience_s)
        except (*UNKEPT, MoveRefused) as error:
            log.warning("segment.unkept", error=str(error))

    def _publish(self) -> None:
        """Stores the segments that are not yet stored, and names them in the row."""
        job, blobs = self._job, self._place.blobs
        lengths = self._segments.lengths
        for index in range(self._published, len(lengths)):
            if index == 0:
                key = work_key(job.id, job.attempt, INIT)
                blobs.put(key, self._segments.header_path, "video/mp4")
            key = segment_key(job.id, job.attempt, index)
            blobs.put(key, self._segments.path(index), "video/mp4")
            # The row may name later ones of another attempt; they are the same to the bit.
            self._kept[index : index + 1] = [Segment(job.attempt, lengths[index])]
            self._published = index + 1
            self._named = False
        if not self._named:
            self._place.store.checkpoints.record(job.id, job.attempt, self._kept)
            self._named = True

    def resume(self, own_frames: int) -> State | None:
        """Takes the clip up where another attempt left it; returns the model's state, or None when
        there is none to go on from. `own_frames` of the clip come before what the model makes.
        """
        patience_s = self._place.worker.patience_s
        store = self._place.store.checkpoints
        kept = patiently(lambda: store.get(self._job.id), self._lease, patience_s)
        if kept is None:
            return None
        self._kept = list(kept.segments)
        if kept.state_key is None:
            return None
        try:
            state = patiently(lambda: self._load(kept, own_frames), self._lease, patience_s)
        except (SafetensorError, EncodeError, LookupError, ValueError) as error:
            log.warning("checkpoint.unusable", error=str(error))
            self._kept = []  # they may be encoded in another way than those that are made now
            return None
        log.info("checkpoint.resumed", attempt=kept.state_attempt, frames=self._segments.written)
        return state

    def _load(self, kept: Checkpoint, own_frames: int) -> State:
        assert kept.state_key is not None
        path = self._folder / STATE
        self._fetch(kept.state_key, path)
        file: Any
        with safe_open(path, "pt") as file:
            written = int(file.metadata()["written"])
            tensors: State = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tail = tensors.pop(TAIL).numpy()
        state = {name.removeprefix(MODEL): tensor for name, tensor in tensors.items()}
        lengths: list[int] = []
        while sum(lengths) < written - len(tail):
            lengths.append(kept.segments[len(lengths)].frames)
        # A state lies further back than its frames when it was saved after memory ran out.
        if sum(lengths) != written - len(tail) or written - own_frames < frames_done(state):
            raise ValueError(f"the state follows {written} frames, the segments do not fit")
        if lengths:
            self._fetch(kept.init_key, self._segments.header_path)
        for index in range(len(lengths)):
            self._fetch(kept.segment_key(index), self._segments.path(index))
        self._segments.adopt(lengths, np.array(tail))
        self._published = len(lengths)
        return state

    def _fetch(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(self._place.blobs.stream(key))

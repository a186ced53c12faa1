"""A job's clip or still, from the request to the file in storage."""

from pathlib import Path

from app.contract.job import Job, JobSpec, Output, Stage
from model import Progress, Request
from worker import outputs
from worker.checkpointing import Checkpointing
from worker.clips import frames_of
from worker.encode import Encoding, split
from worker.generation import Generation
from worker.patience import patiently
from worker.progress import Lease
from worker.references import clip_path, request_of
from worker.segments import Segments
from worker.workplace import Workplace


class CheckpointRefused(RuntimeError):
    """The model cannot go on from a job's state."""


def make(job: Job, place: Workplace, lease: Lease, folder: Path) -> Output:
    """Makes the job's file in `folder` and stores it with all that belongs to it."""
    read = lambda: request_of(job.spec, place.blobs, folder, lease.check_any)
    request = patiently(read, lease, place.worker.patience_s)
    path = folder / f"video.{job.spec.output}"
    if job.spec.output == "mp4":
        _make_clip(job, place, lease, request, path)
    else:
        _make_still(job, place, lease, request, path)
    return outputs.store(job, place, lease, path)


def _make_clip(job: Job, place: Workplace, lease: Lease, request: Request, path: Path) -> None:
    """The new frames, and with `stitch` the clips before and after them, as one MP4."""
    spec, worker, folder = job.spec, place.worker, path.parent
    encoding = Encoding(
        width=spec.width,
        height=spec.height,
        fps=spec.fps,
        preset=worker.encode_preset,
        crf=worker.encode_crf,
    )
    with Segments(folder, encoding) as segments:
        checkpointing = Checkpointing(job, place, lease, segments, folder)
        before = spec.before_frames if spec.stitch else 0
        state = checkpointing.resume(before)
        if state is None and before:
            _append(segments, lease, spec, "before", before, folder)
        generation = Generation(job, place, lease, checkpointing.step)
        try:
            for frames in generation.frames(request, state, segments.written - before):
                lease.check()
                segments.write(frames)
        except ValueError as error:
            if state is None or not str(error).startswith("resume"):
                raise
            # Another version's; whoever takes the job next is to begin anew.
            place.store.checkpoints.remove(job.id)
            raise CheckpointRefused(str(error)) from error
        if spec.appended_frames:
            _append(segments, lease, spec, "after", spec.appended_frames, folder)
        lease.check()
        segments.finish(path)
        lease.report(Stage.UPLOAD, 0, 1)
        checkpointing.finish()


def _make_still(job: Job, place: Workplace, lease: Lease, request: Request, path: Path) -> None:
    def step(_progress: Progress) -> None:
        lease.check_stopping()

    # Nothing is kept on the way, but the courier is to know that the job may have left something.
    record = lambda: place.store.checkpoints.record(job.id, job.attempt, [])
    patiently(record, lease, place.worker.patience_s)
    for frames in Generation(job, place, lease, step).frames(request):
        outputs.write_still(path, frames[0])


def _append(
    segments: Segments, lease: Lease, spec: JobSpec, field: str, frames: int, folder: Path
) -> None:
    """Adds the clip that was given as `field`: as it is where that is possible, which it is for
    clips that were made here, else encoded again. Raises ValueError when it has other lengths.
    """
    clip = clip_path(folder, field)
    segments.flush()
    parts = split(clip, spec.fps, folder)
    if sum(part.frames for part in parts) == frames and segments.take(parts):
        return
    for chunk in frames_of(clip, spec.width, spec.height, frames, field):
        lease.check_any()
        segments.write(chunk)
    segments.flush()

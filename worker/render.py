"""From a claimed job to a stored file: a plain function, tested without Celery."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from obstore.exceptions import BaseError as StorageError
from sqlalchemy.exc import SQLAlchemyError

from app.contract import logs
from app.contract.blobs import Blobs
from app.contract.job import Job, JobSpec, MoveRefused, Output, Stage, output_key, output_prefix
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from app.contract.upkeep import CANCELLED
from model import Pipeline, Request
from worker.encode import mp4_writer, write_still, write_thumbnail
from worker.failures import failure_of
from worker.metrics import ENDED
from worker.progress import Cancelled, Lease, LeaseLost, Stopping
from worker.references import read_image, read_video
from worker.settings import WorkerSettings

CONTENT_TYPES = {"mp4": "video/mp4", "png": "image/png", "webp": "image/webp"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker has at hand for every job."""

    pipeline: Pipeline
    store: Store
    blobs: Blobs
    queue: Queue
    settings: Settings
    worker: WorkerSettings
    #: a folder for this worker alone
    scratch: Path
    #: whether the worker is to hand its job back
    stopping: Callable[[], bool] = lambda: False


def render(job: Job, place: Workplace) -> None:
    """Renders a claimed job and records how it ended, whatever happens."""
    folder = place.scratch / f"{job.id}-{job.attempt}"
    with logs.job_context(job.id, job.attempt):
        log.info("job.claimed", model=job.spec.model)
        try:
            folder.mkdir(parents=True)
            with _lease(job, place) as lease:
                output = _make(job, place, lease, folder)
                lease.check()
                _complete(job, place, output)
            _remove_other_attempts(job, place.blobs)
            log.info("job.completed", bytes=output.size_bytes)
            ENDED.labels("completed").inc()
        except Exception as error:  # noqa: BLE001 - where every failure of a job is recorded
            _record(job, place, error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _lease(job: Job, place: Workplace) -> Lease:
    return Lease(
        job,
        place.store,
        lease_s=place.settings.lease_s,
        heartbeat_s=place.settings.heartbeat_s,
        stopping=place.stopping,
    )


def _make(job: Job, place: Workplace, lease: Lease, folder: Path) -> Output:
    """Generates, encodes and stores the file and its thumbnail."""
    spec = job.spec
    path, thumbnail = folder / f"video.{spec.output}", folder / "thumbnail.webp"
    chunks = _generate(spec, place, lease, folder)
    first = next(chunks)
    write_thumbnail(thumbnail, first[0])
    if spec.output == "mp4":
        worker = place.worker
        with mp4_writer(
            path,
            spec.width,
            spec.height,
            spec.fps,
            preset=worker.encode_preset,
            crf=worker.encode_crf,
        ) as writer:
            writer.write(first)
            for frames in chunks:
                writer.write(frames)
    else:
        write_still(path, first[0])
    return _upload(job, place, lease, path, thumbnail)


def _upload(job: Job, place: Workplace, lease: Lease, path: Path, thumbnail: Path) -> Output:
    lease.report(Stage.UPLOAD, 0, 2)
    key = output_key(job.id, job.attempt, path.name)
    thumbnail_key = output_key(job.id, job.attempt, thumbnail.name)
    place.blobs.put(thumbnail_key, thumbnail, "image/webp")
    lease.report(Stage.UPLOAD, 1, 2)
    stored = place.blobs.put(key, path, CONTENT_TYPES[job.spec.output])
    return Output(key=key, size_bytes=stored.size_bytes, thumbnail_key=thumbnail_key)


def _generate(spec: JobSpec, place: Workplace, lease: Lease, folder: Path) -> Iterator[np.ndarray]:
    """The clip's spec.frames frames, uint8 `[f, h, w, 3]`, in chunks; reports each step."""
    made = 0
    request = request_of(spec, place.blobs, folder)
    stages = {"text": Stage.TEXT, "denoise": Stage.DENOISE, "decode": Stage.DECODE}
    for frames in place.pipeline.generate(
        request, on_step=lambda p: lease.report(stages[p.stage], p.step, p.steps)
    ):
        lease.check()
        made += frames.shape[0]
        yield frames.cpu().numpy()
    if made != spec.frames:
        raise RuntimeError(f"the pipeline made {made} frames instead of {spec.frames}")


def request_of(spec: JobSpec, blobs: Blobs, scratch: Path) -> Request:
    """The model's request, with the references read from storage."""
    return Request(
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        width=spec.width,
        height=spec.height,
        frames=spec.frames,
        fps=spec.fps,
        steps=spec.steps,
        guidance=spec.guidance,
        guidance_2=spec.guidance_2,
        seed=spec.seed,
        flow_shift=spec.flow_shift,
        image=read_image(spec.image, blobs),
        last_image=read_image(spec.last_image, blobs),
        video=read_video(spec.video, blobs, spec.width, spec.height, spec.frames, scratch),
        strength=spec.strength,
    )


def _complete(job: Job, place: Workplace, output: Output) -> None:
    hours = place.settings.expire_hours
    try:
        place.store.complete(job.id, job.attempt, output, expire_s=hours * 3600 or None)
    except MoveRefused as refused:
        raise (Cancelled if "cancelling" in refused.found else LeaseLost) from refused


def _remove_other_attempts(job: Job, blobs: Blobs) -> None:
    """What workers left that were killed between storing their output and recording it."""
    try:
        for blob in blobs.list(output_prefix(job.id)):
            if not blob.key.startswith(f"{output_prefix(job.id)}{job.attempt}/"):
                blobs.delete(blob.key)
    except (StorageError, OSError) as unreachable:  # they go with the job
        log.warning("blobs.left", error=str(unreachable))


def _record(job: Job, place: Workplace, error: Exception) -> None:
    """Writes how a job ended that did not complete; every write is fenced by its attempt."""
    try:
        outcome = _give_up(job, place, error)
    except (MoveRefused, SQLAlchemyError) as refused:  # the lease, or its end, decides then
        log.warning("job.unrecorded", error=str(refused))
        outcome = "lost"
    ENDED.labels(outcome).inc()
    try:
        place.blobs.delete_prefix(f"{output_prefix(job.id)}{job.attempt}/")
    except (StorageError, OSError) as unreachable:  # they go with the job
        log.warning("blobs.left", error=str(unreachable))


def _give_up(job: Job, place: Workplace, error: Exception) -> str:
    if isinstance(error, LeaseLost):
        log.warning("job.lost")
        return "lost"
    if isinstance(error, Stopping):
        try:
            place.store.release(job.id, job.attempt)
            place.queue.wake(job.spec.model, (job.id,))
            log.info("job.released")
            return "released"
        except MoveRefused as refused:
            if "cancelling" not in refused.found:
                raise
            error = Cancelled()
    if isinstance(error, Cancelled):
        place.store.fail(job.id, job.attempt, CANCELLED, "The job was cancelled.")
        log.info("job.cancelled")
        return CANCELLED
    failure = failure_of(error)
    log.error("job.failed", code=failure.code, retry=failure.retry, exc_info=error)
    if not failure.retry:
        place.store.fail(job.id, job.attempt, failure.code, failure.message)
    elif place.store.upkeep.lose_attempt(
        job.id, job.attempt, place.settings.max_losses, failure.code, failure.message
    ).requeued:
        place.queue.wake(job.spec.model, (job.id,))
    return failure.code

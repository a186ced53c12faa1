"""From a claimed job to a stored file: a plain function, tested without Celery."""

import shutil

import structlog
from obstore.exceptions import BaseError as StorageError
from sqlalchemy.exc import SQLAlchemyError

from app.contract import logs
from app.contract.checkpoints import STATE, work_prefix
from app.contract.job import Job, JobNotFound, MoveRefused, Output, Stage, Status, output_prefix
from app.contract.upkeep import CANCELLED
from worker.failures import CODES, OF_WORKERS, failure_of
from worker.leftovers import remove_of, remove_other_attempts
from worker.making import make
from worker.metrics import ENDED
from worker.patience import patiently
from worker.progress import Cancelled, Lease, LeaseLost, Stopping
from worker.workplace import Workplace

for _outcome in ("completed", CANCELLED, "released", "lost", *CODES):
    ENDED.labels(_outcome)  # from 0 on, as webhooks are counted (metrics.py)

log = structlog.get_logger()


def render(job: Job, place: Workplace) -> bool:
    """Renders a claimed job and records how it ended, whatever happens. False says that the fault
    may be this worker's: the next job may meet it too.
    """
    folder = place.scratch / f"{job.id}-{job.attempt}"
    with logs.job_context(job.id, job.attempt):
        log.info("job.claimed", model=job.spec.model)
        try:
            folder.mkdir(parents=True)
            with _lease(job, place) as lease:
                output = make(job, place, lease, folder)
                patiently(lambda: _complete(job, place, output), lease, place.worker.patience_s)
            log.info("job.completed", bytes=output.size_bytes)
            ENDED.labels("completed").inc()
            _tidy(job, place)
            _record_timings(job, place, lease.seconds)
            return True
        except Exception as error:  # noqa: BLE001 - where every failure of a job is recorded
            return _record(job, place, error) not in OF_WORKERS
        finally:
            place.previews.drop(job.id)
            shutil.rmtree(folder, ignore_errors=True)


def _lease(job: Job, place: Workplace) -> Lease:
    return Lease(
        job,
        place.store,
        lease_s=place.settings.lease_s,
        heartbeat_s=place.settings.heartbeat_s,
        stall_s=place.worker.stall_s,
        stopping=place.stopping,
    )


def _complete(job: Job, place: Workplace, output: Output) -> None:
    hours = place.settings.expire_hours
    try:
        place.store.complete(job.id, job.attempt, output, expire_s=hours * 3600 or None)
    except MoveRefused as refused:
        if not _is_completed(job, place):  # else the answer to the first try was lost, no more
            raise (Cancelled if "cancelling" in refused.found else LeaseLost) from refused


def _is_completed(job: Job, place: Workplace) -> bool:
    """Whether the job's output is this attempt's."""
    now = _now(job, place)
    return now is not None and now.status is Status.COMPLETED and now.attempt == job.attempt


def _now(job: Job, place: Workplace) -> Job | None:
    try:
        return place.store.get(job.id)
    except JobNotFound:
        return None


def _tidy(job: Job, place: Workplace) -> None:
    """Removes what workers left that were killed between storing their output and recording it,
    and the states, as nobody will go on from here. The segments stay for those who are watching.
    """
    try:
        if place.settings.stream_keep_s == 0:
            remove_of(job.id, place.store, place.blobs)
            return
        remove_other_attempts(job.id, job.attempt, place.blobs)
        for blob in list(place.blobs.list(work_prefix(job.id))):
            if blob.key.endswith(STATE):
                place.blobs.delete(blob.key)
    except (StorageError, OSError, SQLAlchemyError) as unreachable:  # the courier will do it
        log.warning("blobs.left", error=str(unreachable))


def _record_timings(job: Job, place: Workplace, seconds: dict[Stage, float]) -> None:
    """What the job took, for estimates; what was done in several goes tells nothing."""
    if job.attempt > 1:
        return
    measured = {stage.value: spent for stage, spent in seconds.items()}
    if (denoise := measured.pop(Stage.DENOISE, None)) is not None:
        measured["step"] = denoise / job.spec.steps_made
    try:
        place.store.timings.record(job.spec, measured)
    except SQLAlchemyError as error:
        log.warning("timings.unrecorded", error=str(error))


def _record(job: Job, place: Workplace, error: Exception) -> str:
    """Writes how a job ended that did not complete, and says it; every write is fenced by its
    attempt.
    """
    try:
        outcome = _give_up(job, place, error)
    except (MoveRefused, SQLAlchemyError) as refused:  # the lease, or its end, decides then
        log.warning("job.unrecorded", error=str(refused))
        outcome = "lost"
    ENDED.labels(outcome).inc()
    try:
        _clear(job, place)
    except (StorageError, OSError, SQLAlchemyError) as unreachable:  # the courier will do it
        log.warning("blobs.left", error=str(unreachable))
    return outcome


def _clear(job: Job, place: Workplace) -> None:
    """Removes what this attempt stored, but for what another may go on from."""
    now = _now(job, place)
    if now is None or now.status is Status.FAILED:
        remove_of(job.id, place.store, place.blobs)
        return
    if now.attempt > job.attempt or now.status is not Status.COMPLETED:
        place.blobs.delete_prefix(f"{output_prefix(job.id)}{job.attempt}/")
    if now.status is Status.COMPLETED and place.store.checkpoints.get(job.id) is None:
        place.blobs.delete_prefix(work_prefix(job.id))


def _give_up(job: Job, place: Workplace, error: Exception) -> str:
    if isinstance(error, LeaseLost | MoveRefused):
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

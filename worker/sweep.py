"""The courier's round: jobs of lost workers, missing wake-ups, deleted and expired outputs."""

import redis
import structlog

from app.contract.blobs import Blobs
from app.contract.checkpoints import work_prefix
from app.contract.files import file_key
from app.contract.job import input_prefix, output_prefix
from app.contract.queue import Queue
from app.contract.settings import Settings
from app.contract.store import Store
from app.contract.upkeep import Lost
from worker.leftovers import remove_leftovers
from worker.metrics import JOBS, REQUEUED

#: A job whose message was sent just now is not yet missing one.
ANNOUNCED_S = 5.0

#: Events and the attempts to deliver them can be looked at for 30 days.
KEEP_EVENTS_S = 30 * 24 * 3600.0

log = structlog.get_logger()


def sweep(store: Store, queue: Queue, blobs: Blobs, settings: Settings) -> None:
    """One round. Two couriers at once do no harm: every move is guarded, and spare messages too.

    Raises what the database or the storage raise; the next round does what was left.
    """
    store.upkeep.shorten_leases(settings.lease_s)
    requeue_lost(store, settings.max_losses)
    announce_missing(store, queue)
    remove_leftovers(store, blobs, settings)
    remove_deleted(store, blobs)
    remove_expired(store, blobs)
    remove_files(store, blobs)
    store.models.forget()
    store.limits.forget()
    store.webhooks.outbox.forget(KEEP_EVENTS_S)
    JOBS.clear()
    for (model, status), count in store.counts().items():
        JOBS.labels(model, status.value).set(count)


def requeue_lost(store: Store, max_losses: int) -> None:
    """Brings back the jobs whose lease ran out; `announce_missing` sends their messages."""
    tell(store.upkeep.lose_expired(max_losses))


def tell(lost: Lost) -> None:
    """Logs and counts the jobs that were taken from a worker."""
    for job_id in lost.requeued:
        log.warning("job.requeued", job_id=job_id)
        REQUEUED.inc()
    for job_id in lost.failed | lost.cancelled:
        log.warning("job.given_up", job_id=job_id)


def announce_missing(store: Store, queue: Queue) -> None:
    """Wakes workers as often as queued jobs outnumber the waiting messages of their model: Redis
    may have been restarted empty, or a worker killed between taking a message and claiming. While
    Redis is away the rest of the round is done all the same.
    """
    for model, waiting in store.upkeep.waiting_by_model(ANNOUNCED_S).items():
        try:
            missing = waiting - queue.depth(model)
        except redis.RedisError as error:
            log.warning("queue.unreachable", error=str(error))
            return
        if missing > 0:
            log.info("queue.announced_again", model=model, messages=missing)
            queue.wake(model, [""] * missing)


def remove_deleted(store: Store, blobs: Blobs) -> None:
    """Removes blobs and rows of deleted jobs that no worker has any more."""
    for job_id in store.upkeep.deleted():
        for prefix in (work_prefix, output_prefix, input_prefix):
            blobs.delete_prefix(prefix(job_id))
        store.upkeep.purge(job_id)
        log.info("job.removed", job_id=job_id)


def remove_files(store: Store, blobs: Blobs) -> None:
    """Removes files that were deleted or have expired."""
    for file_id in store.files.over():
        blobs.delete(file_key(file_id))
        store.files.purge(file_id)
        log.info("file.removed", file_id=file_id)


def remove_expired(store: Store, blobs: Blobs) -> None:
    """Removes the outputs of jobs past their end; the rows stay."""
    for job_id in store.upkeep.expired():
        blobs.delete_prefix(output_prefix(job_id))
        store.upkeep.forget_output(job_id)
        log.info("job.expired", job_id=job_id)

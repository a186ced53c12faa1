"""What ended jobs left in storage: what they were made from, segments for those who were watching,
and what killed workers had no time to remove.
"""

import structlog

from app.contract.blobs import Blobs
from app.contract.checkpoints import work_prefix
from app.contract.job import input_prefix, output_prefix
from app.contract.settings import Settings
from app.contract.store import Store

log = structlog.get_logger()


def remove_leftovers(store: Store, blobs: Blobs, settings: Settings) -> None:
    """A part of the courier's round. The stream of a completed job can be watched for
    `stream_keep_s` after its end.
    """
    for job_id in store.checkpoints.over(settings.stream_keep_s):
        remove_of(job_id, store, blobs)


def remove_of(job_id: str, store: Store, blobs: Blobs) -> None:
    """Removes everything of an ended job but the output that its row names."""
    for prefix in (work_prefix, input_prefix):
        blobs.delete_prefix(prefix(job_id))
    remove_other_attempts(job_id, store.upkeep.kept_attempt(job_id), blobs)
    store.checkpoints.remove(job_id)
    log.debug("leftovers.removed", job_id=job_id)


def remove_other_attempts(job_id: str, attempt: int, blobs: Blobs) -> None:
    """Removes the outputs of all attempts but one; there is no attempt 0."""
    prefix = output_prefix(job_id)
    for blob in list(blobs.list(prefix)):
        if not blob.key.startswith(f"{prefix}{attempt}/"):
            blobs.delete(blob.key)

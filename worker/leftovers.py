"""What ended jobs left in storage: segments for those who were watching, and what killed workers
had no time to remove.
"""

import structlog

from app.contract.blobs import Blobs
from app.contract.checkpoints import work_prefix
from app.contract.job import JobNotFound, output_prefix
from app.contract.settings import Settings
from app.contract.store import Store

log = structlog.get_logger()


def remove_leftovers(store: Store, blobs: Blobs, settings: Settings) -> None:
    """Removes everything of ended jobs but the output that their rows name; a part of the
    courier's round. A stream can be watched for `stream_keep_s` after the job's end.
    """
    for job_id in store.checkpoints.over(settings.stream_keep_s):
        blobs.delete_prefix(work_prefix(job_id))
        for blob in blobs.list(output_prefix(job_id)):
            if blob.key.split("/")[2] != _attempt(store, job_id):
                blobs.delete(blob.key)
        store.checkpoints.remove(job_id)
        log.debug("leftovers.removed", job_id=job_id)


def _attempt(store: Store, job_id: str) -> str:
    """The attempt whose output is the job's."""
    try:
        key = store.get(job_id).output_key or ""
    except JobNotFound:  # deleted; the rest is removed for that
        key = ""
    return key.split("/")[2] if key else ""

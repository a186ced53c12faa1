"""Works on batches, in a thread of each API process: reads the file, makes the jobs, waits for
them, writes the files that come of it. Every step can be done again after a crash, here or in
another process, as the rows say how far a batch is.
"""

import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import structlog
from obstore.exceptions import BaseError as StorageError
from sqlalchemy.exc import SQLAlchemyError

from app import batch_input, batch_output, orders, uploads
from app.auth import Caller
from app.contract.batches import Batch, BatchStatus
from app.contract.blobs import BlobNotFound
from app.contract.files import FileNotFound, file_key
from app.contract.job import JobNotFound, MoveRefused
from app.contract.keys import ApiKey, KeyNotFound
from app.contract.limits import LimitReached
from app.errors import InvalidRequest, RequestFault, fault_body, limited
from app.parts import Parts

POLL_S = 0.5
#: A process that died leaves its batch to another one after so long.
LEASE_S = 60.0
#: A batch whose jobs are being made is looked at so often.
PAUSE_S = 1.0
#: Seconds for which jobs are made of a batch before another one has its turn.
TURN_S = 5.0
#: How long the files that a batch writes are kept unless it says otherwise, as OpenAI does.
KEEP_S = 30 * 24 * 3600.0

INPUT_GONE = {
    "message": "The input file was deleted.",
    "type": "invalid_request_error",
    "param": "input_file_id",
    "code": "file_not_found",
}

log = structlog.get_logger()


class Batching:
    """The thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="batches", daemon=True)

    def start(self) -> None:
        """Begins to look for batches."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the request that is being submitted."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                batch = self._parts.store.batches.take(LEASE_S)
                if batch is not None:
                    work_on(self._parts, batch, self._stopped)
                    continue
            except (SQLAlchemyError, StorageError, OSError) as error:
                log.warning("batch.failed", error=str(error))
            except Exception:  # a fault of the program in one batch must not stop the others
                log.exception("batch.failed")
            self._stopped.wait(POLL_S)


def work_on(parts: Parts, batch: Batch, stopped: Event) -> None:
    """Brings a batch as far as it goes now, and lets go of it for a moment."""
    more = False
    if batch.status is BatchStatus.VALIDATING:
        _read(parts, batch)
    elif batch.status is BatchStatus.IN_PROGRESS:
        if parts.store.batches.overdue(batch.id):  # also where making its jobs fails for ever
            _cut(parts, batch, "batch_expired")
        else:
            try:
                more = _make_jobs(parts, batch, stopped)
            except (FileNotFound, BlobNotFound):
                parts.store.batches.lines.refuse_waiting(batch.id, 400, {"error": INPUT_GONE})
        if _is_done(parts, batch):
            parts.store.batches.finalize(batch.id)
    elif batch.status is BatchStatus.CANCELLING:
        _cut(parts, batch, "batch_cancelled")
        if _is_done(parts, batch):
            _finish(parts, batch, BatchStatus.CANCELLED)
    elif batch.status is BatchStatus.FINALIZING:
        _finish(parts, batch, BatchStatus.COMPLETED)
    moved = parts.store.batches.get(batch.id).status is not batch.status
    parts.store.batches.hold(batch.id, 0.0 if moved or more else PAUSE_S)


def _read(parts: Parts, batch: Batch) -> None:
    max_bytes = parts.settings.max_body_bytes
    try:
        lines = batch_input.lines_of(_chunks(parts, batch), max_bytes)
        found = batch_input.read(lines, batch.endpoint, parts.settings.max_batch_lines, max_bytes)
    except (FileNotFound, BlobNotFound):
        found = batch_input.Findings({}, [INPUT_GONE | {"line": None}])
    if found.errors:
        parts.store.batches.refuse(batch.id, found.errors)
    else:
        parts.store.batches.begin(batch.id, found.custom_ids)
    log.info("batch.read", batch_id=batch.id, lines=len(found.custom_ids), errors=len(found.errors))


def _chunks(parts: Parts, batch: Batch) -> Iterator[bytes]:
    file = parts.store.files.get(batch.input_file_id, batch.owner)
    return parts.blobs.stream(file_key(file.id))


def _make_jobs(parts: Parts, batch: Batch, stopped: Event) -> bool:
    """Submits the lines that are no jobs yet, until a cancel, or a fault that may pass, or TURN_S
    are over; returns whether only that kept it from going on.
    """
    rows = parts.store.batches.lines
    waiting = set(rows.waiting(batch.id, batch.total))
    if not waiting:
        return False
    caller = Caller(batch.owner, _key(parts, batch))
    max_bytes = parts.settings.max_body_bytes
    until = time.monotonic() + TURN_S
    for number, line in batch_input.lines_of(_chunks(parts, batch), max_bytes):
        if number not in waiting:
            continue
        held = parts.store.batches.hold(batch.id, LEASE_S)
        if stopped.is_set() or held.status is not BatchStatus.IN_PROGRESS:
            return False
        fields = batch_input.request_of(line, batch.endpoint, max_bytes)["body"]
        try:
            job_id = _submit(parts, caller, batch, number, fields)
            if not rows.became(batch.id, number, job_id):  # another process has cut the batch
                _stop(parts, job_id)
        except LimitReached as reached:
            fault = limited(reached)
            rows.refused(batch.id, number, fault.status, fault_body(fault))
        except RequestFault as fault:
            if fault.status >= 500:
                log.warning("batch.waits", batch_id=batch.id, error=str(fault))
                return False
            rows.refused(batch.id, number, fault.status, fault_body(fault))
        if time.monotonic() > until:
            return True
    return False


def _submit(parts: Parts, caller: Caller, batch: Batch, number: int, fields: dict[str, Any]) -> str:
    """The id of the line's job; the same one when this is done again."""
    if fields.get("n") not in (None, 1):
        raise InvalidRequest("n: a line of a batch makes one video.", param="n")
    if fields.get("priority") is not None:
        raise InvalidRequest(
            "priority: a batch runs when nothing else waits; leave it out.", param="priority"
        )
    key = f"{batch.id}:{number}"
    return orders.create_batched(parts, fields, caller, key=key, batch_id=batch.id).id


def _key(parts: Parts, batch: Batch) -> ApiKey | None:
    """The key whose limits count; also one that was revoked since."""
    try:
        return parts.store.keys.get(batch.key_id)
    except KeyNotFound:  # made while there was no key
        return None


def _is_done(parts: Parts, batch: Batch) -> bool:
    rows = parts.store.batches.lines
    return not rows.waiting(batch.id, 1) and not rows.unfinished(batch.id)


def _cut(parts: Parts, batch: Batch, code: str) -> None:
    """Ends what has not ended."""
    rows = parts.store.batches.lines
    error = {"message": batch_output.CUT[code], "type": "invalid_request_error", "param": None}
    rows.refuse_waiting(batch.id, 400, {"error": error | {"code": code}})
    for job_id in rows.unfinished(batch.id):
        _stop(parts, job_id)


def _stop(parts: Parts, job_id: str) -> None:
    try:
        parts.store.cancel(job_id)
    except (JobNotFound, MoveRefused):  # it has ended meanwhile
        return


def _finish(parts: Parts, batch: Batch, status: BatchStatus) -> None:
    lines = parts.store.batches.lines.list(batch.id)
    cut = "batch_cancelled" if status is BatchStatus.CANCELLED else None
    if cut is None and parts.store.batches.overdue(batch.id) and batch_output.was_cut(lines):
        status, cut = BatchStatus.EXPIRED, "batch_expired"
    output = _write(parts, batch, "output", batch_output.output_lines(batch.id, lines))
    errors = _write(parts, batch, "error", batch_output.error_lines(batch.id, lines, cut))
    parts.store.batches.finish(batch.id, status, output, errors)
    log.info("batch.ended", batch_id=batch.id, status=status)


def _write(parts: Parts, batch: Batch, name: str, data: bytes) -> str | None:
    """Stores one of the batch's files unless it is empty; returns its id."""
    if not data:
        return None
    file_id = f"file-{batch.id.removeprefix('batch_')}-{name}"
    try:
        return parts.store.files.get(file_id, batch.owner).id
    except FileNotFound:
        file = uploads.store(
            parts,
            Caller(batch.owner, None),  # a full quota does not keep the results back
            data,
            purpose="batch_output",
            filename=f"{batch.id}_{name}.jsonl",
            expire_s=batch.output_expire_s or KEEP_S,
            file_id=file_id,
        )
        return file.id

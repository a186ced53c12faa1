"""The files that a batch ends with: what was made, and what was not and why."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from app.api.shown import video
from app.contract.batch_lines import Line
from app.contract.job import Status

#: What became of the requests that were not made because the batch ended.
CUT = {
    "batch_expired": "The batch was not done within its window of 24 hours.",
    "batch_cancelled": "The batch was cancelled.",
}


def output_lines(batch_id: str, lines: Iterable[Line]) -> bytes:
    """JSONL of the videos that were made; empty when there are none."""
    made = (line for line in lines if _is_made(line))
    return _jsonl(_line(batch_id, line, _response(batch_id, line), None) for line in made)


def error_lines(batch_id: str, lines: Iterable[Line], cut: str | None) -> bytes:
    """JSONL of the requests that have no video; `cut` is why the batch ended early, if it did."""
    lost = (line for line in lines if not _is_made(line))
    return _jsonl(_lost(batch_id, line, cut) for line in lost)


def was_cut(lines: Iterable[Line]) -> bool:
    """Whether a request has no video because the batch ended."""
    return any(_is_cut(line) for line in lines)


def _is_made(line: Line) -> bool:
    return line.job is not None and line.job.status is Status.COMPLETED


def _is_cut(line: Line) -> bool:
    if line.job is not None:
        return line.job.error_code == "cancelled"
    return line.error is not None and line.error["error"]["code"] in CUT


def _lost(batch_id: str, line: Line, cut: str | None) -> dict[str, Any]:
    if cut is not None and _is_cut(line):
        return _line(batch_id, line, None, {"code": cut, "message": CUT[cut]})
    if line.job is not None:
        error = {"code": line.job.error_code, "message": line.job.error_message}
        return _line(batch_id, line, _response(batch_id, line), error)
    if line.error is None:
        error = {"code": "video_deleted", "message": "The video was deleted."}
        return _line(batch_id, line, None, error)
    return _line(batch_id, line, _response(batch_id, line), None)


def _response(batch_id: str, line: Line) -> dict[str, Any]:
    body = line.error if line.job is None else video(line.job).model_dump(mode="json")
    request_id = f"req_{_digest(batch_id, line)}"
    return {"status_code": line.status_code or 200, "request_id": request_id, "body": body}


def _line(
    batch_id: str, line: Line, response: dict[str, Any] | None, error: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": f"batch_req_{_digest(batch_id, line)}",
        "custom_id": line.custom_id,
        "response": response,
        "error": error,
    }


def _digest(batch_id: str, line: Line) -> str:
    """The same whenever the file is written again."""
    return hashlib.sha256(f"{batch_id} {line.number}".encode()).hexdigest()[:24]


def _jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)

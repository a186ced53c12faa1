"""A batch's input file: one request a line, as JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from app.api.body import parse_json
from app.errors import InvalidRequest

FIELDS = {"custom_id", "method", "url", "body"}
MAX_ID_CHARS = 512
#: More say nothing new about a file that is refused.
MAX_ERRORS = 100


@dataclass(frozen=True, slots=True)
class LineFault(Exception):
    """Why a line is not a request."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a file holds: line number -> custom id, and what is wrong with it."""

    custom_ids: dict[int, str]
    errors: list[dict[str, Any]]


def lines_of(chunks: Iterable[bytes], max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank with their numbers, from 1. One that is longer than `max_bytes`
    comes cut off behind that.
    """
    number, rest = 0, b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        rest = rest[: max_bytes + 1]
        for line in whole:
            number += 1
            if line.strip():
                yield number, line[: max_bytes + 1]
    if rest.strip():
        yield number + 1, rest


def read(
    lines: Iterable[tuple[int, bytes]], endpoint: str, max_lines: int, max_bytes: int
) -> Findings:
    """Looks at every line of a file."""
    custom_ids: dict[int, str] = {}
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, line in lines:
        if len(custom_ids) == max_lines:
            fault = LineFault("too_many_lines", f"A batch may have {max_lines} requests.")
            errors.append(_error(fault, number))
            break
        try:
            custom_ids[number] = _custom_id(request_of(line, endpoint, max_bytes), seen)
        except LineFault as fault:
            errors.append(_error(fault, number))
            if len(errors) == MAX_ERRORS:
                break
    if not custom_ids and not errors:
        errors.append(_error(LineFault("empty_file", "The input file has no requests."), None))
    return Findings(custom_ids, errors)


def request_of(line: bytes, endpoint: str, max_bytes: int) -> dict[str, Any]:
    """The request of a line. Raises LineFault."""
    if len(line) > max_bytes:
        raise LineFault("line_too_long", f"The line is longer than {max_bytes} bytes.")
    try:
        request = parse_json(line)
    except InvalidRequest:
        raise LineFault("invalid_json_line", "The line is not a JSON object.") from None
    _check_fields(set(request))
    if request["method"] != "POST":
        raise LineFault("invalid_method", "method must be POST.", "method")
    if request["url"] != endpoint:
        raise LineFault("mismatched_url", f"url must be the batch's endpoint, {endpoint}.", "url")
    if not isinstance(request["body"], dict):
        raise LineFault("invalid_body", "body must be a JSON object.", "body")
    return request


def _check_fields(names: set[str]) -> None:
    for name in sorted(FIELDS - names):
        raise LineFault("missing_required_parameter", f"{name} is required.", name)
    for name in sorted(names - FIELDS):
        said = f"{name[:80]} is not a field of a line."
        raise LineFault("unknown_parameter", said, name[:80])


def _custom_id(request: dict[str, Any], seen: set[str]) -> str:
    custom_id = request["custom_id"]
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARS:
        said = f"custom_id must be a text of at most {MAX_ID_CHARS} characters."
        raise LineFault("invalid_custom_id", said, "custom_id")
    if "\0" in custom_id:  # PostgreSQL's text has no place for it
        said = "custom_id must not contain the character NUL."
        raise LineFault("invalid_custom_id", said, "custom_id")
    if custom_id in seen:
        said = f"The custom_id {custom_id!r} is there twice."
        raise LineFault("duplicate_custom_id", said, "custom_id")
    seen.add(custom_id)
    return custom_id


def _error(fault: LineFault, line: int | None) -> dict[str, Any]:
    return {"code": fault.code, "message": fault.message, "param": fault.param, "line": line}

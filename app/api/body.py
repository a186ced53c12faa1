"""Request bodies as one nested dict, whichever of the clients' encodings they came in.

JSON objects are taken as they are. In multipart the official SDK flattens its values, and this
undoes it: `input_reference[image_url]` is a key of an object, a repeated `tags[]` is a list, and
a list of objects arrives as `parts[][prompt]` … then `parts[][seconds]` …, grouped by key, to be
zipped by position.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.api.fields import MAX_NAMES, read_json
from app.edge import UPLOADS
from app.errors import InvalidRequest
from app.parts import Parts

MAX_FILES = 8
#: Bytes of a text beside a file that is to be kept: such a form is larger than what memory holds.
MAX_LABEL_BYTES = 64 * 2**10
#: What a form's texts may be in. Python knows more, of which some give what is no text at all.
CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1")
FIELD_NAME = re.compile(r"([^\[\]]{1,64})((?:\[[^\[\]]{0,64}\]){0,4})")


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body as read from the connection, before anything in it was looked at."""

    json: bytes | None = None
    form: FormData | None = None


async def read_body(request: Request) -> AsyncIterator[RawBody]:
    """Read the body; files of a form live until the request is answered."""
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "application/json":
        yield RawBody(json=await request.body())
    elif media_type == "multipart/form-data":
        form = await _read_form(request)
        try:
            yield RawBody(form=form)
        finally:
            await form.close()
    else:
        raise InvalidRequest(
            f"The content type is {content_type or 'missing'};"
            " send application/json or multipart/form-data.",
            param="content-type",
            code="unsupported_content_type",
        )


def body_fields(raw: Annotated[RawBody, Depends(read_body)]) -> dict[str, Any]:
    """The body's fields: str, number, bool, None, list, dict, and `UploadFile` for a file part."""
    if raw.form is not None:
        return nest(raw.form.multi_items())
    return parse_json(raw.json or b"")


BodyFields = Annotated[dict[str, Any], Depends(body_fields)]


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object; anything else is refused."""
    try:
        fields = read_json(body)
    except ValueError as error:
        raise InvalidRequest(
            f"The body cannot be read as JSON: {error}.", code="invalid_json"
        ) from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return fields


def nest(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Undo the flattening of form field names (see the module's text)."""
    fields: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for name, value in items:
        match = FIELD_NAME.fullmatch(name)
        if match is None:
            raise InvalidRequest(
                f"{name[:80]!r} is not a field name.", param=name[:80], code="unknown_parameter"
            )
        keys = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if isinstance(value, UploadFile) and not value.filename and not value.size:
            continue  # a browser's empty file input
        _insert(fields, keys, value, seen[name], name)
        seen[name] += 1
    return fields


def _insert(node: Any, keys: list[str], value: Any, position: int, name: str) -> None:
    *parents, last = keys
    for key, following in zip(parents, keys[1:], strict=True):
        child: Any = [] if following == "" else {}
        if key == "":
            if position == len(node):
                node.append(child)
            node = node[position] if position < len(node) else None
        elif isinstance(node, dict):
            node = node.setdefault(key, child)
        if not isinstance(node, type(child)):
            raise InvalidRequest(f"{name} contradicts another field of the form.", param=keys[0])
    if last == "":
        node.append(value)
    elif last in node:
        raise InvalidRequest(f"{name} is given twice.", param=keys[0])
    else:
        node[last] = value


async def _read_form(request: Request) -> FormData:
    options = parse_options_header(request.headers["content-type"])[1]
    boundary = options.get(b"boundary", b"")
    if options.get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise InvalidRequest(
            "The form must be UTF-8 text.", param="content-type", code="unsupported_content_type"
        )
    tail = b""

    async def watched() -> AsyncIterator[bytes]:
        nonlocal tail
        async for chunk in request.stream():
            tail = (tail + chunk)[-512:]
            yield chunk

    # A text part may carry a data URL, so it may be as long as any body that is held in memory.
    parts: Parts = request.app.state.parts
    held = MAX_LABEL_BYTES if request.scope["path"] == UPLOADS else parts.settings.max_body_bytes
    parser = MultiPartParser(
        request.headers,
        watched(),  # pyright: ignore[reportArgumentType]  (an async generator, as it asks)
        max_files=MAX_FILES,
        max_fields=MAX_NAMES,
        max_part_size=held,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(
            f"The form is not readable: {error.message}", code="invalid_form"
        ) from None
    if b"--" + boundary + b"--" not in tail:  # the parser accepts a body that stops anywhere
        await form.close()
        raise InvalidRequest("The form ends before its last boundary.", code="invalid_form")
    return form

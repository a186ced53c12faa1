"""The OpenAPI document: FastAPI's, without the 422 answers that this service never gives."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.objects import ErrorAnswer

UNUSED = ("HTTPValidationError", "ValidationError")

Responses = dict[int | str, dict[str, Any]]
ERRORS: Responses = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in (
        (400, "A parameter is missing, unknown or not possible"),
        (401, "The API key is missing or wrong"),
        (403, "Not allowed from here"),
        (404, "There is no such thing"),
        (409, "Not possible in the present state"),
        (413, "The body is too large"),
        (416, "The range lies outside the file"),
        (429, "Too much at once"),
        (503, "A part of the service is down"),
        (504, "It takes longer than may be waited"),
    )
}
#: Of every call; of one that names something; and what is added where something is made.
COMMON: Responses = {status: ERRORS[status] for status in (400, 401, 403, 429, 503)}
MISSING: Responses = COMMON | {404: ERRORS[404]}
MAKING: Responses = {status: ERRORS[status] for status in (409, 413)}
EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data", "retry")},
}
#: An answer that is a stream of events.
EVENTS = {"content": {"text/event-stream": {"schema": EVENT}}}


def body_of(fields: type[BaseModel]) -> dict[str, Any]:
    """How the document describes a body that is taken as JSON and as a form."""
    types = ("application/json", "multipart/form-data")
    schema = _inlined(fields.model_json_schema())
    content = {media_type: {"schema": schema} for media_type in types}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions where they are used; none of them is recursive."""
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return inline(definitions[node["$ref"].rpartition("/")[2]])
        return {name: inline(value) for name, value in node.items()}

    return inline(schema)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of this application's routes; made once, then kept by the application."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for name in UNUSED:
            document["components"]["schemas"].pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema

"""The OpenAPI document: FastAPI's, without the 422 answers that this service never gives."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

UNUSED = ("HTTPValidationError", "ValidationError")


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

"""The two things that happen to every request before any route sees it, as plain ASGI.

`RequestId` names the request on its answer, whatever the answer is. `BodyLimit` counts the bytes
that really arrive, so a chunked body or a false Content-Length cannot pass it.
"""

import secrets
import time
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, fault_answer

log = structlog.get_logger()

#: A refused body is read to its end, and dropped, up to this multiple of the limit: a client that
#: is still sending when the connection closes sees a reset instead of the answer.
DRAIN = 4
#: Where files are uploaded that are not held in memory.
UPLOADS = "/v1/files"
#: Where it is asked whether the service is ready.
PROBE = "/readyz"


@dataclass(frozen=True, slots=True)
class RequestId:
    """Adds `x-request-id` to each answer and to every event that is logged meanwhile.

    What changes something or fails is logged itself; reading is not, as clients poll, nor is that
    the service is not ready, which whoever asks every moment is told.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id

        method, path, began = scope["method"], scope["path"], time.monotonic()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                status, elapsed = message["status"], time.monotonic() - began
                if method not in ("GET", "HEAD") or (status >= 500 and path != PROBE):
                    log.info(
                        "http.answered",
                        method=method,
                        path=path,
                        status=status,
                        seconds=round(elapsed, 3),
                    )
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            return await self.app(scope, receive, named)


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """Answers 413 to a body of more than `limit_bytes`, or `upload_bytes` where files are kept."""

    app: ASGIApp
    limit_bytes: int
    upload_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self.limit_bytes
        if scope["path"] == UPLOADS and _is_form(scope):  # whose files are spooled to disk
            limit = self.upload_bytes
        if self._declared(scope) > limit:
            await self._drain(receive, limit)
            return await fault_answer(self._fault(limit))(scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                if message.get("more_body"):
                    await self._drain(receive, limit)
                raise self._fault(limit)
            return message

        return await self.app(scope, counted, send)

    def _declared(self, scope: Scope) -> int:
        length = Headers(scope=scope).get("content-length", "")
        return int(length) if length.isdecimal() else 0

    def _fault(self, limit: int) -> BodyTooLarge:
        mib = limit / 2**20
        return BodyTooLarge(f"The request's body is larger than the {mib:.0f} MiB allowed here.")

    async def _drain(self, receive: Receive, limit: int) -> None:
        dropped = 0
        while dropped <= DRAIN * limit:
            message = await receive()
            dropped += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return


def _is_form(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").lower().startswith("multipart/form-data")

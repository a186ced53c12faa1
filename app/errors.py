"""What can be wrong with a request, and the one place where it becomes OpenAI's error body.

RequestFault
├── InvalidRequest   400   the request itself must change
├── Unauthorized     401   a key is missing or wrong
├── Forbidden        403   the key, or the place the call came from, may not do this
├── NotFound         404   no such thing, or not yours
├── Conflict         409   right request, wrong moment (never worth an automatic retry)
├── BodyTooLarge     413
├── UnsatisfiableRange 416
├── RateLimited      429
├── Unavailable      503   a part of the service is down; worth a retry
├── JobFailed        500   what the call waited for failed; a retry would make it again
└── NotInTime        504   what the call waits for takes too long
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from obstore.exceptions import BaseError
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match, Route

from app.contract.limits import LimitReached

#: The longest wait that the SDK keeps to.
MAX_RETRY_S = 120

log = structlog.get_logger()


class RequestFault(Exception):
    """A call that cannot be answered as asked; `param` names the part of it to change."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.headers = dict(headers or {})


class InvalidRequest(RequestFault):
    """The request itself must change before it can succeed."""

    code = "invalid_value"


class Unauthorized(RequestFault):
    """No key, or one that is not known here."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class Forbidden(RequestFault):
    """Known, and still not allowed."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(RequestFault):
    """Nothing of that name exists for this caller."""

    status = 404
    code = "not_found"


class Conflict(RequestFault):
    """The thing is in a state that does not allow this; the SDK is told not to retry."""

    status = 409
    code = "conflict"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.headers.setdefault("x-should-retry", "false")


class BodyTooLarge(RequestFault):
    """More bytes than one request may carry."""

    status = 413
    code = "body_too_large"


class UnsatisfiableRange(RequestFault):
    """A Range header that lies outside the file."""

    status = 416
    code = "range_not_satisfiable"


class RateLimited(RequestFault):
    """Too much at once; `retry-after` says when it is worth another try."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class Unavailable(RequestFault):
    """A part that this answer needs is down."""

    status = 503
    type = "server_error"
    code = "unavailable"


class JobFailed(RequestFault):
    """The job that a call waited for has failed; its own code and message say why."""

    status = 500
    type = "server_error"
    code = "server_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.headers.setdefault("x-should-retry", "false")


class NotInTime(JobFailed):
    """The job that a call waited for is not done in the time that a call may take."""

    status = 504
    code = "image_timeout"


def fault_body(fault: RequestFault) -> dict[str, Any]:
    """The OpenAI error body: `{"error": {message, type, param, code}}`."""
    error = {
        "message": fault.message,
        "type": fault.type,
        "param": fault.param,
        "code": fault.code,
    }
    return {"error": error}


def fault_answer(fault: RequestFault) -> JSONResponse:
    """The answer to a call that was at fault."""
    return JSONResponse(fault_body(fault), fault.status, fault.headers)


def limited(reached: LimitReached) -> RateLimited:
    """A limit as a request's fault; the SDK is told not to retry where waiting does not help."""
    headers = {"x-should-retry": "false"}
    if reached.retry_after_s is not None:
        helps = reached.retry_after_s <= MAX_RETRY_S
        headers = {"retry-after": str(reached.retry_after_s)} | ({} if helps else headers)
    return RateLimited(str(reached), code=reached.code, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    """Route every way a request can fail through `fault_answer`."""

    @app.exception_handler(RequestFault)
    def request_fault(_request: Request, exc: RequestFault) -> JSONResponse:
        return fault_answer(exc)

    @app.exception_handler(LimitReached)
    def limit_reached(_request: Request, exc: LimitReached) -> JSONResponse:
        return fault_answer(limited(exc))

    @app.exception_handler(HTTPException)
    def http_exception(request: Request, exc: HTTPException) -> JSONResponse:
        return fault_answer(_from_http(request, exc))

    @app.exception_handler(RequestValidationError)
    def validation_error(_request: Request, exc: RequestValidationError) -> JSONResponse:
        return fault_answer(from_validation(exc.errors(), names_at=1))

    @app.exception_handler(ClientDisconnect)
    def client_left(_request: Request, _exc: ClientDisconnect) -> JSONResponse:
        return fault_answer(InvalidRequest("The connection closed before the body was complete."))

    @app.exception_handler(PoolTimeout)  # all connections wait for it already
    @app.exception_handler(OperationalError)
    def database_down(_request: Request, exc: SQLAlchemyError) -> JSONResponse:
        log.error("database.failed", exc_info=exc)
        fault = Unavailable("The database does not answer.", headers={"retry-after": "2"})
        return fault_answer(fault)

    @app.exception_handler(BaseError)
    def storage_down(_request: Request, exc: BaseError) -> JSONResponse:
        log.error("storage.failed", exc_info=exc)
        fault = Unavailable("The object storage does not answer.", headers={"retry-after": "2"})
        return fault_answer(fault)

    @app.exception_handler(Exception)
    def unexpected(request: Request, exc: Exception) -> JSONResponse:
        request_id = getattr(request.state, "request_id", "")
        log.error("http.failed", request_id=request_id, exc_info=exc)
        fault = RequestFault(
            f"The server failed on this request. Its log has the cause under {request_id}.",
            headers={"x-request-id": request_id},
        )
        fault.status, fault.type, fault.code = 500, "server_error", "internal_error"
        return fault_answer(fault)


def _from_http(request: Request, exc: HTTPException) -> RequestFault:
    """Starlette's own refusals (no such route, wrong method, …) as one of ours."""
    place = f"{request.method} {request.url.path}"
    if exc.status_code == 404:
        fault = NotFound(f"There is nothing at {place}.", code="unknown_url")
    elif exc.status_code == 405:
        methods = _methods(request)
        fault = RequestFault(
            f"{place} is not something this server does; {' and '.join(methods)} is.",
            code="method_not_allowed",
        )
        exc.headers = {"allow": ", ".join(methods)}
    else:
        fault = RequestFault(str(exc.detail))
    fault.status = exc.status_code
    fault.headers.update(exc.headers or {})
    return fault


def _methods(request: Request) -> list[str]:
    """What can be done at a path; Starlette names only the methods of the first route it tried."""
    found: set[str] = set()
    for router in (request.app.router, *request.app.state.routers):
        for route in router.routes:
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
                found |= route.methods or set()
    return sorted(found or {"GET", "HEAD"})  # of the files for the page of the API, not a route


def from_validation(errors: Sequence[Any], names_at: int = 0) -> InvalidRequest:
    """The first of pydantic's errors as a sentence that names the field. FastAPI says before the
    name where that is: in the query, in a header.
    """
    error = errors[0]
    path = [str(part) for part in error["loc"][names_at:]]
    param = ".".join(path) or None
    said, kind = error["msg"], error["type"]
    if kind == "missing":
        code, sentence = "missing_required_parameter", f"{param} is required."
    elif kind == "extra_forbidden":
        code, sentence = "unknown_parameter", f"{param} is not a parameter of this call."
    else:
        code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
        said = said[:1].lower() + said[1:]
        sentence = f"{param}: {said}." if param else f"{said[:1].upper()}{said[1:]}."
    return InvalidRequest(sentence, param=param, code=code)

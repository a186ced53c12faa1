"""Who is calling: the owner of an API key, or, while there is none, whoever sits at this machine.

With no key created the service is open to programs on its own machine and to nobody else. A web
page that the user happens to visit is not one of them, so in this open mode a browser's
cross-site request is refused, and so is a host name that is not loopback's (a page can make its
own name resolve to 127.0.0.1).
"""

import ipaddress
import math
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.contract.keys import ApiKey, Keys
from app.errors import Forbidden, RateLimited, Unauthorized
from app.parts import Parts, PartsOf

#: The owner of everything made while no key exists.
NOBODY = ""


class ExposedError(RuntimeError):
    """The service would be open to the network with no key to keep anybody out."""


def is_loopback(host: str) -> bool:
    """Whether an address or host name is this machine's own loopback."""
    if host in ("localhost", ""):
        return host == "localhost"
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, keys: Keys) -> None:
    """Raises ExposedError before the service listens beyond loopback while no key exists."""
    if not is_loopback(host) and not keys.any_valid():
        raise ExposedError(
            f"Listening on {host} would let anybody on the network use this service, since it has"
            " no API key. Make one with `kinora keys create NAME`, or listen on 127.0.0.1."
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the tenant that owns what it makes, and the key, if there is any."""

    owner: str
    key: ApiKey | None


def caller_of(request: Request, parts: PartsOf) -> Caller:
    """The caller that this request's Bearer key stands for.

    Raises Unauthorized; Forbidden when the key is not for this; RateLimited when it is used too
    often.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    keys = parts.store.keys
    key = keys.verify(secret.strip()) if scheme.lower() == "bearer" and secret else None
    if key is not None:
        _check_scope(request, key)
        _check_rate(parts, key)
        return Caller(key.tenant, key)
    if keys.any_valid():
        raise Unauthorized(
            "The API key is not valid."
            if secret
            else "An API key is needed: Authorization: Bearer …",
            headers={"www-authenticate": "Bearer"},
        )
    _check_local(request)
    return Caller(NOBODY, None)


CallerOf = Annotated[Caller, Depends(caller_of)]


def owner_of(caller: CallerOf) -> str:
    """The owner of what this caller can see."""
    return caller.owner


def _check_scope(request: Request, key: ApiKey) -> None:
    """The resource is the path's part behind `/v1`, as the scopes name it."""
    place = request.url.path.removeprefix("/v1/").partition("/")[0]
    resource = "webhooks" if place.startswith("webhook") else place
    # Who can read what signs deliveries can also forge them.
    reading = request.method in ("GET", "HEAD") and place != "webhook_secret"
    if not key.allows(resource, reading=reading):
        raise Forbidden(
            f"This key is for {', '.join(key.scopes)}, and not for this.", code="insufficient_scope"
        )


def _check_rate(parts: Parts, key: ApiKey) -> None:
    per_minute = key.limits.rpm
    wait_s = 0.0 if per_minute is None else parts.rate.take(key.id, per_minute)
    if wait_s:
        raise RateLimited(
            f"This key may make {per_minute} requests a minute.",
            headers={
                "retry-after": str(math.ceil(wait_s)),
                "retry-after-ms": str(math.ceil(wait_s * 1000)),
            },
        )


def _check_local(request: Request) -> None:
    client = request.client.host if request.client else ""
    if not is_loopback(client) or not is_loopback(request.url.hostname or ""):
        raise Forbidden(
            "With no API key, this service answers only on its own machine, by a loopback name."
        )
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("With no API key, this service does not answer to other web sites.")


Owner = Annotated[str, Depends(owner_of)]

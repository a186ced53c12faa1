"""Connections to a place that a stranger chose: to checked addresses only, and until a deadline.

The name is resolved once, all its addresses must be public, and the connection goes to one that was
checked, so that a second, different answer of the DNS cannot lead elsewhere.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx

from app.contract.addresses import Address, is_public

Resolve = Callable[[str, int], list[Address]]


class Refused(ValueError):
    """The URL, or what it leads to, is nothing that this service connects to."""


def plain(url: str, *schemes: str) -> httpx.URL:
    """The URL, if it is one of these schemes and has a host. Raises Refused, a sentence."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Refused(f"the URL is not valid: {error}") from None
    if parsed.scheme not in schemes or not parsed.host:
        raise Refused(f"the URL must begin with {schemes[0]}://")
    if parsed.userinfo:
        raise Refused("the URL must not carry a user name or password")
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise Refused(f"the URL's port cannot be {parsed.port}")
    return parsed


def target_of(url: httpx.URL) -> httpcore.URL:
    """The same URL as httpcore takes it."""
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


class Network(httpcore.NetworkBackend):
    """Connects to checked addresses only, through `sockets`, until a deadline."""

    def __init__(
        self,
        resolve: Resolve,
        deadline: float,
        *,
        allow_private: bool,
        sockets: httpcore.NetworkBackend,
    ) -> None:
        self._resolve, self._deadline = resolve, deadline
        self._allow_private, self._sockets = allow_private, sockets

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._resolve(host, port)
        if not addresses or not (self._allow_private or all(map(is_public, addresses))):
            raise Refused(f"the host {host} is not on the public internet")
        *others, last = addresses
        for address in others:  # a name may have one that this machine cannot reach
            try:
                return self._connect(address, port)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port)

    def _connect(self, address: Address, port: int) -> httpcore.NetworkStream:
        left_s = _left_s(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._sockets.connect_tcp(str(address), port, left_s), self._deadline)


class _Stream(httpcore.NetworkStream):
    """A connection each of whose steps ends by the deadline, however slowly the other side goes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left_s(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left_s(self._deadline, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left_s(deadline: float, too_late: type[httpcore.TimeoutException]) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise too_late("the other side took too long")
    return left_s

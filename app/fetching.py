"""Fetch a file from an https URL that a stranger chose, without becoming a way into the private
network.

The name is resolved once, every address it has must be public, and the connection goes to the
address that was checked (so a second, different DNS answer cannot redirect it). Each redirect is
checked in the same way. The body is read up to a limit, all of it within one deadline. Proxies
from the environment are not used: they would resolve the name again, out of our sight.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpcore
import httpx

from app.contract.addresses import UnknownHost, is_public, resolve
from app.contract.network import Network, Refused, Resolve

MAX_REDIRECTS = 3


class FetchError(ValueError):
    """The URL, or what it led to, is not something this service will use."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches public https URLs; `resolve` and `transport` are there to be replaced in tests."""

    limit_bytes: int
    timeout_s: float
    allow_private: bool = False
    resolve: Resolve = resolve
    transport: httpx.BaseTransport | None = field(default=None, compare=False)

    def fetch(self, url: str) -> bytes:
        """The body at `url`. Raises FetchError with a sentence about what was wrong."""
        deadline = time.monotonic() + self.timeout_s
        transport = self.transport or _Bounded(
            Network(self.resolve, deadline, allow_private=self.allow_private)
        )
        with httpx.Client(transport=transport, trust_env=False, timeout=self.timeout_s) as client:
            for _ in range(MAX_REDIRECTS + 1):
                answer = self._get(client, url, deadline)
                if isinstance(answer, bytes):
                    return answer
                url = answer
        raise FetchError(f"the URL redirects more than {MAX_REDIRECTS} times")

    def _get(self, client: httpx.Client, url: str, deadline: float) -> bytes | str:
        """The body, or the URL it redirects to."""
        target, host = self._pinned(url)
        headers = {
            "host": host,
            "accept": "image/*",
            "user-agent": "kinora",
            "accept-encoding": "identity",
        }
        extensions = {"sni_hostname": host.partition(":")[0]}
        try:
            with client.stream("GET", target, headers=headers, extensions=extensions) as response:
                if response.has_redirect_location:
                    return str(httpx.URL(url).join(response.headers["location"]))
                if response.status_code != 200:
                    raise FetchError(f"the URL answered with status {response.status_code}")
                return self._read(response, deadline)
        except httpcore.TimeoutException:
            raise FetchError(f"the file did not arrive within {self.timeout_s:g} s") from None
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            Refused,
            OSError,
        ) as error:
            raise FetchError(f"the URL could not be fetched ({type(error).__name__})") from None

    def _pinned(self, url: str) -> tuple[httpx.URL, str]:
        """The URL with its host replaced by a checked address, and the Host header to send."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise FetchError(f"the URL is not valid: {error}") from None
        if parsed.scheme != "https" or not parsed.host:
            raise FetchError("only https:// URLs and data: URLs are taken")
        if parsed.userinfo:
            raise FetchError("the URL must not carry a user name or password")
        port = 443 if parsed.port is None else parsed.port
        if not 0 < port < 2**16:
            raise FetchError(f"the URL's port cannot be {port}")
        try:
            addresses = self.resolve(parsed.host, port)
        except UnknownHost as error:
            raise FetchError(str(error)) from None
        if not addresses or not (self.allow_private or all(map(is_public, addresses))):
            raise FetchError(f"the host {parsed.host} is not on the public internet")
        return parsed.copy_with(host=str(addresses[0])), parsed.netloc.decode("ascii")

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self.limit_bytes:
                raise FetchError(f"the file is larger than {self.limit_bytes} bytes")
            if time.monotonic() > deadline:
                raise FetchError(f"the file did not arrive within {self.timeout_s:g} s")
        return bytes(body)


class _Bounded(httpx.BaseTransport):
    """What httpx has no setting for: every step of a connection ends by one deadline."""

    def __init__(self, network: Network) -> None:
        self._pool = httpcore.ConnectionPool(httpx.create_ssl_context(), network_backend=network)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    """An answer's body as it arrives."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()

"""Fetch a file from an https URL that a stranger chose, without becoming a way into the private
network (`app.contract.network`).

Each redirect is checked as the first URL is. The body is read up to a limit, all of it within one
deadline. Proxies from the environment are not used: they would resolve the name again, out of our
sight.
"""

import ssl
import time
from dataclasses import dataclass, field

import httpcore
import httpx

from app.contract.addresses import UnknownHost, resolve
from app.contract.network import Network, Refused, Resolve, plain, target_of

MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)


class FetchError(ValueError):
    """The URL, or what it led to, is not something this service will use."""


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches public https URLs. `resolve`, `sockets` and `tls` are replaced in tests."""

    limit_bytes: int
    timeout_s: float
    allow_private: bool = False
    resolve: Resolve = resolve
    sockets: httpcore.NetworkBackend = field(default_factory=httpcore.SyncBackend)
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)

    def fetch(self, url: str) -> bytes:
        """The body at `url`. Raises FetchError with a sentence about what was wrong."""
        network = Network(
            self.resolve,
            time.monotonic() + self.timeout_s,
            allow_private=self.allow_private,
            sockets=self.sockets,
        )
        try:
            with httpcore.ConnectionPool(self.tls, network_backend=network) as pool:
                for _ in range(MAX_REDIRECTS + 1):
                    answer = self._get(pool, url)
                    if isinstance(answer, bytes):
                        return answer
                    url = answer
        except (Refused, UnknownHost) as error:
            raise FetchError(str(error)) from None
        except httpcore.TimeoutException:
            raise FetchError(f"the file did not arrive within {self.timeout_s:g} s") from None
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpx.InvalidURL,
            OSError,
        ) as error:
            raise FetchError(f"the URL could not be fetched ({type(error).__name__})") from None
        raise FetchError(f"the URL redirects more than {MAX_REDIRECTS} times")

    def _get(self, pool: httpcore.ConnectionPool, url: str) -> bytes | str:
        """The body, or the URL it redirects to."""
        parsed = plain(url, "https")
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("host", parsed.netloc),
            ("accept", "image/*"),
            ("user-agent", "kinora"),
            ("accept-encoding", "identity"),
        ]
        with pool.stream("GET", target_of(parsed), headers=headers) as response:
            location = httpx.Headers(response.headers).get("location")
            if response.status in REDIRECTS and location is not None:
                return str(parsed.join(location))
            if response.status != 200:
                raise FetchError(f"the URL answered with status {response.status}")
            body = bytearray()
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > self.limit_bytes:
                    raise FetchError(f"the file is larger than {self.limit_bytes} bytes")
        return bytes(body)

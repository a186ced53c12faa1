"""Sends an event to a URL that a stranger chose: signed, within a deadline, and not into the
private network.

The signatures are those of Standard Webhooks (standardwebhooks.com). The name is resolved once, all
its addresses must be public, and the connection goes to one that was checked. A redirect is an
answer like any other and is not followed. Proxies from the environment are not used.
"""

import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import httpcore
import httpx

from app.contract.addresses import Address, UnknownHost, resolve
from app.contract.network import Network, Refused, plain, target_of

PREFIX = "whsec_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of sending: the receiver's status, or why there is none."""

    seconds: float
    status_code: int | None = None
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Any 2xx; a redirect is not one."""
        return self.status_code is not None and 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends events. `resolve` and `tls` are there to be replaced in tests."""

    timeout_s: float
    allow_private: bool = False
    resolve: Callable[[str, int], list[Address]] = resolve
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)

    def send(self, url: str, secrets: Sequence[str], event_id: str, body: str) -> Answer:
        """POSTs an event's body, signed with each of the secrets; never raises for what the
        receiver does or does not do.
        """
        began = time.monotonic()
        network = Network(
            self.resolve,
            began + self.timeout_s,
            allow_private=self.allow_private,
            sockets=httpcore.SyncBackend(),
        )
        signed = signed_headers(secrets, event_id, int(time.time()), body)
        try:
            parsed = checked(url, allow_private=self.allow_private)
            headers: list[tuple[bytes | str, bytes | str]] = [
                ("host", parsed.netloc),
                ("content-type", "application/json"),
                *signed.items(),
            ]
            content = body.encode()
            with (
                httpcore.ConnectionPool(self.tls, network_backend=network) as pool,
                pool.stream("POST", target_of(parsed), headers=headers, content=content) as answer,
            ):
                return Answer(seconds=time.monotonic() - began, status_code=answer.status)
        except (Refused, UnknownHost) as error:
            said = str(error)
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            OSError,
        ) as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
        return Answer(seconds=time.monotonic() - began, error=said)


def signed_headers(
    secrets: Iterable[str], event_id: str, timestamp: int, body: str
) -> dict[str, str]:
    """The headers by which a receiver knows who sent this, and when."""
    message = f"{event_id}.{timestamp}.{body}".encode()
    signatures = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix(PREFIX))
        digest = hmac.new(key, message, hashlib.sha256).digest()
        signatures.append(f"v1,{base64.b64encode(digest).decode()}")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
        "user-agent": "kinora",
    }


def checked(url: str, *, allow_private: bool) -> httpx.URL:
    """The URL, if it is one to send events to. Raises Refused, a sentence."""
    return plain(url, "https", "http") if allow_private else plain(url, "https")

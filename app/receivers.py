"""The URLs at which clients want to be told of events."""

import ipaddress

from app.contract.addresses import is_public
from app.contract.sending import Refused, checked
from app.contract.settings import Settings
from app.errors import InvalidRequest

MAX_URL_CHARS = 2048


def checked_url(url: str, settings: Settings, param: str) -> str:
    """A receiver's URL as it is. Raises InvalidRequest when nothing could be sent there.

    Where its name leads to is looked at when something is sent, and every time anew.
    """
    allow_private = settings.webhook_allow_private
    try:
        host = checked(url, allow_private=allow_private).host
    except Refused as refused:
        raise _unusable(str(refused), param) from None
    if len(url) > MAX_URL_CHARS:
        raise _unusable(f"the URL may have at most {MAX_URL_CHARS} characters", param)
    if not allow_private and _is_private(host):
        raise _unusable(f"the host {host} is not on the public internet", param)
    return url


def _unusable(why: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: {why}.", param=param, code="invalid_url")


def _is_private(host: str) -> bool:
    """Whether a host that is written as an address is a private one."""
    try:
        return not is_public(ipaddress.ip_address(host))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

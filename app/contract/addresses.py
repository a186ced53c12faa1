"""Whether a host is on the open internet, by the addresses that its name leads to."""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class UnknownHost(ValueError):
    """A name that this machine's resolver does not know."""


def resolve(host: str, port: int) -> list[Address]:
    """Every address of `host`, as this machine's resolver sees it. Raises UnknownHost."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UnknownHost(f"the host {host} is not known") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet, also when it is wrapped in an IPv6 form."""
    if isinstance(address, ipaddress.IPv6Address):
        low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in NAT64:
            inner = low
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or int(address) < 2**32:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved

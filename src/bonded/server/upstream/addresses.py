"""Which addresses a server may be made to connect to by what an upstream says (SSRF).

Checked on the address of the very socket that is about to connect, whatever the name
resolved to before: a second answer of the DNS changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
SocketFactory = Callable[[AddressInfo], socket.socket]

NOT_PUBLIC = "is not a public address"

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """The address is one that must not be connected to."""


def refusal(text: str) -> str:
    """Return why the public internet cannot be at this address; empty if it can."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    for is_so, kind in (
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (not address.is_global, "private or reserved"),
    ):
        if is_so:
            return f"{text} {NOT_PUBLIC} ({kind})"
    return ""


def _unwrapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 one leads to, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def public_socket(info: AddressInfo) -> socket.socket:
    """Return a socket for an address of the public internet.

    Raises:
        AddressRefused: it is not one.
    """
    if why := refusal(str(info[4][0])):
        raise AddressRefused(why)
    return any_socket(info)


def any_socket(info: AddressInfo) -> socket.socket:
    """Return a socket for whatever address."""
    return socket.socket(info[0], info[1], info[2])

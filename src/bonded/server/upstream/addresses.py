"""Which addresses a server may be made to connect to by what an upstream says (SSRF).

Checked on the address of the very socket that is about to connect, whatever the name
resolved to before: a second answer of the DNS changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
SocketFactory = Callable[[AddressInfo], socket.socket]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NOT_PUBLIC = "is not a public address"

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,253}[a-z0-9_])?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is routed between networks (RFC 4291 §2.4)."""
_SPECIAL: tuple[_Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            # IANA's registries of special-purpose addresses, written down: what the standard
            # library calls global depends on its age. First IPv4's.
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            # Azure's platform, which every machine there reaches.
            "168.63.129.16/32",
            # Of IPv6, what is within global unicast. Teredo and 6to4 lead to IPv4.
            *("2001::/23", "2001:db8::/32", "3fff::/20"),
        ),
    )
)


class AddressRefused(OSError):
    """The address is one that must not be connected to."""


def refusal(text: str) -> str:
    """Return why the public internet cannot be at this address; empty if it can."""
    address = _unwrapped(text)
    is_routed = address.version == 4 or address in _GLOBAL_UNICAST
    is_special = not is_routed or any(address in network for network in _SPECIAL)
    for is_so, kind in (
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (is_special or not address.is_global, "private or reserved"),
    ):
        if is_so:
            return f"{text} {NOT_PUBLIC} ({kind})"
    return ""


def _unwrapped(text: str) -> _Address:
    """Return the IPv4 address that an IPv6 one leads to, or the address itself."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


@dataclass(frozen=True, slots=True)
class PrivateHosts:
    """Hosts and networks that may be connected to although they are not public.

    The operator of the server lists them. Whoever sets up a repository picks from the list at
    most: or one project could have the server read what stands beside it.
    """

    names: frozenset[str] = frozenset()
    """Hosts as URLs have them, wherever they are."""
    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse hosts, addresses and networks that are separated by commas.

        Raises:
            ValueError: one of them is neither.
        """
        entries = text.lower().replace(",", " ").split()
        networks = []
        for entry in entries:
            if "/" in entry or ":" in entry or entry.replace(".", "").isdigit():
                networks.append(ipaddress.ip_network(entry))
            elif not _HOST.fullmatch(entry):
                message = f"{entry[:80]!r} is neither a host nor a network"
                raise ValueError(message)
        return cls(frozenset(entry for entry in entries if "/" not in entry), tuple(networks))

    def refusal(self, host: str, address: str) -> str:
        """Return why *host* must not be asked at *address*; empty if it may be."""
        found = _unwrapped(address)
        if host in self.names or any(found in network for network in self.networks):
            return ""
        return refusal(address)

    def sockets_to(self, host: str) -> SocketFactory:
        """Return what makes sockets to *host*, or raises AddressRefused for an address of it."""

        def make(info: AddressInfo) -> socket.socket:
            if why := self.refusal(host, str(info[4][0])):
                raise AddressRefused(why)
            return any_socket(info)

        return make


NOWHERE = PrivateHosts()
"""Public addresses only."""
EVERYWHERE = PrivateHosts(networks=tuple(map(ipaddress.ip_network, ("0.0.0.0/0", "::/0"))))


def public_socket(info: AddressInfo) -> socket.socket:
    """Return a socket for an address of the public internet.

    Raises:
        AddressRefused: it is not one.
    """
    return NOWHERE.sockets_to("")(info)


def any_socket(info: AddressInfo) -> socket.socket:
    """Return a socket for whatever address."""
    return socket.socket(info[0], info[1], info[2])


async def look_behind_proxy(host: str, allowed: PrivateHosts) -> str:
    """Return why *host* must not be asked for by a proxy; empty if it may be.

    The proxy resolves it again, elsewhere: what cannot be known here to be public is not.
    """
    if allowed is EVERYWHERE or host in allowed.names:
        return ""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return f"{host} {NOT_PUBLIC} as far as can be known here: it has no address"
    return next(filter(None, (allowed.refusal(host, str(one[4][0])) for one in found)), "")

"""Whose address a request comes from, behind proxies or not."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping

from bonded.server.web.messages import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HOPS_MAX = 20
"""Proxies that a request may have come through."""

_log = logging.getLogger("bonded.server")


class Addresses:
    """Tells addresses; believes X-Forwarded-For as far as trusted proxies have written it."""

    def __init__(self, trusted: str = "") -> None:
        """Take networks or addresses, separated by commas. Raises ValueError for others."""
        parts = [one.strip() for one in trusted.split(",") if one.strip()]
        self._trusted = tuple(ipaddress.ip_network(one, strict=False) for one in parts)
        self._has_warned = False

    def of(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """Return the address of the client, "" if it has none (a Unix socket)."""
        client = scope.get("client")
        address = client[0] if client else ""
        if not self._trusted or not self._is_trusted(address):
            if not self._has_warned and b"x-forwarded-for" in headers:
                self._warn(address)
            return address
        # Each proxy adds whom it heard from at the end: the last that no proxy of ours
        # stands for is the client; whatever is before it, the client may have made up.
        said = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        for hop in reversed(said.split(",")[-HOPS_MAX:]):
            text = hop.strip()
            if not _is_address(text):
                break
            address = text
            if not self._is_trusted(address):
                break
        return address

    def _warn(self, address: str) -> None:
        # Once: anybody may send that header.
        self._has_warned = True
        _log.warning(
            "%s has sent X-Forwarded-For, and trusted_proxies does not name it. If it is your "
            "proxy, name it there: until then all who come through it count as one, and what one "
            "of them guesses wrongly delays the others",
            address or "A client without an address",
        )

    def _is_trusted(self, address: str) -> bool:
        try:
            one = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(one in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True

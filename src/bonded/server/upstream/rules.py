"""Which addresses a remote repository's upstream may send this server to.

1. The index's own host is always asked; over https it is never asked over http.
2. Files, and redirects of files, may be on any host that the index names, over https if the
   index is, as long as its address is public. A public index keeps its files on another host.
3. Pages come from the index's own host alone, redirected or not.
4. A private, loopback or link-local address is connected to only where the operator of the
   server has named the host or its network: as the index's own origin, if the repository's
   configuration allows it too; as its proxy; or, named by itself, as a host of files.
5. Through a proxy, the same holds for what it is asked for, as its name resolves here.
6. Credentials go to the index's own origin alone: scheme, host and port.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.urls import percent_encoded

_PORTS = {"http": 80, "https": 443}


class Reach(enum.Enum):
    """Where a request may go."""

    OWN = "own"
    """To the index's own origin: with credentials, and to a private address if allowed."""
    NAMED = "named"
    """To a host of files that the operator has named, wherever it is, without credentials."""
    PUBLIC = "public"
    """To the public internet, without credentials."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of *url*. Raises UpstreamFailed if it has none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = SplitResult("", "", "", "", ""), None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UpstreamFailed(f"{shown(url)[:200]!r} is no http(s) URL")
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        """The origin as people write it."""
        return f"{self.scheme}://{self.host}:{self.port}"


def shown(url: str) -> str:
    """Return *url* as messages have it: what follows its path may be a signature, or a token."""
    return percent_encoded(url.partition("?")[0].partition("#")[0])


def reach_of(url: str, index: Origin, private_hosts: Collection[str], *, is_page: bool) -> Reach:
    """Say where a request for *url* may go; *private_hosts* are those that the operator named.

    Raises:
        UpstreamFailed: nowhere; the sentence says by which rule.
    """
    try:
        origin = Origin.of(url)
    except UpstreamFailed as error:
        raise UpstreamFailed(f"The upstream {index} leads astray: {error.message}") from error
    if origin == index:
        return Reach.OWN
    if index.scheme == "https" and origin.scheme != "https":
        raise UpstreamFailed(f"The upstream {index} sends to {origin}, which is not https")
    if is_page and origin.host != index.host:
        raise UpstreamFailed(
            f"The upstream {index} redirects its page to another host, {origin.host}",
            hint="If the index has moved, make a remote repository of its new address. If it sends "
            "on whoever asks for what it does not have, turn that off there (pypiserver: "
            "--disable-fallback): it would answer for names that are not its own.",
        )
    # The same host over https, where it was configured as http, is as good as the same origin.
    is_upgrade = origin.host == index.host and origin.port == 443 and index.port == 80
    if is_upgrade:
        return Reach.OWN
    return Reach.NAMED if origin.host in private_hosts else Reach.PUBLIC

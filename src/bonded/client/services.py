r"""Which host a client asks a credential for, and whether a credential belongs to that host.

The names come from index URLs, and anybody may write an index URL into a requirements file. So a
name is read more strictly than HTTP clients read it: where two of them could see two hosts, as in
`https://evil.example\@packages.example.com/`, there is no host at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from bonded.client.errors import Misconfigured

_PORTS = {"http": 80, "https": 443}
# The authority of RFC 3986 §3.2 without what clients disagree on: no second `@`, no backslash, no
# blank, no percent sign, no letter beyond ASCII.
_SERVICE = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?:[^@/\\?#\[\]\s]*@)?"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?#][^\\\s]*)?",
    re.ASCII | re.IGNORECASE,
)
# A star stands for the first label or a part of it, and two whole labels must follow.
_PATTERN = re.compile(r"(?:[a-z0-9-]*\*[a-z0-9-]*(?=\.[^.:]+\.))?[a-z0-9.-]*(?::[0-9]{1,5})?")
# The same with or without a scheme; its host may also be an address of IPv6.
_ORIGIN = re.compile(rf"(?:https?://)?(?:{_PATTERN.pattern}|\[[0-9a-f:.]+\](?::[0-9]{{1,5}})?)")


@dataclass(frozen=True, slots=True)
class Service:
    """A host as a client names it: by a URL, or by host and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Service | None:
        """Parse the name of a service; None if it names no host of http or https.

        pip, uv and Poetry ask by the URL, and if that brings nothing by the bare host (standards.md
        R-5), each time perhaps in a process of its own. A bare host proves no TLS: whoever asks may
        be about to send the answer in clear. So host and port are a service of http, to which
        nothing belongs that belongs to https; and a host alone names no listener at all.
        """
        match = _SERVICE.fullmatch(text)
        if match is None or not (match["scheme"] or match["port"]):
            return None
        scheme = (match["scheme"] or "http").lower()
        port = int(match["port"]) if match["port"] else _PORTS[scheme]
        return cls(scheme, match["host"].lower(), port)

    def __str__(self) -> str:
        """The service as people read it."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def is_pkg_dev(self) -> bool:
        """Say whether it is a host of Artifact Registry, or of a zone that stands in for it."""
        return self.host.endswith(".pkg.dev")

    def is_at(self, server: str) -> bool:
        """Say whether the service is the *server*, an origin: the same scheme, host and port."""
        return self == Service.parse(server)

    @property
    def is_on_loopback(self) -> bool:
        """Say whether what is sent to it stays on this machine."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    def matches_origin(self, pattern: str) -> bool:
        """Say whether the service is one that *pattern* names: `host:port`, `http://host`.

        Without a scheme it is one of https, whatever its port, unless it is on this machine.
        """
        scheme, _, host = pattern.rpartition("://")
        return self.matches(host, scheme or (self.scheme if self.is_on_loopback else "https"))

    def matches(self, pattern: str, scheme: str) -> bool:
        """Say whether the service is one that *pattern* names: `host`, `*.host`, `host:port`."""
        host, port = re.split(r"(?::([0-9]+))?\Z", pattern, maxsplit=1)[:2]
        expression = re.escape(host).replace(r"\*", "[a-z0-9-]+")
        if not re.fullmatch(expression, self.host):
            return False
        return (self.scheme, self.port) == (scheme, int(port) if port else _PORTS[scheme])


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one server: its origin, and the patterns of the hosts that are it too."""

    server: str
    hosts: tuple[str, ...] = ()

    def cover(self, service: Service) -> bool:
        """Say whether *service* is this server."""
        scheme = self.server.partition(":")[0]
        return service.is_at(self.server) or any(
            service.matches(pattern, scheme) for pattern in self.hosts
        )


def belongs(issuer: str, service: Service, names: Names | None) -> bool:
    """Say whether what the server *issuer* issues may be shown to *service*.

    It may to the issuer itself, and to what is configured as the same server by another name. What
    Google issues may be shown to Google's registry, over https.
    """
    if service.is_at(issuer):
        return True
    if is_google(issuer):
        return service.is_pkg_dev and (service.scheme, service.port) == ("https", 443)
    origin = Service.parse(issuer)
    return bool(origin and names and names.cover(origin) and names.cover(service))


def is_google(origin: str) -> bool:
    """Say whether *origin* is one where Google issues tokens."""
    host = origin.removeprefix("https://")
    return host != origin and (host == "accounts.google.com" or host.endswith(".googleapis.com"))


def is_repository(name: str) -> bool:
    """Say whether *name* is a URL as those of a repository here are: `…/P/R/simple/`, `…/P/R/`.

    The public index has its pages under `/simple/` and takes uploads at an address of one segment,
    so what clients ask about it, and about a bare host, is never taken for one.
    """
    path = re.split("[?#]", name)[0].partition("://")[2].partition("/")[2]
    segments = [part for part in path.split("/") if part]
    of_index = segments[2:3] == ["simple"]
    return "simple" not in segments[:2] and (of_index or len(segments) == 2)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Parse hosts between commas, each perhaps with a star in its first label or with a port.

    Raises:
        Misconfigured: one of them is no host.
    """
    return _parse_list(
        text,
        _PATTERN,
        "is not a host.",
        "Give hosts between commas, such as packages.example.com:8443 or *-python.example.com; a "
        "star stands in the first of three labels or more.",
    )


def parse_origins(text: str) -> tuple[str, ...]:
    """Parse what `Service.matches_origin` reads, between commas: hosts, perhaps with a scheme.

    Raises:
        Misconfigured: one of them is neither.
    """
    return _parse_list(
        text,
        _ORIGIN,
        "is neither a host nor the origin of a server.",
        "Give them between commas, such as packages.example.com:8443, which is one of https, or "
        "http://registry.internal:8080.",
    )


def _parse_list(text: str, form: re.Pattern[str], wrong: str, hint: str) -> tuple[str, ...]:
    """Parse items of one *form* between commas."""
    items = tuple(item for part in text.lower().split(",") if (item := part.strip()))
    for item in items:
        host = item.rpartition("://")[2]
        if not form.fullmatch(item) or not host or host.startswith((".", ":")):
            raise Misconfigured(f"[{item}] {wrong}", hint=hint)
    return items

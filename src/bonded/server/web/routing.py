"""Matches paths against the route table, on the raw path, once.

The table decides everything about a request: handler, permission and the
resource the permission is checked on come from one match, so no second
reading of the path can disagree with the first.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from bonded.server.core.audit import Kind
from bonded.server.core.iam import Permission
from bonded.server.web.messages import Call, Handler


class Open(enum.Enum):
    """Why a route asks for no permission. Every such route says which it is."""

    HEALTH = "says only whether the server works"
    DISCOVERY = "says how to verify what the server signs, and where to sign in"
    HOLDER = "is about the token it is sent, for whoever holds that"
    SOMEBODY = "is for whoever proves to be somebody, and checks that itself"
    ABOUT_SELF = "tells who calls what they may do, and nothing else"
    SELF = "is about the caller alone, who must have signed in"
    COOKIE = "is about whoever has signed in in this browser, and asks them to otherwise"
    STATIC = "is the same for everybody: a style sheet, an icon"
    SIGN_IN = "is where credentials are exchanged, and checks them itself"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the route table.

    *path* has `{parameters}`; `{project}`, `{location}` and `{repository}` name
    the resource on which *permission* is checked. *kind* says whether and when
    the audit log keeps it, under *name*, which is Google's where Google has one.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission | Open
    kind: Kind
    name: str
    is_package_in_body: bool = False
    """Whether not the path but body or query say which package it is about: the handler, which
    reads them, asks again."""
    resources_in_body: Callable[[Call], Awaitable[Sequence[str]]] | None = None
    """What the body names, at least one: the permission is checked on each, not on the path's."""


@dataclass(frozen=True, slots=True)
class Match:
    """The row that a request fits, and its path's parameters, percent-decoded."""

    endpoint: Endpoint
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Pattern:
    endpoint: Endpoint
    literals: tuple[tuple[int, bytes], ...]
    params: tuple[tuple[int, str, bytes], ...]
    """Position, name, and the `:verb` that must follow."""

    @property
    def start(self) -> bytes:
        """The first segment, if it is spelled out."""
        return dict(self.literals).get(1, b"")

    def match(self, segments: list[bytes]) -> dict[str, str] | None:
        for position, literal in self.literals:
            if segments[position] != literal:
                return None
        found = {}
        for position, name, verb in self.params:
            segment = segments[position]
            if verb:
                if not segment.endswith(verb):
                    return None
                segment = segment[: -len(verb)]
            if not segment:
                return None
            found[name] = _decode(segment)
        return found


_PARAMETER = re.compile(r"\{([a-z_]+)\}(:[A-Za-z]+)?")


class RouteTable:
    """Finds the row for a method and a raw path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._methods = dict.fromkeys(endpoint.method for endpoint in self.endpoints)
        by_shape: dict[tuple[str, int], list[_Pattern]] = {}
        for endpoint in self.endpoints:
            pattern, length = _compile(endpoint)
            by_shape.setdefault((endpoint.method, length), []).append(pattern)
        # Of a method and length, those that fit a first segment; b"" stands for any other.
        self._by_start: dict[tuple[str, int, bytes], tuple[_Pattern, ...]] = {}
        for shape, patterns in by_shape.items():
            # What is spelled out wins over what is a parameter; a verb counts as spelled out.
            patterns.sort(
                key=lambda one: (-len(one.literals), -sum(bool(verb) for *_, verb in one.params))
            )
            for start in {b"", *(one.start for one in patterns)}:
                fit = tuple(one for one in patterns if one.start in (b"", start))
                self._by_start[(*shape, start)] = fit

    def match(self, method: str, raw_path: bytes) -> Match | None:
        """Return the row that fits, or None. HEAD is answered by the rows of GET."""
        segments = raw_path.split(b"/")
        method = "GET" if method == "HEAD" else method
        start = segments[1] if len(segments) > 1 else b""
        fit = self._by_start.get((method, len(segments), start))
        for pattern in fit or self._by_start.get((method, len(segments), b""), ()):
            params = pattern.match(segments)
            if params is not None:
                return Match(pattern.endpoint, params)
        return None

    def allowed_methods(self, raw_path: bytes) -> tuple[str, ...]:
        """Return the methods that the path may be asked with; none if it is no path of ours."""
        found = [method for method in self._methods if self.match(method, raw_path)]
        return (*found, "HEAD") if "GET" in found else tuple(found)


def _compile(endpoint: Endpoint) -> tuple[_Pattern, int]:
    literals, params = [], []
    segments = endpoint.path.split("/")
    for position, segment in enumerate(segments):
        parameter = _PARAMETER.fullmatch(segment)
        if parameter:
            params.append((position, parameter[1], (parameter[2] or "").encode()))
        elif position:
            literals.append((position, segment.encode()))
    return _Pattern(endpoint, tuple(literals), tuple(params)), len(segments)


def _decode(segment: bytes) -> str:
    text = segment.decode("latin-1")
    if "%" not in text:
        return text
    # Google's clients encode a slash inside an identifier twice (gar.md §4.3).
    once = unquote(text)
    return unquote(once) if "%2F" in once or "%2f" in once else once

"""The ASGI application: match, authorize, handle, answer. One way in for every request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bonded.server.core.errors import (
    BondedError,
    Forbidden,
    NotFound,
    Rejected,
    TimedOut,
    Unavailable,
)
from bonded.server.web import problems
from bonded.server.web.access import NO_REPOSITORY, Access, resource_of
from bonded.server.web.access_log import AccessLog
from bonded.server.web.audited import Audited
from bonded.server.web.forms import Claims
from bonded.server.web.messages import (
    AN_INDEX,
    Answer,
    Call,
    ClientGone,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
)
from bonded.server.web.routing import Endpoint, Match, Open, RouteTable
from bonded.server.web.sending import send_answer

LOCATION_SUFFIX = "-python"
"""A host `LOCATION-python.ANYTHING` selects that location (gar.md §1.1)."""
DRAIN_MAX_BYTES = 16 * 1024 * 1024
"""How much of a refused upload is still read, so that the client sees why and not a reset."""
HOST_LENGTH_MAX = 255
"""No name in the DNS is longer (RFC 1035 §2.3.4)."""
_HOSTS_MAX = 1024

_log = logging.getLogger("bonded.server")


@dataclass(frozen=True, slots=True)
class Patience:
    """How slowly a request may come: whoever trickles would hold a connection for ever."""

    wait_s: float
    """It may be silent for so long,"""
    grace_s: float
    """and after so long"""
    rate_min_bytes_s: int
    """must have come at least this fast."""
    drain_s: float
    """How long a refused request is still read: it may be nobody's, and come a byte at a time."""


class Application:
    """Plain ASGI: installers ask thousands of times a minute, and a framework's cost is theirs."""

    def __init__(
        self,
        routes: RouteTable,
        access: Access,
        audited: Audited,
        default_location: str,
        patience: Patience,
        *,
        access_log: AccessLog | None = None,
    ) -> None:
        self._routes = routes
        self._access = access
        self._audited = audited
        self._default_location = default_location
        self._patience = patience
        self._access_log = access_log
        self._locations: OrderedDict[bytes, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        started_at = 0.0 if self._access_log is None else time.perf_counter()
        try:
            answer = await self._answer(scope, _Incoming(scope, receive, self._patience), headers)
        except ClientGone:
            return
        try:
            await send_answer(answer, scope, receive, send)
        except ClientGone:
            return
        except Exception as error:
            # The head has gone out: all that is left is to break off, and to say so here.
            is_ours = isinstance(error, BondedError)
            told = (scope["method"], scope["path"], error)
            _log.error("%s %s broke off: %s", *told, exc_info=not is_ours)
            raise
        if self._access_log is not None:
            self._access_log.write(scope, headers, answer, started_at)

    async def _answer(
        self, scope: Scope, incoming: _Incoming, headers: dict[bytes, bytes]
    ) -> Answer:
        path = scope["path"]
        match: Match | None = None
        call: Call | None = None
        try:
            match = self._routes.match(scope["method"], scope["raw_path"])
            if match is None:
                await incoming.drain()
                return self._no_route(scope)
            call = self._call(match, scope, incoming, headers)
            await self._admit(match, call)
            return await self._audited.handle(match.endpoint, call)
        except BondedError as error:
            if isinstance(error, Unavailable):
                # The client can do nothing about it; the operator reads the cause here.
                _log.warning("%s %s: %s", scope["method"], path, problems.told_in_log(error))
            if match is not None and call is not None:
                claimed = await self._hear(match.endpoint, call, incoming, error)
                self._audited.refused(match.endpoint, call, error, claimed)
            await incoming.drain()
            return problems.problem_reply(error, path, headers.get(b"accept", b""))
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001
            # The outermost boundary: logged once, with everything, and told to nobody.
            _log.exception("%s %s failed", scope["method"], path)
            if match is not None and call is not None:
                self._audited.crashed(match.endpoint, call)
            return problems.crash_reply(path)

    async def _hear(
        self, endpoint: Endpoint, call: Call, incoming: _Incoming, error: BondedError
    ) -> Mapping[str, str]:
        """Return what a refused upload says that it is: who tried to publish what is asked."""
        if not endpoint.is_package_in_body or call.act or not isinstance(error, Forbidden):
            return {}
        claims = Claims(call.headers)
        await incoming.drain(claims.hear)
        return claims.found()

    def _call(
        self, match: Match, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Call:
        location = self._location_of(headers.get(b"host", b""))
        resource, repository = resource_of(match.params, location)
        return Call(scope, receive, scope["method"], headers, match.params, repository, resource)

    async def _admit(self, match: Match, call: Call) -> None:
        permission = match.endpoint.permission
        if permission is Open.SELF:
            identified = await self._access.identify(call.headers.get(b"authorization"))
            call.principal = identified.principal
            self._access.require_self(call.principal)
        elif not isinstance(permission, Open):
            identified = await self._access.identify(call.headers.get(b"authorization"))
            call.principal = identified.principal
            call.access_serial = identified.access_serial
            call.began_at = self._access.now()
            named = match.endpoint.resources_in_body
            for resource in (call.resource,) if named is None else await named(call):
                call.resource = resource
                await self._access.require(
                    call,
                    permission,
                    identified,
                    is_package_in_body=match.endpoint.is_package_in_body,
                )
        if call.repository is NO_REPOSITORY:
            # The REST names the location in its path; there, nobody looks for an index.
            hint = "" if "location" in match.params else AN_INDEX
            raise NotFound(_no_repository(match.params, self._default_location), hint=hint)

    def _location_of(self, host: bytes) -> str:
        location = self._locations.get(host)
        if location is None:
            if len(host) > HOST_LENGTH_MAX:
                raise Rejected(f"The Host header is longer than {HOST_LENGTH_MAX} bytes")
            label = host.decode("latin-1").partition(".")[0].lower()
            location = self._default_location
            if label.endswith(LOCATION_SUFFIX) and label != LOCATION_SUFFIX:
                location = label.removesuffix(LOCATION_SUFFIX)
            self._locations[host] = location
            if len(self._locations) > _HOSTS_MAX:
                self._locations.popitem(last=False)
        return location

    def _no_route(self, scope: Scope) -> Reply:
        allowed = self._routes.allowed_methods(scope["raw_path"])
        if allowed:
            return problems.method_reply(scope["path"], allowed)
        raise NotFound(
            "There is nothing at this address",
            hint=AN_INDEX,
        )


def _no_repository(params: Mapping[str, str], default_location: str) -> str:
    """Say of what cannot be a repository's name the same as of one that could be, but is not."""
    location = params.get("location", default_location)
    parts = (params["project"][:80], location[:80], params["repository"][:80])
    return "Repository projects/{}/locations/{}/repositories/{} does not exist".format(*parts)


class _Incoming:
    """The request's body, which knows whether all of it has been read.

    Past its end, a server answers `receive` only when the client goes: whoever
    waited for more there would wait for a client that waits for its answer.
    """

    def __init__(self, scope: Scope, receive: Receive, patience: Patience) -> None:
        self._receive = receive
        self._patience = patience
        self._is_read = scope["method"] in ("GET", "HEAD")
        self._size_bytes = 0
        self._started_at = 0.0

    async def __call__(self) -> Message:
        """Return the next part. Raises TimedOut if it comes too slowly."""
        patience = self._patience
        clock = asyncio.get_running_loop().time
        self._started_at = self._started_at or clock()
        try:
            async with asyncio.timeout(patience.wait_s):
                message = await self._receive()
        except TimeoutError as error:
            self._is_read = True
            raise TimedOut(f"Nothing has come for {patience.wait_s} s") from error
        self._is_read = message["type"] != "http.request" or not message.get("more_body")
        self._size_bytes += len(message.get("body", b""))
        elapsed_s = clock() - self._started_at
        least_bytes = (elapsed_s - patience.grace_s) * patience.rate_min_bytes_s
        if not self._is_read and self._size_bytes < least_bytes:
            self._is_read = True
            raise TimedOut(
                f"The request comes at less than {patience.rate_min_bytes_s} bytes a second"
            )
        return message

    async def drain(self, hear: Callable[[bytes], object] = len) -> None:
        """Read on, within bounds, and forget what comes; whatever happens, the answer follows.

        *hear* is told of it.
        """
        drained = 0
        with suppress(TimedOut, TimeoutError):
            async with asyncio.timeout(self._patience.drain_s):
                while not self._is_read and drained < DRAIN_MAX_BYTES:
                    body = (await self()).get("body", b"")
                    drained += len(body)
                    hear(body)
        self._is_read = True

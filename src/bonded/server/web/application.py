"""The ASGI application: match, authorize, handle, answer. One way in for every request."""

from __future__ import annotations

import logging
from collections import OrderedDict

from bonded.server.core.errors import BondedError, NotFound
from bonded.server.core.iam import ANONYMOUS
from bonded.server.web import problems
from bonded.server.web.access import Access, resource_of
from bonded.server.web.messages import (
    Answer,
    Call,
    ClientGone,
    Message,
    Receive,
    Reply,
    Scope,
    Send,
)
from bonded.server.web.routing import Match, Open, RouteTable
from bonded.server.web.sending import send_answer

LOCATION_SUFFIX = "-python"
"""A host `LOCATION-python.ANYTHING` selects that location (DESIGN: wire contract)."""
DRAIN_MAX_BYTES = 16 * 1024 * 1024
"""How much of a refused upload is still read, so that the client sees why and not a reset."""
_HOSTS_MAX = 1024

_log = logging.getLogger("bonded.server")


class Application:
    """Plain ASGI: installers ask thousands of times a minute, and a framework's cost is theirs."""

    def __init__(self, routes: RouteTable, access: Access, default_location: str) -> None:
        self._routes = routes
        self._access = access
        self._default_location = default_location
        self._locations: OrderedDict[bytes, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        try:
            answer = await self._answer(scope, _Incoming(scope, receive), headers)
        except ClientGone:
            return
        await send_answer(answer, scope, send)

    async def _answer(
        self, scope: Scope, incoming: _Incoming, headers: dict[bytes, bytes]
    ) -> Answer:
        path = scope["path"]
        try:
            match = self._routes.match(scope["method"], scope["raw_path"])
            if match is None:
                return self._no_route(scope)
            call = await self._admit(match, scope, incoming, headers)
            return await match.endpoint.handler(call)
        except BondedError as error:
            await incoming.drain()
            return problems.problem_reply(error, path, headers.get(b"accept", b""))
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001
            # The outermost boundary: logged once, with everything, and told to nobody.
            _log.exception("%s %s failed", scope["method"], path)
            return problems.crash_reply(path)

    async def _admit(
        self, match: Match, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Call:
        permission = match.endpoint.permission
        location = self._location_of(headers.get(b"host", b""))
        resource, repository = resource_of(match.params, location)
        principal = ANONYMOUS
        if not isinstance(permission, Open):
            principal = await self._access.require(
                headers.get(b"authorization"), permission, resource
            )
        return Call(scope, receive, scope["method"], headers, match.params, repository, principal)

    def _location_of(self, host: bytes) -> str:
        location = self._locations.get(host)
        if location is None:
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
            hint="An index is at /PROJECT/REPOSITORY/simple/.",
        )


class _Incoming:
    """The request's body, which knows whether all of it has been read.

    Past its end, a server answers `receive` only when the client goes: whoever
    waited for more there would wait for a client that waits for its answer.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._is_read = scope["method"] in ("GET", "HEAD")

    async def __call__(self) -> Message:
        message = await self._receive()
        self._is_read = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Read on, within bounds, and forget what comes."""
        drained = 0
        while not self._is_read and drained < DRAIN_MAX_BYTES:
            drained += len((await self()).get("body", b""))

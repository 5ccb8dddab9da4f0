"""Hands a request to its handler in the name of whoever asked, and to the audit log."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bonded.server.core.audit import DONE, MUTATIONS, Act, Kind, Outcome, acting
from bonded.server.core.errors import BondedError, Ended, Forbidden, Unauthenticated
from bonded.server.core.iam import Principal
from bonded.server.identity.throttle import network_of
from bonded.server.operations.recording import Trail
from bonded.server.web.addresses import Addresses
from bonded.server.web.messages import Answer, Call
from bonded.server.web.problems import CRASHED, google_code, sentence_of
from bonded.server.web.routing import Endpoint, Open

_ALWAYS = (*MUTATIONS, Kind.SIGN_IN)
"""What is logged however it ends."""


class Audited:
    """Calls handlers, and sees to it that what the route table says is logged."""

    def __init__(self, trail: Trail, addresses: Addresses) -> None:
        self._trail = trail
        self._addresses = addresses

    async def handle(self, endpoint: Endpoint, call: Call) -> Answer:
        """Let the row's handler answer."""
        kind = endpoint.kind
        if kind in MUTATIONS or kind is Kind.SIGN_IN:
            return await self._act(endpoint, call)
        if kind is Kind.DOWNLOAD and self._trail.has_downloads and call.method == "GET":
            return await self._download(endpoint, call)
        return await endpoint.handler(call)

    async def _act(self, endpoint: Endpoint, call: Call) -> Answer:
        with acting(self._act_of(endpoint, call)) as act:
            call.act = act
            answer = await endpoint.handler(call)
        if act.is_recorded:
            self._trail.wake()
        else:
            # It changed nothing, or is no change: there was no transaction to keep it in.
            self._record(act, act.outcome)
        return answer

    async def _download(self, endpoint: Endpoint, call: Call) -> Answer:
        with acting(self._act_of(endpoint, call)) as act:
            answer = await endpoint.handler(call)
        # What notes nothing was a redirection or core metadata, and 304 sends nothing.
        if act.details and answer.status in (200, 206):
            self._record(act, DONE)
        return answer

    def refused(
        self, endpoint: Endpoint, call: Call, error: BondedError, claimed: Mapping[str, str]
    ) -> None:
        """Record that a request was not let in, or not done, and what it *claimed* to be about."""
        if endpoint.kind not in _ALWAYS:
            is_denial = isinstance(error, Unauthenticated | Forbidden)
            # How a client asks what to send is no denial: pip does so before every install.
            is_asking = call.principal.is_anonymous and b"authorization" not in call.headers
            if endpoint.kind is Kind.NOTHING or is_asking or not is_denial:
                return
        act = call.act or self._act_of(endpoint, call)
        act.details.update(claimed)
        is_stranger = act.principal.is_anonymous
        if isinstance(error, Ended) and is_stranger:
            # It was proved who they were. They are let in no more, and may leave no more entries
            # than strangers may: whoever is shut out must not fill the log.
            act.principal = Principal(error.member, error.credential)
        self._record(act, Outcome(google_code(error), sentence_of(error)), is_stranger=is_stranger)

    def crashed(self, endpoint: Endpoint, call: Call) -> None:
        """Record that a request failed for a reason that nobody foresaw."""
        if endpoint.kind in _ALWAYS:
            self._record(call.act or self._act_of(endpoint, call), Outcome(13, CRASHED))

    def _record(self, act: Act, outcome: Outcome, *, is_stranger: bool | None = None) -> None:
        if is_stranger is None:
            is_stranger = act.principal.is_anonymous
        # Nobody has changed nothing: to revoke what is no token, say, is no news.
        if is_stranger and outcome is DONE and act.kind in MUTATIONS:
            return
        self._trail.record(act, outcome, stranger=network_of(act.address) if is_stranger else None)

    def _act_of(self, endpoint: Endpoint, call: Call) -> Act:
        permission = endpoint.permission
        return Act(
            at=self._trail.clock(),
            kind=endpoint.kind,
            method=endpoint.name,
            resource=_resource_name(endpoint, call),
            principal=call.principal,
            permission="" if isinstance(permission, Open) else permission,
            checked_on=str(call.resource),
            address=self._addresses.of(call.scope, call.headers),
            client=call.headers.get(b"user-agent", b"").decode("latin-1"),
        )


def _resource_name(endpoint: Endpoint, call: Call) -> str:
    """Return what the request is about; in Google's REST, the path says so."""
    if not endpoint.path.startswith("/v1/"):
        return str(call.resource)
    name = _VERB.sub("", endpoint.path.removeprefix("/v1/"))
    return _PARAMETER.sub(lambda match: call.params[match[1]], name)


_VERB = re.compile(r":[A-Za-z]+$")
_PARAMETER = re.compile(r"\{([a-z_]+)\}")

"""Introspection (RFC 7662), revocation (RFC 7009), and tokens narrower than one's own.

Whoever holds a token may ask about it and end it: these endpoints want no other
credential, and say nothing that the token would not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bonded.server.core.errors import Rejected, Unauthenticated
from bonded.server.core.iam import TokenLimits
from bonded.server.core.names import parse_repository_path
from bonded.server.identity.status import Tokens
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.networks import Failures
from bonded.server.web.v1 import wire

REPOSITORIES_MAX = 50
"""A token names its repositories, and has to fit into a header."""
NO_STORE = ((b"cache-control", b"no-store"),)


class TokenStatus:
    """Answers about tokens."""

    def __init__(
        self, tokens: Tokens, access: Access, failures: Failures, life_max: timedelta
    ) -> None:
        self._tokens = tokens
        self._failures = failures
        self._access = access
        self._life_max = life_max

    async def introspect(self, call: Call) -> Answer:
        """Answer whether an access token is good, whose it is, and what narrows it.

        Raises:
            TooMany: too much that was none has come from this address.
        """
        token = await self._tokens.find(await _token(call))
        if token is None:
            self._failures.count(call)
            return json_reply({"active": False}, headers=NO_STORE)
        view: dict[str, Any] = {
            "active": True,
            "token_type": "Bearer",
            "sub": token.member,
            "username": _name_of(token.member),
            "iat": int(token.issued_at),
            "exp": int(token.expires_at),
            "jti": token.id,
        }
        if token.limits is not None:
            view["limits"] = {
                "repositories": list(token.limits.repositories),
                "readOnly": token.limits.read_only,
                "uploadOnly": token.limits.upload_only,
                "uploads": list(token.limits.uploads),
            }
        return json_reply(view, headers=NO_STORE)

    async def revoke(self, call: Call) -> Answer:
        """End a token at once; what is no token has ended already (RFC 7009 §2.2).

        Raises:
            TooMany: too much that was none has come from this address.
        """
        if not await self._tokens.revoke(await _token(call)):
            self._failures.count(call)
        return json_reply({}, headers=NO_STORE)

    async def limit(self, call: Call) -> Answer:
        """Answer with a token that does less than the credential of this request.

        Raises:
            Unauthenticated: there is no credential.
            Rejected: the limits are malformed, or reach beyond those of the credential.
        """
        authorization = call.headers.get(b"authorization")
        if authorization is None:
            raise Unauthenticated(
                "The request has no valid authentication credentials",
                hint="Send the access token that is to be narrowed.",
            )
        known = await self._access.identify(authorization)
        body = await call.json()
        read_only = wire.parse_flag(body, "readOnly")
        named = wire.parse_strings(body, "repositories")
        if len(named) > REPOSITORIES_MAX:
            raise Rejected(f"A token may name {REPOSITORIES_MAX} repositories, not {len(named)}")
        repositories = tuple(dict.fromkeys(str(parse_repository_path(one)) for one in named))
        token, ends_at = self._tokens.narrow(
            known.principal,
            known.expires_at,
            TokenLimits(repositories, read_only),
            wire.parse_duration(body, "lifetime", self._life_max),
        )
        view = {"accessToken": token, "expireTime": wire.timestamp(ends_at)}
        return json_reply(view, headers=NO_STORE)


async def _token(call: Call) -> str:
    form = await call.form()
    if not form.get("token"):
        raise Rejected("token is missing")
    return form["token"]


def _name_of(member: str) -> str:
    """Return the address of an account or user; an outside identity has no shorter name."""
    return member if member.startswith("principal:") else member.partition(":")[2]

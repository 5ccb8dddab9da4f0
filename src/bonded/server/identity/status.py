"""What becomes of a token that was issued: whether it is still good, its end, a narrower one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Unauthenticated
from bonded.server.core.iam import Ancestor, Principal, TokenLimits
from bonded.server.identity.origins import Origins
from bonded.server.identity.tokens import AccessToken, TokenIssuer
from bonded.server.metadata.store import MetadataStore

TOKEN_LENGTH_MAX = 16 * 1024


class Tokens:
    """Tells about, ends and narrows tokens, for whoever holds them."""

    def __init__(
        self,
        metadata: MetadataStore,
        issuer: TokenIssuer,
        origins: Origins,
        clock: Clock,
        life_max: timedelta,
    ) -> None:
        self._metadata = metadata
        self._issuer = issuer
        self._origins = origins
        self._clock = clock
        self._life_max = life_max

    async def find(self, text: str) -> AccessToken | None:
        """Return what a live access token says; None if *text* is none."""
        try:
            token = await self._issuer.verify(text[:TOKEN_LENGTH_MAX])
            await self._origins.check(token)
        except Unauthenticated:
            return None
        return token

    async def revoke(self, text: str) -> bool:
        """End an access token and what was made with it, or the sign-in of a refresh token.

        Of what is neither, nothing comes: say whether it was one.
        """
        try:
            # By its signature alone: what was made with one that has expired may be alive, and
            # one whose origin is disabled comes back with that.
            await self._end(await self._issuer.read(text[:TOKEN_LENGTH_MAX]))
        except Unauthenticated:
            return await self._end_session(text)
        return True

    async def _end(self, token: AccessToken) -> None:
        now = self._clock()
        until = max(token.expires_at, self._last_end(token.ancestry))
        async with self._metadata.read() as tx:
            is_over = until <= now.timestamp() or await tx.tokens.is_revoked(token.id)
        # Asked before: a transaction leaves an entry in the audit log, and anybody may ask this.
        if not is_over:
            async with self._metadata.transaction() as tx:
                await tx.tokens.revoke(token.id, datetime.fromtimestamp(until, UTC), now)

    async def _end_session(self, text: str) -> bool:
        async with self._metadata.read() as tx:
            session = await tx.sessions.find_by_secret(sha256_of(text[:TOKEN_LENGTH_MAX].encode()))
        if session is not None:
            async with self._metadata.transaction() as tx:
                await tx.sessions.remove(session.address, session.id)
        return session is not None

    def _last_end(self, ancestry: Sequence[Ancestor]) -> float:
        """Return when the last of everything that is made with a credential is over."""
        return ancestry[-1].issued_at + self._life_max.total_seconds()

    def lend(self, principal: Principal, life: timedelta) -> timedelta:
        """Return how long a token may live that *principal* gets of an account, of *life* asked.

        However often an account is acted as with the token of another, all of them end within
        the longest life of one, counted from the first; and where that life was chosen, with it.

        Raises:
            Unauthenticated: that time is over.
        """
        now = self._clock().timestamp()
        ends_at = self._last_end(principal.ancestry)
        if principal.limits is not None and principal.limits.ends_at is not None:
            ends_at = min(ends_at, principal.limits.ends_at)
        if ends_at - now < 1:
            raise _over()
        return min(life, timedelta(seconds=int(ends_at - now)))

    def narrow(
        self, principal: Principal, until: float, limits: TokenLimits, life: timedelta | None
    ) -> tuple[str, datetime]:
        """Return a token that does at most what *principal*'s own credential does, and its end.

        It hangs on that credential and on its origin, and does not outlive it, which
        is good *until* then: or a chain of tokens could go on for ever.

        Raises:
            Unauthenticated: the credential has ended.
            Rejected: *limits* reach beyond those of the credential, or that was narrowed
                too often.
        """
        now = self._clock()
        if until <= now.timestamp():
            # A signed assertion may be late by as much as clocks differ; what we issue may not.
            raise _over()
        left = timedelta(seconds=int(until - now.timestamp()))
        if life is not None:
            left = min(left, life)
            limits = replace(limits, ends_at=(now + left).timestamp())
        token, life_s = self._issuer.issue(
            principal.member,
            principal.credential,
            also=principal.also,
            limits=limits if principal.limits is None else principal.limits.narrowed(limits),
            life=left,
            ancestors=principal.ancestry,
        )
        return token, now + timedelta(seconds=life_s)


def _over() -> Unauthenticated:
    return Unauthenticated(
        "The credential has expired, and what is made with it would be dead",
        hint="Sign another, or fetch a new token.",
    )

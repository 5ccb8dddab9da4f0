"""What becomes of a token that was issued: whether it is still good, its end, a narrower one."""

from __future__ import annotations

from datetime import datetime, timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Unauthenticated
from bonded.server.core.iam import Principal, TokenLimits
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
        token = await self.find(text)
        now = self._clock()
        if token is not None:
            async with self._metadata.transaction() as tx:
                # What was made with it, by acting as an account, may live longer than itself.
                await tx.tokens.revoke(token.id, now + self._life_max, now)
            return True
        async with self._metadata.read() as tx:
            session = await tx.sessions.find_by_secret(sha256_of(text[:TOKEN_LENGTH_MAX].encode()))
        # Asked before: a transaction leaves an entry in the audit log, and anybody may ask this.
        if session is not None:
            async with self._metadata.transaction() as tx:
                await tx.sessions.remove(session.address, session.id)
        return session is not None

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
            raise Unauthenticated(
                "The credential has expired, and what is made with it would be dead",
                hint="Sign another, or fetch a new token.",
            )
        left = timedelta(seconds=int(until - now.timestamp()))
        token, life_s = self._issuer.issue(
            principal.member,
            principal.credential,
            also=principal.also,
            limits=limits if principal.limits is None else principal.limits.narrowed(limits),
            life=left if life is None else min(left, life),
            ancestors=principal.ancestry,
        )
        return token, now + timedelta(seconds=life_s)

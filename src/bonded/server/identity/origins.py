"""What must stay alive for a credential to be good: a key, an account, a sign-in, a provider.

A token names its origin as `kind:name`. Whoever ends an origin advances the
access serial in the same transaction; the next request with a token that hangs
on it is verified again, on every replica, and fails.

A token that was made with another credential, a narrower one or one of a service
account that somebody acts as, names that too: it ends when that credential does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated
from bonded.server.identity.assertions import NEW_KEY
from bonded.server.identity.tokens import FETCH, AccessToken
from bonded.server.metadata.store import AccountKey, MetadataStore, ServiceAccount

FOR_EVER = float("inf")
_SIGN_IN = "Sign in as another."

Origin = Callable[[str, AccessToken], Awaitable[float]]
"""Given an origin's name and a token that hangs on it, says until when the token is good
(seconds since 1970; FOR_EVER for as long as it says itself).

Raises Unauthenticated when the origin is gone, disabled or expired, or is not the member's.
"""


class Origins:
    """Asks the origin of a token whether it is still alive, and whether the token is."""

    def __init__(self, metadata: MetadataStore, by_kind: Mapping[str, Origin]) -> None:
        self._metadata = metadata
        self._by_kind = by_kind

    async def check(self, token: AccessToken) -> float:
        """Return until when *token* is good (seconds since 1970).

        Raises:
            Unauthenticated: it has been revoked, or its origin is no more; or so has been
                a credential that it was made with.
        """
        async with self._metadata.read() as tx:
            for one in token.ancestry:
                if one.token_id and await tx.tokens.is_revoked(one.token_id):
                    raise Unauthenticated("The access token has been revoked", hint=FETCH)
        good_until = min(token.expires_at, await self._ask(token))
        asked = {(token.member, token.origin)}
        for one in token.ancestors:
            if (one.member, one.origin) not in asked:
                asked.add((one.member, one.origin))
                made_with = AccessToken(
                    one.member, one.origin, token.expires_at, issued_at=one.issued_at
                )
                good_until = min(good_until, await self._ask(made_with))
        return good_until

    async def _ask(self, token: AccessToken) -> float:
        kind, _, name = token.origin.partition(":")
        origin = self._by_kind.get(kind)
        if origin is None:
            raise Unauthenticated("The access token is not valid", hint=FETCH)
        return await origin(name, token)


class AccountOrigins:
    """Service accounts and their keys as origins."""

    def __init__(self, metadata: MetadataStore, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock

    async def get_key(self, key_id: str) -> AccountKey:
        """Return a key, whether it is good or not. Raises Unauthenticated if there is none."""
        async with self._metadata.read() as tx:
            key = await tx.accounts.find_key(key_id)
        if key is None:
            raise _gone()
        return key

    async def live_key(self, key_id: str) -> AccountKey:
        """Return a key that is good now. Raises Unauthenticated."""
        return (await self.live(key_id))[1]

    async def live(self, key_id: str) -> tuple[ServiceAccount, AccountKey]:
        """Return a key that is good now, and whose it is. Raises Unauthenticated."""
        async with self._metadata.read() as tx:
            key = await tx.accounts.find_key(key_id)
            account = None if key is None else await tx.accounts.find(key.email)
        if key is None or account is None:
            raise _gone()
        if account.is_disabled:
            raise _disabled(account.email)
        if key.is_disabled:
            raise Unauthenticated(
                "The service-account key is disabled",
                hint="Have it enabled with `bonded iam service-accounts keys enable`.",
            )
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise Unauthenticated("The service-account key has expired", hint=NEW_KEY)
        return account, key

    async def check_key(self, key_id: str, token: AccessToken) -> float:
        """Check a token that was issued for a key (`key:ID`)."""
        key = await self.live_key(key_id)
        if token.member != f"serviceAccount:{key.email}":
            raise Unauthenticated("The access token is not valid", hint=FETCH)
        return FOR_EVER if key.expires_at is None else key.expires_at.timestamp()

    async def check_account(self, unique_id: str, token: AccessToken) -> float:
        """Check a token that was issued for an account without a key (`account:UNIQUE_ID`).

        By its number, which never changes hands: an account that is made later, in a project
        that is made anew too, may have the address.
        """
        email = token.member.removeprefix("serviceAccount:")
        async with self._metadata.read() as tx:
            account = await tx.accounts.find(email)
        if account is None or account.unique_id != unique_id:
            raise Unauthenticated(
                f"The service account {email} of this token does not exist any more", hint=_SIGN_IN
            )
        if account.is_disabled:
            raise _disabled(email)
        return FOR_EVER


def _gone() -> Unauthenticated:
    return Unauthenticated("The service-account key does not exist any more", hint=NEW_KEY)


def _disabled(email: str) -> Unauthenticated:
    return Unauthenticated(
        f"The service account {email} is disabled",
        hint=f"Have it enabled with `bonded iam service-accounts enable {email}`: "
        "another key of it would not help.",
    )

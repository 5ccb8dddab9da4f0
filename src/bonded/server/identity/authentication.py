"""Says who is calling. Verifies a credential once, then remembers it until something changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from bonded.server.core.audit import note, proved
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated, proved_to_be
from bonded.server.core.iam import Ancestor, Permission, Principal
from bonded.server.core.names import RepositoryName
from bonded.server.identity.assertions import AssertionVerifier, is_assertion
from bonded.server.identity.credentials import (
    PresentedKeyFile,
    PresentedToken,
    parse_authorization,
)
from bonded.server.identity.groups import GroupBook
from bonded.server.identity.keys import public_half
from bonded.server.identity.origins import AccountOrigins, Origins
from bonded.server.identity.tokens import ID_TOKEN_LIFE_S, IdTokenIssuer, TokenIssuer
from bonded.server.identity.uses import Uses
from bonded.server.metadata.store import AccountKey

REMEMBERED_MAX = 16_384
NOTE_EVERY_S = 60
"""How exactly it is known when a key was last used."""
KEY_FILE_LIFE_S = 3600
"""How long a key file is remembered before its private key is parsed again."""
KEY_FILES_AT_ONCE_MAX = 2
"""Parsing an RSA key takes milliseconds of CPU: nobody may keep every thread busy with it."""


@dataclass(slots=True)
class Identified:
    """Whom a credential proves, until when, and as of which access serial that was verified."""

    principal: Principal
    expires_at: float
    access_serial: int
    noted_at: float
    passes: set[tuple[Permission, str | RepositoryName]] = field(default_factory=set)
    """What was found to be granted to it outright, as of that serial."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What an assertion was exchanged for."""

    kind: str
    """What RFC 6749 §5.1 or OpenID Connect Core §3.1.3.3 calls it."""
    token: str = field(repr=False)
    life_s: int


class Authenticator:
    """Turns Authorization headers into principals.

    What was verified is remembered under the hash of the header, together with
    the access serial: disabling a key or account advances that serial, and the
    next request verifies again, on every replica.
    """

    def __init__(
        self,
        tokens: TokenIssuer,
        id_tokens: IdTokenIssuer,
        assertions: AssertionVerifier,
        origins: Origins,
        accounts: AccountOrigins,
        *,
        uses: Uses,
        groups: GroupBook,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._id_tokens = id_tokens
        self._uses = uses
        self._groups = groups
        self._assertions = assertions
        self._origins = origins
        self._accounts = accounts
        self._clock = clock
        self._known: OrderedDict[bytes, Identified] = OrderedDict()
        self._key_files = asyncio.Semaphore(KEY_FILES_AT_ONCE_MAX)

    async def identify(
        self, header: bytes, access_serial: int, as_of: float | None = None
    ) -> Identified:
        """Return whom the header proves, and until when, as of *access_serial*.

        What ran out after *as_of* (seconds since 1970; now unless said) still proves somebody.

        Raises:
            Unauthenticated: nobody.
        """
        fingerprint = hashlib.sha256(header).digest()
        known = self._known.get(fingerprint)
        now = self._clock().timestamp() if as_of is None else as_of
        if known is None or known.access_serial != access_serial or known.expires_at <= now:
            principal, expires_at = await self._verify(header, now)
            # Once for this credential and serial: decisions find the groups there.
            principal = replace(principal, groups=await self._groups.groups_of(principal))
            known = Identified(principal, expires_at, access_serial, noted_at=0.0)
            self._known[fingerprint] = known
            self._known.move_to_end(fingerprint)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        if now - known.noted_at >= NOTE_EVERY_S:
            known.noted_at = now
            self._uses.note(known.principal, now)
        return known

    async def _verify(self, header: bytes, now: float) -> tuple[Principal, float]:
        match parse_authorization(header):
            case PresentedToken(text):
                return await self._verify_token(text, now)
            case PresentedKeyFile() as presented:
                return await self._verify_key_file(presented)

    async def _verify_token(self, text: str, now: float) -> tuple[Principal, float]:
        try:
            token = await self._tokens.verify(text, now)
        except Unauthenticated:
            if not is_assertion(text):
                raise
            assertion = await self._assertions.verify_bearer(text, now)
            with proved_to_be(*assertion.proves):
                key = await self._accounts.live_key(assertion.key_id)
            return self._principal(key), _sooner(assertion.expires_at, key)
        with proved_to_be(token.member, token.origin):
            expires_at = await self._origins.check(token)
        principal = Principal(
            token.member, token.origin, token.also, token.limits, ancestry=token.ancestry
        )
        return principal, expires_at

    async def _verify_key_file(self, presented: PresentedKeyFile) -> tuple[Principal, float]:
        key = await self._accounts.get_key(presented.key_id)
        public = None
        if presented.email == key.email:
            async with self._key_files:
                public = await asyncio.to_thread(public_half, presented.private_key_pem)
        if public is None or not hmac.compare_digest(
            public.strip().encode(), key.public_key_pem.strip().encode()
        ):
            raise Unauthenticated("The service-account key is not valid")
        # Whose it is comes first: nobody else is to hear that it is disabled, or who is.
        with proved_to_be(f"serviceAccount:{key.email}", f"key:{key.id}"):
            key = await self._accounts.live_key(key.id)
        return self._principal(key), _sooner(self._clock().timestamp() + KEY_FILE_LIFE_S, key)

    async def exchange(self, assertion: str) -> Exchanged:
        """Return the token that an assertion asks for (RFC 7523 §2.1; gar.md §5.3).

        An ID token needs no permission: whoever holds the key can say who they are anyway.

        Raises:
            Unauthenticated: the assertion proves nobody.
        """
        verified = await self._assertions.verify_grant(assertion)
        with proved_to_be(*verified.proves):
            account, key = await self._accounts.live(verified.key_id)
        principal = self._principal(key)
        self._uses.note(principal, self._clock().timestamp())
        if verified.target_audience is not None:
            proved(principal)
            note(member=principal.member, audience=verified.target_audience)
            token = self._id_tokens.about(account, verified.target_audience, has_email=True)
            return Exchanged("id_token", token, ID_TOKEN_LIFE_S)
        token, life_s = self._tokens.issue(principal.member, principal.credential)
        return Exchanged("access_token", token, life_s)

    def _principal(self, key: AccountKey) -> Principal:
        member, origin = f"serviceAccount:{key.email}", f"key:{key.id}"
        ancestor = Ancestor(member, origin, self._clock().timestamp())
        return Principal(member, credential=origin, ancestry=(ancestor,))


def _sooner(expires_at: float, key: AccountKey) -> float:
    # What a key vouches for does not outlive it.
    return expires_at if key.expires_at is None else min(expires_at, key.expires_at.timestamp())

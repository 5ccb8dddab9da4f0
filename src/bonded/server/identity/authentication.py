"""Says who is calling. Verifies a credential once, then remembers it until something changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated
from bonded.server.core.iam import Principal
from bonded.server.identity.assertions import AssertionVerifier, is_assertion
from bonded.server.identity.credentials import (
    PresentedKeyFile,
    PresentedToken,
    parse_authorization,
)
from bonded.server.identity.keys import public_half
from bonded.server.identity.origins import AccountOrigins, Origins
from bonded.server.identity.tokens import TokenIssuer
from bonded.server.metadata.store import AccountKey

REMEMBERED_MAX = 16_384
KEY_FILE_LIFE_S = 3600
"""How long a key file is remembered before its private key is parsed again."""
KEY_FILES_AT_ONCE_MAX = 2
"""Parsing an RSA key takes milliseconds of CPU: nobody may keep every thread busy with it."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    expires_at: float
    access_serial: int


class Authenticator:
    """Turns Authorization headers into principals.

    What was verified is remembered under the hash of the header, together with
    the access serial: disabling a key or account advances that serial, and the
    next request verifies again, on every replica.
    """

    def __init__(
        self,
        tokens: TokenIssuer,
        assertions: AssertionVerifier,
        origins: Origins,
        accounts: AccountOrigins,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._assertions = assertions
        self._origins = origins
        self._accounts = accounts
        self._clock = clock
        self._known: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._key_files = asyncio.Semaphore(KEY_FILES_AT_ONCE_MAX)

    async def authenticate(self, header: bytes, access_serial: int) -> Principal:
        """Return whom the header proves, as of *access_serial*.

        Raises:
            Unauthenticated: nobody.
        """
        fingerprint = hashlib.sha256(header).digest()
        known = self._known.get(fingerprint)
        if (
            known is not None
            and known.access_serial == access_serial
            and known.expires_at > self._clock().timestamp()
        ):
            return known.principal
        principal, expires_at = await self._verify(header)
        self._known[fingerprint] = _Remembered(principal, expires_at, access_serial)
        self._known.move_to_end(fingerprint)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return principal

    async def _verify(self, header: bytes) -> tuple[Principal, float]:
        match parse_authorization(header):
            case PresentedToken(text):
                return await self._verify_token(text)
            case PresentedKeyFile() as presented:
                return await self._verify_key_file(presented)

    async def _verify_token(self, text: str) -> tuple[Principal, float]:
        try:
            token = await self._tokens.verify(text)
        except Unauthenticated:
            if not is_assertion(text):
                raise
            assertion = await self._assertions.verify_bearer(text)
            key = await self._accounts.live_key(assertion.key_id)
            return _principal(key), _sooner(assertion.expires_at, key)
        expires_at = await self._origins.check(token)
        return Principal(token.member, token.origin, token.also, token.limits), expires_at

    async def _verify_key_file(self, presented: PresentedKeyFile) -> tuple[Principal, float]:
        key = await self._accounts.live_key(presented.key_id)
        public = None
        if presented.email == key.email:
            async with self._key_files:
                public = await asyncio.to_thread(public_half, presented.private_key_pem)
        if public is None or not hmac.compare_digest(
            public.strip().encode(), key.public_key_pem.strip().encode()
        ):
            raise Unauthenticated("The service-account key is not valid")
        return _principal(key), _sooner(self._clock().timestamp() + KEY_FILE_LIFE_S, key)

    async def exchange(self, assertion: str) -> tuple[str, int]:
        """Return an access token for an assertion, and its life in seconds (RFC 7523 §2.1).

        Raises:
            Unauthenticated: the assertion proves nobody.
        """
        verified = await self._assertions.verify_grant(assertion)
        key = await self._accounts.live_key(verified.key_id)
        principal = _principal(key)
        return self._tokens.issue(principal.member, principal.credential)


def _sooner(expires_at: float, key: AccountKey) -> float:
    # What a key vouches for does not outlive it.
    return expires_at if key.expires_at is None else min(expires_at, key.expires_at.timestamp())


def _principal(key: AccountKey) -> Principal:
    return Principal(f"serviceAccount:{key.email}", credential=f"key:{key.id}")

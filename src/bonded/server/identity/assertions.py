"""JWTs that a service account signs with its own key (RFC 7523), as google-auth writes them.

The same form serves two ends: at `/token` it is exchanged for an access token,
and as a Bearer credential it is one by itself (gar.md §4.3, §5.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated
from bonded.server.identity.keys import is_key_id
from bonded.server.identity.tokens import header_of
from bonded.server.metadata.store import AccountKey, MetadataStore

ALGORITHM = "RS256"
LIFE_MAX_S = 3600
YEAR_10000_S = 253_402_300_800
SKEW_S = 60
"""How far the account's clock may be from ours."""

GOOGLE_TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"  # noqa: S105 - an audience
"""What google-auth writes as `aud`, whatever `token_uri` says (gar.md §5.3)."""
NEW_KEY = "Create another with `bonded iam service-accounts keys create`."
GOOGLE_API_AUDIENCE = "https://artifactregistry.googleapis.com/"
"""What Google's client libraries write into self-signed bearer tokens (gar.md §4.3)."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A verified assertion."""

    email: str
    key_id: str
    expires_at: float
    """Seconds since 1970."""
    target_audience: str | None = None
    """Who is to read an ID token, if one is asked for in place of an access token."""

    @property
    def proves(self) -> tuple[str, str]:
        """Whom it proves, as a policy names them, and by what."""
        return f"serviceAccount:{self.email}", f"key:{self.key_id}"


class AssertionVerifier:
    """Verifies assertions by the public keys in the metadata store."""

    def __init__(self, metadata: MetadataStore, clock: Clock, token_url: str) -> None:
        self._metadata = metadata
        self._clock = clock
        self._token_audiences = {GOOGLE_TOKEN_AUDIENCE, token_url}

    async def verify_grant(self, text: str) -> Assertion:
        """Verify an assertion that asks for an access token.

        Raises:
            Unauthenticated: it proves nobody; the words are Google's where it has any.
        """
        claims, key = await self._verify(text)
        audience = claims.get("aud")
        if not isinstance(audience, str) or audience not in self._token_audiences:
            raise Unauthenticated(
                "Invalid JWT: the audience is not this server's token endpoint",
                hint=f"Sign it for {GOOGLE_TOKEN_AUDIENCE}, as Google's libraries do.",
            )
        return self._assertion(claims, key, self._clock().timestamp())

    async def verify_bearer(self, text: str, now: float) -> Assertion:
        """Verify an assertion that is presented in place of an access token, as of *now*.

        Raises:
            Unauthenticated: it proves nobody.
        """
        claims, key = await self._verify(text)
        if claims.get("aud") not in (None, GOOGLE_API_AUDIENCE):
            raise Unauthenticated(
                "Invalid JWT: the audience is not this API",
                hint=f"Sign it for {GOOGLE_API_AUDIENCE}, or exchange it at /token.",
            )
        return self._assertion(claims, key, now)

    async def _verify(self, text: str) -> tuple[dict[str, Any], AccountKey]:
        header = header_of(text)
        key_id = header.get("kid")
        if header.get("alg") != ALGORITHM or not isinstance(key_id, str):
            raise Unauthenticated(
                f"Invalid JWT: it must be signed with {ALGORITHM} and name its key",
                hint="Sign it with the service account's key file, and write the key's ID as kid.",
            )
        key = None
        if is_key_id(key_id):
            async with self._metadata.read() as tx:
                key = await tx.accounts.find_key(key_id)
        if key is None:
            raise Unauthenticated(
                "Invalid JWT Signature",
                hint=f"The key does not exist any more. {NEW_KEY}",
            )
        try:
            public = RSAKey.import_key(key.public_key_pem)
            claims = dict(jwt.decode(text, public, algorithms=[ALGORITHM]).claims)
        except (JoseError, ValueError):
            raise Unauthenticated(
                "Invalid JWT Signature", hint="Sign it with the private key whose ID it names."
            ) from None
        return claims, key

    @staticmethod
    def _assertion(claims: dict[str, Any], key: AccountKey, now: float) -> Assertion:
        if claims.get("iss") != key.email or claims.get("sub", key.email) != key.email:
            raise Unauthenticated(
                "Invalid JWT: the key belongs to another account",
                hint=f"Write {key.email} as iss, and as sub if there is one.",
            )
        issued, expires = claims.get("iat"), claims.get("exp")
        if not _is_moment(issued) or not _is_moment(expires):
            raise Unauthenticated(
                "Invalid JWT: iat and exp are required", hint="Write both, as seconds since 1970."
            )
        if issued > now + SKEW_S:
            raise Unauthenticated(
                "Invalid JWT: it was issued in the future", hint="Check the clock of the client."
            )
        if expires <= now - SKEW_S:
            raise Unauthenticated(
                "Invalid JWT: it has expired",
                hint="Sign another, and check the clock of the client.",
            )
        if expires - issued > LIFE_MAX_S:
            raise Unauthenticated(
                "Invalid JWT: it must not live longer than an hour",
                hint=f"Let exp be at most {LIFE_MAX_S} after iat.",
            )
        target = claims.get("target_audience")
        if target is not None and not (isinstance(target, str) and target):
            raise Unauthenticated(
                "Invalid JWT: target_audience names nobody",
                hint="Name who will read the ID token.",
            )
        return Assertion(key.email, key.id, float(expires), target)


def is_assertion(text: str) -> bool:
    """Say whether *text* claims to be an assertion: our own tokens are signed otherwise."""
    return header_of(text).get("alg") == ALGORITHM


def _is_moment(value: object) -> TypeGuard[float]:
    # Python reads NaN and Infinity where JSON has neither, and no comparison with NaN holds.
    return isinstance(value, int | float) and abs(value) < YEAR_10000_S

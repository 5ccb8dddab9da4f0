"""Access tokens: JWTs signed by this server, short-lived, verified by every replica (RFC 9068).

They are signed, not stored: issuing one writes nothing, and verifying one asks
only whether its origin is alive and it has not been revoked.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from bonded.server.core.audit import note, proved
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Rejected, Unauthenticated
from bonded.server.core.iam import Ancestor, Principal, TokenLimits
from bonded.server.identity.signing import ALGORITHM, SigningKeys
from bonded.server.metadata.store import ServiceAccount

ISSUER = "bonded"
TYPE = "at+jwt"
"""Tells access tokens from ID tokens, which the same keys sign (RFC 9068 §2.1)."""
ID_TOKEN_LIFE_S = 3600
FETCH = "Fetch a new one."
SKEW_S = 60
"""How far replicas' clocks may be apart."""
ANCESTORS_MAX = 4
"""Credentials that one token hangs on: each is named in it, and asked when it is verified."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token says once its signature has been verified."""

    member: str
    """The principal, as a policy names it."""
    origin: str
    """What must stay alive for it to be good, as `kind:name` (see `identity.origins`)."""
    expires_at: float
    """Seconds since 1970."""
    also: tuple[str, ...] = ()
    """Further members of policies that mean its principal, such as groups."""
    limits: TokenLimits | None = None
    issued_at: float = 0.0
    id: str = ""
    """Its `jti`, by which it can be revoked, with all that were made with it."""
    ancestors: tuple[Ancestor, ...] = ()
    """The credentials that it was made with; it is good only while all of them are."""

    @property
    def ancestry(self) -> tuple[Ancestor, ...]:
        """What every token hangs on that is made with this one."""
        return (Ancestor(self.member, self.origin, self.issued_at, self.id), *self.ancestors)


class TokenIssuer:
    """Signs access tokens with the current key and verifies those of every key."""

    def __init__(self, keys: SigningKeys, clock: Clock, life: timedelta) -> None:
        self._keys = keys
        self._clock = clock
        self._life = life

    def issue(
        self,
        member: str,
        origin: str,
        *,
        also: Sequence[str] = (),
        limits: TokenLimits | None = None,
        life: timedelta | None = None,
        ancestors: Sequence[Ancestor] = (),
    ) -> tuple[str, int]:
        """Return a token for *member*, and its life in seconds.

        *origin* says what must stay alive for it to be good, as `kind:name`; so must
        the *ancestors*, the credentials that it is made with.

        Raises:
            Rejected: there are too many of those.
        """
        if len(ancestors) > ANCESTORS_MAX:
            raise Rejected(
                f"The token would hang on {len(ancestors)} others; {ANCESTORS_MAX} are allowed",
                hint="Start from a token that was made with fewer.",
            )
        now = int(self._clock().timestamp())
        life_s = int((self._life if life is None else life).total_seconds())
        key = self._keys.current()
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": member,
            "origin": origin,
            "iat": now,
            "exp": now + life_s,
            "jti": secrets.token_urlsafe(12),
        }
        if also:
            claims["also"] = list(also)
        if limits is not None:
            claims["limits"] = asdict(limits)
        if ancestors:
            claims["ancestors"] = [asdict(one) for one in ancestors]
        # Whoever issues a token: it is this that the audit log keeps of a sign-in.
        proved(Principal(member, origin, tuple(also)))
        note(member=member, tokenId=claims["jti"], lifeSeconds=life_s)
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM]), life_s

    async def verify(self, token: str, as_of: float | None = None) -> AccessToken:
        """Return what *token* says, *as_of* a moment (seconds since 1970; now unless said).

        Raises:
            Unauthenticated: not one of ours, changed on the way, or expired.
        """
        found = await self.read(token)
        now = self._clock().timestamp() if as_of is None else as_of
        if found.expires_at <= now:
            raise Unauthenticated("The access token has expired", hint=FETCH)
        if found.issued_at > now + SKEW_S:
            raise Unauthenticated(
                "The access token was issued in the future", hint="Check the server's clock."
            )
        return found

    async def read(self, token: str) -> AccessToken:
        """Return what *token* says, however long ago it has expired.

        Raises:
            Unauthenticated: not one of ours, or changed on the way.
        """
        header = header_of(token)
        key_id = header.get("kid")
        is_ours = header.get("alg") == ALGORITHM and header.get("typ") == TYPE
        if not is_ours or not isinstance(key_id, str):
            raise Unauthenticated("The access token is not valid", hint=FETCH)
        key = await self._keys.find(key_id)
        if key is None:
            raise Unauthenticated(
                "The access token is signed with a key that this server does not have",
                hint=FETCH,
            )
        try:
            claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
            found = _read(claims) if claims["iss"] == ISSUER else None
        except (JoseError, ValueError, KeyError, TypeError):
            found = None
        if found is None:
            raise Unauthenticated("The access token is not valid", hint=FETCH)
        return found


class IdTokenIssuer:
    """Signs ID tokens, which tell others who somebody is (OpenID Connect Core §2).

    This server does not accept them: they are not access tokens.
    """

    def __init__(self, keys: SigningKeys, clock: Clock, url: str) -> None:
        self._keys = keys
        self._clock = clock
        self._url = url

    def issue(
        self, subject: str, audience: str, life: timedelta, claims: Mapping[str, object]
    ) -> str:
        """Return an ID token about *subject*, whose number never changes hands."""
        now = int(self._clock().timestamp())
        key = self._keys.current()
        said = {
            **claims,
            "iss": self._url,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + int(life.total_seconds()),
        }
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}
        return jwt.encode(header, said, key, algorithms=[ALGORITHM])

    def about(
        self,
        account: ServiceAccount,
        audience: str,
        *,
        has_email: bool,
        life: timedelta = timedelta(seconds=ID_TOKEN_LIFE_S),
    ) -> str:
        """Return an ID token about a service account, in Google's claims."""
        claims: dict[str, object] = {"azp": account.unique_id}
        if has_email:
            claims |= {"email": account.email, "email_verified": True}
        return self.issue(account.unique_id, audience, life, claims)


def header_of(text: str) -> dict[str, Any]:
    """Return the header of a JWT that nobody has verified yet; empty if it is none."""
    try:
        header: object = extract_compact(text.encode()).headers()
    except (JoseError, ValueError, AttributeError, TypeError):
        return {}
    return header if isinstance(header, dict) else {}


def _read(claims: Mapping[str, Any]) -> AccessToken:
    said = claims.get("limits")
    limits = None
    if said is not None:
        limits = TokenLimits(
            tuple(said["repositories"]),
            bool(said["read_only"]),
            bool(said.get("upload_only", False)),
            tuple(said.get("uploads", ())),
            said.get("ends_at"),
        )
    ancestors = tuple(Ancestor(**one) for one in claims.get("ancestors", ()))
    return AccessToken(
        member=str(claims["sub"]),
        origin=str(claims["origin"]),
        expires_at=float(claims["exp"]),
        also=tuple(claims.get("also", ())),
        limits=limits,
        issued_at=float(claims["iat"]),
        id=str(claims["jti"]),
        ancestors=ancestors,
    )

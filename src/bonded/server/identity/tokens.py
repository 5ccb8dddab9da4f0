"""Access tokens: JWTs signed by this server, short-lived, verified by every replica (RFC 9068).

ES256, because its tokens are short and one verification costs less than a
tenth of a millisecond; and because the public half can be published.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated, Unavailable
from bonded.server.core.iam import TokenLimits
from bonded.server.identity.private_files import write_private

ALGORITHM = "ES256"
ISSUER = "bonded"


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
    """Its `jti`, by which it alone can be revoked."""


class TokenIssuer:
    """Signs access tokens with the newest key and verifies those of every key."""

    def __init__(self, keys: KeySet, clock: Clock, life: timedelta) -> None:
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
    ) -> tuple[str, int]:
        """Return a token for *member*, and its life in seconds.

        *origin* says what must stay alive for it to be good, as `kind:name`.
        """
        now = int(self._clock().timestamp())
        life_s = int((self._life if life is None else life).total_seconds())
        newest = self._keys.keys[-1]
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
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": newest.kid}
        return jwt.encode(header, claims, newest, algorithms=[ALGORITHM]), life_s

    def verify(self, token: str) -> AccessToken:
        """Return what *token* says.

        Raises:
            Unauthenticated: not one of ours, changed on the way, or expired.
        """
        try:
            decoded = jwt.decode(token, self._keys, algorithms=[ALGORITHM])
            claims = decoded.claims
            found = _read(claims)
            is_ours = claims["iss"] == ISSUER and decoded.header.get("typ") == "at+jwt"
        except (JoseError, ValueError, KeyError, TypeError):
            is_ours, found = False, None
        if found is None or not is_ours:
            raise Unauthenticated("The access token is not valid")
        if found.expires_at <= self._clock().timestamp():
            raise Unauthenticated("The access token has expired", hint="Fetch a new one.")
        return found


def _read(claims: Mapping[str, Any]) -> AccessToken:
    said = claims.get("limits")
    limits = None
    if said is not None:
        limits = TokenLimits(tuple(said["repositories"]), bool(said["read_only"]))
    return AccessToken(
        member=str(claims["sub"]),
        origin=str(claims["origin"]),
        expires_at=float(claims["exp"]),
        also=tuple(claims.get("also", ())),
        limits=limits,
        issued_at=float(claims["iat"]),
        id=str(claims["jti"]),
    )


def load_signing_keys(path: Path) -> KeySet:
    """Read the signing keys at *path*, making the first one if there is no file.

    In a file of their own and not in the database, so that a stolen database
    opens nothing. Replicas share the file.

    Raises:
        Unavailable: the file is not a JSON Web Key Set of private EC keys.
    """
    if not path.exists():
        key = ECKey.generate_key("P-256", private=True)
        key.ensure_kid()
        text = json.dumps({"keys": [key.as_dict(private=True)]}, indent=2)
        # Of replicas that start together the first wins; the others read its key.
        write_private(path, text, replace=False)
    try:
        keys = KeySet.import_key_set(json.loads(path.read_text()))
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{path} is not a set of signing keys") from error
    if not keys.keys or not all(isinstance(key, ECKey) and key.is_private for key in keys.keys):
        raise Unavailable(f"{path} holds no private EC key")
    return keys

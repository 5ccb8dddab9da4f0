"""Issuers of OpenID Connect: what they say about themselves, and the tokens that they sign.

OpenID Connect Discovery 1.0 §4 and Core 1.0 §3.1.3.7. The keys are kept for an
hour and fetched again when a token names one that is not among them, which is
how issuers rotate (Core §10.1.1).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Generic, TypeGuard, TypeVar

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from joserfc.jws import extract_compact

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unauthenticated, Unavailable
from bonded.server.identity.documents import Documents

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
"""Asymmetric ones only: whoever verifies must not be able to sign."""
KEPT_S = 3600
AGAIN_S = 10
"""The least time between two fetches of an issuer's keys, however many unknown ones are named."""
SKEW_S = 60
KEYS_MAX = 50
TOKEN_LENGTH_MAX = 64 * 1024
YEAR_10000_S = 253_402_300_800

WHOLE = "Send all of it, as the issuer gave it: three parts with dots between them."
_OTHER_CLIENT = "Compare the client in the settings (oidc_client_id) with the provider's."

_T = TypeVar("_T")


class _Kept(Generic[_T]):
    """Something that an issuer says: fetched once for all who wait for it, and kept.

    So is a failure, for a short while: or everybody who waits would wait as long as the
    first one did, one after the other.
    """

    def __init__(self, fetch: Callable[[], Awaitable[_T]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: _T | None = None
        self._fetched_at = 0.0
        self._failure: Unavailable | None = None
        self._failed_at = 0.0
        self._turn = asyncio.Lock()

    async def get(self, age_max_s: float = KEPT_S) -> _T:
        """Return it, not older than *age_max_s*.

        Raises:
            Unavailable: it cannot be had, or could not a moment ago.
        """
        # Who is content with what is there does not wait for who is not.
        if self._value is not None and not self._is_older(age_max_s):
            return self._value
        async with self._turn:
            if self._value is not None and not self._is_older(age_max_s):
                return self._value
            if self._failure and self._clock().timestamp() < self._failed_at + AGAIN_S:
                raise Unavailable(self._failure.message, hint=self._failure.hint)
            try:
                value = await self._fetch()
            except Unavailable as error:
                self._failure, self._failed_at = error, self._clock().timestamp()
                raise
            self._value, self._fetched_at = value, self._clock().timestamp()
            self._failure = None
            return value

    def _is_older(self, age_max_s: float) -> bool:
        return self._clock().timestamp() >= self._fetched_at + age_max_s


class Issuer:
    """One issuer, asked when needed."""

    def __init__(self, documents: Documents, clock: Clock, url: str) -> None:
        self.url = url
        self._documents = documents
        self._clock = clock
        self._configuration = _Kept(self._fetch_configuration, clock)
        self._keys = _Kept(self._fetch_keys, clock)

    async def configuration(self) -> Mapping[str, Any]:
        """Return what the issuer publishes about itself.

        Raises:
            Unavailable: it cannot be had, or is about another issuer.
        """
        return await self._configuration.get()

    async def endpoint(self, name: str) -> str:
        """Return the address that the issuer publishes under *name*. Raises Unavailable."""
        url = (await self.configuration()).get(name)
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise Unavailable(
                f"The identity provider {self.url} publishes no {name}",
                hint="Name an issuer of OpenID Connect, exactly as it spells itself.",
            )
        return url

    async def verify(
        self, token: str, audiences: Collection[str], nonce: str | None = None
    ) -> dict[str, Any]:
        """Return the claims of a token that the issuer signed for one of *audiences*.

        Raises:
            Unauthenticated: it proves nothing.
            Unavailable: the issuer's keys cannot be had.
        """
        claims = await self.read(token)
        check_claims(claims, self.url, audiences, self._clock, nonce)
        return claims

    async def read(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that the issuer signed; what they say is not checked.

        Raises:
            Unauthenticated: the issuer has not signed it.
            Unavailable: the issuer's keys cannot be had.
        """
        key_id = key_id_of(token)
        keys = await self._keys.get()
        if key_id is not None and all(key.kid != key_id for key in keys):
            keys = await self._keys.get(AGAIN_S)
        return verify_signature(token, keys)

    async def _fetch_configuration(self) -> Mapping[str, Any]:
        found = await self._documents.get(
            f"{self.url.rstrip('/')}/.well-known/openid-configuration"
        )
        if found.get("issuer") != self.url:
            raise Unavailable(
                f"The identity provider {self.url} calls itself {found.get('issuer')!r}",
                hint="The issuer in the settings must be spelled exactly so.",
            )
        return found

    async def _fetch_keys(self) -> tuple[Key, ...]:
        return parse_keys(await self._documents.get(await self.endpoint("jwks_uri")))


def parse_keys(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """Return the keys for signatures in a JSON Web Key Set, leaving out what we do not know.

    Raises:
        Unavailable: it is no key set, or an enormous one.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise Unavailable(f"The key set is not a list of at most {KEYS_MAX} keys")
    keys = []
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        if one.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            keys.append(JWKRegistry.import_key(one))
        except (JoseError, ValueError, KeyError, TypeError):
            continue
    return tuple(keys)


def key_id_of(token: str) -> str | None:
    """Return the `kid` in a token's header, if it has one.

    Raises:
        Unauthenticated: it is no token, or is signed in a way that proves nothing.
    """
    try:
        if len(token) > TOKEN_LENGTH_MAX:
            raise ValueError  # noqa: TRY301 - one sentence for all of them
        header: object = extract_compact(token.encode()).headers()
    except (JoseError, ValueError, AttributeError, TypeError):
        header = None
    if not isinstance(header, dict):
        raise Unauthenticated("The identity token is not a signed JWT", hint=WHOLE)
    if header.get("alg") not in ALGORITHMS:
        raise Unauthenticated(
            "The identity token is signed with an algorithm that proves nothing",
            hint=f"Have the issuer sign with one of {', '.join(ALGORITHMS)}.",
        )
    key_id = header.get("kid")
    return key_id if isinstance(key_id, str) else None


def verify_signature(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the claims of a token that one of *keys* has signed.

    Raises:
        Unauthenticated: none has.
    """
    key_id = key_id_of(token)
    for key in keys:
        if key_id is None or key.kid == key_id:
            try:
                return dict(jwt.decode(token, key, algorithms=list(ALGORITHMS)).claims)
            except (JoseError, ValueError, TypeError):
                continue
    raise Unauthenticated(
        "The identity token is not signed with a key of its issuer",
        hint="Have a new one issued; if that is refused too, compare the issuer's published keys.",
    )


def check_claims(
    claims: Mapping[str, Any],
    issuer: str,
    audiences: Collection[str],
    clock: Clock,
    nonce: str | None = None,
) -> None:
    """Check who issued a token, for whom, when, and for which request.

    Raises:
        Unauthenticated: it is not for us, not now, or not the answer to our request.
    """
    if claims.get("iss") != issuer:
        raise Unauthenticated(
            f"The identity token is not from {issuer}",
            hint="The issuer in the settings must be spelled as its tokens spell it.",
        )
    _check_audience(claims, audiences)
    check_times(claims, clock)
    if nonce is not None:
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise Unauthenticated(
                "The identity token answers another request (nonce)", hint="Start again."
            )


def check_times(claims: Mapping[str, Any], clock: Clock) -> float:
    """Return when a token expires (seconds since 1970), if it is good now.

    Raises:
        Unauthenticated: it is not, or does not say.
    """
    now = clock().timestamp()
    expires, issued = claims.get("exp"), claims.get("iat", now)
    begins = claims.get("nbf", now)
    if not (_is_moment(expires) and _is_moment(issued) and _is_moment(begins)):
        raise Unauthenticated(
            "The identity token does not say when it expires", hint="Have the issuer write exp."
        )
    if expires <= now - SKEW_S:
        raise Unauthenticated(
            "The identity token has expired", hint="Sign in again, or have a new one issued."
        )
    if max(issued, begins) > now + SKEW_S:
        raise Unauthenticated(
            "The identity token is from the future", hint="Check the clocks of both servers."
        )
    return expires


def _check_audience(claims: Mapping[str, Any], audiences: Collection[str]) -> None:
    said = claims.get("aud")
    named = said if isinstance(said, list) else [said]
    if not any(isinstance(one, str) and one in audiences for one in named):
        raise Unauthenticated(
            "The identity token is for somebody else (audience)", hint=_OTHER_CLIENT
        )
    # Core §3.1.3.7: of several audiences, the one that it was issued to is named.
    if len(named) > 1 and claims.get("azp") not in audiences:
        raise Unauthenticated(
            "The identity token was issued to somebody else (azp)", hint=_OTHER_CLIENT
        )


def _is_moment(value: object) -> TypeGuard[float]:
    # Python reads NaN and Infinity where JSON has neither, and no comparison with NaN holds.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < YEAR_10000_S
    )

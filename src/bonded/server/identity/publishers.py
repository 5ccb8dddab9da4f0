"""Trusted publishing: a CI system's token, once, for a short token that only uploads.

The exchange that uv and the publishing actions make (standards.md §2.8). No issuer is
asked anything that no publisher is of: nobody can make the server fetch what no
administrator has configured. Nobody learns who publishes here without an issuer's word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from joserfc.errors import JoseError
from joserfc.jws import extract_compact

from bonded.server.core.audit import note, proved
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Conflict, Forbidden, Rejected, Unauthenticated
from bonded.server.core.federation import Publisher
from bonded.server.core.iam import Principal, TokenLimits, publishers_of
from bonded.server.core.recipes import anchors_of, mismatch, pins_of
from bonded.server.identity.issuers import SKEW_S, WHOLE, key_id_of
from bonded.server.identity.origins import FOR_EVER
from bonded.server.identity.tokens import AccessToken, TokenIssuer
from bonded.server.identity.workloads import ASSERTION_LENGTH_MAX, Issuers, check_life
from bonded.server.metadata.store import MetadataStore, Transaction

LIFE = timedelta(minutes=15)
MATCHES_MAX = 101
UPLOADS_LENGTH_MAX = 6000
"""Of the names of everything that one token may upload: it travels in a header."""


@dataclass(frozen=True, slots=True, repr=False)
class Minted:
    """A token to publish with. Has no repr, so that it cannot be printed."""

    token: str
    expires_at: int
    """Seconds since 1970."""


class TrustedPublishing:
    """Mints tokens for trusted publishers, and burns them. *audience* is this server's own."""

    def __init__(
        self,
        metadata: MetadataStore,
        issuers: Issuers,
        tokens: TokenIssuer,
        clock: Clock,
        audience: str,
    ) -> None:
        self._metadata = metadata
        self._issuers = issuers
        self._tokens = tokens
        self._clock = clock
        self.audience = audience

    async def mint(self, assertion: str) -> Minted:
        """Return a token for whatever publishers *assertion* proves; it is good for this once.

        Raises:
            Unauthenticated: the assertion proves nothing.
            Forbidden: it proves somebody who is no publisher.
            Conflict: it was exchanged before.
            Unavailable: the issuer's keys cannot be had.
        """
        claims = await self._proved(assertion)
        self._check_audience(claims)
        expires_at = check_life(claims, self._clock)
        async with self._metadata.read() as tx:
            anchors = anchors_of(claims)
            found = await tx.publishers.find_matching(claims["iss"], anchors, MATCHES_MAX)
        if not found:
            raise _no_publisher(claims["iss"], anchors)
        publishers = _matching(found, claims)
        await self._spend(assertion, claims, expires_at, publishers)
        return self._issue(publishers)

    async def burn(self, text: str) -> None:
        """Revoke a token that was minted here; of any other, nothing comes."""
        try:
            token = await self._tokens.verify(text)
        except Unauthenticated:
            return
        if not token.origin.startswith("publisher:"):
            return
        expires_at = datetime.fromtimestamp(token.expires_at, UTC)
        async with self._metadata.transaction() as tx:
            await tx.tokens.revoke(token.id, expires_at, self._clock())

    async def check_publishers(self, names: str, token: AccessToken) -> float:
        """Check a token that was minted for publishers (`publisher:ID,ID`): all must be there.

        Raises:
            Unauthenticated: one is not.
        """
        async with self._metadata.read() as tx:
            for name in names.split(","):
                publisher = await tx.publishers.find(name)
                if publisher is None or publishers_of(str(publisher.repository)) not in token.also:
                    raise Unauthenticated(
                        f"The trusted publisher {name} does not exist any more",
                        hint="Exchange another identity token, for one that does.",
                    )
        return FOR_EVER

    async def _proved(self, assertion: str) -> Mapping[str, Any]:
        """Return the claims of an assertion that its issuer has signed.

        Whoever cannot show that learns which issuers are trusted here, and nothing of publishers.

        Raises:
            Unauthenticated: it has not.
            Forbidden: no publisher is of that issuer.
            Unavailable: the issuer's keys cannot be had.
        """
        claimed = _peek(assertion)
        issuer = claimed.get("iss")
        is_trusted = False
        if isinstance(issuer, str):
            async with self._metadata.read() as tx:
                is_trusted = await tx.publishers.has_issuer(issuer)
        if not is_trusted or not isinstance(issuer, str):
            raise _no_publisher(issuer, anchors_of(claimed))
        return await self._issuers.get(issuer).read(assertion)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        said = claims.get("aud")
        if self.audience not in (said if isinstance(said, list) else [said]):
            raise Unauthenticated(
                f"The identity token is for the audience {str(said)[:200]!r}",
                hint=f"Ask the issuer for one for {self.audience}, as GET /_/oidc/audience says.",
            )

    async def _spend(
        self,
        assertion: str,
        claims: Mapping[str, Any],
        expires_at: float,
        publishers: tuple[Publisher, ...],
    ) -> None:
        # What is signed counts, not the signature: ECDSA has two for one text.
        once = claims.get("jti") or assertion.rpartition(".")[0]
        digest = hashlib.sha256(f"{claims['iss']}\n{once}".encode()).hexdigest()
        until = datetime.fromtimestamp(expires_at + SKEW_S, UTC)
        try:
            async with self._metadata.transaction() as tx:
                await tx.publishers.spend(digest, until, self._clock())
                await _pin(tx, publishers, claims)
        except Conflict as error:
            raise Conflict(
                "The identity token was exchanged before",
                hint="Ask the issuer for another: each is good for one exchange.",
            ) from error

    def _issue(self, publishers: tuple[Publisher, ...]) -> Minted:
        repositories = tuple(dict.fromkeys(str(one.repository) for one in publishers))
        uploads = tuple(dict.fromkeys(name for one in publishers for name in _uploads(one)))
        if sum(len(name) for name in uploads) > UPLOADS_LENGTH_MAX:
            raise Rejected(
                "The identity token fits publishers with more packages than one token can hold",
                hint="Let the publishers name fewer packages, or none for all of a repository.",
            )
        member = f"trustedPublisher:{publishers[0]}"
        origin = f"publisher:{','.join(one.id for one in publishers)}"
        token, life_s = self._tokens.issue(
            member,
            origin,
            also=tuple(publishers_of(name) for name in repositories),
            limits=TokenLimits(repositories, upload_only=True, uploads=uploads),
            life=LIFE,
        )
        note(str(publishers[0]))
        proved(Principal(member, origin))
        return Minted(token, int(self._clock().timestamp()) + life_s)


def _no_publisher(issuer: object, anchors: tuple[str, ...]) -> Forbidden:
    return Forbidden(
        f"No trusted publisher is {' or '.join(anchors) or 'so'} of the issuer {str(issuer)[:200]}",
        hint="Create one with `bonded artifacts trusted-publishers create`.",
    )


def _uploads(publisher: Publisher) -> tuple[str, ...]:
    repository = str(publisher.repository)
    return tuple(f"{repository}/packages/{name}" for name in publisher.packages) or (repository,)


async def _pin(
    tx: Transaction, publishers: tuple[Publisher, ...], claims: Mapping[str, Any]
) -> None:
    """Hold publishers that are used for the first time to the numbers behind their names.

    Raises:
        Forbidden: somebody else has used one at the same time.
    """
    for publisher in publishers:
        pins = pins_of(publisher.kind, claims)
        if publisher.pins or not pins:
            continue
        try:
            await tx.publishers.pin(publisher.id, pins)
        except Conflict as error:
            raise Forbidden(error.message) from error


def _matching(found: tuple[Publisher, ...], claims: Mapping[str, Any]) -> tuple[Publisher, ...]:
    reasons = [mismatch(one, claims) for one in found]
    publishers = tuple(one for one, reason in zip(found, reasons, strict=True) if not reason)
    if not publishers:
        first, reason = found[0], reasons[0]
        raise Forbidden(
            f"The identity token does not fit the trusted publisher {first}: {reason}",
            hint="Publish from where it does, or create another publisher.",
        )
    return publishers


def _peek(assertion: str) -> Mapping[str, Any]:
    """Return what an assertion claims, before anybody believes it.

    Raises:
        Unauthenticated: it is no token, or proves nothing whatever it says.
    """
    if len(assertion) > ASSERTION_LENGTH_MAX:
        raise Unauthenticated(
            f"The identity token is longer than {ASSERTION_LENGTH_MAX} characters",
            hint="Have the issuer put less into it.",
        )
    key_id_of(assertion)
    try:
        claims: object = orjson.loads(extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise Unauthenticated("The identity token is not a signed JWT", hint=WHOLE)
    return claims

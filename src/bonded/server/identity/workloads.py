"""Workload identity federation: a token of an outside issuer for one of ours (gar.md §5.6).

An assertion may be exchanged again until it expires, as Google has it: jobs that
run side by side share one. What is issued lives as long as every access token
does, whatever is left of the assertion's life; GitHub's live for five minutes.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from bonded.server.core.audit import note, proved
from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import NotFound, Rejected, Unauthenticated, Unavailable
from bonded.server.core.federation import IAM_HOST, Provider, ProviderName
from bonded.server.core.iam import Principal
from bonded.server.core.names import is_project_number
from bonded.server.identity.attributes import check_expressions, identify
from bonded.server.identity.documents import Documents
from bonded.server.identity.issuers import (
    Issuer,
    check_times,
    key_id_of,
    parse_keys,
    verify_signature,
)
from bonded.server.identity.origins import FOR_EVER
from bonded.server.identity.tokens import AccessToken, TokenIssuer
from bonded.server.metadata.store import MetadataStore, Transaction

ISSUERS_MAX = 256
"""Whose keys are remembered at a time."""
ISSUER_LENGTH_MAX = 512
JWKS_LENGTH_MAX = 64 * 1024
ASSERTION_LENGTH_MAX = 16 * 1024
ASSERTION_LIFE_MAX_S = 24 * 3600
"""Google's limit: what lives longer is a password."""
MARK_LENGTH = 16
"""Hexadecimal digits: it tells the states of one provider apart, and proves nothing."""


class Issuers:
    """The issuers that providers and publishers name, each with its keys."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._known: OrderedDict[str, Issuer] = OrderedDict()

    def get(self, url: str) -> Issuer:
        """Return the issuer at *url*, with the keys that were fetched before."""
        issuer = self._known.setdefault(url, Issuer(self._documents, self._clock, url))
        self._known.move_to_end(url)
        if len(self._known) > ISSUERS_MAX:
            self._known.popitem(last=False)
        return issuer


class Workloads:
    """Exchanges the tokens of outside issuers for access tokens."""

    def __init__(
        self, metadata: MetadataStore, issuers: Issuers, tokens: TokenIssuer, clock: Clock
    ) -> None:
        self._metadata = metadata
        self._issuers = issuers
        self._tokens = tokens
        self._clock = clock

    async def exchange(self, audience: str, assertion: str) -> tuple[str, int]:
        """Return an access token for *assertion*, and its life in seconds.

        Raises:
            Rejected: *audience* names no provider.
            NotFound: the provider does not exist or is disabled.
            Unauthenticated: the assertion proves nobody to that provider.
            Unavailable: the issuer's keys cannot be had.
        """
        async with self._metadata.read() as tx:
            provider = await _find_live(tx, ProviderName.parse_audience(audience))
        if provider is None:
            raise NotFound(
                f"The provider that the audience {audience[:200]} names does not exist or is "
                "disabled",
                hint="Compare it with `bonded iam workload-identity-pools providers list`.",
            )
        note(str(provider.name))
        claims = await self._verify(provider, assertion)
        identity = identify(provider, claims)
        origin = f"provider:{_mark(provider)}"
        proved(Principal(identity.member, origin))
        return self._tokens.issue(identity.member, origin, also=identity.also)

    async def check_provider(self, mark: str, _token: AccessToken) -> float:
        """Check a token of a provider (`provider:NAME#MARK`): it must be there, and the same.

        Raises:
            Unauthenticated: it is not.
        """
        name = mark.partition("#")[0]
        async with self._metadata.read() as tx:
            provider = await _find_live(tx, ProviderName.parse_audience(f"//{IAM_HOST}/{name}"))
        if provider is None:
            raise Unauthenticated(
                f"The provider {name} does not exist any more or is disabled",
                hint="Sign in at another, or have it enabled.",
            )
        if _mark(provider) != mark:
            raise Unauthenticated(
                f"The provider {name} was changed since the access token was issued",
                hint="Exchange the identity token again.",
            )
        return FOR_EVER

    async def _verify(self, provider: Provider, assertion: str) -> Mapping[str, Any]:
        if len(assertion) > ASSERTION_LENGTH_MAX:
            raise Unauthenticated(
                f"The identity token is longer than {ASSERTION_LENGTH_MAX} characters",
                hint="Have the issuer put less into it.",
            )
        key_id_of(assertion)
        if provider.jwks:
            claims = verify_signature(assertion, parse_keys(json.loads(provider.jwks)))
        else:
            claims = await self._issuers.get(provider.issuer).read(assertion)
        if claims.get("iss") != provider.issuer:
            raise Unauthenticated(
                f"The identity token is from {str(claims.get('iss'))[:200]!r}, not from "
                f"{provider.issuer}",
                hint="A provider must name its issuer exactly as the tokens do.",
            )
        _check_audience(provider, claims)
        check_life(claims, self._clock)
        return claims


def check_life(claims: Mapping[str, Any], clock: Clock) -> float:
    """Return when an assertion expires (seconds since 1970), if it is good now.

    Raises:
        Unauthenticated: it is not, lives too long, or does not say.
    """
    expires_at = check_times(claims, clock)
    if "iat" not in claims:
        raise Unauthenticated(
            "The identity token does not say when it was issued", hint="Have the issuer write iat."
        )
    if expires_at - claims["iat"] > ASSERTION_LIFE_MAX_S:
        raise Unauthenticated(
            f"The identity token lives longer than {ASSERTION_LIFE_MAX_S // 3600} hours",
            hint="Have the issuer issue shorter ones.",
        )
    return expires_at


def check_provider(provider: Provider, *, is_private_allowed: bool) -> None:
    """Refuse a provider that could never work, or that must not be.

    Raises:
        Rejected: its issuer, keys, mapping or condition is wrong.
    """
    check_issuer(provider.issuer, is_private_allowed=is_private_allowed)
    if provider.jwks:
        _check_jwks(provider.jwks)
    check_expressions(provider)


def check_issuer(url: str, *, is_private_allowed: bool) -> None:
    """Refuse the address of an issuer that is malformed, or asked in the clear.

    Raises:
        Rejected: it is.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    is_clear = parts.scheme == "http" and _is_loopback(host) and is_private_allowed
    if len(url) > ISSUER_LENGTH_MAX or not url.isprintable() or not host:
        raise Rejected(
            f"The issuer {url[:120]!r} is not an address",
            hint="Use the issuer's https:// address, exactly as its tokens spell it.",
        )
    if parts.scheme != "https" and not is_clear:
        raise Rejected(
            f"The issuer {url[:120]} must be asked over https",
            hint="http:// is for issuers on this very machine, when the server's setting "
            "private_issuers allows them.",
        )
    if parts.query or parts.fragment or parts.username or parts.password:
        raise Rejected("The issuer's address must hold no query, fragment or password")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_jwks(text: str) -> None:
    try:
        document = json.loads(text) if len(text) <= JWKS_LENGTH_MAX else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Rejected(
            f"oidc.jwksJson is no JSON Web Key Set of at most {JWKS_LENGTH_MAX} characters",
            hint="Save what the issuer publishes at its jwks_uri.",
        )
    try:
        keys = parse_keys(document)
    except Unavailable as error:
        raise Rejected(f"oidc.jwksJson: {error.message}") from error
    if not keys:
        raise Rejected(
            "oidc.jwksJson holds no key that signatures are checked with",
            hint="Keys must be public, of kind RSA, EC or OKP.",
        )


def _check_audience(provider: Provider, claims: Mapping[str, Any]) -> None:
    said = claims.get("aud")
    named = said if isinstance(said, list) else [said]
    expected = provider.allowed_audiences or provider.name.audiences
    if not any(isinstance(one, str) and one in expected for one in named):
        raise Unauthenticated(
            f"The identity token is for the audience {str(said)[:200]!r}, which the provider "
            "does not allow",
            hint=f"Ask the issuer for one for {expected[0]}.",
        )


def _mark(provider: Provider) -> str:
    """Return a provider's name, and a mark of everything that decides who gets in by it.

    So what one issuer or condition let in ends when it is replaced, and so does what was let
    in by another provider that had the same name.
    """
    decides = (
        *(provider.created_at.isoformat(), provider.issuer, provider.jwks),
        *(provider.attribute_condition, sorted(provider.attribute_mapping.items())),
        sorted(provider.allowed_audiences),
    )
    digest = sha256_of(json.dumps(decides).encode())
    return f"{provider.name}#{str(digest)[:MARK_LENGTH]}"


async def _find_live(tx: Transaction, name: ProviderName) -> Provider | None:
    project = name.pool.project
    if is_project_number(project):
        owner = await tx.projects.find_numbered(int(project))
        if owner is None:
            return None
        project = owner.id
    kept = replace(name, pool=replace(name.pool, project=project))
    pool = await tx.pools.find(kept.pool)
    provider = await tx.pools.find_provider(kept)
    if pool is None or provider is None or pool.is_disabled or provider.is_disabled:
        return None
    return provider

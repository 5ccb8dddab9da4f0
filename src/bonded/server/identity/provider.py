"""Signing in at an OpenID Connect provider: authorization code with PKCE, state and nonce.

OpenID Connect Core 1.0 §3.1; RFC 7636; RFC 9700 §2.1. What the provider says is
mapped to a user's address and groups by claims that the operator names.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Forbidden, Rejected, Unauthenticated, Unavailable
from bonded.server.core.names import parse_address
from bonded.server.identity.codes import challenge_of
from bonded.server.identity.documents import Documents
from bonded.server.identity.expressions import Expression
from bonded.server.identity.issuers import Issuer
from bonded.server.identity.sessions import Admit, Person
from bonded.server.metadata.people import PROVIDER, Proof, User
from bonded.server.metadata.store import Transaction

GROUPS_MAX = 100
"""They travel in every access token, which travels in a header."""
FOREIGN_LOGGED_MAX = 5
_GROUP = re.compile(r"[^@\s:]+@[^@\s:]+")
_EMAIL, _VERIFIED = "email", "email_verified"
DISPLAY_NAME_LENGTH_MAX = 200

_log = logging.getLogger("bonded.server")


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Which provider, as which client, and what its claims mean."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str = ""
    """What the button says."""
    scopes: str = "openid email profile"
    address_claim: str = _EMAIL
    groups_claim: str = "groups"
    """Both as `claim_in` reads them; "" for a provider that names no groups."""
    groups_domain: str = ""
    """What follows the @ of its groups, written or not; in lower case."""
    allowed_domains: tuple[str, ...] = ()
    """Of addresses; empty for all."""
    condition: Expression | None = None
    """Over `assertion`, the claims: whom to let in. None for everybody."""


@dataclass(frozen=True, slots=True, repr=False)
class Flow:
    """One sign-in under way: what the browser keeps, and the answer is checked against."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """Sends people to the provider, and judges what comes back."""

    def __init__(
        self,
        *,
        settings: ProviderSettings,
        issuer: Issuer,
        documents: Documents,
        clock: Clock,
        redirect_uri: str,
    ) -> None:
        self._settings = settings
        self._issuer = issuer
        self._documents = documents
        self._clock = clock
        self._redirect_uri = redirect_uri

    @property
    def name(self) -> str:
        """What people call the provider."""
        return self._settings.name or urlsplit(self._settings.issuer).netloc

    async def start(self, login_hint: str = "") -> tuple[str, Flow]:
        """Return where to send the browser, and what to check the answer against.

        Raises:
            Unavailable: the provider cannot be reached.
        """
        flow = Flow(*(secrets.token_urlsafe(32) for _ in range(3)))
        endpoint = await self._issuer.endpoint("authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._settings.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge_of(flow.verifier),
            "code_challenge_method": "S256",
        }
        if login_hint:
            query["login_hint"] = login_hint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", flow

    async def finish(self, flow: Flow, answer: Mapping[str, str]) -> tuple[Person, Admit]:
        """Return who has signed in, and what makes them a user if they are new.

        *answer* is the query that the browser came back with.

        Raises:
            Unauthenticated: the answer proves nobody.
            Forbidden: it proves somebody who may not sign in here.
            Unavailable: the provider cannot be reached.
        """
        state = answer.get("state", "")
        if not hmac.compare_digest(state.encode(), flow.state.encode()):
            raise Unauthenticated("The answer belongs to another sign-in", hint="Start again.")
        await self._check_sender(answer)
        if "error" in answer:
            said = answer.get("error_description") or answer["error"]
            raise Forbidden(f"{self.name} refused: {said[:200]!r}", hint="Start again.")
        if not answer.get("code"):
            raise Rejected("The provider's answer has no code", hint="Start again.")
        redeemed = await self._redeem(answer["code"], flow.verifier)
        token = redeemed["id_token"]
        claims = await self._issuer.verify(token, (self._settings.client_id,), flow.nonce)
        claims = await self._completed(claims, redeemed.get("access_token"))
        self._check_condition(claims)
        address = self._address_in(claims)
        person = Person(address, self._groups_in(claims))
        return person, partial(self._admit, address, claims)

    async def _check_sender(self, answer: Mapping[str, str]) -> None:
        """Refuse an answer of another provider, or of nobody knows whom (RFC 9207 §2.4)."""
        said = answer.get("iss")
        if said is None:
            published = await self._issuer.configuration()
            if published.get("authorization_response_iss_parameter_supported") is not True:
                return
            raise Unauthenticated(
                f"The answer does not say that it comes from {self.name}, as its answers do",
                hint="Start again.",
            )
        if said != self._settings.issuer:
            raise Unauthenticated("The answer comes from another provider", hint="Start again.")

    async def _redeem(self, code: str, verifier: str) -> dict[str, Any]:
        settings = self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        basic = None
        methods = (await self._issuer.configuration()).get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_basic" not in methods:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        else:
            # Encoded first (RFC 6749 §2.3.1), or a colon in the id would end it.
            basic = (quote_plus(settings.client_id), quote_plus(settings.client_secret))
        endpoint = await self._issuer.endpoint("token_endpoint")
        status, answer = await self._documents.post_form(endpoint, form, basic)
        if status in (400, 401, 403):
            said = answer.get("error_description") or answer.get("error")
            raise Unauthenticated(
                f"{self.name} does not accept its own code: {str(said)[:200]!r}",
                hint="Start again; if it happens again, the client secret may be wrong.",
            )
        if status != 200 or not isinstance(answer.get("id_token"), str):
            raise Unavailable(f"{self.name} answered {status} without an identity token")
        return answer

    async def _completed(self, claims: Mapping[str, Any], access_token: object) -> dict[str, Any]:
        """Return *claims* with what the provider says at its userinfo endpoint, if some lack.

        Providers that follow the specification to the letter say no more than who it is
        in the identity token (Core §5.4).
        """
        wanted = {self._settings.address_claim, self._settings.groups_claim} - {""}
        if self._settings.address_claim == _EMAIL:
            wanted.add(_VERIFIED)
        is_complete = all(claim_in(claims, name) is not None for name in wanted)
        published = await self._issuer.configuration()
        if is_complete or "userinfo_endpoint" not in published or not isinstance(access_token, str):
            return dict(claims)
        endpoint = await self._issuer.endpoint("userinfo_endpoint")
        said = await self._documents.get(endpoint, access_token)
        # Core §5.3.2: or a stolen access token would lend its owner's address.
        if said.get("sub") != claims.get("sub"):
            raise Unauthenticated(
                f"{self.name} speaks of somebody else at its userinfo endpoint", hint="Start again."
            )
        return _joined(claims, said, wanted)

    def _check_condition(self, claims: Mapping[str, Any]) -> None:
        if self._settings.condition is None:
            return
        verdict = self._settings.condition.verdict({"assertion": claims})
        if not verdict.is_true:
            # The reason is for whoever wrote the condition, not for whoever it keeps out.
            _log.warning("Somebody of %s is kept out: %s", self.name, verdict.reason)
            raise Forbidden(
                f"{self.name} says who you are, but that may not sign in here",
                hint="An administrator finds the reason in the server's log (oidc_condition).",
            )

    def _address_in(self, claims: Mapping[str, Any]) -> str:
        name = self._settings.address_claim
        said = claim_in(claims, name)
        if not isinstance(said, str):
            raise Forbidden(
                f"{self.name} does not say your address (claim {name})",
                hint="An administrator can add the claim, or a scope that brings it.",
            )
        # Whoever may write any address into their profile must not become its owner.
        if name == _EMAIL and claims.get(_VERIFIED) not in (True, "true"):
            raise Forbidden(
                f"{self.name} has not verified your address", hint="Verify it there first."
            )
        try:
            address = parse_address(said)
        except Rejected as error:
            raise Forbidden(f"{self.name} names no usable address: {error}") from error
        domain = address.partition("@")[2]
        if self._settings.allowed_domains and domain not in self._settings.allowed_domains:
            raise Forbidden(f"Addresses of {domain} may not sign in here")
        return address

    def _groups_in(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        said = claim_in(claims, self._settings.groups_claim)
        named = [said] if isinstance(said, str) else said
        if not isinstance(named, list):
            return ()
        domain = self._settings.groups_domain
        groups = set()
        foreign = set()
        for one in named:
            # Keycloak writes paths, with a slash in front.
            name = str(one).strip().removeprefix("/").lower()
            address = name if "@" in name else f"{name}@{domain}"
            if not _GROUP.fullmatch(address):
                continue
            # Or whoever names groups at the provider could name any group that is made here.
            if address.endswith(f"@{domain}"):
                groups.add(f"group:{address}")
            else:
                foreign.add(address)
        if foreign:
            _log.warning(
                "%s names %d groups that are not of %s (oidc_groups_domain), and do not count: %s",
                *(self.name, len(foreign), domain, ", ".join(sorted(foreign)[:FOREIGN_LOGGED_MAX])),
            )
        if len(groups) > GROUPS_MAX:
            raise Forbidden(
                f"{self.name} names {len(groups)} groups of yours; Bonded keeps {GROUPS_MAX}",
                hint="An administrator can have the provider name only those that matter here.",
            )
        return tuple(sorted(groups))

    async def _admit(self, address: str, claims: Mapping[str, Any], tx: Transaction) -> None:
        """Let somebody in, as the user they are to the provider, in *tx*. Raises Forbidden."""
        now = self._clock()
        subject = f"{self._settings.issuer} {claims.get('sub')}"
        name = claims.get("name")
        # Held before anything is read: neither an invitation nor another sign-in comes between.
        proof = await tx.users.hold_proof(address) or Proof()
        user = await tx.users.find(address)
        if user is None:
            user = User(address, "", PROVIDER, now)
            await tx.users.add(user)
        _check_same(user, subject, proof)
        user = replace(user, source=PROVIDER, subject=subject, last_sign_in_at=now)
        if isinstance(name, str):
            user = replace(user, display_name=name[:DISPLAY_NAME_LENGTH_MAX])
        await tx.users.update(user)
        # Who has signed in needs none; one in an old mail would take the account over.
        await tx.users.forget_invitations(address)


def vouches_for(user: User, issuer: str, allowed_domains: Collection[str]) -> bool:
    """Say whether the provider at *issuer* has signed *user* in before, and may do so again."""
    domain = user.address.partition("@")[2]
    is_theirs = bool(issuer) and user.subject.startswith(f"{issuer} ")
    return is_theirs and (not allowed_domains or domain in allowed_domains)


def claim_in(claims: Mapping[str, Any], name: str) -> object:
    """Return the claim *name*, or what is at that path (`realm_access.roles`); None if neither.

    A claim of the very name comes first: some providers name claims by addresses, with dots.
    """
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _joined(
    signed: Mapping[str, Any], said: Mapping[str, Any], wanted: Collection[str]
) -> dict[str, Any]:
    """Return the claims of the identity token, and of userinfo what that does not say."""
    claims = {**said, **{name: value for name, value in signed.items() if value is not None}}
    for name in wanted:
        # What a path leads to in the one may be missing from an object of the other.
        if claim_in(claims, name) is None and claim_in(said, name) is not None:
            claims[name] = claim_in(said, name)
    # Whether an address is verified is said of that address, not of one that stands elsewhere.
    address = signed.get(_EMAIL)
    if address is None or address != said.get(_EMAIL):
        claims.pop(_VERIFIED, None)
        by = said if address is None else signed
        claims |= {name: by[name] for name in (_VERIFIED,) if name in by}
    return claims


def _check_same(user: User, subject: str, proof: Proof) -> None:
    # An address may pass to somebody else; what it was granted must not pass with it.
    is_other = user.subject not in ("", subject)
    if is_other or proof.password_hash:
        raise Forbidden(
            f"{user.address} belongs to another person, or to the built-in directory",
            hint="An administrator can delete that user; then sign in again.",
        )
    if user.is_disabled:
        raise Forbidden(f"{user.address} is disabled", hint="Ask an administrator.")

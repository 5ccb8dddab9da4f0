"""Signing in at an OpenID Connect provider, and every answer of one that proves nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from joserfc.jwk import RSAKey

from support.browsing import Page, Visitor, join, open_visitor
from support.clock import SetClock
from support.issuer import CLIENT, SECRET, FakeIssuer, running_issuer
from support.site import Site, open_site

ADA = "ada@example.com"
CALLBACK = "/_/provider/callback"


@pytest.fixture(name="issuer")
def _issuer() -> Iterator[FakeIssuer]:
    with running_issuer(SetClock()) as issuer:
        yield issuer


@pytest.fixture(name="site")
async def _site(tmp_path: Path, issuer: FakeIssuer) -> AsyncIterator[Site]:
    async with open_site(
        tmp_path / "data",
        oidc_issuer=issuer.url,
        oidc_name="Example ID",
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_groups_domain="example.com",
        oidc_allowed_domains="example.com, example.org",
    ) as site:
        issuer.clock = site.clock
        yield site


async def come_back(visitor: Visitor, issuer: FakeIssuer, **changes: str) -> Page:
    """Go to the provider, sign in there, and come back with its answer."""
    sent = await visitor.open("/_/provider?next=/account")
    assert sent.status == 303, sent.text
    answer = issuer.authorize(sent.headers["location"]) | changes
    return await visitor.open(f"{CALLBACK}?{urlencode(answer)}")


async def test_a_person_signs_in_at_the_provider_and_brings_their_groups(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims = {"groups": ["/Team", "admins@example.org", "no good: name"]}
    async with open_visitor(site) as visitor:
        asked = await visitor.open("/sign-in")
        page = await come_back(visitor, issuer)

    user = (await site.get(f"/v1/users/{ADA}")).json()
    (session,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
    assert "Continue with Example ID" in asked.text
    assert f"user:{ADA}" in page.text
    assert (user["source"], user["displayName"]) == ("PROVIDER", "Ada")
    assert session["groups"] == ["admins@example.org", "team@example.com"]


async def test_a_person_without_groups_or_password_may_come_again(
    site: Site, issuer: FakeIssuer
) -> None:
    for _ in range(2):
        async with open_visitor(site) as visitor:
            assert f"user:{ADA}" in (await come_back(visitor, issuer)).text
    async with open_visitor(site) as visitor:
        assert (await visitor.sign_in(ADA, "")).status == 403


def say(**claims: object) -> Callable[[FakeIssuer], None]:
    return lambda issuer: issuer.claims.update(claims)


def forge(issuer: FakeIssuer) -> None:
    issuer.signer = RSAKey.generate_key(2048, {"kid": "first"})


REFUSED: dict[str, tuple[Callable[[FakeIssuer], None], str]] = {
    "another issuer": (say(iss="http://other.example"), "is not from"),
    "another audience": (say(aud="other"), "for somebody else"),
    "another nonce": (say(nonce="other"), "answers another request"),
    "an expired token": (say(exp=1), "has expired"),
    "a forged signature": (forge, "is not signed with a key of its issuer"),
    "an address that is not verified": (say(email_verified=False), "has not verified"),
    "no word of verification": (say(email_verified=None), "has not verified"),
    "no address": (say(email=None), "does not say your address"),
    "an odd address": (say(email="<x>"), "names no usable address"),
    "another domain": (say(email="eve@evil.example"), "may not sign in here"),
    "too many groups": (say(groups=[f"g{n}" for n in range(101)]), "names 101 groups"),
    "no token": (
        lambda issuer: setattr(issuer, "raw", {"/token": (200, b"{}")}),
        "without an identity token",
    ),
    "a wrong client secret": (
        lambda issuer: setattr(issuer, "raw", {"/token": (401, b'{"error": "invalid_client"}')}),
        "does not accept its own code",
    ),
}


async def test_an_answer_that_proves_nobody_is_refused_with_a_sentence(
    site: Site, issuer: FakeIssuer
) -> None:
    for title, (spoil, says) in REFUSED.items():
        issuer.claims, issuer.signer, issuer.raw = {}, None, {}
        spoil(issuer)
        async with open_visitor(site) as visitor:
            page = await come_back(visitor, issuer)
            assert (title, page.status >= 400, says in page.text) == (title, True, True), page.text
            assert "bonded-session" not in visitor.http.cookies


async def test_an_answer_belongs_to_the_browser_that_asked(site: Site, issuer: FakeIssuer) -> None:
    async with open_visitor(site) as visitor, open_visitor(site) as other:
        swapped = await come_back(visitor, issuer, state="other")
        elsewhere = await other.open(f"{CALLBACK}?code=x&state=y")
        mixed = await come_back(visitor, issuer, iss="http://other.example")
        denied = await come_back(visitor, issuer, error="access_denied", code="")

    assert "belongs to another sign-in" in swapped.text
    assert "was not started in this browser" in elsewhere.text
    assert "comes from another provider" in mixed.text
    assert "refused: 'access_denied'" in denied.text


async def test_an_address_that_passed_to_somebody_else_is_not_let_in(
    site: Site, issuer: FakeIssuer
) -> None:
    await join(site, "bob@example.com")
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)
    issuer.claims = {"sub": "8"}
    async with open_visitor(site) as visitor:
        successor = await come_back(visitor, issuer)
    issuer.claims = {"sub": "9", "email": "bob@example.com"}
    async with open_visitor(site) as visitor:
        impostor = await come_back(visitor, issuer)
    issuer.claims = {}
    await site.call("POST", f"/v1/users/{ADA}:disable")
    async with open_visitor(site) as visitor:
        disabled = await come_back(visitor, issuer)

    assert "belongs to another person" in successor.text
    assert "belongs to another person" in impostor.text
    assert f"{ADA} is disabled" in disabled.text


async def test_a_provider_that_is_away_is_named(site: Site, issuer: FakeIssuer) -> None:
    issuer.raw = {"/.well-known/openid-configuration": (500, b"{}")}
    async with open_visitor(site) as visitor:
        page = await visitor.open("/_/provider")

    assert (page.status, "answered 500" in page.text) == (503, True)

"""Signing in at an OpenID Connect provider, and every answer of one that proves nobody."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from joserfc.jwk import RSAKey

from bonded.server.identity.issuers import AGAIN_S, KEPT_S, SKEW_S
from bonded.server.settings import SettingsError
from support.browsing import Page, Program, Visitor, invite, join, open_visitor
from support.clock import SetClock
from support.issuer import CLIENT, SECRET, FakeIssuer, running_issuer
from support.site import Site, open_site

ADA = "ada@example.com"
CALLBACK = "/_/provider/callback"
FAR = SetClock().now.timestamp() + 48 * 3600
"""Later than any of these tests comes to."""


@pytest.fixture(name="issuer")
def _issuer() -> Iterator[FakeIssuer]:
    with running_issuer(SetClock()) as issuer:
        yield issuer


def settings_for(issuer: FakeIssuer) -> dict[str, str]:
    """Return the settings of a server whose people sign in there."""
    return {
        "oidc_issuer": issuer.url,
        "oidc_name": "Example ID",
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_groups_domain": "example.com",
        "oidc_allowed_domains": "example.com, example.org",
    }


@pytest.fixture(name="site")
async def _site(tmp_path: Path, issuer: FakeIssuer) -> AsyncIterator[Site]:
    async with open_site(tmp_path / "data", **settings_for(issuer)) as site:
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
    issuer.claims = {"groups": ["/Team", "admins@example.com", "no good: name"]}
    async with open_visitor(site) as visitor:
        asked = await visitor.open("/sign-in")
        page = await come_back(visitor, issuer)

    user = (await site.get(f"/v1/users/{ADA}")).json()
    (session,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
    assert "Continue with Example ID" in asked.text
    assert f"user:{ADA}" in page.text
    assert (user["source"], user["displayName"]) == ("PROVIDER", "Ada")
    assert session["groups"] == ["admins@example.com", "team@example.com"]


async def test_a_person_without_groups_or_password_may_come_again(
    site: Site, issuer: FakeIssuer
) -> None:
    for _ in range(2):
        async with open_visitor(site) as visitor:
            assert f"user:{ADA}" in (await come_back(visitor, issuer)).text
    async with open_visitor(site) as visitor:
        assert (await visitor.sign_in(ADA, "")).status == 403


async def test_who_is_gone_at_the_provider_is_out_within_a_day(
    site: Site, issuer: FakeIssuer
) -> None:
    """A browser may approve a program at the end of its own sign-in."""
    program = Program(site)
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)
        site.clock.forward(hours=11)
        await visitor.open(program.path())
        await visitor.fill("/authorize", answer="yes")
        tokens = (await program.redeem(visitor.answer()["code"])).json()
        site.clock.forward(hours=2)
        late = await visitor.open("/account")

    renewed = await program.refresh(tokens["refresh_token"])
    site.clock.forward(hours=11)
    token = renewed.json()["access_token"]

    assert "Continue with Example ID" in late.text
    assert renewed.status_code == 200
    assert (await program.refresh(tokens["refresh_token"])).status_code == 400
    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 401


async def test_an_invitation_is_void_once_somebody_has_come_by_the_provider(
    site: Site, issuer: FakeIssuer
) -> None:
    link = await invite(site, ADA)
    async with open_visitor(site) as visitor:
        assert f"user:{ADA}" in (await come_back(visitor, issuer)).text
    async with open_visitor(site, "203.0.113.9") as finder:
        assert (await finder.open(link)).status == 404
    async with open_visitor(site) as visitor:
        assert f"user:{ADA}" in (await come_back(visitor, issuer)).text


def say(**claims: object) -> Callable[[FakeIssuer], None]:
    return lambda issuer: issuer.claims.update(claims)


def tell(userinfo: dict[str, object], **claims: object) -> Callable[[FakeIssuer], None]:
    def spoil(issuer: FakeIssuer) -> None:
        issuer.userinfo = userinfo
        issuer.claims.update(claims)

    return spoil


def forge(issuer: FakeIssuer) -> None:
    issuer.signer = RSAKey.generate_key(2048, {"kid": "first"})


SAYS_ISSUER = {"authorization_response_iss_parameter_supported": True}
REFUSED: dict[str, tuple[Callable[[FakeIssuer], object], str]] = {
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
    "another person at its userinfo endpoint": (
        tell({"sub": "8", "email": ADA}, email=None),
        "speaks of somebody else",
    ),
    "a verified address at its userinfo endpoint that is another": (
        tell(
            {"sub": "7", "email": "boss@example.com", "email_verified": True}, email_verified=None
        ),
        "has not verified",
    ),
    "a verification of no address at its userinfo endpoint": (
        tell({"sub": "7", "email_verified": True}, email_verified=None),
        "has not verified",
    ),
    "an answer without a sender": (
        lambda issuer: issuer.configuration.update(SAYS_ISSUER),
        "does not say that it comes from Example ID",
    ),
    "no address anywhere": (tell({"sub": "7"}, email=None), "does not say your address"),
    "an address that its userinfo endpoint has not verified": (
        tell({"sub": "7", "email_verified": False}, email_verified=None),
        "has not verified",
    ),
    "a userinfo endpoint that answers with an error": (
        lambda issuer: issuer.configuration.update(userinfo_endpoint=f"{issuer.url}/absent"),
        "answered 404 for",
    ),
    "an issue in the future": (say(iat=FAR, exp=FAR + 60), "is from the future"),
    "an unknown key": (
        lambda issuer: issuer.header.update(kid="other"),
        "is not signed with a key of its issuer",
    ),
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
        issuer.claims, issuer.signer, issuer.raw, issuer.userinfo = {}, None, {}, None
        issuer.header, issuer.configuration = {}, {}
        # What the provider publishes of itself is read again.
        site.clock.forward(seconds=KEPT_S)
        spoil(issuer)
        async with open_visitor(site) as visitor:
            page = await come_back(visitor, issuer)
            assert (title, page.status >= 400, says in page.text) == (title, True, True), page.text
            assert "bonded-session" not in visitor.http.cookies


async def test_the_signed_identity_token_counts_and_userinfo_says_only_what_it_does_not(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.configuration = dict(SAYS_ISSUER)
    issuer.userinfo = {
        "sub": "7",
        "email": "boss@example.com",
        "email_verified": True,
        "name": "Boss",
        "groups": ["team"],
    }
    async with open_visitor(site) as visitor:
        page = await come_back(visitor, issuer, iss=issuer.url)

    user = (await site.get(f"/v1/users/{ADA}")).json()
    (session,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
    assert f"user:{ADA}" in page.text
    assert (user["displayName"], session["groups"]) == ("Ada", ["team@example.com"])
    assert (await site.get("/v1/users/boss@example.com")).status_code == 404


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


async def test_a_provider_that_is_down_is_no_dead_end(tmp_path: Path) -> None:
    with running_issuer(SetClock()) as gone:
        settings = settings_for(gone)
    async with open_site(tmp_path / "data", **settings) as site, open_visitor(site) as visitor:
        page = await visitor.open("/_/provider")

    assert page.status == 503
    assert "cannot be reached: nobody listens there." in page.text
    assert "try again in a moment" in page.text
    assert "Who has a password of this registry can sign in" in page.text
    assert "Errno" not in page.text


async def test_somebody_with_a_password_moves_to_the_provider_as_the_guide_says(
    site: Site, issuer: FakeIssuer
) -> None:
    role = "roles/artifactregistry.writer"
    await join(site, ADA)
    await site.grant(role, f"user:{ADA}")
    async with open_visitor(site) as visitor:
        refused = await come_back(visitor, issuer)
    await site.call("DELETE", f"/v1/users/{ADA}")
    taken = (await site.call("POST", f"{site.rest}:getIamPolicy", {})).text
    await site.grant(role, f"user:{ADA}")
    async with open_visitor(site) as visitor:
        moved = await come_back(visitor, issuer)
    program = Program(site)
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)
        await visitor.open(program.path())
        await visitor.fill("/authorize", answer="yes")
        token = (await program.redeem(visitor.answer()["code"])).json()["access_token"]

    assert "or to the built-in directory" in refused.text
    assert ADA not in taken
    assert f"user:{ADA}" in moved.text
    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 200


async def test_who_was_invited_and_has_no_password_yet_keeps_their_roles_at_the_provider(
    site: Site, issuer: FakeIssuer
) -> None:
    await invite(site, ADA)
    await site.grant("roles/artifactregistry.reader", f"user:{ADA}")
    async with open_visitor(site) as visitor:
        moved = await come_back(visitor, issuer)

    assert f"user:{ADA}" in moved.text
    assert ADA in (await site.call("POST", f"{site.rest}:getIamPolicy", {})).text


SHAPES: dict[str, tuple[dict[str, str], dict[str, object], list[str]]] = {
    # Keycloak: roles of the realm, of a client, and groups as paths.
    "roles of a realm": (
        {"oidc_groups_claim": "realm_access.roles"},
        {"realm_access": {"roles": ["Team", "offline_access"]}},
        ["offline_access@example.com", "team@example.com"],
    ),
    "roles of a client": (
        {"oidc_groups_claim": "resource_access.bonded.roles"},
        {"resource_access": {"bonded": {"roles": ["publisher"]}, "account": {"roles": ["x"]}}},
        ["publisher@example.com"],
    ),
    "groups as paths": (
        {},
        {"groups": ["/dev", "/dev/web"]},
        ["dev/web@example.com", "dev@example.com"],
    ),
    # Google's tokens name no groups at all, but the domain that somebody belongs to.
    "a hosted domain": (
        {"oidc_groups_claim": "", "oidc_condition": "assertion.hd == 'example.com'"},
        {"hd": "example.com", "groups": ["not asked for"]},
        [],
    ),
    # Others name claims by addresses, with dots; and one group as a text.
    "a claim named by an address": (
        {"oidc_groups_claim": "https://example.com/groups"},
        {"https://example.com/groups": "dev"},
        ["dev@example.com"],
    ),
    "an address of another claim": (
        {"oidc_address_claim": "upn", "oidc_groups_claim": "roles"},
        {"upn": ADA, "email": None, "email_verified": None, "roles": ["dev@example.com", 7]},
        ["7@example.com", "dev@example.com"],
    ),
    # Or whoever names groups at the provider could name those of anybody.
    "groups of another domain": (
        {},
        {"groups": ["dev@example.org", "ops@EXAMPLE.com", "x@sub.example.com", "a@b@example.com"]},
        ["ops@example.com"],
    ),
    "a path that leads nowhere": (
        {"oidc_groups_claim": "realm_access.roles.all"},
        {"realm_access": {"roles": ["team"]}},
        [],
    ),
}


@pytest.mark.parametrize("title", SHAPES)
async def test_claims_are_read_in_the_shapes_that_providers_have(
    tmp_path: Path, issuer: FakeIssuer, title: str
) -> None:
    settings, issuer.claims, groups = SHAPES[title]
    async with (
        open_site(tmp_path / "data", **(settings_for(issuer) | settings)) as site,
        open_visitor(site) as visitor,
    ):
        page = await come_back(visitor, issuer)
        assert f"user:{ADA}" in page.text
        (session,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]

    assert session.get("groups", []) == groups


@pytest.mark.parametrize("domain", [None, "other.example"])
async def test_a_condition_keeps_out_who_has_an_address_but_not_from_here(
    tmp_path: Path, issuer: FakeIssuer, caplog: pytest.LogCaptureFixture, domain: str | None
) -> None:
    issuer.claims = {"hd": domain}
    settings = settings_for(issuer) | {"oidc_condition": "assertion.hd == 'example.com'"}
    async with open_site(tmp_path / "data", **settings) as site, open_visitor(site) as visitor:
        page = await come_back(visitor, issuer)
        users = (await site.get("/v1/users")).json()

    assert (page.status, "that may not sign in here" in page.text) == (403, True)
    assert "assertion.hd == 'example.com'" in caplog.text
    assert users == {"users": []}


async def test_a_setting_that_could_not_work_is_refused_at_the_start(
    tmp_path: Path, issuer: FakeIssuer
) -> None:
    (tmp_path / "empty").touch()
    wrong = {
        "oidc_condition: The expression `assertion.hd = 1` is wrong": {
            "oidc_condition": "assertion.hd = 1"
        },
        "gives a STRING. It must be true or false": {"oidc_condition": "'yes'"},
        "absent cannot be read: No such file": {
            "oidc_client_secret_file": str(tmp_path / "absent")
        },
        "empty is empty": {"oidc_client_secret_file": str(tmp_path / "empty")},
    }
    for says, settings in wrong.items():
        with pytest.raises(SettingsError, match=re.escape(says)):
            async with open_site(tmp_path / "data", **(settings_for(issuer) | settings)):
                pass


async def test_what_the_identity_token_leaves_out_comes_from_the_userinfo_endpoint(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims = {"email": None, "email_verified": None, "name": None}
    issuer.userinfo = {
        "sub": "7",
        "email": ADA,
        "email_verified": True,
        "name": "Ada",
        "groups": ["dev"],
    }
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)

    user = (await site.get(f"/v1/users/{ADA}")).json()
    (session,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
    assert (user["displayName"], session["groups"]) == ("Ada", ["dev@example.com"])


async def test_nothing_is_asked_at_the_userinfo_endpoint_that_the_token_says(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims, issuer.userinfo = {"groups": []}, {}
    async with open_visitor(site) as visitor:
        assert f"user:{ADA}" in (await come_back(visitor, issuer)).text

    assert "GET /userinfo" not in issuer.requests


async def test_keys_that_rotate_between_two_steps_of_a_sign_in_are_fetched(
    site: Site, issuer: FakeIssuer
) -> None:
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)
    site.clock.forward(seconds=AGAIN_S)
    async with open_visitor(site) as visitor:
        sent = await visitor.open("/_/provider?next=/account")
        answer = issuer.authorize(sent.headers["location"])
        issuer.rotate()
        page = await visitor.open(f"{CALLBACK}?{urlencode(answer)}")

    assert f"user:{ADA}" in page.text


async def test_clocks_may_differ_by_a_minute(site: Site, issuer: FakeIssuer) -> None:
    now = site.clock().timestamp()
    for claims in ({"iat": now + SKEW_S}, {"exp": now - SKEW_S + 1, "iat": now - 300}):
        issuer.claims = dict(claims)
        async with open_visitor(site) as visitor:
            assert f"user:{ADA}" in (await come_back(visitor, issuer)).text


async def test_a_provider_that_is_slow_or_goes_away_is_named_and_nobody_waits_for_ever(
    site: Site, issuer: FakeIssuer
) -> None:
    async with open_visitor(site) as visitor:
        sent = await visitor.open("/_/provider")
        answer = issuer.authorize(sent.headers["location"])
        site.registry.documents.wait_max_s, issuer.wait_s = 0.5, 1.5
        slow = await visitor.open(f"{CALLBACK}?{urlencode(answer)}")
        other = await visitor.sign_in(ADA)

    assert (slow.status, "did not answer within 0.5 s" in slow.text) == (503, True)
    # People with a password do not depend on it.
    assert "The address or the password is wrong." in other.text


async def test_a_program_of_somebody_from_a_provider_works_until_they_are_disabled(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims = {"groups": ["dev"]}
    await site.grant("roles/artifactregistry.reader", "group:dev@example.com")
    program = Program(site)
    async with open_visitor(site) as visitor:
        await come_back(visitor, issuer)
        await visitor.open(program.path())
        await visitor.fill("/authorize", answer="yes")
        tokens = (await program.redeem(visitor.answer()["code"])).json()
    # The provider is not needed any more.
    issuer.raw = {"/.well-known/openid-configuration": (500, b"{}"), "/jwks": (500, b"{}")}
    site.clock.forward(hours=2)
    refreshed = await program.refresh(tokens["refresh_token"])
    token = refreshed.json()["access_token"]
    read = await site.get(f"{site.repository}/simple/", token)

    site.admin = await site.sign_in(site.admin_key)
    await site.call("POST", f"/v1/users/{ADA}:disable")

    again = await program.refresh(tokens["refresh_token"])
    assert (read.status_code, again.status_code) == (200, 400)
    assert again.json()["error"] == "invalid_grant"
    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 401

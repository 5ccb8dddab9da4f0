"""What strangers, thieves and crowds must not be able to do to people who sign in."""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import timedelta
from pathlib import Path

import pytest

from bonded.server.app_people import FAILED_TOKENS
from bonded.server.core.errors import NotFound, TooMany
from bonded.server.identity.devices import DeviceGrants
from bonded.server.identity.passwords import AT_ONCE_MAX, STRANGERS_MAX, WAITING_MAX, Passwords
from bonded.server.identity.second_factor import secret_of
from bonded.server.identity.sessions import Sessions
from bonded.server.identity.throttle import FREE_GUESSES, site_of
from bonded.server.identity.tokens import TokenIssuer
from bonded.server.identity.turns import Party
from support.browsing import CLIENT, PASSWORD, Visitor, code_of, enrol, join, log_in, open_visitor
from support.site import Site, open_site

ADA = "ada@example.com"
OTHER = "another battery of horses"
FACTOR = "/_/account/second-factor"


async def signed_in(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)


async def test_a_second_factor_is_turned_on_by_who_knows_the_password(site: Site) -> None:
    async with open_visitor(site) as visitor:
        await signed_in(site, visitor)
        asked = await visitor.open(FACTOR)
        wrong = await visitor.fill(FACTOR, code="000000", password="found it signed in")
        without = await visitor.fill(FACTOR, code="000000")
        account = await visitor.open("/account")
        secret, _ = await enrol(visitor, site)

    assert "and your password once more" in asked.text
    for page in (wrong, without):
        assert (page.status, "The password is wrong" in page.text) == (400, True)
    assert "Add a second factor" in account.text
    assert secret


async def test_no_token_of_a_person_turns_a_second_factor_on_or_off(site: Site) -> None:
    """A program that holds one knows no way, not even with all that the form asks for."""
    async with open_visitor(site) as visitor:
        await signed_in(site, visitor)
        token = (await log_in(site, ADA))["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        page = await visitor.open(FACTOR)
        found = re.search(r"<code>([A-Z2-7 ]+)</code>", page.html)
        assert found is not None
        code = code_of(secret_of(found[1].replace(" ", "")), site)
        typed = {"password": PASSWORD, "code": code}
        sent = page.form(FACTOR).fields | typed
        turned_on = await site.http.post(FACTOR, data=sent, headers=bearer)
        assert "secondFactor" not in (await site.get(f"/v1/users/{ADA}")).json()
        await visitor.send(page.form(FACTOR), **typed)
        page = await visitor.open("/account")
        sent = page.form(f"{FACTOR}/remove").fields | {"password": PASSWORD}
        turned_off = await site.http.post(f"{FACTOR}/remove", data=sent, headers=bearer)
        asked = [
            await site.call("POST", f"/v1/users/{address}:forgetSecondFactor", token=token)
            for address in (ADA, "me")
        ]
        has_factor = (await site.get(f"/v1/users/{ADA}")).json()["secondFactor"]

    assert [one.status_code for one in (turned_on, turned_off)] == [403, 403]
    assert [one.status_code for one in asked] == [403, 403]
    assert has_factor is True


async def test_the_second_step_is_for_the_browser_that_took_the_first(site: Site) -> None:
    async with open_visitor(site) as ada, open_visitor(site) as thief:
        await signed_in(site, ada)
        secret, _ = await enrol(ada, site)
        site.clock.forward(seconds=30)
        async with open_visitor(site) as again:
            await again.sign_in(ADA)
            pending = again.page.form("/_/second-factor").fields["pending"]
        await thief.open("/sign-in")
        form = thief.page.form("/sign-in")
        form.action = "/_/second-factor"

        stolen = await thief.send(form, pending=pending, code=code_of(secret, site))

    assert stolen.status == 400
    assert "or was not started in this browser. Start again." in stolen.text


async def test_the_second_step_is_void_once_the_password_is_another(site: Site) -> None:
    async with open_visitor(site) as ada, open_visitor(site) as thief:
        await signed_in(site, ada)
        secret, _ = await enrol(ada, site)
        await thief.sign_in(ADA)
        await ada.open("/account")
        changed = {"current": PASSWORD, "new": OTHER, "again": OTHER}
        assert "is changed" in (await ada.fill("/_/account/password", **changed)).text
        site.clock.forward(seconds=30)

        late = await thief.fill("/_/second-factor", code=code_of(secret, site))
        await ada.fill("/sign-out")
        await ada.sign_in(ADA, OTHER)
        in_time = await ada.fill("/_/second-factor", code=code_of(secret, site))

    assert (late.status, in_time.status) == (403, 200)


async def test_to_choose_a_bad_password_is_no_guess_of_the_current_one(site: Site) -> None:
    async with open_visitor(site) as visitor:
        await signed_in(site, visitor)
        for new in ["short"] * FREE_GUESSES + [PASSWORD]:
            await visitor.open("/account")
            typed = {"current": PASSWORD, "new": new, "again": new}
            assert (await visitor.fill("/_/account/password", **typed)).status == 400
        assert "The new password is the current one" in visitor.page.text

        typed = {"current": PASSWORD, "new": OTHER, "again": OTHER}
        assert "is changed" in (await visitor.fill("/_/account/password", **typed)).text


@pytest.mark.parametrize("path", ["/revoke", "/v1/introspect"])
async def test_garbage_is_not_judged_for_long_and_good_tokens_still_are(
    site: Site, path: str
) -> None:
    await join(site, ADA)
    token = (await log_in(site, ADA))["access_token"]
    answers = [
        await site.http.post(path, data={"token": "garbage"}) for _ in range(FAILED_TOKENS[0] + 1)
    ]

    good = await site.http.post(path, data={"token": token})

    assert [one.status_code for one in answers] == [200] * FAILED_TOKENS[0] + [429]
    assert answers[-1].json()["error"] == "temporarily_unavailable"
    assert answers[-1].headers["retry-after"] == "1"
    assert good.status_code == 200


async def test_whoever_forwards_without_being_named_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_site(tmp_path / "data") as site:
        await join(site, ADA)
        for _ in range(3):
            async with open_visitor(site, "10.1.2.3") as visitor:
                visitor.http.headers["x-forwarded-for"] = "203.0.113.9"
                await visitor.sign_in(ADA, "wrong")

    told = [one for one in caplog.records if "X-Forwarded-For" in one.message]
    assert [(one.levelno, one.message.partition(".")[0]) for one in told] == [
        (logging.WARNING, "10")
    ]
    assert "10.1.2.3 has sent X-Forwarded-For, and trusted_proxies does not name it" in caplog.text


async def test_a_crowd_of_one_network_ends_the_waiting_of_its_own_devices(site: Site) -> None:
    metadata, clock = site.registry.metadata, site.clock
    issuer = TokenIssuer(site.registry.signing_keys, clock, timedelta(hours=1))
    sessions = Sessions(metadata, issuer, clock, timedelta(hours=1))
    grants = DeviceGrants(metadata, sessions, clock, waiting_max=3)
    mine = await grants.start(CLIENT, "openid", "192.0.2.1")
    crowd = []
    for number in range(5):
        clock.forward(seconds=1)
        crowd.append(await grants.start(CLIENT, "openid", f"2001:db8:0:{number}::1"))

    assert (await grants.find(mine.user_code)).client_address == "192.0.2.1"
    for waiting in crowd[:3]:
        with pytest.raises(NotFound):
            await grants.find(waiting.user_code)
    for waiting in crowd[3:]:
        await grants.find(waiting.user_code)


def test_a_site_is_what_is_handed_out_to_one_at_the_most() -> None:
    said = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:1:2::3", "a unix socket"]

    assert [site_of(one) for one in said] == [
        *("192.0.2.0/24", "192.0.2.0/24", "2001:db8:1::/48", "unknown")
    ]


async def test_strangers_leave_places_for_devices_that_are_known() -> None:
    passwords = Passwords(64)
    good = await passwords.hash(PASSWORD, ADA)

    async def outcomes(number: int, *, is_known: bool) -> list[object]:
        party = Party("here", is_known)
        asked = (passwords.verify(good, "wrong", party) for _ in range(number))
        return await asyncio.gather(*asked, return_exceptions=True)

    strangers = asyncio.create_task(outcomes(AT_ONCE_MAX + STRANGERS_MAX + 1, is_known=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    owners = await outcomes(WAITING_MAX - STRANGERS_MAX, is_known=True)

    assert owners == [False] * (WAITING_MAX - STRANGERS_MAX)
    judged = [bool] * (AT_ONCE_MAX + STRANGERS_MAX)
    assert [type(one) for one in await strangers] == [*judged, TooMany]


async def test_a_code_is_shown_as_the_device_shows_it_however_it_was_typed(site: Site) -> None:
    await join(site, ADA)
    form = {"client_id": CLIENT, "scope": "openid"}
    device = (await site.http.post("/device_authorization", data=form)).json()
    code = device["user_code"]
    typed = [code, code.replace("-", ""), code.lower(), code.replace("-", " ")]
    async with open_visitor(site) as visitor:
        await visitor.sign_in(ADA, path=f"/device?user_code={code}")
        fields = [visitor.page.form("/device").fields["user_code"]]
        pages = []
        for one in typed:
            await visitor.open("/device")
            pages.append((await visitor.fill("/device", user_code=one)).text)

    assert fields == [code]
    assert [
        f"shows the code {code} ." in page or f"shows the code {code}." in page for page in pages
    ] == [True] * len(typed)

"""People: invited, signed in with a password and a second factor, and out again."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from bonded.server.identity.sealing import load_sealer
from bonded.server.identity.second_factor import base32_of
from support.browsing import (
    PASSWORD,
    Visitor,
    code_of,
    enrol,
    invite,
    join,
    open_visitor,
)
from support.site import Site

ADA = "ada@example.com"
NEW = "a new and better password"


@pytest.fixture(name="visitor")
async def _visitor(site: Site) -> AsyncIterator[Visitor]:
    async with open_visitor(site) as visitor:
        yield visitor


async def test_an_invitation_lets_a_person_set_a_password_and_sign_in(
    site: Site, visitor: Visitor
) -> None:
    link = await invite(site, "Ada@Example.com")

    await visitor.open(link)
    await visitor.open(link)  # looking does not use it up
    done = await visitor.fill("/_/invitation", password=PASSWORD, again=PASSWORD)
    account = await visitor.sign_in(ADA)

    assert "Your password is set." in done.text
    assert f"user:{ADA}" in account.text
    user = (await site.get(f"/v1/users/{ADA}")).json()
    assert user["lastSignInTime"] == "2026-11-22T12:00:00.000000Z"


async def test_pages_allow_no_script_no_frame_and_no_copy(site: Site, visitor: Visitor) -> None:
    page = await visitor.open("/sign-in")

    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "<script" not in page.html
    assert "style=" not in page.html
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    for name in ("style.css", "icon.svg"):
        first = await site.get(f"/_/static/{name}", "")
        again = await site.get(f"/_/static/{name}", "", if_none_match=first.headers["etag"])
        assert (first.status_code, again.status_code) == (200, 304)
    assert (await site.get("/_/static/other", "")).status_code == 404


BAD_PASSWORDS = {
    "short": ("tooshort", "A password has 12 to 256 characters."),
    "enormous": ("x y z " * 50, "A password has 12 to 256 characters."),
    "their own address": ("ada@example.com1", "The password must not be made of the address."),
    "a word that everybody tries": (
        "Password1234!",
        "The password is made of a word that everybody tries first.",
    ),
    "a row of the keyboard": (
        "qwertyuiop123",
        "The password is made of a word that everybody tries first.",
    ),
    "one letter": ("aaaaaaaaaaaaaa", "The password repeats too few characters."),
}


async def test_a_password_that_would_be_guessed_is_refused_and_the_invitation_stays(
    site: Site, visitor: Visitor
) -> None:
    await visitor.open(await invite(site, ADA))

    for title, (password, says) in BAD_PASSWORDS.items():
        refused = await visitor.fill("/_/invitation", password=password, again=password)
        assert (title, refused.status, says in refused.text) == (title, 400, True)
    accepted = await visitor.fill("/_/invitation", password=PASSWORD, again=PASSWORD)

    assert accepted.status == 200


async def test_two_passwords_that_differ_are_refused(site: Site, visitor: Visitor) -> None:
    await visitor.open(await invite(site, ADA))

    page = await visitor.fill("/_/invitation", password=PASSWORD, again=NEW)

    assert (page.status, "not the same" in page.text) == (400, True)


async def test_a_used_an_expired_and_a_replaced_invitation_say_what_to_do(
    site: Site, visitor: Visitor
) -> None:
    says = "This invitation was used, replaced by another, or has expired."
    first = await invite(site, ADA)
    replaced = (await site.call("POST", f"/v1/users/{ADA}:invite")).json()["uri"]
    form = (await visitor.open(replaced)).form("/_/invitation")
    typed = {"password": PASSWORD, "again": PASSWORD}

    pages = [
        await visitor.open(first),
        await visitor.open("/_/invitation?code=nonsense"),
        await visitor.open("/_/invitation"),
    ]
    assert (await visitor.send(form, **typed)).status == 200
    pages.append(await visitor.send(form, **typed))
    expired = (await site.call("POST", f"/v1/users/{ADA}:invite")).json()["uri"]
    site.clock.forward(days=3)
    pages.append(await visitor.open(expired))

    assert {(page.status, says in page.text) for page in pages} == {(404, True)}
    assert "Ask an administrator for a new one." in pages[0].text


async def test_a_wrong_password_an_unknown_and_an_uninvited_person_look_the_same(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await invite(site, "bob@example.com")

    pages = [
        await visitor.sign_in(ADA, "wrong"),
        await visitor.sign_in("bob@example.com", ""),
        await visitor.sign_in("eve@example.com", PASSWORD),
    ]

    assert {page.status for page in pages} == {403}
    assert all("The address or the password is wrong." in page.text for page in pages)
    assert "<script>" not in (await visitor.sign_in('"><script>@x', "x")).html


async def test_a_form_from_elsewhere_is_refused(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    form = (await visitor.open("/sign-in")).form("/sign-in")
    right = form.fields | {"address": ADA, "password": PASSWORD}
    async with open_visitor(site) as other:
        theirs = (await other.open("/sign-in")).form("/sign-in").fields["form"]

    without = await visitor.http.post("/sign-in", data={**right, "form": ""})
    changed = await visitor.http.post("/sign-in", data={**right, "form": theirs})
    cross = await visitor.http.post(
        "/sign-in", data=right, headers={"sec-fetch-site": "cross-site"}
    )
    site.clock.forward(hours=12)
    late = await visitor.http.post("/sign-in", data=right)

    for response in (without, changed, cross, late):
        assert response.status_code == 403
        assert "was not sent from a page of this server" in response.text
        assert "bonded-session" not in response.headers.get("set-cookie", "")


async def test_a_sign_in_leads_to_pages_of_this_server_only(site: Site) -> None:
    await join(site, ADA)
    leads = {}
    for after in ("//evil.example", "https://evil.example", "/\\evil", "/device?user_code=X"):
        async with open_visitor(site) as visitor:
            await visitor.open("/sign-in")
            form = visitor.page.form("/sign-in")
            typed = {"address": ADA, "password": PASSWORD, "next": after}
            response = await visitor.http.post("/sign-in", data=form.fields | typed)
            leads[after] = response.headers["location"]

    assert leads == {
        "//evil.example": "/account",
        "https://evil.example": "/account",
        "/\\evil": "/account",
        "/device?user_code=X": "/device?user_code=X",
    }


async def test_signing_out_ends_the_browser_s_session(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    stolen = visitor.http.cookies["bonded-session"]

    page = await visitor.fill("/sign-out")
    async with open_visitor(site) as thief:
        thief.http.cookies.set("bonded-session", stolen)
        theirs = await thief.open("/account")

    assert "Sign in" in page.text
    assert "Sign in" in theirs.text
    assert (await site.get(f"/v1/users/{ADA}/sessions")).json() == {"sessions": []}


async def test_a_browser_s_session_lasts_half_a_day(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)

    site.clock.forward(hours=11, minutes=59)
    before = await visitor.open("/account")
    site.clock.forward(minutes=1)
    after = await visitor.open("/account")

    assert (ADA in before.text, ADA in after.text) == (True, False)


async def test_a_changed_password_ends_every_other_sign_in(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    async with open_visitor(site) as elsewhere:
        await elsewhere.sign_in(ADA)
        action = "/_/account/password"

        wrong = await visitor.fill(action, current="wrong", new=NEW, again=NEW)
        differ = await visitor.fill(action, current=PASSWORD, new=NEW, again="other")
        same = await visitor.fill(action, current=PASSWORD, new=PASSWORD, again=PASSWORD)
        done = await visitor.fill(action, current=PASSWORD, new=NEW, again=NEW)

        assert "The current password is wrong" in wrong.text
        assert "not the same" in differ.text
        assert "The new password is the current one" in same.text
        assert "every other sign-in has ended" in done.text
        assert "Sign in" in (await elsewhere.open("/account")).text
        assert ADA in (await visitor.open("/account")).text
        assert (await elsewhere.sign_in(ADA)).status == 403
        assert (await elsewhere.sign_in(ADA, NEW)).status == 200


async def test_a_new_invitation_resets_the_password_and_ends_every_sign_in(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    link = (await site.call("POST", f"/v1/users/{ADA}:invite")).json()["uri"]

    async with open_visitor(site) as elsewhere:
        await elsewhere.open(link)
        await elsewhere.fill("/_/invitation", password=NEW, again=NEW)

    assert "Sign in" in (await visitor.open("/account")).text
    assert (await visitor.sign_in(ADA)).status == 403
    assert (await visitor.sign_in(ADA, NEW)).status == 200


async def test_a_sign_in_is_ended_from_the_account_page(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    async with open_visitor(site, "198.51.100.9") as elsewhere:
        await elsewhere.sign_in(ADA)
        await visitor.sign_in(ADA)
        listed = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
        other = next(one for one in listed if one["clientAddress"] == "198.51.100.9")
        session = other["name"].rpartition("/")[2]

        ended = await visitor.send(visitor.page.form("/_/account/sessions", session=session))
        again = await visitor.fill("/_/account/sessions", session=session)

        assert "The sign-in has ended." in ended.text
        assert "had ended already" in again.text
        assert "Sign in" in (await elsewhere.open("/account")).text


async def test_a_second_factor_is_asked_for_at_every_sign_in_and_no_code_is_good_twice(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    secret, _ = await enrol(visitor, site)
    await visitor.open("/account")
    await visitor.fill("/sign-out")

    asked = await visitor.sign_in(ADA)
    replayed = await visitor.fill("/_/second-factor", code=code_of(secret, site))
    site.clock.forward(seconds=90)
    wrong = await visitor.fill("/_/second-factor", code="000000")
    early = await visitor.fill("/_/second-factor", code=code_of(secret, site, 2))
    right = await visitor.fill("/_/second-factor", code=code_of(secret, site, 1))

    assert "Second step" in asked.text
    assert "bonded-session" not in asked.headers.get("set-cookie", "")
    for page in (replayed, wrong, early):
        assert (page.status, "The code is wrong, or was used." in page.text) == (403, True)
    assert "A code from your authenticator app is asked for" in right.text
    assert (await site.get(f"/v1/users/{ADA}")).json()["secondFactor"] is True


async def test_a_recovery_code_stands_in_once(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    _, codes = await enrol(visitor, site)
    assert len(codes) == 8

    async with open_visitor(site) as elsewhere:
        await elsewhere.sign_in(ADA)
        first = await elsewhere.fill("/_/second-factor", code=f" {codes[0].upper()} ")
        await elsewhere.fill("/sign-out")
        await elsewhere.sign_in(ADA)
        second = await elsewhere.fill("/_/second-factor", code=codes[0])

    assert "7 recovery codes are left" in first.text
    assert second.status == 403


async def test_the_second_step_ends_after_ten_minutes(site: Site, visitor: Visitor) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    secret, _ = await enrol(visitor, site)
    async with open_visitor(site) as elsewhere:
        await elsewhere.sign_in(ADA)
        site.clock.forward(minutes=10)
        page = await elsewhere.fill("/_/second-factor", code=code_of(secret, site))

    assert (page.status, "took too long" in page.text) == (400, True)


async def test_a_second_factor_is_removed_by_its_owner_or_an_administrator(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    await enrol(visitor, site)
    action = "/_/account/second-factor/remove"
    await visitor.open("/account")

    wrong = await visitor.fill(action, password="wrong")
    removed = await visitor.fill(action, password=PASSWORD)
    await enrol(visitor, site)
    reset = await site.call("POST", f"/v1/users/{ADA}:forgetSecondFactor")

    assert "The password is wrong" in wrong.text
    assert "The second factor is removed." in removed.text
    assert "secondFactor" not in reset.json()
    async with open_visitor(site) as elsewhere:
        assert ADA in (await elsewhere.sign_in(ADA)).text


async def test_a_second_factor_that_was_not_made_here_is_refused(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    await visitor.open("/_/account/second-factor")

    typed = {"code": "123456", "password": PASSWORD}
    wrong = await visitor.fill("/_/account/second-factor", **typed)
    forged = await visitor.fill("/_/account/second-factor", sealed="abc", **typed)

    assert "The code is not the one that the app shows" in wrong.text
    assert (forged.status, "was not made here" in forged.text) == (400, True)


async def test_a_second_factor_of_a_stolen_database_is_shown_to_nobody(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await join(site, "eve@example.com")
    await visitor.sign_in(ADA)
    secret, _ = await enrol(visitor, site)
    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database:
        (factor,) = database.execute("SELECT factor FROM users WHERE factor != ''").fetchone()

    async with open_visitor(site) as eve:
        await eve.sign_in("eve@example.com")
        page = await eve.open("/_/account/second-factor")
        shown = re.findall(r'name="sealed" value="([^"]+)"', page.html)
        stolen = await eve.fill("/_/account/second-factor", sealed=factor, code="000000")
        async with open_visitor(site) as another:
            await another.sign_in("eve@example.com")
            await another.open("/_/account/second-factor")
            other = await another.fill("/_/account/second-factor", sealed=shown[0], code="000000")

    assert f"{base32_of(secret)[:4]} {base32_of(secret)[4:8]}" not in stolen.html
    assert [(one.status, "was not made here" in one.text) for one in (stolen, other)] == [
        (400, True),
        (400, True),
    ]


async def test_a_second_factor_that_was_sealed_for_nobody_is_sealed_for_its_owner_when_used(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)
    secret, _ = await enrol(visitor, site)
    sealer = load_sealer(site.data_dir / "sealing-key")
    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database, database:
        old = sealer.seal(base32_of(secret))
        database.execute("UPDATE users SET factor = ? WHERE factor != ''", (old,))

    async with open_visitor(site) as elsewhere:
        await elsewhere.sign_in(ADA)
        page = await elsewhere.fill("/_/second-factor", code=code_of(secret, site, 1))

    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database:
        (factor,) = database.execute("SELECT factor FROM users WHERE factor != ''").fetchone()
    assert ADA in page.text
    assert sealer.open(factor) == f"{ADA} {base32_of(secret)}"


async def test_a_disabled_person_is_out_at_once_and_back_when_enabled(
    site: Site, visitor: Visitor
) -> None:
    await join(site, ADA)
    await visitor.sign_in(ADA)

    disabled = await site.call("POST", f"/v1/users/{ADA}:disable")
    gone = await visitor.open("/account")
    refused = await visitor.sign_in(ADA)
    await site.call("POST", f"/v1/users/{ADA}:enable")
    back = await visitor.sign_in(ADA)

    assert disabled.json()["disabled"] is True
    assert "Sign in" in gone.text
    assert (refused.status, f"{ADA} is disabled." in refused.text) == (403, True)
    assert back.status == 200

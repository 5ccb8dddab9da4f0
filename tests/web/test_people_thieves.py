"""What somebody can do with what they have stolen from a person, and what no longer works then."""

from __future__ import annotations

import pytest

from bonded.server.identity.sessions import BROWSER_LIFE_S
from support.browsing import CLIENT, PASSWORD, Program, Visitor, join, log_in, open_visitor
from support.site import Site

ADA = "ada@example.com"
THIEF = "203.0.113.9"
NEW = "another long pass phrase 9"


async def test_a_refresh_token_is_no_cookie(site: Site) -> None:
    await join(site, ADA)
    stolen = (await log_in(site, ADA))["refresh_token"]

    async with open_visitor(site, THIEF) as thief:
        thief.http.cookies.set("bonded-session", stolen)
        for path in ("/account", "/_/account/second-factor", Program(site).path()):
            page = await thief.open(path)
            assert "/sign-in" in [form.action for form in page.forms], path


@pytest.mark.parametrize(
    "others", ['prefs={"a": 1}', "x[y]=1", "utm=a b", "=", "a;b=;;", 'quoted="'], ids=repr
)
async def test_a_cookie_of_another_site_of_the_domain_signs_nobody_out(
    site: Site, others: str
) -> None:
    await join(site, ADA)
    async with open_visitor(site) as ada:
        await ada.sign_in(ADA)
        own = "; ".join(f"{name}={value}" for name, value in ada.http.cookies.items())

        page = await site.http.get("/account", headers={"cookie": f"{others}; {own}"})

    assert (page.status_code, ADA in page.text) == (200, True)


async def approved_device(site: Site, visitor: Visitor) -> str:
    asked = {"client_id": CLIENT}
    device = (await site.http.post("/device_authorization", data=asked)).json()
    await visitor.open(f"/device?user_code={device['user_code']}")
    await visitor.fill("/device")
    await visitor.fill("/device", answer="yes")
    code: str = device["device_code"]
    return code


async def redeem(site: Site, device_code: str) -> int:
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    asked = {"grant_type": grant, "device_code": device_code, "client_id": CLIENT}
    return (await site.http.post("/token", data=asked)).status_code


ENDINGS = [
    *("another password", "all sessions", "that session", "signing out", "half a day"),
    *("disabling", "being made again"),
]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_a_browser_has_approved_ends_with_its_sign_in(site: Site, ending: str) -> None:
    await join(site, ADA)
    program = Program(site)
    async with open_visitor(site, THIEF) as thief:
        await thief.sign_in(ADA)
        if ending == "half a day":
            site.clock.forward(seconds=BROWSER_LIFE_S - 1)
        device = await approved_device(site, thief)
        await thief.open(program.path())
        await thief.fill("/authorize", answer="yes")
        code = thief.answer()["code"]
        if ending == "signing out":
            await thief.open("/account")
            await thief.fill("/sign-out")

    if ending == "another password":
        async with open_visitor(site) as ada:
            await ada.sign_in(ADA)
            await ada.open("/account")
            typed = {"current": PASSWORD, "new": NEW, "again": NEW}
            await ada.fill("/_/account/password", **typed)
    elif ending == "all sessions":
        await site.call("DELETE", f"/v1/users/{ADA}/sessions/-")
    elif ending == "that session":
        (listed,) = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
        await site.call("DELETE", f"/v1/{listed['name']}")
    elif ending == "half a day":
        site.clock.forward(seconds=1)
    elif ending == "being made again":
        await site.call("DELETE", f"/v1/users/{ADA}")
        await join(site, ADA)
    elif ending == "disabling":
        await site.call("POST", f"/v1/users/{ADA}:disable")
        await site.call("POST", f"/v1/users/{ADA}:enable")

    assert await redeem(site, device) == 400
    assert (await program.redeem(code)).status_code == 400


async def test_a_device_that_was_approved_is_signed_in(site: Site) -> None:
    await join(site, ADA)
    async with open_visitor(site) as ada:
        await ada.sign_in(ADA)
        device = await approved_device(site, ada)

    assert await redeem(site, device) == 200

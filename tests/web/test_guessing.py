"""Guessing meets 429 wherever secrets are judged, and the owner of the secret still gets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dirty_equals import IsStr

from bonded.server.app_people import FAILED_TOKENS, STARTED_DEVICES, UNKNOWN_DEVICES
from bonded.server.core.errors import TooMany
from bonded.server.identity.passwords import AT_ONCE_MAX, STRANGERS_MAX
from bonded.server.identity.throttle import (
    DELAY_MAX_S,
    FREE_GUESSES,
    NETWORK_GUESSES,
    SITE_GUESSES_OF_ACCOUNT,
)
from bonded.server.identity.turns import Party, Turns
from support.browsing import (
    CLIENT,
    PASSWORD,
    Page,
    Program,
    code_of,
    enrol,
    invite,
    join,
    log_in,
    open_visitor,
)
from support.federating import exchange, make_provider, token_of
from support.issuer import FakeIssuer, running_issuer
from support.site import Site, open_site
from support.trusting import CLAIMS, mint, minted, trust

ADA = "ada@example.com"
ATTACKER = "198.51.100.66"
TRIES_MAX = 400
"""More than any limit: whoever is not stopped by then never is."""

Attempt = Callable[[], Awaitable[httpx2.Response]]


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    """A registry that may ask issuers on loopback."""
    async with open_site(tmp_path / "data", private_issuers=True) as site:
        yield site


@pytest.fixture(name="issuer")
def _issuer(site: Site) -> Iterator[FakeIssuer]:
    with running_issuer(site.clock) as issuer:
        yield issuer


async def until_refused(attempt: Attempt) -> tuple[int, httpx2.Response]:
    """Try until the answer is 429; return how often it was another one, and that answer."""
    for tries in range(TRIES_MAX):
        answer = await attempt()
        if answer.status_code == 429:
            return tries, answer
        assert 400 <= answer.status_code < 500, answer.text
    raise AssertionError(f"{TRIES_MAX} wrong guesses, and no end")


def again_in(answer: httpx2.Response | Page) -> int:
    """Return when the answer says to try again, in seconds."""
    return int(answer.headers["retry-after"])


async def test_keys_and_refresh_tokens_are_not_guessed_for_long_and_good_ones_still_pass(
    site: Site,
) -> None:
    await join(site, ADA)
    tokens = await log_in(site, ADA)
    program = Program(site)

    tries, refused = await until_refused(lambda: program.refresh("brt_wrong"))
    other_kind = await site.exchange("garbage")

    assert tries == FAILED_TOKENS[0]
    assert (again_in(refused), other_kind.status_code) == (1, 429)
    assert refused.json() == {
        "error": "temporarily_unavailable",
        "error_description": "Too many requests from this address have failed. Try again in 1 s.",
    }
    # From the same address, and at the same moment:
    assert (await program.refresh(tokens["refresh_token"])).status_code == 200
    assert await site.sign_in(site.admin_key)


async def test_an_exchange_of_workloads_is_bounded_and_good_assertions_still_pass(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims = {"repository": "acme/web", "groups": []}
    name = await make_provider(site, issuer)
    audience = f"//iam.googleapis.com/{name}"

    tries, refused = await until_refused(lambda: exchange(site, audience, "garbage"))
    unknown = await exchange(site, audience.replace("builds", "others"), "garbage")

    assert tries == FAILED_TOKENS[0]
    assert refused.json() == {"error": "temporarily_unavailable", "error_description": IsStr()}
    assert (again_in(refused), unknown.status_code) == (1, 429)
    assert await token_of(site, issuer, name)
    site.clock.forward(seconds=1)
    assert (await exchange(site, audience, "garbage")).status_code == 400


async def test_minting_is_bounded_and_good_assertions_still_pass(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims = dict(CLAIMS)
    await trust(site, issuer)

    tries, refused = await until_refused(lambda: mint(site, "garbage"))

    assert (tries, again_in(refused)) == (FAILED_TOKENS[0], 1)
    assert refused.json()["errors"] == [
        {
            "code": "too-many-requests",
            "description": "Too many requests from this address have failed. Try again in 1 s.",
        }
    ]
    assert await minted(site, issuer)


async def test_a_password_is_not_guessed_for_long_and_its_owner_signs_in_meanwhile(
    site: Site,
) -> None:
    await join(site, ADA)
    async with (
        open_visitor(site, ATTACKER) as known,
        open_visitor(site, ATTACKER) as attacker,
        open_visitor(site) as elsewhere,
    ):
        await known.sign_in(ADA)
        await known.fill("/sign-out")
        form = (await attacker.open("/sign-in")).form("/sign-in")
        statuses = []
        for _ in range(FREE_GUESSES + 1):
            page = await attacker.send(form, address=ADA, password="wrong")
            statuses.append(page.status)
        # Whether it is right is not even looked at.
        right = await attacker.send(form, address=ADA, password=PASSWORD)

        assert statuses == [403] * FREE_GUESSES + [429]
        assert (right.status, again_in(right)) == (429, 1)
        assert "There were too many wrong attempts. Try again in 1 s." in right.text
        # A stranger's guesses delay the owner neither on a device of theirs in that very
        # network, nor on a new one elsewhere.
        for visitor in (known, elsewhere):
            assert f"user:{ADA}" in (await visitor.sign_in(ADA)).text


async def test_whoever_sends_invitations_that_are_none_keeps_nobody_from_their_own(
    site: Site,
) -> None:
    hers = await invite(site, ADA)
    typed = {"password": PASSWORD, "again": PASSWORD}
    async with open_visitor(site, ATTACKER) as attacker, open_visitor(site, ATTACKER) as ada:
        form = (await attacker.open(hers)).form("/_/invitation")
        form.fields["code"] = "garbage"
        garbage = [await attacker.send(form, **typed) for _ in range(SITE_GUESSES_OF_ACCOUNT + 1)]
        await ada.open(hers)
        accepted = await ada.fill("/_/invitation", **typed)

    assert {page.status for page in garbage} == {404}
    assert "Your password is set." in accepted.text


async def test_a_network_that_guesses_for_many_accounts_is_slowed_down_as_a_whole(
    site: Site,
) -> None:
    await join(site, ADA)
    async with (
        open_visitor(site, ATTACKER) as known,
        open_visitor(site, ATTACKER) as attacker,
        open_visitor(site) as elsewhere,
    ):
        await known.sign_in(ADA)
        await known.fill("/sign-out")
        form = (await attacker.open("/sign-in")).form("/sign-in")
        pages = [
            await attacker.send(form, address=f"a{number}@example.com", password="wrong")
            for number in range(NETWORK_GUESSES + 1)
        ]

        assert [page.status for page in pages] == [403] * NETWORK_GUESSES + [429]
        assert again_in(pages[-1]) == 6
        for visitor in (known, elsewhere):
            assert f"user:{ADA}" in (await visitor.sign_in(ADA)).text


async def test_a_site_with_many_networks_does_not_guess_for_long_either(site: Site) -> None:
    await join(site, ADA)
    pages = []
    for number in range(SITE_GUESSES_OF_ACCOUNT // FREE_GUESSES + 1):
        async with open_visitor(site, f"2001:db8:1:{number:x}::1") as attacker:
            form = (await attacker.open("/sign-in")).form("/sign-in")
            pages += [
                await attacker.send(form, address=ADA, password="wrong")
                for _ in range(FREE_GUESSES)
            ]

    judged = [403] * SITE_GUESSES_OF_ACCOUNT
    assert [page.status for page in pages] == judged + [429] * FREE_GUESSES
    assert again_in(pages[-1]) == 60
    async with open_visitor(site) as elsewhere:
        assert f"user:{ADA}" in (await elsewhere.sign_in(ADA)).text


def turns_of(site: Site) -> Turns:
    """Return the turns that judging passwords takes."""
    (row,) = (
        row
        for row in site.registry.routes.endpoints
        if (row.method, row.path) == ("POST", "/sign-in")
    )
    sign_in: Any = row.handler
    turns = sign_in.__self__._directory._passwords._turns
    assert isinstance(turns, Turns)
    return turns


async def test_a_crowd_keeps_nobody_from_a_new_device_and_nobody_pays_for_it_after(
    site: Site,
) -> None:
    await join(site, ADA)
    turns = turns_of(site)

    async def wait_in_the_crowd() -> None:
        with suppress(TooMany):
            async with turns.taken(Party("2001:db8:1::/48", is_known=False)):
                pass

    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(open_visitor(site))
        beside = await stack.enter_async_context(open_visitor(site, "2001:db8:1:77::1"))
        form = (await beside.open("/sign-in")).form("/sign-in")
        async with AsyncExitStack() as busy:
            for _ in range(AT_ONCE_MAX):
                await busy.enter_async_context(turns.taken(Party("eve", is_known=True)))
            crowd = [asyncio.create_task(wait_in_the_crowd()) for _ in range(STRANGERS_MAX)]
            await asyncio.sleep(0)
            refused = [
                await beside.send(form, address=ADA, password=PASSWORD)
                for _ in range(FREE_GUESSES + 3)
            ]
            signing_in = asyncio.create_task(elsewhere.sign_in(ADA))
            await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
            has_place = not signing_in.done()
        signed_in = await signing_in
        await asyncio.gather(*crowd)
        after = await beside.sign_in(ADA)

    assert {page.status for page in refused} == {429}
    assert all("Too many people sign in at the moment" in page.text for page in refused)
    # One of the crowd has made room for her, who waits until it is her turn.
    assert has_place
    assert f"user:{ADA}" in signed_in.text
    # What found no place is no wrong attempt, not even beside the crowd.
    assert f"user:{ADA}" in after.text


async def test_a_second_factor_is_not_guessed_from_ever_new_addresses_and_its_owner_gets_in(
    site: Site,
) -> None:
    await join(site, ADA)
    async with open_visitor(site) as owner:
        await owner.sign_in(ADA)
        secret, _ = await enrol(owner, site)
        await owner.open("/account")
        await owner.fill("/sign-out")
        pages = []
        for number in range(int(UNKNOWN_DEVICES[0]) + 1):
            async with open_visitor(site, f"203.0.113.{number}") as attacker:
                await attacker.sign_in(ADA)
                pages.append(await attacker.fill("/_/second-factor", code="000000"))
        site.clock.forward(seconds=30)

        assert [page.status for page in pages] == [403] * UNKNOWN_DEVICES[0] + [429]
        assert again_in(pages[-1]) == 60
        await owner.sign_in(ADA)
        let_in = await owner.fill("/_/second-factor", code=code_of(secret, site))
        assert f"user:{ADA}" in let_in.text


async def test_a_device_s_code_is_not_guessed_for_long(site: Site) -> None:
    await join(site, ADA)
    await join(site, "bob@example.com")
    form = {"client_id": CLIENT, "scope": "openid"}
    device = (await site.http.post("/device_authorization", data=form)).json()
    async with open_visitor(site, ATTACKER) as mallory, open_visitor(site, ATTACKER) as ada:
        await mallory.sign_in("bob@example.com")
        statuses = []
        for _ in range(FREE_GUESSES + 1):
            await mallory.open("/device")
            statuses.append((await mallory.fill("/device", user_code="BBBB-BBBB")).status)

        assert statuses == [404] * FREE_GUESSES + [429]
        assert 0 < again_in(mallory.page) <= DELAY_MAX_S
        await ada.sign_in(ADA, path="/device")
        asked = await ada.fill("/device", user_code=device["user_code"])
        assert "Sign this device in as you?" in asked.text


async def test_devices_are_not_started_without_end_from_one_address(site: Site) -> None:
    form = {"client_id": CLIENT, "scope": "openid"}
    answers = [
        await site.http.post("/device_authorization", data=form)
        for _ in range(STARTED_DEVICES[0] + 1)
    ]

    assert [answer.status_code for answer in answers] == [200] * STARTED_DEVICES[0] + [429]
    assert again_in(answers[-1]) == 10
    assert answers[-1].json() == {
        "error": "temporarily_unavailable",
        "error_description": "Too many devices have started from this address. Try again in 10 s.",
    }


async def test_an_address_says_what_it_is_only_to_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", trusted_proxies="192.0.2.1") as site:
        await join(site, ADA)
        for proxy, guesses in (("192.0.2.1", NETWORK_GUESSES), (ATTACKER, 1)):
            async with open_visitor(site, proxy) as attacker:
                attacker.http.headers["x-forwarded-for"] = "203.0.113.9"
                form = (await attacker.open("/sign-in")).form("/sign-in")
                for number in range(guesses):
                    typed = {"address": f"a{number}@example.com", "password": "wrong"}
                    assert (await attacker.send(form, **typed)).status == 403
        async with open_visitor(site, "203.0.113.9") as attacker:
            assert (await attacker.sign_in(ADA)).status == 429
        async with open_visitor(site, "192.0.2.1") as colleague:
            colleague.http.headers["x-forwarded-for"] = "203.0.113.10"
            assert f"user:{ADA}" in (await colleague.sign_in(ADA)).text

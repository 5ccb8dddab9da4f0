"""Judging a password takes a while: whatever is changed meanwhile, what was ended stays ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Forbidden, GrantRefused, NotFound, Rejected
from bonded.server.identity.codes import CodeGrants, CodeRequest, challenge_of
from bonded.server.identity.directory import Directory, make_invitation
from bonded.server.identity.passwords import Passwords
from bonded.server.identity.sealing import Sealer, load_sealer
from bonded.server.identity.second_factor import code_at, secret_of
from bonded.server.identity.sessions import BROWSER, Person, Sessions
from bonded.server.identity.signing import Schedule, SigningKeys
from bonded.server.identity.standing import Standings
from bonded.server.identity.tokens import TokenIssuer
from bonded.server.metadata.people import PROVIDER, Session
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import Transaction
from bonded.server.operations.owning import Owners
from bonded.server.operations.users import Users
from support.clock import SetClock

pytest_plugins = ("support.databases",)

ADA = "ada@example.com"
OLD, NEW, THIEFS = (f"correct horse battery staple {number}" for number in range(3))
HOUR = timedelta(hours=1)
SOON_S = 0.2
"""Long enough for whoever does not wait to be done."""
PATIENCE_S = 20
VERIFIER = "v" * 43
REQUEST = CodeRequest("bonded-cli", "http://127.0.0.1:1/", challenge_of(VERIFIER), "", "")


class HeldPasswords(Passwords):
    """Judges passwords, and then says nothing for a while."""

    def __init__(self) -> None:
        super().__init__(64)
        self.has_judged, self.may_say = asyncio.Event(), asyncio.Event()

    async def verify(self, *asked: Any, **how: Any) -> bool:
        verdict = await super().verify(*asked, **how)
        self.has_judged.set()
        await asyncio.wait_for(self.may_say.wait(), PATIENCE_S)
        return verdict


@dataclass
class House:
    """A directory in which Ada has a password."""

    metadata: SqlMetadataStore
    sealer: Sealer
    clock: SetClock
    sessions: Sessions
    codes: CodeGrants
    users: Users
    directory: Directory

    def directory_with(self, passwords: Passwords) -> Directory:
        return Directory(self.metadata, passwords, self.sealer, self.clock, "registry.test")

    async def knows(self, password: str) -> bool:
        """Say whether that is Ada's password."""
        return await self.directory.check(ADA, password, is_known=True) is not None

    async def sign_in(self) -> Session:
        """Sign Ada in at a browser."""
        checked = await self.directory.check(ADA, OLD, is_known=True)
        assert checked is not None
        admit = partial(
            self.directory.admit, address=ADA, mark=checked.proof, has_shown_factor=False
        )
        return (await self.sessions.start(Person(ADA), BROWSER, "", admit)).session

    async def living(self) -> list[str]:
        """Return the ids of Ada's sign-ins."""
        return [one.id for one in await self.users.list_sessions(ADA)]


@pytest.fixture(name="house")
async def _house(metadata: SqlMetadataStore, tmp_path: Path) -> House:
    clock, sealer = SetClock(), load_sealer(tmp_path / "sealing-key")
    keys = SigningKeys(metadata, sealer, clock, Schedule(HOUR * 24, token_life_max=HOUR))
    sessions = Sessions(metadata, TokenIssuer(keys, clock, HOUR), clock, HOUR * 24)
    users = Users(
        metadata,
        clock,
        Owners(Standings(clock, lambda _: False).can_sign_in, clock),
        make_invitation=make_invitation,
        link_to=lambda secret: secret,
        invitation_life=HOUR,
    )
    directory = Directory(metadata, Passwords(64), sealer, clock, "registry.test")
    codes = CodeGrants(metadata, sessions, clock)
    house = House(metadata, sealer, clock, sessions, codes, users, directory)
    await directory.accept((await users.create(ADA, "Ada")).link, OLD)
    return house


Change = Callable[[House], Coroutine[Any, Any, None]]


async def change_password(house: House) -> None:
    await house.directory.change_password(ADA, OLD, NEW, "")


async def accept_invitation(house: House) -> None:
    await house.directory.accept((await house.users.invite(ADA)).link, NEW)


async def enrol(house: House, directory: Directory | None = None, session: str = "s") -> None:
    directory = directory or house.directory
    shown = directory.enrol(ADA, session)
    code = code_at(secret_of(shown.base32), int(house.clock().timestamp()) // 30)
    await directory.confirm(ADA, session, shown.sealed, code, OLD)


async def disable(house: House) -> None:
    await house.users.disable(ADA)


async def delete(house: House) -> None:
    await house.users.delete(ADA)


async def make_again(house: House) -> None:
    await house.users.delete(ADA)
    await house.directory.accept((await house.users.create(ADA, "Ada")).link, OLD)


@pytest.mark.parametrize(
    "change", [change_password, accept_invitation, enrol, disable, delete, make_again]
)
async def test_a_sign_in_counts_only_if_what_was_proved_is_still_so(
    house: House, change: Change
) -> None:
    checked = await house.directory.check(ADA, OLD, is_known=False)
    assert checked is not None
    admit = partial(house.directory.admit, address=ADA, mark=checked.proof, has_shown_factor=False)

    await change(house)
    with pytest.raises(Forbidden):
        await house.sessions.start(Person(ADA), BROWSER, "", admit)

    async with house.metadata.read() as tx:
        assert await tx.sessions.list(ADA) == ()


async def replace_password(house: House, thiefs: Directory) -> None:
    await thiefs.change_password(ADA, OLD, THIEFS, "")


async def enrol_another(house: House, thiefs: Directory) -> None:
    await enrol(house, thiefs, "t")


async def remove_factor(house: House, thiefs: Directory) -> None:
    await thiefs.remove_factor(ADA, OLD)


@pytest.mark.parametrize("owners", [change_password, accept_invitation])
@pytest.mark.parametrize("thiefs", [replace_password, enrol_another, remove_factor])
async def test_what_an_old_password_has_begun_is_void_once_there_is_another(
    house: House, owners: Change, thiefs: Callable[[House, Directory], Coroutine[Any, Any, None]]
) -> None:
    if thiefs is remove_factor:
        await enrol(house)
    held = HeldPasswords()
    begun = asyncio.create_task(thiefs(house, house.directory_with(held)))
    await asyncio.wait_for(held.has_judged.wait(), PATIENCE_S)

    await owners(house)
    held.may_say.set()
    with pytest.raises(Rejected, match="changed in this moment"):
        await begun

    proof = await house.directory.proof_of(ADA)
    assert (await house.knows(NEW), await house.knows(THIEFS)) == (True, False)
    assert bool(proof.factor) is (thiefs is remove_factor)


@pytest.mark.parametrize("change", [change_password, accept_invitation, disable])
async def test_a_sign_in_that_is_written_at_the_same_time_ends_with_all_others(
    house: House, change: Change
) -> None:
    checked = await house.directory.check(ADA, OLD, is_known=False)
    assert checked is not None
    started = house.sessions.draft(Person(ADA), BROWSER, "")
    async with house.metadata.transaction() as tx:
        await house.directory.admit(tx, ADA, checked.proof, has_shown_factor=False)
        changing = asyncio.create_task(change(house))
        await asyncio.sleep(SOON_S)
        await tx.sessions.add(started.session)
    await asyncio.wait_for(changing, PATIENCE_S)
    if change is disable:
        # Kept until then, so that whoever holds one can be told; none comes back to life.
        assert await house.sessions.find_browser(started.secret) is None
        await house.users.enable(ADA)

    assert await house.living() == []


@pytest.mark.parametrize("change", [change_password, delete])
async def test_a_code_that_is_redeemed_at_the_same_time_ends_with_all_others(
    house: House, change: Change
) -> None:
    browser = await house.sign_in()
    code = await house.codes.issue(browser, REQUEST)
    secret_hash = sha256_of(code.encode())
    async with house.metadata.transaction() as tx:
        await tx.sign_ins.hold_code(secret_hash)
        # The browser's row is held, too, before the user is needed.
        await tx.sessions.hold(browser.id)
        changing = asyncio.create_task(change(house))
        await asyncio.sleep(SOON_S)
        # Neither waits for the other in a circle.
        started = await house.sessions.start_approved(tx, browser.id, REQUEST.client, "")
        assert started is not None
        await tx.sign_ins.redeem_code(secret_hash, started.session.id)
    await asyncio.wait_for(changing, PATIENCE_S)

    async with house.metadata.read() as tx:
        assert await tx.sessions.list(ADA) == ()


async def test_who_signs_in_twice_at_once_is_let_in_twice_though_the_costs_have_changed(
    house: House,
) -> None:
    todays = house.directory_with(Passwords(128))

    async def sign_in() -> Session:
        checked = await todays.check(ADA, OLD, is_known=True)
        assert checked is not None
        admit = partial(todays.admit, address=ADA, mark=checked.proof, has_shown_factor=False)
        return (await house.sessions.start(Person(ADA), BROWSER, "", admit)).session

    signed_in = await asyncio.gather(*(sign_in() for _ in range(3)))

    assert sorted(await house.living()) == sorted(one.id for one in signed_in)


async def test_a_browser_that_signs_out_while_a_code_is_redeemed_waits_for_it(
    house: House,
) -> None:
    browser = await house.sign_in()
    code = await house.codes.issue(browser, REQUEST)
    async with house.metadata.transaction() as tx:
        started = await house.sessions.start_approved(tx, browser.id, REQUEST.client, "")
        leaving = asyncio.create_task(house.users.end_session(ADA, browser.id))
        await asyncio.sleep(SOON_S)
        assert not leaving.done()
    await asyncio.wait_for(leaving, PATIENCE_S)

    assert started is not None
    assert await house.living() == [started.session.id]
    with pytest.raises(GrantRefused):
        await house.codes.redeem(code, REQUEST.client, REQUEST.redirect_uri, VERIFIER, "")


async def come_by_the_provider(tx: Transaction, address: str) -> None:
    await tx.users.hold_proof(address)
    user = await tx.users.find(address)
    assert user is not None
    await tx.users.update(replace(user, source=PROVIDER, subject="https://id.example 7"))


async def test_nobody_is_invited_who_comes_by_the_provider_at_the_same_time(house: House) -> None:
    await house.users.create("eve@example.com", "")
    async with house.metadata.transaction() as tx:
        await come_by_the_provider(tx, "eve@example.com")
        inviting = asyncio.create_task(house.users.invite("eve@example.com"))
        await asyncio.sleep(SOON_S)

    with pytest.raises(Rejected, match="signs in at the identity provider"):
        await asyncio.wait_for(inviting, PATIENCE_S)


async def test_an_invitation_does_not_take_over_who_comes_by_the_provider(house: House) -> None:
    invited = await house.users.create("eve@example.com", "")
    async with house.metadata.transaction() as tx:
        await come_by_the_provider(tx, "eve@example.com")

    with pytest.raises(NotFound, match="This invitation was used"):
        await house.directory.accept(invited.link, NEW)

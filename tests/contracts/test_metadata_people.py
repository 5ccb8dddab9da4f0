"""What every metadata store answers: people and their sign-ins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.metadata.people import (
    DIRECTORY,
    PROVIDER,
    CodeGrant,
    DeviceGrant,
    Invitation,
    Proof,
    Session,
    User,
)
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ACCESS

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_013, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ADA = User("ada@example.com", "Ada", DIRECTORY, NOW)
BOB = User("bob@example.com", "", PROVIDER, NOW, "https://id.example 7", is_disabled=True)
PROOF = Proof("$argon2id$…", "sealed", 7, ("one", "two"))
SESSION = Session(
    *("s1", ADA.address, "bonded-cli", "h1", NOW, LATER, NOW),
    also=("group:team@example.com",),
    client_address="192.0.2.7",
)
CODE = CodeGrant(
    *("c1", "bonded-cli", "http://127.0.0.1:1/", "challenge", "openid", "nonce"),
    *(ADA.address, ("group:team@example.com",), LATER),
    approved_by="b1",
)
DEVICE = DeviceGrant("d1", "u1", "bonded-cli", "openid", "192.0.2.7", NOW, LATER)


@pytest.fixture(name="people")
async def _people(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store that knows two people."""
    async with metadata.transaction() as tx:
        await tx.users.add(BOB)
        await tx.users.add(ADA)
    return metadata


async def test_a_device_is_crowded_out_of_the_network_that_most_wait_in(
    people: SqlMetadataStore,
) -> None:
    def waiting(number: int, network: str, **changes: object) -> DeviceGrant:
        begun = NOW + timedelta(seconds=number)
        names = {"secret_hash": f"d{number}", "user_code_hash": f"u{number}"}
        return replace(DEVICE, **names, network=network, created_at=begun, **changes)  # type: ignore[arg-type]

    devices = [
        waiting(0, "few"),
        waiting(1, "many", address=ADA.address),
        waiting(2, "many", is_denied=True),
        waiting(3, "many", expires_at=NOW),
        waiting(4, "many"),
        waiting(5, "many"),
    ]
    async with people.transaction() as tx:
        for device in devices:
            await tx.sign_ins.add_device(device)
        assert await tx.sign_ins.count_waiting_devices(NOW) == 3
        await tx.sign_ins.crowd_out_device(NOW)
        left = [await tx.sign_ins.find_device(one.user_code_hash) for one in devices]

    # Of those that somebody has answered, or that are late, none stands in the way.
    assert [one is not None for one in left] == [True, True, True, True, False, True]


async def test_a_user_comes_back_whole_and_proves_nothing_yet(people: SqlMetadataStore) -> None:
    async with people.read() as tx:
        assert await tx.users.find(ADA.address) == ADA
        assert await tx.users.find(BOB.address) == BOB
        assert await tx.users.find("eve@example.com") is None
        assert await tx.users.find_proof(ADA.address) == Proof()
        assert await tx.users.find_proof("eve@example.com") is None


async def test_a_taken_address_is_a_conflict(people: SqlMetadataStore) -> None:
    with pytest.raises(Conflict, match=r"User ada@example.com already exists"):
        async with people.transaction() as tx:
            await tx.users.add(replace(ADA, display_name="Another"))


async def test_users_are_listed_by_page_in_order_of_address(people: SqlMetadataStore) -> None:
    async with people.read() as tx:
        first = await tx.users.list("", 1)
        second = await tx.users.list(first[-1].address, 1)
        third = await tx.users.list(second[-1].address, 1)

    assert (first, second, third) == ((ADA,), (BOB,), ())


async def test_what_a_user_proves_themselves_by_is_replaced_as_one(
    people: SqlMetadataStore,
) -> None:
    async with people.transaction() as tx:
        assert await tx.users.hold_proof(ADA.address) == Proof()
        await tx.users.set_proof(ADA.address, PROOF)

    async with people.read() as tx:
        assert await tx.users.find_proof(ADA.address) == PROOF
        assert await tx.users.find_proof(BOB.address) == Proof()
    assert "argon2" not in repr(PROOF)


async def test_an_updated_user_keeps_what_they_prove_themselves_by(
    people: SqlMetadataStore,
) -> None:
    changed = replace(ADA, subject="https://id.example 8", source=PROVIDER, last_sign_in_at=LATER)

    async with people.transaction() as tx:
        await tx.users.set_proof(ADA.address, PROOF)
        await tx.users.update(changed)

    async with people.read() as tx:
        assert await tx.users.find(ADA.address) == changed
        assert await tx.users.find_proof(ADA.address) == PROOF


async def test_a_new_invitation_takes_the_place_of_the_old_ones(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.users.invite(Invitation("i1", ADA.address, NOW))
        await tx.users.invite(Invitation("i2", ADA.address, LATER))
        await tx.users.invite(Invitation("i3", BOB.address, LATER))

    async with people.transaction() as tx:
        assert await tx.users.find_invitation("i1") is None
        assert await tx.users.find_invitation("i2") == Invitation("i2", ADA.address, LATER)
        assert await tx.users.find_invitation("i3") == Invitation("i3", BOB.address, LATER)


async def test_an_invitation_is_taken_once_however_many_come(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.users.invite(Invitation("i1", ADA.address, LATER))

    async def take() -> Invitation | None:
        async with people.transaction() as tx:
            return await tx.users.take_invitation("i1")

    taken = await asyncio.gather(*(take() for _ in range(5)))

    assert sorted(one is not None for one in taken) == [False] * 4 + [True]


async def test_a_session_is_found_by_its_id_and_by_its_secret(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.sessions.add(SESSION)
        await tx.sessions.touch("s1", LATER)
        held = [await tx.sessions.hold(one) for one in ("s1", "h1")]

    async with people.read() as tx:
        found = await tx.sessions.find("s1")
        assert found == replace(SESSION, last_used_at=LATER)
        assert held == [found, None]
        assert await tx.sessions.find_by_secret("h1") == found
        assert await tx.sessions.find("h1") is None
        assert await tx.sessions.list(ADA.address) == (found,)
        assert await tx.sessions.list(BOB.address) == ()


async def test_a_session_needs_its_user(people: SqlMetadataStore) -> None:
    with pytest.raises(NotFound, match=r"eve@example\.com does not exist"):
        async with people.transaction() as tx:
            await tx.sessions.add(replace(SESSION, address="eve@example.com"))


async def test_a_new_session_sweeps_out_the_user_s_expired_ones(people: SqlMetadataStore) -> None:
    later = replace(SESSION, id="s2", secret_hash="h2", created_at=LATER)
    async with people.transaction() as tx:
        await tx.sessions.add(SESSION)
        await tx.sessions.add(replace(SESSION, id="b1", secret_hash="hb", address=BOB.address))
        await tx.sessions.add(later)

    async with people.read() as tx:
        assert await tx.sessions.list(ADA.address) == (later,)
        assert len(await tx.sessions.list(BOB.address)) == 1


async def test_sessions_end_one_by_one_or_all_but_one(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        for number in range(4):
            await tx.sessions.add(replace(SESSION, id=f"s{number}", secret_hash=f"h{number}"))

    async with people.transaction() as tx:
        await tx.sessions.remove(ADA.address, "s0")
        with pytest.raises(NotFound, match="no session s1"):
            await tx.sessions.remove(BOB.address, "s1")
    async with people.read() as tx:
        assert [one.id for one in await tx.sessions.list(ADA.address)] == ["s1", "s2", "s3"]
    async with people.transaction() as tx:
        await tx.sessions.remove_all(ADA.address, besides="s2")

    async with people.read() as tx:
        assert [one.id for one in await tx.sessions.list(ADA.address)] == ["s2"]


async def test_whatever_takes_a_right_away_advances_the_access_serial(
    people: SqlMetadataStore,
) -> None:
    async def serial() -> int:
        return (await people.serials.read(ACCESS))[0]

    before = await serial()
    async with people.transaction() as tx:
        await tx.sessions.add(SESSION)
        await tx.sessions.touch("s1", LATER)
        await tx.users.set_proof(ADA.address, PROOF)
    assert await serial() == before

    steps = []
    async with people.transaction() as tx:
        await tx.users.set_disabled(ADA.address, is_disabled=True)
    steps.append(await serial())
    async with people.transaction() as tx:
        await tx.sessions.remove(ADA.address, "s1")
    steps.append(await serial())
    async with people.transaction() as tx:
        await tx.sessions.remove_all(ADA.address)
    steps.append(await serial())
    async with people.transaction() as tx:
        await tx.users.remove(ADA.address)
    steps.append(await serial())

    assert steps == sorted({before, *steps})[1:]


async def test_a_removed_user_takes_invitations_sessions_and_codes_along(
    people: SqlMetadataStore,
) -> None:
    async with people.transaction() as tx:
        await tx.users.invite(Invitation("i1", ADA.address, LATER))
        await tx.sessions.add(SESSION)
        await tx.sign_ins.add_code(CODE)

    async with people.transaction() as tx:
        await tx.users.remove(ADA.address)

    async with people.transaction() as tx:
        assert await tx.users.find(ADA.address) is None
        assert await tx.users.find_invitation("i1") is None
        assert await tx.sessions.find("s1") is None
        assert await tx.sign_ins.hold_code("c1") is None
        with pytest.raises(NotFound, match=r"User ada@example\.com does not exist"):
            await tx.users.remove(ADA.address)


async def test_disabling_needs_the_user(people: SqlMetadataStore) -> None:
    with pytest.raises(NotFound, match=r"User eve@example\.com does not exist"):
        async with people.transaction() as tx:
            await tx.users.set_disabled("eve@example.com", is_disabled=True)


async def test_a_code_remembers_what_it_was_redeemed_for(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.sign_ins.add_code(CODE)

    async with people.transaction() as tx:
        assert await tx.sign_ins.hold_code("c1") == CODE
        assert await tx.sign_ins.hold_code("c2") is None
        await tx.sign_ins.redeem_code("c1", "s1")

    async with people.transaction() as tx:
        assert await tx.sign_ins.hold_code("c1") == replace(CODE, session="s1")


async def test_a_device_is_answered_once(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.sign_ins.add_device(DEVICE)
        assert await tx.sign_ins.count_waiting_devices(NOW) == 1
        assert await tx.sign_ins.find_device("u1") == DEVICE
        first = await tx.sign_ins.answer_device("u1", SESSION)
        second = await tx.sign_ins.answer_device("u1", None)
        await tx.sign_ins.poll_device("d1", LATER, 10)

    async with people.transaction() as tx:
        held = await tx.sign_ins.hold_device("d1")
        await tx.sign_ins.remove_device("d1")
        assert await tx.sign_ins.hold_device("d1") is None

    assert (first, second) == (True, False)
    answered = replace(DEVICE, address=SESSION.address, also=SESSION.also, approved_by=SESSION.id)
    assert held == replace(answered, polled_at=LATER, interval_s=10)


async def test_two_devices_never_show_one_code(people: SqlMetadataStore) -> None:
    async with people.transaction() as tx:
        await tx.sign_ins.add_device(DEVICE)

    with pytest.raises(Conflict, match="in use"):
        async with people.transaction() as tx:
            await tx.sign_ins.add_device(replace(DEVICE, secret_hash="d2"))


async def test_what_has_expired_is_forgotten_and_nothing_else(people: SqlMetadataStore) -> None:
    soon = NOW + timedelta(minutes=1)
    async with people.transaction() as tx:
        await tx.sign_ins.add_code(CODE)
        await tx.sign_ins.add_code(replace(CODE, secret_hash="c2", expires_at=soon))
        await tx.sign_ins.add_device(replace(DEVICE, expires_at=soon))
        await tx.users.invite(Invitation("i1", ADA.address, soon))

    async with people.transaction() as tx:
        await tx.sign_ins.forget_expired(soon)

    async with people.transaction() as tx:
        assert await tx.sign_ins.hold_code("c1") == CODE
        assert await tx.sign_ins.hold_code("c2") is None
        assert await tx.sign_ins.count_waiting_devices(NOW) == 0
        assert await tx.users.find_invitation("i1") is None

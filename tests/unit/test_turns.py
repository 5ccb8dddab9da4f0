"""Turns at what is costly: no crowd keeps the queue for itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from bonded.server.core.errors import TooMany
from bonded.server.identity.turns import BUSY_S, Party, Turns

CROWD, HERE = "2001:db8:1::/48", "192.0.2.0/24"


class Counter:
    """Where people wait for one turn at a time, and hold it until they are told to go on."""

    def __init__(self, waiting_max: int = 6, strangers_max: int = 4) -> None:
        self.turns = Turns(1, waiting_max, strangers_max)
        self.served: list[str] = []
        self.refused: list[str] = []
        self.retry_after_s: set[int] = set()
        self.go_on = asyncio.Event()

    async def come(self, name: str, site: str = "", account: str = "") -> asyncio.Task[None]:
        """Have somebody come; return once they work, wait or are refused."""
        party = Party(account or site, is_known=bool(account))
        task = asyncio.create_task(self._serve(name, party))
        for _ in range(3):
            await asyncio.sleep(0)
        return task

    async def _serve(self, name: str, party: Party) -> None:
        try:
            async with self.turns.taken(party):
                await self.go_on.wait()
                self.served.append(name)
        except TooMany as error:
            self.refused.append(name)
            self.retry_after_s.add(error.retry_after_s)


async def test_a_crowd_of_one_site_makes_room_for_everybody_else() -> None:
    counter = Counter()
    tasks = [await counter.come(f"crowd-{number}", CROWD) for number in range(7)]

    tasks.append(await counter.come("ada", HERE))
    tasks.append(await counter.come("crowd-7", CROWD))
    counter.go_on.set()
    await asyncio.gather(*tasks)

    # One works and four wait; whoever came last gives way, and has no place to come back to.
    assert counter.refused == ["crowd-5", "crowd-6", "crowd-4", "crowd-7"]
    assert counter.served == ["crowd-0", "crowd-1", "crowd-2", "crowd-3", "ada"]


async def test_places_are_not_taken_to_and_fro_between_sites_that_wait_alike() -> None:
    counter = Counter()
    tasks = [await counter.come(f"site-{number}", f"10.0.{number}.0/24") for number in range(5)]

    tasks.append(await counter.come("late", HERE))
    counter.go_on.set()
    await asyncio.gather(*tasks)

    assert (counter.refused, counter.retry_after_s) == (["late"], {BUSY_S})


async def test_who_is_known_has_places_that_strangers_do_not_get_and_takes_theirs_after() -> None:
    counter = Counter()
    tasks = [await counter.come(f"crowd-{number}", CROWD) for number in range(5)]

    tasks += [await counter.come(f"known-{number}", account=f"{number}") for number in range(7)]
    counter.go_on.set()
    await asyncio.gather(*tasks)

    assert counter.refused == ["crowd-4", "crowd-3", "crowd-2", "crowd-1", "known-6"]
    assert len(counter.served) == 1 + 6


async def test_a_crowd_of_one_account_makes_room_for_other_accounts_and_for_strangers() -> None:
    counter = Counter()
    tasks = [await counter.come(f"eve-{number}", account="eve") for number in range(8)]

    tasks.append(await counter.come("ada", account="ada"))
    tasks.append(await counter.come("stranger", HERE))
    tasks.append(await counter.come("eve-8", account="eve"))
    counter.go_on.set()
    await asyncio.gather(*tasks)

    assert counter.refused == ["eve-7", "eve-6", "eve-5", "eve-8"]
    assert counter.served == [*(f"eve-{number}" for number in range(5)), "ada", "stranger"]


async def test_who_is_known_goes_before_strangers_with_one_place_and_not_with_every_other() -> None:
    counter = Counter()
    tasks = [await counter.come(f"site-{number}", f"10.0.{number}.0/24") for number in range(5)]

    tasks += [await counter.come(f"eve-{number}", account="eve") for number in range(4)]
    tasks.append(await counter.come("ada", account="ada"))
    counter.go_on.set()
    await asyncio.gather(*tasks)

    # Two places were free; what eve has more than others does not cost strangers theirs.
    assert counter.refused == ["eve-2", "eve-3", "eve-1"]


@pytest.mark.parametrize("is_at_its_turn", [False, True])
async def test_whoever_leaves_while_waiting_takes_no_turn_along(*, is_at_its_turn: bool) -> None:
    counter = Counter()
    counter.go_on.set()
    async with counter.turns.taken(Party(HERE, is_known=False)):
        leaver = await counter.come("leaver", HERE)
        patient = await counter.come("patient", HERE)
        if not is_at_its_turn:
            leaver.cancel()
    # The turn has just been given on, and whoever has it has not noticed yet.
    if is_at_its_turn:
        leaver.cancel()
    async with asyncio.timeout(5):
        with suppress(asyncio.CancelledError):
            await leaver
        await patient
        await (await counter.come("late", HERE))

    assert counter.served == ["patient", "late"]

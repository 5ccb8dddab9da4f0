"""The audit log of every database: one chain, whoever writes, and nothing without its entry."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from bonded.server.core.audit import START, Act, Kind, Outcome, acting, entry_of, hash_of
from bonded.server.core.iam import Policy, Principal
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import ChainEnd, Project, Search

if TYPE_CHECKING:
    # Not imported: pytest loads it as a plugin, and rewrites its assertions.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERYTHING = Search()
ADA = Principal("user:ada@example.com", "session:1")


def act_of(number: int = 0, kind: Kind = Kind.ACT) -> Act:
    at = NOW + timedelta(seconds=number)
    return Act(at, kind, f"test.Method{number}", f"projects/p-{number}", ADA)


async def append(store: SqlMetadataStore, *numbers: int) -> None:
    async with store.transaction() as tx:
        await tx.audit.append([entry_of(act_of(number)) for number in numbers], 100, NOW)


async def methods(store: SqlMetadataStore, search: Search = EVERYTHING) -> list[str]:
    async with store.read() as tx:
        found = await tx.audit.list(search, 1000)
    return [one.text.split('"methodName":"')[1].split('"')[0] for one in found]


async def check_chain(store: SqlMetadataStore) -> int:
    """Follow the chain by the documented rule, and return its length."""
    async with store.read() as tx:
        rows, end = await tx.audit.read_chain(0, 100_000), await tx.audit.end()
    previous = START
    for number, row in enumerate(rows, start=1):
        one = row.sealed
        assert (one.number, one.previous) == (number, previous)
        assert one.hash == hash_of(number, previous, one.text)
        previous = one.hash
    assert end == ChainEnd(len(rows), previous)
    return len(rows)


async def test_what_is_done_leaves_an_entry_in_its_own_transaction(
    metadata: SqlMetadataStore,
) -> None:
    with acting(act_of(1)) as act:
        async with metadata.transaction() as tx:
            await tx.projects.add(Project("my-project", 1, "", NOW))

    assert act.is_recorded
    await append(metadata)
    assert await methods(metadata) == ["test.Method1"]


async def test_what_is_undone_leaves_none(metadata: SqlMetadataStore) -> None:
    async def fail() -> None:
        with acting(act_of(1)):
            async with metadata.transaction() as tx:
                await tx.projects.add(Project("my-project", 1, "", NOW))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    await append(metadata)
    assert await methods(metadata) == []


async def test_what_cannot_be_logged_is_not_done(database: Database) -> None:
    store = await database.open()
    await database.run("DROP TABLE audit_inbox")

    async def add() -> None:
        with acting(act_of(1)):
            async with store.transaction() as tx:
                await tx.projects.add(Project("my-project", 1, "", NOW))

    with pytest.raises(Exception, match="database"):
        await add()

    async with store.read() as tx:
        assert await tx.projects.find("my-project") is None


@pytest.mark.parametrize("kind", [Kind.READ, Kind.DOWNLOAD, Kind.SIGN_IN])
async def test_what_only_reads_leaves_no_entry_in_a_transaction(
    metadata: SqlMetadataStore, kind: Kind
) -> None:
    with acting(act_of(1, kind)):
        async with metadata.transaction() as tx:
            await tx.policies.set(Policy("projects/p"))

    await append(metadata)
    assert await methods(metadata) == []


async def test_a_task_that_outlives_the_act_leaves_none(metadata: SqlMetadataStore) -> None:
    may_go = asyncio.Event()

    async def later() -> None:
        await may_go.wait()
        async with metadata.transaction() as tx:
            await tx.policies.set(Policy("projects/p"))

    with acting(act_of(1)):
        task = asyncio.create_task(later())
    may_go.set()
    await task

    await append(metadata)
    assert await methods(metadata) == []


async def test_many_writers_on_replicas_make_one_chain_without_gaps(database: Database) -> None:
    stores = await database.open(), await database.open()

    async def act(number: int, store: SqlMetadataStore) -> None:
        with acting(act_of(number)):
            async with store.transaction() as tx:
                await tx.policies.set(Policy(f"projects/p-{number}"))
        await append(store, 100 + number)

    await asyncio.gather(*(act(number, store) for number, store in enumerate(stores * 8)))
    await append(stores[0])

    assert await check_chain(stores[1]) == 32
    assert len(set(await methods(stores[1]))) == 32


async def test_entries_are_found_by_column_and_time_in_both_orders(
    metadata: SqlMetadataStore,
) -> None:
    await append(metadata, *range(6))
    at = [NOW + timedelta(seconds=number) for number in range(6)]
    names = [f"test.Method{number}" for number in range(6)]

    assert await methods(metadata, Search({"method": "test.method3"})) == [names[3]]
    assert await methods(metadata, Search({"principal": "user:ada@example.com"})) == names
    assert await methods(metadata, Search({"project": "p-2"})) == [names[2]]
    assert await methods(metadata, Search(since=at[2], until=at[4])) == names[2:5]
    assert await methods(metadata, Search(after=(at[3], 4))) == names[4:]
    newest = Search(after=(at[3], 4), is_newest_first=True)
    assert await methods(metadata, newest) == names[2::-1]


async def test_what_came_together_is_chained_in_order_of_time(metadata: SqlMetadataStore) -> None:
    with acting(act_of(2)):
        async with metadata.transaction() as tx:
            await tx.policies.set(Policy("projects/p"))

    await append(metadata, 3, 1)

    async with metadata.read() as tx:
        chain = await tx.audit.read_chain(0, 10)
    assert [one.columns["method"] for one in chain] == [f"test.method{n}" for n in (1, 2, 3)]
    assert await check_chain(metadata) == 3


async def test_cutting_takes_the_oldest_and_stops_at_the_moment(metadata: SqlMetadataStore) -> None:
    await append(metadata, *range(6))

    async with metadata.transaction() as tx:
        first = await tx.audit.cut(NOW + timedelta(seconds=4), 3)
        second = await tx.audit.cut(NOW + timedelta(seconds=4), 3)
        third = await tx.audit.cut(NOW + timedelta(seconds=4), 3)

    assert first is not None
    assert second is not None
    assert (first.number, second.number, third) == (3, 4, None)
    assert await methods(metadata) == ["test.Method4", "test.Method5"]


async def test_an_entry_holds_any_text_that_a_client_may_send(metadata: SqlMetadataStore) -> None:
    act = act_of(1)
    act.client = "nul \x00 and 'quotes' and \U0001f40d"
    act.details["package"] = "nul-\x00-package"

    async with metadata.transaction() as tx:
        await tx.audit.append([entry_of(act, Outcome(3, "no \x00"))], 10, NOW)

    assert await check_chain(metadata) == 1

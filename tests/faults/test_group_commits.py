"""Transactions on SQLite share commits; whatever happens to one, the others are told the truth."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql.connections import LocalConnection
from bonded.server.metadata.sql.store import READERS_MAX, open_sqlite
from bonded.server.metadata.sql.writing import Writer


@pytest.fixture(name="threads")
def _threads() -> Iterator[ThreadPoolExecutor]:
    threads = ThreadPoolExecutor(1)
    yield threads
    threads.shutdown()


@pytest.fixture(name="connection")
async def _connection(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> AsyncIterator[LocalConnection]:
    connection = LocalConnection(tmp_path / "database", threads, busy_timeout_ms=0)
    connection.driver.execute("CREATE TABLE owners (id INTEGER PRIMARY KEY)")
    connection.driver.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, text TEXT UNIQUE, owner REFERENCES owners)"
    )
    yield connection
    connection.close()


async def write(writer: Writer, text: str, work: Callable[[LocalConnection], None]) -> str:
    async with writer.transaction() as connection:
        connection.driver.execute("INSERT INTO things (text) VALUES (?)", (text,))
        work(connection)
    return text


def kept(connection: LocalConnection) -> set[str]:
    assert not connection.driver.in_transaction
    return {text for (text,) in connection.driver.execute("SELECT text FROM things")}


def nothing(_connection: LocalConnection) -> None:
    pass


def fail(_connection: LocalConnection) -> None:
    raise ValueError


def fill_the_disk(connection: LocalConnection) -> None:
    # SQLite answers with a rollback of everything (sqlite.org/lang_transaction.html §3).
    connection.driver.execute("PRAGMA max_page_count = 1")
    try:
        connection.driver.execute("INSERT INTO things (text) VALUES (zeroblob(1000000))")
    finally:
        connection.driver.execute("PRAGMA max_page_count = 1000000")


def break_the_commit(connection: LocalConnection) -> None:
    connection.driver.execute("PRAGMA defer_foreign_keys = ON")
    connection.driver.execute("INSERT INTO things (owner) VALUES (7)")


async def test_those_who_wait_for_the_disk_share_a_commit(connection: LocalConnection) -> None:
    writer = Writer(connection)
    commits: list[str] = []
    connection.driver.set_trace_callback(
        lambda statement: commits.append(statement) if statement == "COMMIT" else None
    )

    await asyncio.gather(*[write(writer, f"{number}", nothing) for number in range(20)])

    assert len(kept(connection)) == 20
    assert 0 < len(commits) < 5


async def test_one_that_fails_takes_nobody_with_it(connection: LocalConnection) -> None:
    writer = Writer(connection)

    told = await asyncio.gather(
        write(writer, "before", nothing),
        write(writer, "failing", fail),
        write(writer, "after", nothing),
        return_exceptions=True,
    )

    assert told[0] == "before"
    assert isinstance(told[1], ValueError)
    assert told[2] == "after"
    assert kept(connection) == {"before", "after"}


@pytest.mark.parametrize("work", [fill_the_disk, break_the_commit])
async def test_a_group_that_is_lost_is_told_so_and_the_next_one_is_not(
    connection: LocalConnection, work: Callable[[LocalConnection], None]
) -> None:
    writer = Writer(connection)

    told = await asyncio.gather(
        write(writer, "before", nothing),
        write(writer, "failing", work),
        return_exceptions=True,
    )

    assert all(isinstance(one, sqlite3.Error) for one in told), told
    assert kept(connection) == set()
    await write(writer, "next", nothing)
    assert kept(connection) == {"next"}


async def test_who_is_refused_because_of_another_hears_it_after_the_other_is_kept(
    connection: LocalConnection,
) -> None:
    writer = Writer(connection)
    order: list[str] = []

    async def try_to_write() -> None:
        try:
            order.append(await write(writer, "same", nothing))
        except sqlite3.IntegrityError:
            assert kept(connection) == {"same"}
            order.append("refused")

    await asyncio.gather(try_to_write(), try_to_write())

    assert order == ["same", "refused"]


async def test_who_goes_away_while_the_disk_works_undoes_nothing_of_the_others(
    connection: LocalConnection,
) -> None:
    writer = Writer(connection)
    going = asyncio.create_task(write(writer, "going", nothing))
    staying = asyncio.create_task(write(writer, "staying", nothing))
    await asyncio.sleep(0)

    going.cancel()

    assert await staying == "staying"
    assert "staying" in kept(connection)


async def test_who_goes_away_in_the_middle_leaves_nothing(connection: LocalConnection) -> None:
    writer = Writer(connection)
    is_in = asyncio.Event()

    async def dawdle() -> None:
        async with writer.transaction() as open_connection:
            open_connection.driver.execute("INSERT INTO things (text) VALUES ('half')")
            is_in.set()
            await asyncio.sleep(60)

    dawdling = asyncio.create_task(dawdle())
    await is_in.wait()
    staying = asyncio.create_task(write(writer, "staying", nothing))

    dawdling.cancel()

    assert await staying == "staying"
    assert kept(connection) == {"staying"}


async def test_what_one_is_refused_for_is_not_told_to_the_others_of_a_lost_group(
    connection: LocalConnection,
) -> None:
    def misread(lost: LocalConnection) -> None:
        try:
            fill_the_disk(lost)
        except sqlite3.Error as error:
            raise Conflict("secret-1.0.whl is published") from error

    writer = Writer(connection)

    told = await asyncio.gather(
        write(writer, "before", nothing), write(writer, "failing", misread), return_exceptions=True
    )

    assert all(isinstance(one, sqlite3.Error) for one in told), told


async def test_nothing_is_written_outside_of_a_transaction(connection: LocalConnection) -> None:
    writer = Writer(connection)

    async def go_on() -> None:
        async with writer.transaction():
            with suppress(sqlite3.Error):
                fill_the_disk(connection)
            await connection.execute(text("INSERT INTO things (text) VALUES ('stray')"))

    with pytest.raises(sqlite3.Error):
        await go_on()

    assert kept(connection) == set()


async def test_a_commit_that_finds_no_thread_is_told_and_keeps_nobody_waiting(
    connection: LocalConnection, threads: ThreadPoolExecutor
) -> None:
    writer = Writer(connection)
    threads.shutdown()

    async with asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await write(writer, "lost", nothing)

    assert kept(connection) == set()


async def test_nobody_leaves_a_connection_while_a_thread_works_with_it(
    connection: LocalConnection,
) -> None:
    may_end = threading.Event()
    working = asyncio.create_task(connection.in_thread(may_end.wait))
    await asyncio.sleep(0.05)

    for _ in range(3):
        working.cancel()
        await asyncio.sleep(0.05)
        assert not working.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_crowd_of_readers_opens_a_bounded_number_of_connections(tmp_path: Path) -> None:
    path = tmp_path / "bonded.sqlite3"
    store = await open_sqlite(path)
    team = RepositoryName("my-project", "local", "team")

    async def look() -> None:
        with suppress(NotFound):
            async with store.read() as tx:
                await tx.files.list_packages(team)
        async with store.read() as tx:
            await tx.caches.list_files(team, PackageName.parse("demo"))

    await asyncio.gather(*(look() for _ in range(500)))

    assert descriptors_of(path) < 3 * READERS_MAX
    await store.close()


def descriptors_of(path: Path) -> int:
    opened = (os.path.realpath(one) for one in Path("/proc/self/fd").iterdir())
    return sum(one.startswith(str(path)) for one in opened)

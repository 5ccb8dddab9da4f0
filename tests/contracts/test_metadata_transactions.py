"""What every metadata store promises of transactions, serials, replicas, and its schema."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url, text

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import (
    Aborted,
    Conflict,
    NotFound,
    Rejected,
    Unavailable,
)
from bonded.server.core.files import File
from bonded.server.core.iam import Binding, Policy
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql.migrate import HEAD
from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from bonded.server.metadata.store import (
    ACCESS,
    Project,
    RepositoryRecord,
    listing_scope,
    package_scope,
)
from support.postgresql import PostgreSql
from support.server import free_port

if TYPE_CHECKING:
    # Not at run time: pytest must be the first to load its plugin.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEAM = RepositoryName("my-project", "local", "team")
DEMO = PackageName.parse("demo")
PROJECT = Project("my-project", 123_456_789_012, "Mine", NOW)
RECORD = RepositoryRecord(TEAM, "", {}, NOW, NOW)
WAIT_S = 0.2
"""Long enough for another transaction to run into a lock."""


def file_of(version: str = "1.0", data: bytes = b"wheel") -> File:
    return File(f"demo-{version}.tar.gz", version, len(data), sha256_of(data), NOW)


@pytest.fixture(name="team")
async def _team(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store that holds a project with an empty repository."""
    async with metadata.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)
    return metadata


async def test_a_scope_that_never_changed_has_serial_0(metadata: SqlMetadataStore) -> None:
    assert await metadata.serials.read("nothing", ACCESS, "nothing") == (0, 0, 0)


async def test_a_serial_is_read_in_the_order_asked_and_right_after_the_commit(
    team: SqlMetadataStore,
) -> None:
    scopes = (package_scope(TEAM, DEMO), listing_scope(TEAM), "nothing")
    assert await team.serials.read(*scopes) == (0, 1, 0)

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of(), b"")

    assert await team.serials.read(*scopes) == (1, 2, 0)


async def test_a_second_file_moves_its_package_but_not_the_list(team: SqlMetadataStore) -> None:
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of("1.0"), b"")
    before = await team.serials.read(listing_scope(TEAM), package_scope(TEAM, DEMO))

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of("2.0"), b"")

    after = await team.serials.read(listing_scope(TEAM), package_scope(TEAM, DEMO))
    assert after == (before[0], before[1] + 1)


async def test_an_error_in_the_block_undoes_rows_and_serials(team: SqlMetadataStore) -> None:
    before = await team.serials.read(listing_scope(TEAM), package_scope(TEAM, DEMO), ACCESS)

    async def fail() -> None:
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(), b"")
            await tx.policies.set(Policy("projects/my-project"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async with team.read() as tx:
        assert await tx.files.find_package(TEAM, DEMO) is None
        assert await tx.policies.find("projects/my-project") is None
    after = await team.serials.read(listing_scope(TEAM), package_scope(TEAM, DEMO), ACCESS)
    assert after == before


async def test_a_cancelled_transaction_is_undone_and_lets_the_next_one_in(
    team: SqlMetadataStore,
) -> None:
    is_in = asyncio.Event()

    async def publish_and_hang() -> None:
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of("1.0"), b"")
            is_in.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(publish_and_hang())
    await is_in.wait()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of("2.0"), b"")
        package = await tx.files.find_package(TEAM, DEMO)
    assert package is not None
    assert package.versions == ("2.0",)


async def test_a_reader_sees_nothing_of_an_open_transaction(team: SqlMetadataStore) -> None:
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of(), b"")

        async with team.read() as other:
            seen = await other.files.find_package(TEAM, DEMO)
        serials = await team.serials.read(package_scope(TEAM, DEMO))

    assert seen is None
    assert serials == (0,)


async def test_a_reader_sees_one_moment_however_often_it_asks(team: SqlMetadataStore) -> None:
    async with team.read() as reader:
        before = await reader.files.find_package(TEAM, DEMO)
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(), b"")

        after = await reader.files.find_package(TEAM, DEMO)

    assert (before, after) == (None, None)


async def test_of_two_policies_written_over_one_state_exactly_one_wins(
    database: Database,
) -> None:
    stores = await database.open(), await database.open()
    async with stores[0].transaction() as tx:
        first = await tx.policies.set(Policy("projects/a"))

    async def write(store: SqlMetadataStore, member: str) -> Policy:
        binding = Binding("roles/owner", (member,))
        async with store.transaction() as tx:
            return await tx.policies.set(Policy("projects/a", (binding,), first.etag))

    written = await asyncio.gather(
        *(write(store, f"user:{n}@example.com") for n, store in enumerate(stores * 4)),
        return_exceptions=True,
    )

    won = [one for one in written if isinstance(one, Policy)]
    async with stores[1].read() as tx:
        assert won == [await tx.policies.find("projects/a")]
    assert all(isinstance(one, Policy | Aborted) for one in written), written


async def test_of_two_files_racing_for_one_name_exactly_one_wins(database: Database) -> None:
    stores = await database.open(), await database.open()
    async with stores[0].transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)

    async def publish(store: SqlMetadataStore, data: bytes) -> None:
        async with store.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(data=data), b"")

    outcomes = await asyncio.gather(
        *(publish(store, b"%d" % n) for n, store in enumerate(stores * 4)), return_exceptions=True
    )

    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict"] * 7 + ["NoneType"]
    assert await stores[0].serials.read(package_scope(TEAM, DEMO)) == (1,)


async def test_first_files_of_one_package_published_at_once_all_arrive(
    database: Database,
) -> None:
    stores = await database.open(), await database.open()
    async with stores[0].transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)

    async def publish(store: SqlMetadataStore, version: str) -> None:
        async with store.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(version), b"")
            await asyncio.sleep(0.01)

    await asyncio.gather(*(publish(store, f"{n}") for n, store in enumerate(stores * 4)))

    async with stores[0].read() as tx:
        package = await tx.files.find_package(TEAM, DEMO)
        record = await tx.repositories.find(TEAM)
    assert package is not None
    assert len(package.files) == 8
    assert record is not None
    assert record.size_bytes == 8 * len(b"wheel")
    assert await stores[1].serials.read(listing_scope(TEAM), package_scope(TEAM, DEMO)) == (2, 8)


async def test_a_repository_deleted_during_a_publication_moves_the_new_packages_serial(
    database: Database,
) -> None:
    publisher, administrator = await database.open(), await database.open()
    async with publisher.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)

    async def delete() -> None:
        async with administrator.transaction() as tx:
            await tx.repositories.remove(TEAM)

    async with publisher.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of(), b"")
        deleting = asyncio.create_task(delete())
        await asyncio.sleep(WAIT_S)
    await deleting

    # It was 1 for as long as the package was there.
    assert await publisher.serials.read(package_scope(TEAM, DEMO)) == (0,)


async def test_a_publication_during_a_repositorys_deletion_is_not_found(
    database: Database,
) -> None:
    publisher, administrator = await database.open(), await database.open()
    async with publisher.transaction() as tx:
        await tx.projects.add(PROJECT)
        await tx.repositories.add(RECORD)

    async def publish() -> None:
        async with publisher.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(), b"")

    async with administrator.transaction() as tx:
        await tx.repositories.remove(TEAM)
        publishing = asyncio.create_task(publish())
        await asyncio.sleep(WAIT_S)

    with pytest.raises(NotFound, match="repositories/team does not exist"):
        await publishing


async def test_a_project_is_not_removed_under_a_repository_that_is_being_made(
    database: Database,
) -> None:
    maker, remover = await database.open(), await database.open()
    async with maker.transaction() as tx:
        await tx.projects.add(PROJECT)

    async def remove() -> None:
        async with remover.transaction() as tx:
            await tx.projects.remove("my-project")

    async with maker.transaction() as tx:
        await tx.repositories.add(RECORD)
        removing = asyncio.create_task(remove())
        await asyncio.sleep(WAIT_S)

    with pytest.raises(Conflict, match="not empty"):
        await removing


async def test_a_repository_is_not_made_in_a_project_that_is_being_removed(
    database: Database,
) -> None:
    maker, remover = await database.open(), await database.open()
    async with maker.transaction() as tx:
        await tx.projects.add(PROJECT)

    async def make() -> None:
        async with maker.transaction() as tx:
            await tx.repositories.add(RECORD)

    async with remover.transaction() as tx:
        await tx.projects.remove("my-project")
        making = asyncio.create_task(make())
        await asyncio.sleep(WAIT_S)

    with pytest.raises(NotFound, match="Project my-project does not exist"):
        await making


async def test_replicas_see_each_others_changes_at_once(database: Database) -> None:
    one, other = await database.open(), await database.open()
    seen = []

    for number in range(5):
        writer, reader = (one, other) if number % 2 else (other, one)
        async with writer.transaction() as tx:
            await tx.projects.add(Project(f"project-{number}", number, "", NOW))
        (serial,) = await reader.serials.read(ACCESS)
        async with reader.read() as tx:
            seen.append((serial, await tx.projects.find(f"project-{number}") is not None))

    assert seen == [(number, True) for number in range(1, 6)]


async def test_opposite_changes_at_the_same_time_never_wait_for_each_other_in_a_circle(
    team: SqlMetadataStore,
) -> None:
    spare, other = replace(PROJECT, id="spare", number=7), replace(TEAM, repository="other")
    policy = Policy(str(TEAM), (Binding("roles/owner", ("user:ada@example.com",)),))

    async def publish(number: int) -> None:
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of(f"{number}.0"), b"")

    async def grant(_number: int) -> None:
        async with team.transaction() as tx:
            await tx.policies.set(policy)
            await tx.repositories.hold(TEAM)

    async def describe(_number: int) -> None:
        async with team.transaction() as tx:
            await tx.repositories.update(replace(RECORD, description="Ours"))

    async def found(_number: int) -> None:
        async with team.transaction() as tx:
            await tx.projects.add(spare)
            await tx.repositories.add(replace(RECORD, name=other))
            await tx.repositories.remove(other)
            await tx.projects.remove(spare.id)

    # PostgreSQL would answer a circle with an error, after a second.
    for number in range(10):
        await asyncio.gather(publish(number), grant(number), describe(number), found(number))


async def test_replicas_that_open_an_empty_database_together_migrate_it_once(
    database: Database,
) -> None:
    stores = await asyncio.gather(*(database.open() for _ in range(4)))

    for store in stores:
        await store.check()
    assert await database.run("SELECT version_num FROM alembic_version") == [(HEAD,)]


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    database: Database,
) -> None:
    await database.open()
    await database.run("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(Unavailable) as refused:
        await database.open()

    assert str(refused.value) == (
        f"The database has schema 9999, newer than this version's {HEAD}. "
        "Start the newer version of Bonded again, or restore a backup."
    )


async def test_a_text_that_a_database_cannot_hold_is_the_clients_mistake_not_an_outage(
    team: SqlMetadataStore,
) -> None:
    outcome = ""
    try:
        async with team.transaction() as tx:
            await tx.repositories.update(replace(RECORD, description="nul \x00 byte"))
    except Rejected as error:
        outcome = error.message

    # SQLite holds it; PostgreSQL has no such text.
    assert outcome in ("", "The request holds a value that cannot be stored")


async def test_sqlite_opens_in_a_directory_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "100% #1? ünusual" / "bonded.sqlite3"
    path.parent.mkdir()

    store = await open_sqlite(path)

    try:
        async with store.transaction() as tx:
            await tx.projects.add(PROJECT)
        assert await store.serials.read(ACCESS) == (1,)
    finally:
        await store.close()


async def test_what_is_not_a_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bonded.sqlite3"
    path.write_bytes(b"not a database " * 1000)

    with pytest.raises(Unavailable, match="The database cannot be opened: file is not a database"):
        await open_sqlite(path)


async def test_sqlite_commits_reach_the_disk_before_they_return(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "bonded.sqlite3")

    try:
        async with store.transaction() as tx:
            connection = tx.projects._connection
            pragmas = [
                (await connection.execute(text(f"PRAGMA {name}"))).scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
    finally:
        await store.close()

    assert pragmas == ["wal", 2, 1]


async def test_a_postgresql_that_cannot_be_reached_or_refuses_is_unavailable(
    postgresql: PostgreSql,
) -> None:
    absent = make_url(postgresql.url).set(database="no_such_database")
    unreachable = make_url(postgresql.url).set(port=free_port())

    with pytest.raises(Unavailable, match='database "no_such_database" does not exist'):
        await open_postgresql(absent.render_as_string(hide_password=False))
    with pytest.raises(Unavailable, match="The database cannot be reached"):
        await open_postgresql(unreachable.render_as_string(hide_password=False))


async def test_a_postgresql_that_goes_away_is_an_outage_and_not_a_crash(
    postgresql: PostgreSql,
) -> None:
    url = await postgresql.make_database()
    store = await open_postgresql(url)
    try:
        await store.check()
        await postgresql.drop_database(url)

        async def change() -> None:
            async with store.transaction() as tx:
                await tx.projects.add(PROJECT)

        for ask in (store.check, lambda: store.serials.read(ACCESS), change):
            with pytest.raises(Unavailable):
                await ask()
    finally:
        await store.close()


async def test_a_sqlite_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "bonded.sqlite3"
    store = await open_sqlite(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")

        async def add() -> None:
            async with store.transaction() as tx:
                await tx.projects.add(PROJECT)

        adding = asyncio.create_task(add())
        await asyncio.sleep(WAIT_S)
        is_waiting = not adding.done()
        other.execute("COMMIT")
        await adding
    finally:
        other.close()
        await store.close()

    assert is_waiting

"""Fixtures: each kind of database, fresh for every test, opened as the program opens it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from bonded.server.metadata.sql.migrate import migrate
from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from support.postgresql import NoPostgreSql, PostgreSql, running_postgresql


@dataclass
class Database:
    """An empty database. Every `open` is another replica on it."""

    place: Path | str
    """The path of SQLite's file, or PostgreSQL's URL."""
    stores: list[SqlMetadataStore] = field(default_factory=list)

    async def open(self) -> SqlMetadataStore:
        """Open a store, which is closed when the test ends."""
        store: SqlMetadataStore
        if isinstance(self.place, Path):
            store = await open_sqlite(self.place)
        else:
            store = await open_postgresql(self.place)
        self.stores.append(store)
        return store

    async def run(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement past the store, as another program would."""
        if isinstance(self.place, Path):
            with closing(sqlite3.connect(self.place, isolation_level=None)) as connection:
                return connection.execute(statement).fetchall()
        connected = await asyncpg.connect(self.place)
        try:
            return [tuple(row) for row in await connected.fetch(statement)]
        finally:
            await connected.close()

    async def migrate(self, revision: str) -> None:
        """Make the tables as they were at a migration."""
        place = self.place
        if isinstance(place, Path):
            local = create_engine(make_url("sqlite://").set(database=str(place)))
            with local.begin() as connection:
                migrate(connection, revision)
            local.dispose()
            return
        engine = create_async_engine(make_url(place).set(drivername="postgresql+asyncpg"))
        async with engine.begin() as remote:
            await remote.run_sync(migrate, revision)
        await engine.dispose()

    async def close(self) -> None:
        """Close every store."""
        for store in self.stores:
            await store.close()


@pytest.fixture(name="postgresql", scope="session")
def _postgresql() -> Iterator[PostgreSql]:
    """One cluster for the whole run."""
    try:
        with running_postgresql() as cluster:
            yield cluster
    except NoPostgreSql as error:
        pytest.skip(str(error))


@pytest.fixture(name="database", params=["sqlite", "postgresql"])
async def _database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        database = Database(tmp_path / "bonded.sqlite3")
        yield database
        await database.close()
        return
    cluster: PostgreSql = request.getfixturevalue("postgresql")
    url = await cluster.make_database()
    database = Database(url)
    yield database
    await database.close()
    await cluster.drop_database(url)


@pytest.fixture(name="metadata")
async def _metadata(database: Database) -> SqlMetadataStore:
    """A store on an empty database of each kind."""
    return await database.open()

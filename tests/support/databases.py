"""Fixtures: each kind of database, fresh for every test, opened as the program opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from support.postgresql import NoPostgreSql, PostgreSql, running_postgresql


@dataclass
class Database:
    """An empty database. Every `open` is another replica on it."""

    opener: Callable[[], Awaitable[SqlMetadataStore]]
    stores: list[SqlMetadataStore] = field(default_factory=list)

    async def open(self) -> SqlMetadataStore:
        """Open a store, which is closed when the test ends."""
        store = await self.opener()
        self.stores.append(store)
        return store

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
        database = Database(partial(open_sqlite, tmp_path / "bonded.sqlite3"))
        yield database
        await database.close()
        return
    cluster: PostgreSql = request.getfixturevalue("postgresql")
    url = await cluster.make_database()
    database = Database(partial(open_postgresql, url))
    yield database
    await database.close()
    await cluster.drop_database(url)


@pytest.fixture(name="metadata")
async def _metadata(database: Database) -> SqlMetadataStore:
    """A store on an empty database of each kind."""
    return await database.open()

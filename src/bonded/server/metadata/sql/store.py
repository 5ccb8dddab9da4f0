"""A metadata store on SQLAlchemy Core: SQLite by default, PostgreSQL for many replicas."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bonded.server.core.errors import Unavailable
from bonded.server.metadata.sql.access import SqlAccounts, SqlPolicies
from bonded.server.metadata.sql.audit import SqlAudit, leave_entry
from bonded.server.metadata.sql.caches import SqlCaches
from bonded.server.metadata.sql.connections import (
    Connection,
    LocalConnection,
    NetworkConnection,
)
from bonded.server.metadata.sql.failures import translated
from bonded.server.metadata.sql.federation import SqlPools, SqlPublishers
from bonded.server.metadata.sql.files import SqlFiles
from bonded.server.metadata.sql.groups import SqlGroups, SqlRoles
from bonded.server.metadata.sql.lifecycle import SqlLifecycle
from bonded.server.metadata.sql.listings import SqlListings
from bonded.server.metadata.sql.migrate import upgrade
from bonded.server.metadata.sql.people import SqlSessions, SqlSignIns, SqlUsers
from bonded.server.metadata.sql.projects import SqlProjects, SqlRepositories
from bonded.server.metadata.sql.serials import SharedSerials, SqliteSerials
from bonded.server.metadata.sql.tokens import SqlTokens
from bonded.server.metadata.sql.writing import Writer

POOL_SIZE = 8
POOL_WAIT_S = 30
READERS_MAX = 32
"""Snapshots of SQLite that may be open at once; each takes two file descriptors."""
QUERIES_AT_ONCE_MAX = 4
"""Queries of many rows that run at once: more would only compete for the processor."""
BUSY_TIMEOUT_MS = 5000
"""How long readers of SQLite wait while its log is being recovered."""


@dataclass(frozen=True, slots=True)
class SqlTransaction:
    """All tables on one connection, within one transaction."""

    projects: SqlProjects
    repositories: SqlRepositories
    files: SqlFiles
    lifecycle: SqlLifecycle
    caches: SqlCaches
    listings: SqlListings
    policies: SqlPolicies
    groups: SqlGroups
    roles: SqlRoles
    accounts: SqlAccounts
    tokens: SqlTokens
    users: SqlUsers
    sessions: SqlSessions
    sign_ins: SqlSignIns
    pools: SqlPools
    publishers: SqlPublishers
    audit: SqlAudit

    @classmethod
    def on(cls, connection: Connection) -> SqlTransaction:
        """Lay the tables over *connection*."""
        return cls(
            SqlProjects(connection),
            SqlRepositories(connection),
            SqlFiles(connection),
            SqlLifecycle(connection),
            SqlCaches(connection),
            SqlListings(connection),
            SqlPolicies(connection),
            SqlGroups(connection),
            SqlRoles(connection),
            SqlAccounts(connection),
            SqlTokens(connection),
            SqlUsers(connection),
            SqlSessions(connection),
            SqlSignIns(connection),
            SqlPools(connection),
            SqlPublishers(connection),
            SqlAudit(connection),
        )


class SqliteStore:
    """Opens transactions on one SQLite database. Build it with `open_sqlite`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Of its own, so that no commit waits for anybody's query. Threads that live already
        # cannot fail to start in the middle of a commit.
        self._committing = ThreadPoolExecutor(1, "commits")
        self._committing.submit(int).result()
        self._querying = ThreadPoolExecutor(QUERIES_AT_ONCE_MAX, "queries")
        writer = LocalConnection(path, self._committing, busy_timeout_ms=0)
        self._writer = Writer(writer)
        self._readers = asyncio.Semaphore(READERS_MAX)
        self._idle: list[tuple[LocalConnection, SqlTransaction]] = []
        self._open = [writer]
        self._writing = SqlTransaction.on(writer)
        self.serials = SqliteSerials(path)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Open a snapshot to read from."""
        with translated():
            await self._wait_to_read()
            try:
                connection, tables = self._idle.pop() if self._idle else self._connect()
                connection.driver.execute("BEGIN")
                try:
                    yield tables
                finally:
                    connection.driver.rollback()
                    self._idle.append((connection, tables))
            finally:
                self._readers.release()

    async def _wait_to_read(self) -> None:
        try:
            async with asyncio.timeout(POOL_WAIT_S):
                await self._readers.acquire()
        except TimeoutError as error:
            raise Unavailable("The database has been busy for too long") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; it is durable when its block has ended."""
        with translated():
            async with self._writer.transaction() as connection:
                yield self._writing
                await leave_entry(connection)

    def _connect(self) -> tuple[LocalConnection, SqlTransaction]:
        connection = LocalConnection(self._path, self._querying, busy_timeout_ms=BUSY_TIMEOUT_MS)
        self._open.append(connection)
        return connection, SqlTransaction.on(connection)

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        async with self.read() as tx:
            await tx.projects.find("")

    async def close(self) -> None:
        """Let go of every connection."""
        self.serials.close()
        for connection in self._open:
            connection.close()
        for threads in (self._committing, self._querying):
            threads.shutdown(wait=False)


class PostgresqlStore:
    """Opens transactions on one PostgreSQL database. Build it with `open_postgresql`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writer = engine
        # A reader sees one moment, as it does in SQLite, however many statements it sends.
        self._reader = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self.serials = SharedSerials(engine)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Open a snapshot to read from."""
        with translated():
            async with self._reader.connect() as connection:
                yield SqlTransaction.on(NetworkConnection(connection))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; it is durable when its block has ended."""
        with translated():
            async with self._writer.begin() as connection:
                remote = NetworkConnection(connection)
                yield SqlTransaction.on(remote)
                await leave_entry(remote)

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        with translated():
            async with self._reader.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._writer.dispose()


SqlMetadataStore = SqliteStore | PostgresqlStore


async def open_sqlite(path: Path) -> SqliteStore:
    """Open, and if need be create or upgrade, a SQLite database at *path*.

    Raises:
        Unavailable: it cannot be opened, or a newer version has written it.
    """
    with _opening(), ThreadPoolExecutor(1) as threads:
        opener = LocalConnection(path, threads, busy_timeout_ms=BUSY_TIMEOUT_MS)
        try:
            opener.driver.execute("BEGIN IMMEDIATE")
            upgrade(opener.alchemy)
            opener.driver.commit()
        finally:
            opener.close()
        return SqliteStore(path)


async def open_postgresql(url: str) -> PostgresqlStore:
    """Open, and if need be upgrade, a PostgreSQL database.

    *url* is `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.

    Raises:
        Unavailable: it cannot be reached, or a newer version has written it.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=POOL_SIZE,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=True,
    )
    try:
        with _opening():
            async with engine.begin() as connection:
                await connection.run_sync(upgrade)
    except BaseException:
        # A connection left open would keep the process from ending.
        await engine.dispose()
        raise
    return PostgresqlStore(engine)


@contextmanager
def _opening() -> Iterator[None]:
    """Say in the driver's own words why a database cannot be opened: the operator reads them."""
    try:
        yield
    except DBAPIError as error:
        raise Unavailable(f"The database cannot be opened: {error.orig}") from error
    except sqlite3.Error as error:
        raise Unavailable(f"The database cannot be opened: {error}") from error
    except OSError as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error

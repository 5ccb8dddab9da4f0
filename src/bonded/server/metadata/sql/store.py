"""A metadata store on SQLAlchemy Core: SQLite by default, PostgreSQL for many replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bonded.server.core.errors import Unavailable
from bonded.server.metadata.sql.access import SqlAccounts, SqlPolicies
from bonded.server.metadata.sql.failures import translated
from bonded.server.metadata.sql.files import SqlFiles
from bonded.server.metadata.sql.migrate import upgrade
from bonded.server.metadata.sql.projects import SqlProjects, SqlRepositories
from bonded.server.metadata.sql.serials import SharedSerials, SqliteSerials

POOL_SIZE = 8
POOL_WAIT_S = 30


@dataclass(frozen=True, slots=True)
class SqlTransaction:
    """All tables on one connection, within one transaction."""

    projects: SqlProjects
    repositories: SqlRepositories
    files: SqlFiles
    policies: SqlPolicies
    accounts: SqlAccounts

    @classmethod
    def on(cls, connection: AsyncConnection) -> SqlTransaction:
        """Lay the tables over *connection*."""
        return cls(
            SqlProjects(connection),
            SqlRepositories(connection),
            SqlFiles(connection),
            SqlPolicies(connection),
            SqlAccounts(connection),
        )


class _OwnSerials(Protocol):
    async def read(self, *scopes: str) -> tuple[int, ...]: ...
    def close(self) -> None: ...


class SqlMetadataStore:
    """Opens transactions on one database. Build it with `open_sql`."""

    def __init__(self, reader: AsyncEngine, writer: AsyncEngine, serials: _OwnSerials) -> None:
        self._reader = reader
        self._writer = writer
        self.serials = serials

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Open a snapshot to read from."""
        with translated():
            async with self._reader.connect() as connection:
                yield SqlTransaction.on(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; it is durable when its block has ended."""
        with translated():
            async with self._writer.begin() as connection:
                yield SqlTransaction.on(connection)

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        with translated():
            async with self._reader.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of every connection."""
        self.serials.close()
        await self._reader.dispose()
        await self._writer.dispose()


async def open_sqlite(path: Path) -> SqlMetadataStore:
    """Open, and if need be create or upgrade, a SQLite database at *path*."""
    url = make_url("sqlite+aiosqlite://").set(database=str(path))
    # One writer, because SQLite has one: waiting for its connection is waiting for the turn.
    writer = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=POOL_WAIT_S)
    reader = create_async_engine(url, pool_size=POOL_SIZE, pool_timeout=POOL_WAIT_S)
    for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_with(begin))
    await _bring_up(writer)
    return SqlMetadataStore(reader, writer, SqliteSerials(path))


async def open_postgresql(url: str) -> SqlMetadataStore:
    """Open, and if need be upgrade, a PostgreSQL database.

    *url* is `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=POOL_SIZE,
        pool_timeout=POOL_WAIT_S,
        pool_pre_ping=True,
    )
    await _bring_up(engine)
    # A reader sees one moment, as it does in SQLite, however many statements it sends.
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return SqlMetadataStore(reader, engine, SharedSerials(engine))


async def _bring_up(engine: AsyncEngine) -> None:
    try:
        await upgrade(engine)
    except BaseException as error:
        # A connection left open is a thread that keeps the process from ending.
        await engine.dispose()
        if isinstance(error, DBAPIError):
            raise Unavailable(f"The database cannot be opened: {error.orig}") from error
        if isinstance(error, OSError):
            raise Unavailable(f"The database cannot be reached: {error}") from error
        raise


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own implicit BEGIN would come too late and deferred.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # a commit is on the disk when it returns
        "foreign_keys = ON",
        "busy_timeout = 5000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_with(statement: str) -> Any:
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(statement)

    return begin

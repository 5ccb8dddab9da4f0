"""A metadata store on SQLAlchemy Core: SQLite by default, PostgreSQL for many replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bonded.server.core.errors import Unavailable
from bonded.server.metadata.sql.access import SqlAccounts, SqlPolicies
from bonded.server.metadata.sql.connections import (
    Connection,
    LocalConnection,
    NetworkConnection,
    in_thread,
)
from bonded.server.metadata.sql.failures import translated
from bonded.server.metadata.sql.federation import SqlPools, SqlPublishers
from bonded.server.metadata.sql.files import SqlFiles
from bonded.server.metadata.sql.migrate import upgrade
from bonded.server.metadata.sql.people import SqlSessions, SqlSignIns, SqlUsers
from bonded.server.metadata.sql.projects import SqlProjects, SqlRepositories
from bonded.server.metadata.sql.serials import SharedSerials, SqliteSerials

POOL_SIZE = 8
POOL_WAIT_S = 30
TURN_WAIT_S = 30
"""How long a writer waits for those before it."""
LOCKED_RETRY_S = 0.01


@dataclass(frozen=True, slots=True)
class SqlTransaction:
    """All tables on one connection, within one transaction."""

    projects: SqlProjects
    repositories: SqlRepositories
    files: SqlFiles
    policies: SqlPolicies
    accounts: SqlAccounts
    users: SqlUsers
    sessions: SqlSessions
    sign_ins: SqlSignIns
    pools: SqlPools
    publishers: SqlPublishers

    @classmethod
    def on(cls, connection: Connection) -> SqlTransaction:
        """Lay the tables over *connection*."""
        return cls(
            SqlProjects(connection),
            SqlRepositories(connection),
            SqlFiles(connection),
            SqlPolicies(connection),
            SqlAccounts(connection),
            SqlUsers(connection),
            SqlSessions(connection),
            SqlSignIns(connection),
            SqlPools(connection),
            SqlPublishers(connection),
        )


class SqliteStore:
    """Opens transactions on one SQLite database. Build it with `open_sqlite`."""

    def __init__(self, reader: Engine, writer: Engine, serials: SqliteSerials) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self.serials = serials

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Open a snapshot to read from."""
        with translated(), self._reader.connect() as connection:
            yield SqlTransaction.on(LocalConnection(connection))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Open a transaction; it is durable when its block has ended."""
        await self._take_turn()
        try:
            with translated(), self._writer.connect() as connection:
                await _begin(connection)
                yield SqlTransaction.on(LocalConnection(connection))
                # In a thread, because it waits for the disk. Leaving `connect` rolls back.
                await in_thread(connection.commit)
        finally:
            self._turn.release()

    async def _take_turn(self) -> None:
        # SQLite has one writer at a time. Waiting here blocks nobody; its own lock would.
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable("The database has been busy for too long") from error

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        with translated(), self._reader.connect() as connection:
            connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of every connection."""
        self.serials.close()
        self._reader.dispose()
        self._writer.dispose()


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
                yield SqlTransaction.on(NetworkConnection(connection))

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
    opener = _sqlite_engine(path, "BEGIN IMMEDIATE", busy_timeout_ms=5000)
    try:
        with _opening(), opener.begin() as connection:
            upgrade(connection)
    finally:
        opener.dispose()
    # The writer never waits for SQLite's lock, which would stop the loop: see _begin.
    writer = _sqlite_engine(path, "BEGIN IMMEDIATE", busy_timeout_ms=0, pool_size=1)
    # Readers wait for nobody, and are never short of a connection: they are few and brief.
    reader = _sqlite_engine(path, "BEGIN", busy_timeout_ms=5000, pool_size=POOL_SIZE)
    return SqliteStore(reader, writer, SqliteSerials(path))


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
    except OSError as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error


async def _begin(connection: SyncConnection) -> None:
    """Begin to write, waiting on the loop for another process that does so at the moment."""
    give_up_at = asyncio.get_running_loop().time() + TURN_WAIT_S
    while True:
        try:
            connection.begin()
        except OperationalError as error:
            is_locked = "locked" in str(error.orig)
            if not is_locked or asyncio.get_running_loop().time() > give_up_at:
                raise
            await asyncio.sleep(LOCKED_RETRY_S)
        else:
            return


def _sqlite_engine(path: Path, begin: str, *, busy_timeout_ms: int, pool_size: int = 1) -> Engine:
    url = make_url("sqlite://").set(database=str(path))
    engine = create_engine(
        url, pool_size=pool_size, max_overflow=-1, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # The driver's own implicit BEGIN would come too late and deferred.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {busy_timeout_ms}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a commit is on the disk when it returns
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine

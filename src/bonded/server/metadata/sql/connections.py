"""One way to run a statement, whether the database is a file or on the network.

The tables are written once against `Connection`. In SQLite a statement takes
microseconds and waits for nobody, so it runs on the event loop: handing each
one to a thread, as an asynchronous driver does, costs ten times as much. What
does wait, the turn to write and the disk, and what may return thousands of
rows, goes to a thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import CursorResult, Dialect, Executable, Row, StaticPool, create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from bonded.server.metadata.sql.prepared import Parameters, Prepared, Rows

_T = TypeVar("_T")

FEW_ROWS = 32
"""So many are made on the event loop in less time than a change of threads takes."""


class Connection(Protocol):
    """What the tables need of a connection."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""
        ...

    async def run(self, prepared: Prepared, parameters: Parameters) -> Rows:
        """Run a statement of the hot path."""
        ...

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> CursorResult[Any]:
        """Run a statement that returns few rows."""
        ...

    async def execute_long(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement that may change many rows."""
        ...

    async def collect(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters | None = None,
    ) -> tuple[_T, ...]:
        """Run a query that may return many rows, and make something of each."""
        ...

    async def collect_lazily(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters,
    ) -> tuple[_T, ...]:
        """Run a query that finds its rows one after the other, and mostly few of them."""
        ...

    async def execute_each(self, statement: Executable, rows: Sequence[Parameters]) -> None:
        """Run a statement for each of many rows."""
        ...


class LocalConnection:
    """A connection to SQLite that leaves it to its owner when a transaction begins and ends.

    SQLAlchemy has the same connection, for the statements that are not prepared.
    """

    dialect: Dialect = sqlite.dialect()

    def __init__(self, path: Path, threads: Executor, *, busy_timeout_ms: int) -> None:
        self._threads = threads
        # isolation_level=None: the driver's own implicit BEGIN would come too late.
        self.driver = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                f"busy_timeout = {busy_timeout_ms}",
                "journal_mode = WAL",
                "synchronous = FULL",  # a commit is on the disk when it returns
                "foreign_keys = ON",
            ):
                self.driver.execute(f"PRAGMA {pragma}").close()
        except BaseException:
            # The first to read the file: it may be no database, and then nobody has us to close.
            self.driver.close()
            raise
        engine = create_engine(
            "sqlite://",
            creator=lambda: self.driver,
            poolclass=StaticPool,
            # It never begins, commits or rolls back anything.
            isolation_level="AUTOCOMMIT",
        )
        # At once, because it rolls back when it looks at the database for the first time.
        self.alchemy = engine.connect()

    async def run(self, prepared: Prepared, parameters: Parameters) -> Rows:
        """Run a statement on the event loop, below SQLAlchemy."""
        self._check()
        return prepared.run_on(self.driver, parameters)

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> CursorResult[Any]:
        """Run a statement on the event loop."""
        self._check()
        return self.alchemy.execute(statement, parameters)

    async def execute_long(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement in a thread."""
        self._check()
        return await self.in_thread(lambda: self.alchemy.execute(statement))

    async def collect(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters | None = None,
    ) -> tuple[_T, ...]:
        """Run a query in a thread."""
        self._check()
        return await self.in_thread(
            lambda: tuple(make(row) for row in self.alchemy.execute(statement, parameters))
        )

    async def collect_lazily(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters,
    ) -> tuple[_T, ...]:
        """Run a query on the event loop; what comes after the first rows, in a thread."""
        self._check()
        rows = self.alchemy.execute(statement, parameters)
        first = tuple(map(make, rows.fetchmany(FEW_ROWS)))
        if len(first) < FEW_ROWS:
            return first
        return first + await self.in_thread(lambda: tuple(map(make, rows)))

    async def execute_each(self, statement: Executable, rows: Sequence[Parameters]) -> None:
        """Run a statement for each row, in a thread."""
        self._check()
        await self.in_thread(lambda: self.alchemy.execute(statement, rows))

    def _check(self) -> None:
        # SQLite ends a transaction by itself when the disk fails. Whoever went on would write
        # outside of any, and would be told that nothing was written.
        if not self.driver.in_transaction:
            raise sqlite3.OperationalError("the transaction is over")

    async def in_thread(self, work: Callable[[], _T]) -> _T:
        """Run *work* in a thread to its end, even if the caller is cancelled meanwhile.

        A connection must not be used again while a thread still works with it.
        """
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        cancelled: asyncio.CancelledError | None = None
        while not working.done():
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError as error:
                if working.cancelled():
                    raise
                cancelled = error
            except BaseException:  # noqa: BLE001 - raised below, by the result
                break
        if cancelled is not None:
            raise cancelled
        return working.result()

    def close(self) -> None:
        """Let go of the database; a transaction that is open is undone."""
        self.driver.close()


class NetworkConnection:
    """A connection to a server, within a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def run(self, prepared: Prepared, parameters: Parameters) -> Rows:
        """Run a statement."""
        return await self._connection.execute(prepared.statement, parameters)

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> CursorResult[Any]:
        """Run a statement."""
        return await self._connection.execute(statement, parameters)

    async def execute_long(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement."""
        return await self._connection.execute(statement)

    async def collect(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters | None = None,
    ) -> tuple[_T, ...]:
        """Run a query."""
        rows = await self._connection.execute(statement, parameters)
        return tuple(make(row) for row in rows)

    async def collect_lazily(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters,
    ) -> tuple[_T, ...]:
        """Run a query."""
        return await self.collect(statement, make, parameters)

    async def execute_each(self, statement: Executable, rows: Sequence[Parameters]) -> None:
        """Run a statement for each row."""
        await self._connection.execute(statement, rows)

"""One way to run a statement, whether the database is a file or on the network.

The tables are written once against `Connection`. In SQLite a statement takes
microseconds and waits for nobody, so it runs on the event loop: handing each
one to a thread, as an asynchronous driver does, costs ten times as much. What
does wait, the turn to write and the disk, and what may return thousands of
rows, goes to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import CursorResult, Dialect, Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

_T = TypeVar("_T")
Parameters = Mapping[str, Any]


class Connection(Protocol):
    """What the tables need of a connection."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""
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


class LocalConnection:
    """A connection to SQLite, within a transaction."""

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

    async def execute(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> CursorResult[Any]:
        """Run a statement on the event loop."""
        return self._connection.execute(statement, parameters)

    async def execute_long(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement in a thread."""
        return await in_thread(lambda: self._connection.execute(statement))

    async def collect(
        self,
        statement: Executable,
        make: Callable[[Row[Any]], _T],
        parameters: Parameters | None = None,
    ) -> tuple[_T, ...]:
        """Run a query in a thread."""
        return await in_thread(
            lambda: tuple(make(row) for row in self._connection.execute(statement, parameters))
        )


class NetworkConnection:
    """A connection to a server, within a transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect

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


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run *work* in a thread to its end, even if the caller is cancelled meanwhile.

    A connection must not be used again while a thread still works with it.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise

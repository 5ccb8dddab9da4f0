"""Serials: advanced with every change, read on every request."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bonded.server.metadata.sql import schema

_INSERT: dict[str, Callable[[Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


async def advance(connection: AsyncConnection, *scopes: str) -> int:
    """Advance the serial of each scope, in this transaction; return that of the last.

    The row stays locked until the commit, so two changes of one scope are told apart.
    """
    table = schema.serials
    serial = 0
    for scope in scopes:
        insert = _INSERT[connection.dialect.name](table).values(scope=scope, serial=1)
        upsert = insert.on_conflict_do_update(
            index_elements=["scope"], set_={"serial": table.c.serial + 1}
        ).returning(table.c.serial)
        serial = (await connection.execute(upsert)).scalar_one()
    return serial


class SqliteSerials:
    """Reads serials on the event loop, below SQLAlchemy.

    A point query in WAL mode costs a few microseconds and waits for nobody;
    handing it to a thread would cost twenty times as much.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA busy_timeout = 5000")

    async def read(self, *scopes: str) -> tuple[int, ...]:
        """Return the serial of each scope, in order; 0 for one that never changed."""
        places = ",".join("?" * len(scopes))
        found = dict(
            self._connection.execute(
                f"SELECT scope, serial FROM serials WHERE scope IN ({places})",  # noqa: S608 - question marks only
                scopes,
            ).fetchall()
        )
        return tuple(found.get(scope, 0) for scope in scopes)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()


class SharedSerials:
    """Reads serials from a database on the network: one indexed round trip."""

    _query = select(schema.serials.c.scope, schema.serials.c.serial).where(
        schema.serials.c.scope.in_(bindparam("scopes", expanding=True))
    )

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, *scopes: str) -> tuple[int, ...]:
        """Return the serial of each scope, in order; 0 for one that never changed."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(self._query, {"scopes": scopes})
            found: dict[str, int] = dict(rows.tuples().all())
        return tuple(found.get(scope, 0) for scope in scopes)

    def close(self) -> None:
        """Nothing of its own to let go of."""

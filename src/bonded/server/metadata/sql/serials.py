"""Serials: advanced with every change, read on every request."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from bonded.server.core.errors import Unavailable
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.failures import translated
from bonded.server.metadata.sql.prepared import Prepared

_serials = schema.serials
_floors = schema.serials.alias("floors")
_FLOOR = "//floor"
"""Behind the scope of a repository's list: the greatest serial that was ever below it."""

# Built once: building a statement costs more than running it.
_ADVANCE = {
    dialect: Prepared(
        kind(_serials)
        .values(
            scope=bindparam("scope"),
            # Above what the serials of a repository of this name were before it was removed.
            serial=func.coalesce(
                select(_floors.c.serial)
                .where(_floors.c.scope == bindparam("floor"))
                .scalar_subquery(),
                0,
            )
            + 1,
        )
        .on_conflict_do_update(index_elements=["scope"], set_={"serial": _serials.c.serial + 1})
        .returning(_serials.c.serial)
    )
    for dialect, kind in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}

KNOWN_MAX = 16_384
"""Serials that are remembered between two commits."""


_READ = Prepared(select(_serials.c.serial).where(_serials.c.scope == bindparam("in_scope")))


async def read(connection: Connection, scope: str) -> int:
    """Return the serial of a scope as of this transaction; 0 if it never changed."""
    found: int | None = (await connection.run(_READ, {"in_scope": scope})).scalar_one_or_none()
    return found or 0


async def advance(connection: Connection, *scopes: str) -> int:
    """Advance the serial of each scope, in this transaction; return that of the last.

    The row stays locked until the commit, so two changes of one scope are told apart.
    """
    serial = 0
    for scope in scopes:
        upsert = _ADVANCE[connection.dialect.name]
        floor = scope.rpartition("/")[0] + _FLOOR
        serial = (await connection.run(upsert, {"scope": scope, "floor": floor})).scalar_one()
    return serial


async def advance_below(connection: Connection, scope: str) -> None:
    """Advance every serial whose scope is below *scope*, in this transaction."""
    below = _serials.c.scope.startswith(f"{scope}/", autoescape=True)
    await connection.execute_long(
        update(_serials).where(below).values(serial=_serials.c.serial + 1)
    )


async def forget_below(connection: Connection, scope: str) -> None:
    """Forget every serial whose scope is below *scope*, which then reads as 0: nothing is there.

    One number stays for all of them, from which they go on if they come back: what somebody
    still remembers as of a serial from before never seems to be the latest again.
    """
    below = _serials.c.scope.startswith(f"{scope}/", autoescape=True)
    greatest = select(func.max(_serials.c.serial)).where(below)
    floor: int | None = (await connection.execute(greatest)).scalar_one()
    if floor is None:
        return
    await connection.execute_long(delete(_serials).where(below))
    kept = insert(_serials).values(scope=f"{scope}{_FLOOR}", serial=floor)
    await connection.execute(kept)


class SqliteSerials:
    """Reads serials on the event loop, below SQLAlchemy.

    A point query in WAL mode costs a few microseconds and waits for nobody;
    handing it to a thread would cost twenty times as much. And as long as
    SQLite's `data_version` stands, no other connection, in whatever process,
    has committed anything: what was read before is still the latest.
    """

    def __init__(self, path: Path) -> None:
        # Of its own, and never written through: its data_version tells of everybody else.
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA busy_timeout = 5000")
        self._data_version = -1
        self._is_checked = False
        self._known: dict[tuple[str, ...], tuple[int, ...]] = {}

    async def read(self, *scopes: str) -> tuple[int, ...]:
        """Return the serial of each scope, in order; 0 for one that never changed."""
        try:
            return self._read(scopes)
        except sqlite3.Error as error:
            raise Unavailable("The database does not answer") from error

    def _read(self, scopes: tuple[str, ...]) -> tuple[int, ...]:
        if not self._is_checked:
            self._check()
        known = self._known.get(scopes)
        if known is None:
            known = self._known[scopes] = self._query(scopes)
        return known

    def _check(self) -> None:
        # Good for this turn of the loop: whatever runs in it was called before the turn
        # began, so it cannot know of a commit that the check does not see. The end is called
        # first: who is called by a commit after the check comes after it.
        asyncio.get_running_loop().call_soon(self._end_turn)
        (data_version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or len(self._known) > KNOWN_MAX:
            # Before the serials: a commit in between makes them look older than they are.
            self._data_version = data_version
            self._known.clear()
        self._is_checked = True

    def _end_turn(self) -> None:
        self._is_checked = False

    def _query(self, scopes: tuple[str, ...]) -> tuple[int, ...]:
        places = ",".join("?" * len(scopes))
        query = f"SELECT scope, serial FROM serials WHERE scope IN ({places})"  # noqa: S608 - question marks only
        found = dict(self._connection.execute(query, scopes).fetchall())
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
        # Without a transaction around it, the query is all that goes over the network.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, *scopes: str) -> tuple[int, ...]:
        """Return the serial of each scope, in order; 0 for one that never changed."""
        with translated():
            async with self._engine.connect() as connection:
                rows = await connection.execute(self._query, {"scopes": scopes})
                found: dict[str, int] = dict(rows.all())
        return tuple(found.get(scope, 0) for scope in scopes)

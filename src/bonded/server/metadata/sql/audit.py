"""The audit log, as rows: what transactions leave for it, and the chain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    bindparam,
    delete,
    exists,
    insert,
    literal,
    select,
    update,
)

from bonded.server.core.audit import (
    COLUMNS,
    MUTATIONS,
    Entry,
    Sealed,
    columns_of,
    current_act,
    entry_of,
    link,
    unreadable,
)
from bonded.server.metadata.sql import audit_schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.store import ChainEnd, Cut, LoggedEntry, Search

_log_of_errors = logging.getLogger("bonded.server.audit")

_inbox = audit_schema.audit_inbox
_chain = audit_schema.audit_chain
_log = audit_schema.audit_log

# Statements that uploads and the log's writer send are built once.
_LEAVE = Prepared(insert(_inbox))
_IS_WAITING = select(literal(1)).where(exists().where(_inbox.c.key.is_not(None)))
_HOLD_END = select(_chain.c.number, _chain.c.hash).where(_chain.c.id == 1).with_for_update()
_END = select(_chain.c.number, _chain.c.hash).where(_chain.c.id == 1)
_TAKE = (
    delete(_inbox)
    .where(
        _inbox.c.key.in_(select(_inbox.c.key).order_by(_inbox.c.key).limit(bindparam("at_most")))
    )
    .returning(_inbox.c.key, _inbox.c.entry)
)
_APPEND = insert(_log)
_MOVE_END = (
    update(_chain)
    .where(_chain.c.id == 1)
    .values(number=bindparam("to_number"), hash=bindparam("to_hash"))
)


async def leave_entry(connection: Connection) -> None:
    """Leave the entry of what is being done, in the transaction that does it."""
    act = current_act()
    if act is not None and act.kind in MUTATIONS:
        await connection.run(_LEAVE, {"entry": entry_of(act).text})
        act.is_recorded = True


class SqlAudit:
    """The audit log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def is_waiting(self) -> bool:
        """Say whether a transaction has left an entry that is not in the chain yet."""
        return (await self._connection.execute(_IS_WAITING)).first() is not None

    async def append(
        self, entries: Sequence[Entry], at_most: int, now: datetime
    ) -> tuple[Sealed, ...]:
        """Chain up to *at_most* entries that transactions have left, then *entries*.

        Something else that was left is chained as found *now*: it must not hold up the rest.
        Returns what was chained, in order.
        """
        # Held until the commit: whoever else appends, on whatever replica, waits here.
        end = (await self._connection.execute(_HOLD_END)).one()
        taken = await self._connection.collect(_TAKE, _key_and_entry, {"at_most": at_most})
        if not taken and not entries:
            return ()
        left = [entry for _, entry in sorted(taken)]
        sealed, rows = await asyncio.to_thread(
            _chained, ChainEnd(end.number, end.hash), left, entries, now
        )
        await self._connection.execute_each(_APPEND, rows)
        moved = {"to_number": sealed[-1].number, "to_hash": sealed[-1].hash}
        await self._connection.execute(_MOVE_END, moved)
        return sealed

    async def end(self) -> ChainEnd:
        """Return number and hash of the newest entry, as the chain has it."""
        row = (await self._connection.execute(_END)).one()
        return ChainEnd(row.number, row.hash)

    async def list(self, search: Search, limit: int) -> tuple[Sealed, ...]:
        """Return up to *limit* entries that may be meant by *search*, in its order."""
        query = select(_log).where(*_conditions(search))
        place = (_log.c.at, _log.c.number)
        ordered = [one.desc() for one in place] if search.is_newest_first else place
        return await self._connection.collect(query.order_by(*ordered).limit(limit), _sealed)

    async def find_last(self, method: str) -> Sealed | None:
        """Return the entry of *method* that has the greatest number, or None."""
        # By a sum, which no index has: else a database may walk all of the chain by its
        # numbers, where the index of methods leads to the few that are meant.
        query = select(_log).where(_log.c.method == method).order_by((_log.c.number + 0).desc())
        found = await self._connection.collect(query.limit(1), _sealed)
        return found[0] if found else None

    async def read_chain(self, after: int, limit: int) -> tuple[LoggedEntry, ...]:
        """Return up to *limit* entries in order of number, from after *after*, as they are kept."""
        query = select(_log).where(_log.c.number > after).order_by(_log.c.number).limit(limit)
        return await self._connection.collect(query, _logged)

    async def cut(self, before: datetime, limit: int) -> Cut | None:
        """Remove up to *limit* of the oldest entries, as long as they are from before *before*.

        Returns where it was cut, or None.
        """
        await self._connection.execute(_HOLD_END)
        oldest = select(_log.c.number, _log.c.hash, _log.c.at).order_by(_log.c.number).limit(limit)
        removed: Cut | None = None
        until = before
        rows = await self._connection.collect(oldest, lambda row: row)
        for count, row in enumerate(rows, start=1):
            if row.at >= before:
                break
            # In the chain they are nearly in order of time: what is left lately comes late.
            until = row.at if count == 1 else max(until, row.at)
            removed = Cut(row.number, row.hash, count, until)
        if removed is not None:
            gone = delete(_log).where(_log.c.number <= removed.number)
            await self._connection.execute_long(gone)
        return removed


def _key_and_entry(row: Row[Any]) -> tuple[int, str]:
    return row.key, row.entry


def _chained(
    end: ChainEnd, left: Iterable[str], entries: Iterable[Entry], now: datetime
) -> tuple[tuple[Sealed, ...], list[dict[str, Any]]]:
    """Return *left* and *entries* in order of time behind the end of the chain, and as rows."""
    parsed = (_parsed(text, now) for text in left)
    found = sorted(chain(parsed, entries), key=lambda one: one.columns["at"])
    sealed = tuple(link(end.number, end.hash, (one.text for one in found)))
    rows = [
        {
            "number": one.number,
            "previous": one.previous,
            "hash": one.hash,
            "entry": one.text,
            **entry.columns,
        }
        for one, entry in zip(sealed, found, strict=True)
    ]
    return sealed, rows


def _parsed(text: str, now: datetime) -> Entry:
    try:
        return Entry(text, columns_of(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        _log_of_errors.error("Something in audit_inbox is no entry: %.200s", text)
        return unreadable(text, now)


def _sealed(row: Row[Any]) -> Sealed:
    return Sealed(row.number, row.previous, row.hash, row.entry)


def _logged(row: Row[Any]) -> LoggedEntry:
    columns: Mapping[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    return LoggedEntry(_sealed(row), columns)


def _conditions(search: Search) -> list[ColumnElement[bool]]:
    conditions = [_log.c[name] == value for name, value in search.equal.items()]
    if search.since is not None:
        conditions.append(_log.c.at >= search.since)
    if search.until is not None:
        conditions.append(_log.c.at <= search.until)
    if search.after is not None:
        at, number = search.after
        if search.is_newest_first:
            beyond = (_log.c.at < at) | ((_log.c.at == at) & (_log.c.number < number))
            conditions += [_log.c.at <= at, beyond]
        else:
            beyond = (_log.c.at > at) | ((_log.c.at == at) & (_log.c.number > number))
            conditions += [_log.c.at >= at, beyond]
    return conditions

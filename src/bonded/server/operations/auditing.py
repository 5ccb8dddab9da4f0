"""Auditing: reading the log by filter, verifying its chain, and forgetting what is old."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from bonded.server.core.audit import (
    START,
    SYSTEM,
    UNREADABLE,
    Act,
    Kind,
    Sealed,
    columns_of,
    entry_of,
    hash_of,
    indexed,
    parse_timestamp,
)
from bonded.server.core.errors import Unavailable
from bonded.server.core.filters import Comparison, Examined, Filter, conjuncts, parse_filter
from bonded.server.core.iam import ORGANIZATION
from bonded.server.core.log_fields import ALIASES
from bonded.server.core.names import ACCOUNT_DOMAIN
from bonded.server.metadata.store import ChainEnd, LoggedEntry, MetadataStore, Search
from bonded.server.operations.founding import FOUND
from bonded.server.operations.recording import DROPPED, Trail, log_entry
from bonded.server.operations.unmatched import Unknown, Unmatched

SCAN_MAX = 20_000
"""Entries that one page looks at; a page may then be short, or empty, and go on."""
CHUNK = 500
PAGE_TIME_MAX_S = 2.0
"""How long one page is worked at; it may then be short, or empty, and go on."""
PAGE_SIZE_MAX_BYTES = 8 * 1024 * 1024
"""Entries of one page; the policies in some are long."""
VERIFY_MAX = 5000
"""Entries that are verified at a time."""
PROBLEMS_MAX = 100
CUT_MAX = 2000
"""Entries that are forgotten at a time."""
CUT = "bonded.logging.v1.Logging.CutEntries"

_log = logging.getLogger("bonded.server.audit")

Place = tuple[datetime, int]
"""Where a list goes on: time and number of the entry that was looked at last."""


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody wants to read."""

    filter: str = ""
    projects: tuple[str, ...] = ()
    """Only entries about these; none means all."""
    is_newest_first: bool = False
    after: Place | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, and where the list goes on if it does."""

    entries: tuple[Mapping[str, Any], ...]
    after: Place | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written."""

    number: int
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of verifying a part of the chain."""

    checked: int
    last: ChainEnd
    is_complete: bool
    problems: tuple[Problem, ...]


class AuditLog:
    """Answers from the log."""

    def __init__(
        self,
        metadata: MetadataStore,
        trail: Trail,
        keep: timedelta,
        *,
        page_time_max_s: float = PAGE_TIME_MAX_S,
    ) -> None:
        self._metadata = metadata
        self._trail = trail
        self._keep = keep
        self._page_time_max_s = page_time_max_s

    async def list(self, query: Query, is_gone: Callable[[], bool] = lambda: False) -> Page:
        """Return the entries that *query* asks for, or some of them and where the rest begins.

        What was done before it is among them, if it was done on this replica or
        changed something. Once whoever asks *is_gone*, nothing more is looked at.

        Raises:
            Rejected: the filter is malformed.
        """
        wanted = parse_filter(query.filter)
        await self._trail.flush()
        gathered = _Gathered(wanted, query, time.monotonic() + self._page_time_max_s)
        for _ in range(SCAN_MAX // CHUNK):
            async with self._metadata.read() as tx:
                rows = await tx.audit.list(plan(wanted, query, gathered.place), CHUNK)
            await asyncio.to_thread(gathered.look_at, rows)
            if gathered.is_enough or is_gone():
                break
            if len(rows) < CHUNK:
                return Page(tuple(gathered.found), None)
        return Page(tuple(gathered.found), gathered.place)

    async def find_unknown(self, query: Query, kinds: Mapping[str, Kind]) -> tuple[Unknown, ...]:
        """Return what *query*, which no entry answers, names and is not there.

        *kinds* says of every route's method when the log keeps it. Raises Rejected.
        """
        own = dict.fromkeys((CUT, DROPPED, FOUND, UNREADABLE), Kind.ACT)
        looked = Unmatched(query.projects, {**kinds, **own}, self._trail.has_downloads)
        async with self._metadata.read() as tx:
            return await looked.find(tx, parse_filter(query.filter))

    async def verify(self, after: ChainEnd, expected: ChainEnd | None = None) -> Verified:
        """Verify the part of the chain behind *after*, whose hash was found right before.

        *expected* is an entry that somebody has kept elsewhere: it must be there still.
        """
        await self._trail.flush()
        async with self._metadata.read() as tx:
            first = await tx.audit.read_chain(0, 1)
            rows = await tx.audit.read_chain(after.number, VERIFY_MAX)
            end = await tx.audit.end()
            # By number and not by time: replicas that cut in turn may have clocks that differ.
            cut = await tx.audit.find_last(indexed(CUT))
        chain = _Chain(first[0].sealed.number if first else None, _anchor(cut), self._keep)
        return await asyncio.to_thread(chain.verify, rows, after, end, expected)


def plan(wanted: Filter, query: Query, after: Place | None) -> Search:
    """Return the search that finds all that *wanted* means, by one index and in order.

    One condition and not all of them: together they could make the database read
    far, looking for what is rare among what is frequent.
    """
    known: dict[str, str] = {}
    since = until = None
    for one in conjuncts(wanted):
        column = _column(one)
        if column and one.operator == "=":
            known.setdefault(column, indexed(_member(one)))
        elif one.paths == (("timestamp",),):
            moment = parse_timestamp(one.value) if one.operator != ":" else None
            if moment and one.operator in (">", ">=", "="):
                since = max(since or moment, moment)
            if moment and one.operator in ("<", "<=", "="):
                until = min(until or moment, moment)
    if len(query.projects) == 1:
        known["project"] = indexed(query.projects[0])
    equal: dict[str, str] = {}
    for column in ("package", "resource", "principal", "method", "project"):
        if column in known:
            equal[column] = known[column]
            if column == "package" and "version" in known:
                equal["version"] = known["version"]
            break
    return Search(equal, since, until, after, query.is_newest_first)


_COLUMNS = {
    tuple(path.split(".")): alias
    for alias in ("method", "resource", "package", "version", "principal")
    for path in ALIASES[alias]
}


def _column(one: Comparison) -> str:
    return _COLUMNS.get(one.paths[0], "") if one.paths else ""


def _member(one: Comparison) -> str:
    if _column(one) != "principal" or ":" in one.value:
        return one.value
    # People say the address; the column has the member.
    kind = "serviceAccount" if one.value.lower().endswith(f".{ACCOUNT_DOMAIN}") else "user"
    return f"{kind}:{one.value}"


class _Gathered:
    """What is wanted of what was looked at, until that fills a page or has taken long enough."""

    def __init__(self, wanted: Filter, query: Query, until: float) -> None:
        self._wanted = wanted
        self._limit = query.limit
        self._owners = tuple(f"projects/{project}/" for project in query.projects)
        self._until = until
        self._size_bytes = 0
        self.found: list[Mapping[str, Any]] = []
        self.place = query.after
        """Of the entry that was looked at last."""
        self.is_enough = False

    def look_at(self, rows: Sequence[Sealed]) -> None:
        """Take those of *rows* that are wanted, until it is enough; at least one is looked at."""
        for row in rows:
            entry = log_entry(row)
            self.place = parse_timestamp(str(entry["timestamp"])), row.number
            is_here = not self._owners or str(entry["logName"]).startswith(self._owners)
            if is_here and self._wanted.matches(Examined(entry)):
                self.found.append(entry)
                self._size_bytes += len(row.text)
            if (
                len(self.found) >= self._limit
                or self._size_bytes >= PAGE_SIZE_MAX_BYTES
                or time.monotonic() >= self._until
            ):
                self.is_enough = True
                return


def _anchor(cut: Sealed | None) -> ChainEnd | None:
    if cut is not None:
        # Of one that says nothing of the kind, the gap is told.
        with suppress(KeyError, TypeError, ValueError):
            details = orjson.loads(cut.text)["protoPayload"]["metadata"]
            return ChainEnd(int(details["through"]), str(details["hash"]))
    return None


class _Chain:
    """Follows the chain by the rule of `core.audit.hash_of`."""

    def __init__(self, first: int | None, anchor: ChainEnd | None, keep: timedelta) -> None:
        self._first = first
        self._anchor = anchor
        self._keep = keep
        self._problems: list[Problem] = []

    def verify(
        self,
        rows: Sequence[LoggedEntry],
        after: ChainEnd,
        end: ChainEnd,
        expected: ChainEnd | None,
    ) -> Verified:
        """Check *rows*, which follow *after*, and the end if they reach it."""
        last = after
        for row in rows:
            self._follow(last, row.sealed)
            self._check(row)
            last = ChainEnd(row.sealed.number, row.sealed.hash)
            if expected and expected.number == last.number and expected.hash != last.hash:
                self._say(last.number, "is another entry than the one that was kept elsewhere")
        is_complete = len(rows) < VERIFY_MAX
        if is_complete:
            self._check_end(last, end, expected)
        return Verified(len(rows), last, is_complete, tuple(self._problems[:PROBLEMS_MAX]))

    def _follow(self, last: ChainEnd, one: Sealed) -> None:
        previous = last.hash
        if one.number != last.number + 1:
            anchor = self._anchor
            is_cut = one.number == self._first and anchor and anchor.number == one.number - 1
            if not is_cut or anchor is None:
                what = f"{last.number + 1} to {one.number - 1}: these entries are missing"
                self._say(one.number, f"follows a gap, {what}")
                return
            previous = anchor.hash
        if one.previous != previous:
            self._say(one.number, "does not follow the entry before it")

    def _check(self, row: LoggedEntry) -> None:
        one = row.sealed
        if hash_of(one.number, one.previous, one.text) != one.hash:
            self._say(one.number, "has other contents than those that were hashed")
            return
        try:
            columns = columns_of(one.text)
        except (ValueError, KeyError, TypeError):
            self._say(one.number, "is no entry")
            return
        if columns != dict(row.columns):
            self._say(one.number, "would be found under other values than it has")
        if columns["method"] == indexed(CUT):
            self._check_cut(one)

    def _check_cut(self, one: Sealed) -> None:
        try:
            entry = orjson.loads(one.text)
            at = parse_timestamp(entry["timestamp"])
            until = parse_timestamp(entry["protoPayload"]["metadata"]["until"])
        except (KeyError, TypeError, ValueError):
            self._say(one.number, "removed entries, and does not say of what time")
            return
        if until >= at - self._keep:
            what = f"removed entries of {until.isoformat()}, younger than {self._keep.days} days"
            self._say(one.number, f"{what}: unless audit_keep_days was less, that was tampering")

    def _check_end(self, last: ChainEnd, end: ChainEnd, expected: ChainEnd | None) -> None:
        if last.number < end.number:
            self._say(
                end.number, f"is the end of the chain, and what follows {last.number} is gone"
            )
        elif last.number > end.number:
            self._say(last.number, f"comes after the end of the chain, which is {end.number}")
        elif last.hash != end.hash:
            self._say(end.number, "is the end of the chain, which has another hash")
        if expected is None:
            return
        if expected.number > last.number:
            self._say(expected.number, "was kept elsewhere, and is not there")
        elif self._first is not None and expected.number < self._first:
            # Not even if a CutEntries says so: who writes to the database writes that as well.
            what = "was kept elsewhere, and has been cut off: unless by age, that was tampering"
            self._say(expected.number, what)

    def _say(self, number: int, what: str) -> None:
        self._problems.append(Problem(number, what))


BEGINNING = ChainEnd(0, START)


class Retention:
    """Forgets what is older than the log is kept."""

    def __init__(self, metadata: MetadataStore, trail: Trail, keep: timedelta) -> None:
        self._metadata = metadata
        self._trail = trail
        self._keep = keep

    async def cut(self) -> int:
        """Forget what is too old, in small parts; return how many entries went.

        Each part leaves an entry that says up to where the chain was cut, and
        with which hash: so the rest still verifies.
        """
        before = self._trail.clock() - self._keep
        removed = 0
        while True:
            async with self._metadata.transaction() as tx:
                cut = await tx.audit.cut(before, CUT_MAX)
                if cut is None:
                    return removed
                act = Act(self._trail.clock(), Kind.ACT, CUT, ORGANIZATION, SYSTEM)
                act.details.update(
                    through=cut.number,
                    hash=cut.hash,
                    count=cut.count,
                    until=cut.until.isoformat(),
                )
                sealed = await tx.audit.append([entry_of(act)], 0, act.at)
            await self._trail.ship(sealed)
            removed += cut.count

    async def run(self, every: timedelta) -> None:
        """Forget again and again, until cancelled."""
        while True:
            await asyncio.sleep(every.total_seconds() * random.uniform(0.05, 1))  # noqa: S311
            try:
                removed = await self.cut()
            except Unavailable as error:
                _log.warning("Cutting the audit log stopped: %s", error)
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on tomorrow.
                _log.exception("Cutting the audit log failed")
            else:
                _log.info("Cut %d entries from the audit log", removed)

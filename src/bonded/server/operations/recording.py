"""Recording: what happened goes into the audit log, and from there to a collector.

What changes something leaves its entry in its own transaction (core/audit.py).
Everything else (refusals, sign-ins, downloads) waits here in a bounded queue,
so that a request pays for one append. A task of its own chains both, about
once a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from bonded.server.core.audit import SYSTEM, Act, Entry, Kind, Outcome, Sealed, entry_of
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unavailable
from bonded.server.core.iam import ORGANIZATION
from bonded.server.metadata.store import MetadataStore

QUEUE_MAX = 50_000
"""Entries that wait in memory; beyond, they are counted and lost."""
STRANGERS_MAX = 1000
"""Entries that all who have proved nothing may cause at once. Nobody should be able to fill the
disk by knocking, nor to crowd out who has proved something."""
STRANGER_MAX = 300
"""Of these, entries that may come from one network, so that one alone cannot use them up."""
STRANGERS_PER_MINUTE = 20
"""So many more may come every minute, some 25 MB a day; so a flood never hides what follows it."""
STRANGER_PER_MINUTE = 6
"""Of these, from one network."""
BATCH_MAX = 2000
"""Entries of one transaction."""
FLUSH_EVERY_S = 1.0
TELL_EVERY_S = 60.0
"""How often an entry says how many were dropped, so that these do not become many in turn."""
IDLE_MAX_S = 60.0
"""How long an entry waits that a replica left behind when it died."""

DROPPED = "bonded.logging.v1.Logging.DropEntries"

_log = logging.getLogger("bonded.server.audit")

Ship = Callable[[Sequence[Sealed]], None]


class Trail:
    """Takes note of what happens, and writes it down."""

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        ship: Ship | None = None,
        *,
        has_downloads: bool = False,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self.clock = clock
        self.has_downloads = has_downloads
        """Whether downloads are recorded too."""
        self._metadata = metadata
        self._ship = ship
        self._queue: deque[tuple[Act, Outcome]] = deque()
        self._queue_max = queue_max
        self._strangers = _Strangers()
        self._dropped = 0
        self._dropped_strangers = 0
        self._told_at: float | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def record(self, act: Act, outcome: Outcome, *, stranger: str | None = None) -> None:
        """Take note of *act*; it is written down within about a second.

        *stranger* is the network of who has proved nothing: of what these do, only so much is kept.
        """
        is_much = stranger is not None and not self._strangers.may_add(stranger, act.at)
        self._dropped_strangers += is_much
        if is_much or len(self._queue) >= self._queue_max:
            self._dropped += 1
        else:
            self._queue.append((act, outcome))
        self._wake.set()

    def wake(self) -> None:
        """Say that a transaction has left an entry."""
        self._wake.set()

    async def flush(self) -> None:
        """Chain everything that waits.

        Raises:
            Unavailable: the database does not answer; what waits goes on waiting.
        """
        async with self._turn:
            self._note_dropped()
            # Not until nothing waits: whoever makes entries as fast would keep it from ending.
            for _ in range(self._queue_max // BATCH_MAX + 1):
                if not await self._flush_once():
                    break

    async def _flush_once(self) -> bool:
        """Chain one batch; say whether there may be more."""
        batch = list(islice(self._queue, BATCH_MAX))
        if not batch:
            async with self._metadata.read() as tx:
                if not await tx.audit.is_waiting():
                    return False
        entries = await asyncio.to_thread(lambda: [_entry_of(*one) for one in batch])
        async with self._metadata.transaction() as tx:
            sealed = await tx.audit.append(entries, BATCH_MAX, self.clock())
        # Only now, so that what could not be written is tried again.
        for _ in batch:
            self._queue.popleft()
        await self.ship(sealed)
        return len(batch) == BATCH_MAX or len(sealed) - len(batch) == BATCH_MAX

    async def ship(self, sealed: Sequence[Sealed]) -> None:
        """Give what was chained to the collector, if there is one."""
        if self._ship is not None and sealed:
            await asyncio.to_thread(self._ship, sealed)

    def _note_dropped(self) -> None:
        now = self.clock().timestamp()
        if self._told_at is not None and 0 <= now - self._told_at < TELL_EVERY_S:
            return
        dropped, self._dropped = self._dropped, 0
        strangers, self._dropped_strangers = self._dropped_strangers, 0
        if dropped:
            self._told_at = now
            _log.error(
                "%d audit entries were dropped, %d of them of people who had proved nothing: "
                "too many came at once",
                *(dropped, strangers),
            )
            act = Act(self.clock(), Kind.ACT, DROPPED, ORGANIZATION, SYSTEM)
            act.details.update(count=dropped, ofStrangers=strangers)
            self._queue.append((act, Outcome(8, "Too many entries came at once")))

    async def run(self) -> None:
        """Write down again and again, until cancelled."""
        while True:
            try:
                await self.flush()
            except Unavailable as error:
                _log.warning("%d audit entries wait: %s", len(self._queue), error)
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on.
                _log.exception("Writing the audit log failed")
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                async with asyncio.timeout(IDLE_MAX_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()


class _Strangers:
    """Counts what those leave who have proved nothing, by network."""

    def __init__(self) -> None:
        self._all = _Allowance(STRANGERS_MAX, STRANGERS_PER_MINUTE)
        self._each: dict[str, _Allowance] = {}

    def may_add(self, network: str, at: datetime) -> bool:
        """Say whether there is room for one more entry from *network*, and take it."""
        now = at.timestamp()
        one = self._each.get(network) or _Allowance(STRANGER_MAX, STRANGER_PER_MINUTE)
        if not (one.has(now) and self._all.has(now)):
            return False
        one.left -= 1
        self._all.left -= 1
        self._each[network] = one
        if len(self._each) > 2 * STRANGERS_MAX:
            # Whoever has all again that they can have need not be known. No more networks than
            # have taken lately what all may take together are left.
            self._each = {name: each for name, each in self._each.items() if not each.is_full(now)}
        return True


class _Allowance:
    """So many at once, and so many more every minute."""

    def __init__(self, most: int, per_minute: int) -> None:
        self.left = float(most)
        self._most = most
        self._per_s = per_minute / 60
        self._at: float | None = None

    def has(self, now: float) -> bool:
        """Say whether one is left *now*."""
        if self._at is None or now > self._at:
            grown = 0.0 if self._at is None else (now - self._at) * self._per_s
            self.left = min(self._most, self.left + grown)
            self._at = now
        return self.left >= 1

    def is_full(self, now: float) -> bool:
        """Say whether there is all that there can be."""
        self.has(now)
        return self.left >= self._most


def _entry_of(act: Act, outcome: Outcome) -> Entry:
    """Return the entry of *act*, or one that says that it cannot be written.

    One that fails would fail again every time, and hold up all that come after it.
    """
    try:
        return entry_of(act, outcome)
    except Exception:  # noqa: BLE001
        # The boundary between what somebody did and what everybody else did.
        _log.exception("An audit entry of %s cannot be written as it is", act.method)
        bare = Act(act.at, act.kind, act.method, ORGANIZATION, act.principal)
        bare.details["isIncomplete"] = True
        return entry_of(bare, Outcome(outcome.code))


def log_entry(sealed: Sealed) -> dict[str, Any]:
    """Return an entry with its place in the chain, as it is shown and shipped."""
    entry: dict[str, Any] = orjson.loads(sealed.text)
    entry["labels"] = {
        "bonded/number": str(sealed.number),
        "bonded/previous": sealed.previous,
        "bonded/hash": sealed.hash,
    }
    return entry


def ship_to(place: str) -> Ship:
    """Return what writes entries as JSON lines to *place*: `stdout`, or a file."""

    def ship(entries: Sequence[Sealed]) -> None:
        lines = b"".join(orjson.dumps(log_entry(one)) + b"\n" for one in entries)
        try:
            if place == "stdout":
                sys.stdout.buffer.write(lines)
                sys.stdout.buffer.flush()
            else:
                _append(Path(place), lines)
        except OSError as error:
            # They are in the database, and a gap in the numbers tells the collector so.
            _log.error("%d audit entries were not shipped to %s: %s", len(entries), place, error)

    return ship


def _append(path: Path, lines: bytes) -> None:
    # Opened anew each time, so that the file may be rotated without telling anybody.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while lines:
            lines = lines[os.write(descriptor, lines) :]
    finally:
        os.close(descriptor)

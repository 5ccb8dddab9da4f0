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
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from bonded.server.core.audit import SYSTEM, Act, Kind, Outcome, Sealed, entry_of
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unavailable
from bonded.server.core.iam import ORGANIZATION
from bonded.server.metadata.store import MetadataStore

QUEUE_MAX = 50_000
"""Entries that wait in memory; beyond, they are counted and lost."""
STRANGERS_PERIOD_S = 3600
STRANGERS_MAX = 1000
"""Entries that all who have proved nothing may cause in a period: some 20 MB a day. Nobody should
be able to fill the disk by knocking, nor to crowd out who has proved something."""
STRANGER_MAX = 300
"""Of these, entries that may come from one network, so that one alone cannot use them up."""
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
        self._told_at: float | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def record(self, act: Act, outcome: Outcome, *, stranger: str | None = None) -> None:
        """Take note of *act*; it is written down within about a second.

        *stranger* is the network of who has proved nothing: of what these do, only so much is kept.
        """
        is_much = stranger is not None and not self._strangers.may_add(stranger, act.at)
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
        entries = await asyncio.to_thread(lambda: [entry_of(*one) for one in batch])
        async with self._metadata.transaction() as tx:
            sealed = await tx.audit.append(entries, BATCH_MAX)
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
        if dropped:
            self._told_at = now
            _log.error("%d audit entries were dropped: too many came at once", dropped)
            act = Act(self.clock(), Kind.ACT, DROPPED, ORGANIZATION, SYSTEM)
            act.details["count"] = dropped
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
    """Counts what those leave who have proved nothing, by network, in one period."""

    def __init__(self) -> None:
        self._period = -1
        self._kept: Counter[str] = Counter()

    def may_add(self, network: str, at: datetime) -> bool:
        """Say whether there is room for one more entry from *network*, and take it."""
        period = int(at.timestamp()) // STRANGERS_PERIOD_S
        if period != self._period:
            self._period = period
            self._kept.clear()
        if self._kept.total() >= STRANGERS_MAX or self._kept[network] >= STRANGER_MAX:
            return False
        self._kept[network] += 1
        return True


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

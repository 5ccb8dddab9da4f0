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
UNPROVEN_MAX = 200
"""Of these, entries that somebody who has proved nothing may cause between two flushes:
nobody should be able to fill the disk by knocking."""
BATCH_MAX = 2000
"""Entries of one transaction."""
FLUSH_EVERY_S = 1.0
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
        self._unproven = 0
        self._dropped = 0
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def record(self, act: Act, outcome: Outcome, *, is_unproven: bool = False) -> None:
        """Take note of *act*; it is written down within about a second."""
        if is_unproven:
            self._unproven += 1
        if len(self._queue) >= self._queue_max or (is_unproven and self._unproven > UNPROVEN_MAX):
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
            while await self._flush_once():
                pass

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
        dropped, self._dropped, self._unproven = self._dropped, 0, 0
        if dropped:
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

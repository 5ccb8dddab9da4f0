"""Collecting orphans: blobs and core metadata that no file has any more, or never had.

A crash, a lost race or a deleted repository leaves them behind, and so do deleted
files, when they can no longer be restored. What is younger than the grace period is
spared, because an upload keeps its blobs before it adds its row.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta

from bonded.server.blobs.store import BlobStore
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unavailable
from bonded.server.metadata.store import MetadataStore

_log = logging.getLogger("bonded.server.collecting")


class Collector:
    """Removes orphans."""

    def __init__(
        self, metadata: MetadataStore, blobs: BlobStore, clock: Clock, grace: timedelta
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._clock = clock
        self._grace = grace

    async def collect(self) -> int:
        """Remove every orphan older than the grace period; return how many went.

        Raises:
            Unavailable: a store does not answer; the rest is for the next time.
        """
        before = self._clock() - self._grace
        removed = await self._collect_core_metadata(before)
        async for digests in self._blobs.list_older(before):
            async with self._metadata.read() as tx:
                named = await tx.lifecycle.find_named(digests, before)
            for digest in set(digests) - named:
                removed += await self._blobs.remove_older(digest, before)
        return removed

    async def _collect_core_metadata(self, before: datetime) -> int:
        # Added, or held, in one transaction with the file that has it, so it needs no grace; but
        # a file may be restored in its last moment, by a replica whose clock is a little behind.
        removed = 0
        for prefix in range(256):
            async with self._metadata.transaction() as tx:
                removed += await tx.lifecycle.forget_core_metadata(f"{prefix:02x}", before)
        return removed

    async def run(self, every: timedelta) -> None:
        """Collect again and again, until cancelled."""
        while True:
            # Before the first time too, so that a start is not slowed; but not for so long
            # that a server which is restarted often would never collect.
            await asyncio.sleep(every.total_seconds() * random.uniform(0.05, 1))  # noqa: S311
            try:
                removed = await self.collect()
            except Unavailable as error:
                _log.warning("Collecting orphans stopped: %s", error)
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on tomorrow.
                _log.exception("Collecting orphans failed")
            else:
                _log.info("Collected %d orphans", removed)

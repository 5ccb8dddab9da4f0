"""Stores that fail when told to: burn a fuse after n calls, for every n, and look what is left.

The idea is SQLite's (its tests fail every n-th allocation and write).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from bonded.server.blobs.store import BlobStore
from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Unavailable
from bonded.server.core.files import Content
from bonded.server.metadata.store import MetadataStore, Serials


class Fuse:
    """Lets some calls through; the next one blows it."""

    def __init__(self, calls: int) -> None:
        self.calls_left = calls
        self.blown_at = ""
        """The call that failed; empty as long as none did."""

    def carry(self, call: str) -> None:
        """Let one call through, or raise Unavailable; once blown, let everything through.

        A caller that cleans up after the failure must be able to.
        """
        if self.blown_at:
            return
        if self.calls_left == 0:
            self.blown_at = call
            raise Unavailable(f"The fuse blew at {call}")
        self.calls_left -= 1


class _Fused:
    """Passes everything on to a part, its calls through the fuse: before and after each."""

    def __init__(self, part: object, fuse: Fuse) -> None:
        self._part = part
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._part, name)
        return self._through(name, value) if inspect.iscoroutinefunction(value) else value

    def _through(self, name: str, method: Callable[..., Awaitable[Any]]) -> Any:
        async def call(*args: object, **options: object) -> Any:
            self._fuse.carry(f"{name} begins")
            result = await method(*args, **options)
            self._fuse.carry(f"{name} ends")
            return result

        return call


class _FusedTransaction:
    """Every table of a transaction, through the fuse."""

    def __init__(self, transaction: object, fuse: Fuse) -> None:
        self._transaction = transaction
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return _Fused(getattr(self._transaction, name), self._fuse)


class FusedMetadata:
    """A metadata store whose every step goes through the fuse, beginning and commit too."""

    def __init__(self, metadata: MetadataStore, fuse: Fuse) -> None:
        self._metadata = metadata
        self._fuse = fuse

    @property
    def serials(self) -> Serials:
        """Not fused: they only read."""
        return self._metadata.serials

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        """Open a snapshot."""
        self._fuse.carry("read begins")
        async with self._metadata.read() as tx:
            yield _FusedTransaction(tx, self._fuse)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Open a transaction."""
        self._fuse.carry("transaction begins")
        async with self._metadata.transaction() as tx:
            yield _FusedTransaction(tx, self._fuse)
            self._fuse.carry("commit begins")
        # The commit is durable and its acknowledgement is lost.
        self._fuse.carry("commit ends")

    async def check(self) -> None:
        """Pass the question on."""
        await self._metadata.check()


class FusedBlobs:
    """A blob store whose every step goes through the fuse."""

    def __init__(self, blobs: BlobStore, fuse: Fuse) -> None:
        self._blobs = blobs
        self._fuse = fuse

    @asynccontextmanager
    async def stage(self, limit_bytes: int) -> AsyncIterator[Any]:
        """Open a stage."""
        self._fuse.carry("stage begins")
        async with self._blobs.stage(limit_bytes) as staged:
            yield _Fused(staged, self._fuse)

    async def put(self, data: bytes) -> Sha256:
        """Keep some bytes."""
        self._fuse.carry("put begins")
        digest = await self._blobs.put(data)
        self._fuse.carry("put ends")
        return digest

    async def open(self, digest: Sha256, size_bytes: int) -> Content:
        """Open a blob."""
        self._fuse.carry("open begins")
        return await self._blobs.open(digest, size_bytes)

    def list_older(self, before: datetime) -> AsyncIterator[Sequence[Sha256]]:
        """Pass the question on."""
        return self._blobs.list_older(before)

    async def remove_older(self, digest: Sha256, before: datetime) -> bool:
        """Remove a blob."""
        self._fuse.carry("remove begins")
        return await self._blobs.remove_older(digest, before)

    async def check(self) -> None:
        """Pass the question on."""
        await self._blobs.check()

    def close(self) -> None:
        """Pass it on."""
        self._blobs.close()

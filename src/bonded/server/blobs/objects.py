"""Blobs in an object store: S3, GCS, Azure, or memory, through obstore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from bonded.server.blobs.staging import ARRIVALS_AT_ONCE_MAX, StagedFile, clear
from bonded.server.blobs.store import check_size
from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.errors import Unavailable
from bonded.server.core.files import Content, Streamed

CHUNK_SIZE_BYTES = 1024 * 1024
PROBE = "bonded-probe"
CHECK_EVERY_S = 10.0
"""Anybody may ask whether the server is ready; the bucket is not written to for each."""


class ObjectBlobStore:
    """Blobs as objects named by their digest; they arrive in a local *staging* directory."""

    def __init__(self, store: ObjectStore, staging: Path) -> None:
        self._store = store
        self._staging = staging
        self._checked_at = -CHECK_EVERY_S
        self._arrivals = ThreadPoolExecutor(ARRIVALS_AT_ONCE_MAX, "arrivals")
        staging.mkdir(parents=True, exist_ok=True)
        clear(staging)

    def stage(self, limit_bytes: int) -> AbstractAsyncContextManager[StagedFile]:
        """Open a place for at most *limit_bytes* to arrive in."""
        return StagedFile(self._staging, limit_bytes, self._keep)

    async def put(self, data: bytes) -> Sha256:
        """Keep some bytes; durable when it returns."""
        digest = sha256_of(data)
        await self._put(_key(digest), data)
        return digest

    async def open(self, digest: Sha256, size_bytes: int) -> Content:
        """Return a reader of ranges, once the object is known to be there."""
        try:
            found = await obstore.head_async(self._store, _key(digest))
        except (BaseError, FileNotFoundError) as error:
            raise Unavailable(f"The blob {digest} cannot be read: {error}") from error
        check_size(digest, found["size"], size_bytes)
        return Streamed(size_bytes, partial(self._read, _key(digest)))

    async def list_older(self, before: datetime) -> AsyncIterator[Sequence[Sha256]]:
        """Name every blob that was last kept before *before*."""
        try:
            async for batch in obstore.list(self._store, prefix="blobs"):
                yield [
                    Sha256(found["path"].rpartition("/")[2])
                    for found in batch
                    if found["last_modified"] < before
                ]
        except BaseError as error:
            raise Unavailable(f"The object store failed: {error}") from error

    async def remove_older(self, digest: Sha256, before: datetime) -> bool:
        """Forget a blob, unless it was kept again since *before*; say whether it went.

        Stores offer no conditional deletion that all of them keep, so an upload
        of the same bytes between the question and the deletion would lose: the
        caller's grace period makes that moment rare, the question makes it short.
        """
        try:
            found = await obstore.head_async(self._store, _key(digest))
            if found["last_modified"] >= before:
                return False
            await obstore.delete_async(self._store, _key(digest))
        except (NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise Unavailable(f"The object store failed: {error}") from error
        return True

    async def check(self) -> None:
        """Raise Unavailable unless blobs can be written; a success is good for some seconds."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at > CHECK_EVERY_S:
            await self._put(PROBE, b"")
            self._checked_at = now

    def close(self) -> None:
        """Nothing is open between two requests."""

    async def _keep(self, staged: StagedFile, check: Callable[[Path], None]) -> None:
        arrived = await asyncio.to_thread(staged.path)
        # In threads of their own: inspecting a large sdist may take minutes.
        await asyncio.get_running_loop().run_in_executor(self._arrivals, check, arrived)
        # A path, not bytes: obstore uploads a large file in parts, at constant memory.
        await self._put(_key(staged.sha256), arrived)

    async def _put(self, key: str, data: bytes | Path) -> None:
        try:
            await obstore.put_async(self._store, key, data)
        except BaseError as error:
            raise Unavailable(f"The object store failed: {error}") from error

    async def _read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        # By bounded ranges: a slow reader never makes the process hold the whole object.
        for offset in range(start, stop, CHUNK_SIZE_BYTES):
            end = min(offset + CHUNK_SIZE_BYTES, stop)
            try:
                chunk = await obstore.get_range_async(self._store, key, start=offset, end=end)
            except (BaseError, FileNotFoundError) as error:
                raise Unavailable(f"The object store failed: {error}") from error
            yield bytes(chunk)


def _key(digest: Sha256) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def open_store(url: str) -> ObjectStore:
    """Open the object store that *url* names; credentials come from its own usual variables.

    Raises:
        Unavailable: the URL names no store that we know.
    """
    try:
        return from_url(url)
    except (BaseError, ValueError) as error:
        raise Unavailable(f"{url} cannot be opened: {error}") from error

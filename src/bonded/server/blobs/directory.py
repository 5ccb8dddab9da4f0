"""Blobs in a local directory, each durable before it is named.

    DIR/blobs/ab/abcd…     a blob, by its digest
    DIR/staging/stage-…    bytes on their way in

obstore's LocalStore would do all but one thing: it renames without fsync, so a
power cut may forget an upload that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from bonded.server.blobs.staging import ARRIVALS_AT_ONCE_MAX, StagedFile, clear, disk_errors
from bonded.server.blobs.store import check_size
from bonded.server.core.caches import ByteCache
from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Unavailable
from bonded.server.core.files import Content, InMemory, OnDisk

IN_MEMORY_MAX_BYTES = 256 * 1024
"""Up to here, reading the file on the loop and sending it costs less than handing it over."""


LISTED_AT_ONCE = 500


class DirectoryBlobStore:
    """Blobs as files of one directory, which one machine writes."""

    def __init__(self, root: Path, *, cache_bytes: int) -> None:
        self._blobs = root / "blobs"
        self._staging = root / "staging"
        self._small = ByteCache(cache_bytes)
        self._moving = threading.Lock()
        # Threads of their own: inspecting a large sdist may take minutes, and commits and
        # downloads must not wait for it.
        self._arrivals = ThreadPoolExecutor(ARRIVALS_AT_ONCE_MAX, "arrivals")
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._staging.mkdir(parents=True, exist_ok=True)
        # Made once, so that no upload has to make a directory durable before its file.
        for prefix in range(256):
            (self._blobs / f"{prefix:02x}").mkdir(exist_ok=True)
        _sync_directory(self._blobs)
        _sync_directory(root)
        _sync_directory(root.parent)
        clear(self._staging)

    def stage(self, limit_bytes: int) -> AbstractAsyncContextManager[StagedFile]:
        """Open a place for at most *limit_bytes* to arrive in."""
        return StagedFile(self._staging, limit_bytes, self._keep)

    async def put(self, data: bytes) -> Sha256:
        """Keep some bytes; durable when it returns."""
        async with self.stage(len(data)) as staged:
            await staged.write(data)
            await staged.finish()
            return await staged.keep()

    async def open(self, digest: Sha256, size_bytes: int) -> Content:
        """Return the bytes, or the path of the file if they are many."""
        if size_bytes > IN_MEMORY_MAX_BYTES:
            path = self._path(digest)
            with _reading(digest):
                found_bytes = path.stat().st_size
            check_size(digest, found_bytes, size_bytes)
            return OnDisk(path, size_bytes)
        data = self._small.find(digest)
        if data is None:
            with _reading(digest):
                data = self._path(digest).read_bytes()
            check_size(digest, len(data), size_bytes)
            self._small.add(digest, data)
        return InMemory(data)

    async def list_older(self, before: datetime) -> AsyncIterator[Sequence[Sha256]]:
        """Name every blob that was last kept before *before*, a directory at a time."""
        for prefix in range(256):
            directory = self._blobs / f"{prefix:02x}"
            with disk_errors("listing blobs"):
                older = await asyncio.to_thread(_older_in, directory, before.timestamp())
            for start in range(0, len(older), LISTED_AT_ONCE):
                yield older[start : start + LISTED_AT_ONCE]

    async def remove_older(self, digest: Sha256, before: datetime) -> bool:
        """Forget a blob, unless it was kept again since *before*; say whether it went."""
        self._small.remove(digest)
        return await asyncio.to_thread(self._remove_older, self._path(digest), before.timestamp())

    def _remove_older(self, path: Path, before: float) -> bool:
        # Held by `_move` too: an upload of the same bytes comes before this or after, not between.
        with disk_errors("removing a blob"), self._moving, suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                return True
        return False

    async def check(self) -> None:
        """Raise Unavailable unless blobs can be written."""
        if not os.access(self._staging, os.W_OK) or not os.access(self._blobs, os.W_OK):
            raise Unavailable("The blob directory cannot be written")

    def close(self) -> None:
        """Begin no inspection any more; do not wait for those under way, which may take minutes."""
        self._arrivals.shutdown(wait=False, cancel_futures=True)

    async def _keep(self, staged: StagedFile, check: Callable[[Path], None]) -> None:
        work = partial(self._check_and_move, staged, check)
        await asyncio.get_running_loop().run_in_executor(self._arrivals, work)

    def _check_and_move(self, staged: StagedFile, check: Callable[[Path], None]) -> None:
        # One thread for all that waits for the disk: each change of threads costs as
        # much as inspecting a small wheel.
        check(staged.path())
        path = self._path(staged.sha256)
        with disk_errors("an upload"):
            staged.sync()
            with self._moving:
                # Over an equal blob, this only refreshes its age.
                staged.move(path)
            _sync_directory(path.parent)

    def _path(self, digest: Sha256) -> Path:
        return self._blobs / digest[:2] / digest


@contextmanager
def _reading(digest: Sha256) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The blob {digest} cannot be read: {error.strerror}") from error


def _older_in(directory: Path, before: float) -> list[Sha256]:
    with os.scandir(directory) as entries:
        return [Sha256(one.name) for one in entries if one.stat().st_mtime < before]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

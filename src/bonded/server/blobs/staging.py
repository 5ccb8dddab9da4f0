"""The stage: a local file in which an upload arrives, hashed on the way."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bonded.server.blobs.reading import read_cached
from bonded.server.blobs.store import accept
from bonded.server.core.digests import Sha256
from bonded.server.core.errors import OutOfSpace, TooLarge, Unavailable

WRITE_SIZE_BYTES = 1024 * 1024
"""How much gathers before a thread hashes and writes it; smaller files never leave the loop."""

ARRIVALS_AT_ONCE_MAX = 4
"""Files that are inspected at once."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn the disk's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace(f"There is no space left for {doing}") from error
        raise Unavailable(f"The disk failed at {doing}: {error.strerror}") from error


Keeper = Callable[["StagedFile", Callable[[Path], None]], Awaitable[None]]
"""What a store does to make a finished stage durable."""


class StagedFile:
    """Bytes on their way in. Small files wait in memory until somebody needs a file."""

    def __init__(self, directory: Path, limit_bytes: int, keeper: Keeper) -> None:
        self._path = directory / f"stage-{secrets.token_hex(16)}"
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._keeper = keeper
        self._hash = hashlib.sha256()
        self._waiting = bytearray()
        self._hashed = 0
        self._descriptor: int | None = None
        self._is_left = False
        # Whoever uses the descriptor holds it: closed under a thread whose caller was
        # cancelled, its number might mean another upload's file.
        self._using = threading.Lock()

    @property
    def sha256(self) -> Sha256:
        """The digest of what has arrived; complete after `finish`."""
        return Sha256(self._hash.hexdigest())

    async def write(self, chunk: bytes) -> None:
        """Take in some bytes."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit_bytes:
            raise TooLarge(f"The file is larger than the limit of {self._limit_bytes} bytes")
        self._waiting += chunk
        if len(self._waiting) >= WRITE_SIZE_BYTES:
            await asyncio.to_thread(self.path)

    async def read(self, start: int, stop: int) -> bytes:
        """Return bytes from *start* on, to before *stop* at most, which must have arrived."""
        # Taken once: a thread may exchange it for an empty one meanwhile.
        waiting = self._waiting
        on_disk = self.size_bytes - len(waiting)
        if start >= on_disk:
            # The newest, which whoever follows an arrival asks for: they are here.
            return bytes(memoryview(waiting)[start - on_disk : stop - on_disk])
        found = self._read_cached(start, min(stop, on_disk))
        if found is not None:
            return found
        return await asyncio.to_thread(self._pread, start, min(stop, on_disk))

    async def finish(self) -> None:
        """Hash the rest. A small file has not touched the disk yet."""
        if len(self._waiting) < WRITE_SIZE_BYTES // 16:
            self._hash_rest()
        else:
            await asyncio.to_thread(self._hash_rest)

    async def keep(self, check: Callable[[Path], None] = accept) -> Sha256:
        """Make the bytes durable under their digest, if *check* finds nothing wrong with them."""
        await self._keeper(self, check)
        return self.sha256

    def path(self) -> Path:
        """Return a file that holds all bytes. Blocks: call it in a thread."""
        with self._file():
            return self._path

    def sync(self) -> None:
        """Return once that file is on the disk. Blocks: call it in a thread."""
        with self._file() as descriptor:
            os.fsync(descriptor)

    def move(self, path: Path) -> None:
        """Give the file another name, over whatever is there. Blocks: call it in a thread."""
        with self._using:
            self._path.rename(path)
            # Closed here, because closing may wait, and nothing is left to be undone.
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None
            self._is_left = True

    def _read_cached(self, start: int, stop: int) -> bytes | None:
        # Never waits: a thread that holds it may be writing.
        if not self._using.acquire(blocking=False):
            return None
        try:
            return None if self._descriptor is None else read_cached(self._descriptor, start, stop)
        finally:
            self._using.release()

    def _pread(self, start: int, stop: int) -> bytes:
        # Whoever writes holds it too, so what was on its way to the disk is there.
        with self._using, disk_errors("reading an upload"):
            if self._is_left or self._descriptor is None:
                raise Unavailable("The upload was kept, or given up")
            return os.pread(self._descriptor, stop - start, start)

    def _hash_rest(self) -> None:
        self._hash.update(memoryview(self._waiting)[self._hashed :])
        self._hashed = len(self._waiting)

    @contextmanager
    def _file(self) -> Iterator[int]:
        """Lend the file's descriptor, once everything that has arrived is written."""
        with self._using, disk_errors("an upload"):
            if self._is_left:
                raise Unavailable("The upload was given up")
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o640)
            self._hash_rest()
            data, self._waiting, self._hashed = self._waiting, bytearray(), 0
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            yield self._descriptor

    async def __aenter__(self) -> Self:
        """Nothing touches the disk before bytes arrive."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing behind but what was kept elsewhere."""
        if self._using.locked():
            await asyncio.to_thread(self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        with self._using:
            self._is_left = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._path.unlink(missing_ok=True)


def clear(directory: Path) -> None:
    """Remove what a crash left in the stage. Only at start, before anything arrives."""
    for leftover in directory.glob("stage-*"):
        leftover.unlink(missing_ok=True)

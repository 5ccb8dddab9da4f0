"""Files on their way from an upstream: fetched once, however many clients wait for them.

The bytes go into a stage, and every client reads them from there as they arrive, so the memory
that a download takes does not depend on how many follow it. The end of the file is held back
until the digest of the whole is known to be right: who is cut off before it cannot take what
came for the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bonded.server.blobs.reading import read_cached
from bonded.server.blobs.store import BlobStore, Staged
from bonded.server.core.digests import Sha256
from bonded.server.core.errors import (
    BondedError,
    NotFound,
    Rejected,
    TooLarge,
    Unavailable,
    UpstreamFailed,
)
from bonded.server.core.files import Content, InMemory, OnDisk, Streamed, UpstreamFile
from bonded.server.repositories.protocol import StoredFile
from bonded.server.upstream.client import FileResponse, UpstreamClient

WAIT_MAX_BYTES = 1024 * 1024
"""Up to here a file is waited for in full: then an upstream's fault is an honest 502."""
HELD_BACK_BYTES = 64 * 1024
"""The end of a wheel is its directory: without it nobody takes the rest for a whole."""
CHUNK_SIZE_BYTES = 32 * 1024
"""What a reader is given at once. The server queues several of them for a client that is slow."""
NEWS_BYTES = 256 * 1024
NEWS_S = 0.25
"""Readers are woken after so much, or so long."""
LINGER_S = 10
"""How long a download goes on after its last reader has gone: clients come back to resume."""
NEARLY_DONE_BYTES = 8 * 1024 * 1024
"""With no more than that to come, it goes on without any."""

_log = logging.getLogger("bonded.server.upstream")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that has arrived, whose digest is right, and which is kept."""

    sha256: Sha256
    size_bytes: int
    last_modified: datetime | None


Keeper = Callable[[Arrived], Awaitable[None]]
"""What is done when a file has arrived, before whoever waits for the whole of it goes on."""


def digests_of(file: UpstreamFile) -> tuple[tuple[str, str], ...]:
    """Return those digests of a file by which it can be verified."""
    return tuple(
        (algorithm, digest)
        for algorithm, digest in file.hashes
        if algorithm in hashlib.algorithms_available and not algorithm.startswith("shake")
    )


class Download:
    """One file on its way."""

    def __init__(
        self, file: UpstreamFile, client: UpstreamClient, blobs: BlobStore, size_max_bytes: int
    ) -> None:
        self.file = file
        self.size_bytes = file.size_bytes
        self._client = client
        self._blobs = blobs
        self._size_max_bytes = size_max_bytes
        self._staged: Staged | None = None
        self._arrived: Arrived | None = None
        self._error: BondedError | None = None
        self._has_begun = False
        self._last_modified: datetime | None = None
        self._news = asyncio.Event()
        self._told_bytes = 0
        self._told_at = 0.0
        self._readers = 0
        self._idle_since = asyncio.get_running_loop().time()

    @property
    def has_failed(self) -> bool:
        """Whether nobody need wait for it."""
        return self._error is not None

    async def run(self, check: Callable[[Path], None], keep: Keeper) -> None:
        """Fetch the file, keep it, and tell everybody who follows. Never raises ours."""
        try:
            async with self._blobs.stage(self._size_max_bytes) as staged:
                self._staged = staged
                await self._receive(staged)
                await staged.finish()
                self._verify(staged)
                await staged.keep(lambda path: self._verify_others(path, check))
                arrived = Arrived(staged.sha256, staged.size_bytes, self._last_modified)
                await self._list(arrived, keep)
                self._arrived = arrived
                self._tell()
                # From here on, readers go on from the blob.
        except TooLarge as error:
            self._error = UpstreamFailed(
                f"{self.file.filename} is not fetched from {self._client}: {error.message}"
            )
            _log.warning("%s", self._error)
        except BondedError as error:
            self._error = error
            if not isinstance(error, NotFound):
                _log.warning("%s was not kept: %s", self.file.filename, error)
        except BaseException:
            self._error = UpstreamFailed(f"Fetching {self.file.filename} was given up")
            raise
        finally:
            self._tell()

    async def _list(self, arrived: Arrived, keep: Keeper) -> None:
        try:
            await keep(arrived)
        except BondedError as error:
            # The bytes are right: who waits for them gets them, and they are fetched again.
            _log.warning("%s came, but was not listed: %s", self.file.filename, error)

    async def _receive(self, staged: Staged) -> None:
        etag = ""
        for resumes_left in range(self._client.resumes_max, -1, -1):
            try:
                async with self._client.open_file(
                    self.file.url, staged.size_bytes, etag
                ) as response:
                    self._begin(response, staged)
                    # A weak one does not tell whether bytes are the same (RFC 9110 §8.8.1).
                    etag = response.etag if response.etag.startswith('"') else ""
                    await self._follow(response, staged)
                    break
            except UpstreamFailed as error:
                may_resume = error.is_outage and (etag or self.file.sha256) and self._has_begun
                if not may_resume or not resumes_left:
                    raise

    def _begin(self, response: FileResponse, staged: Staged) -> None:
        if not (response.is_framed or self.size_bytes is not None or digests_of(self.file)):
            raise UpstreamFailed(
                f"The upstream {self._client} sends {self.file.filename} without saying how long "
                "it is, and lists neither its size nor a digest: it could be cut short unseen"
            )
        if response.start != staged.size_bytes:
            raise UpstreamFailed(
                f"The upstream {self._client} does not resume {self.file.filename} where it broke"
            )
        size = response.size_bytes
        if size is not None and self.size_bytes is not None and size != self.size_bytes:
            raise UpstreamFailed(
                f"The upstream {self._client} lists {self.file.filename} with {self.size_bytes} "
                f"bytes and sends {size}"
            )
        self.size_bytes = size if self.size_bytes is None else self.size_bytes
        self._last_modified = response.last_modified
        self._has_begun = True
        self._tell()

    async def _follow(self, response: FileResponse, staged: Staged) -> None:
        loop = asyncio.get_running_loop()
        async for chunk in response.chunks:
            await staged.write(chunk)
            is_much = staged.size_bytes - self._told_bytes >= NEWS_BYTES
            if is_much or loop.time() - self._told_at >= NEWS_S:
                self._tell()
                if self._is_in_vain(staged.size_bytes):
                    raise UpstreamFailed(f"Nobody waits for {self.file.filename} any more")
        if self.size_bytes is not None and staged.size_bytes < self.size_bytes:
            raise UpstreamFailed(
                f"The upstream {self._client} sends {staged.size_bytes} of {self.size_bytes} "
                f"bytes of {self.file.filename}",
                is_outage=True,
            )

    def _is_in_vain(self, size_bytes: int) -> bool:
        if self._readers or asyncio.get_running_loop().time() - self._idle_since < LINGER_S:
            return False
        return self.size_bytes is None or self.size_bytes - size_bytes > NEARLY_DONE_BYTES

    def _verify(self, staged: Staged) -> None:
        if self.size_bytes is not None and staged.size_bytes != self.size_bytes:
            raise self._wrong(f"{staged.size_bytes} bytes", f"{self.size_bytes}")
        if self.file.sha256 is not None and staged.sha256 != self.file.sha256:
            raise self._wrong(f"the sha256 {staged.sha256}", self.file.sha256)

    def _verify_others(self, path: Path, check: Callable[[Path], None]) -> None:
        """Compare other digests, if sha256 is not told. Called in a thread."""
        for algorithm, expected in () if self.file.sha256 else digests_of(self.file):
            with path.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != expected:
                raise self._wrong(f"the {algorithm} {found}", expected)
        try:
            check(path)
        except Rejected as error:
            raise UpstreamFailed(
                f"The upstream {self._client} sends what is not kept: {error.message}"
            ) from error

    def _wrong(self, found: str, expected: str) -> UpstreamFailed:
        return UpstreamFailed(
            f"The upstream {self._client} sends {self.file.filename} with {found} instead of "
            f"{expected}: it is not kept",
            hint="It was changed, or damaged on the way.",
        )

    def _tell(self) -> None:
        """Wake everybody who waits for news."""
        self._told_bytes = 0 if self._staged is None else self._staged.size_bytes
        self._told_at = asyncio.get_running_loop().time()
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            self._idle_since = asyncio.get_running_loop().time()

    async def begun(self) -> None:
        """Wait until the upstream answers with the file. Raises what went wrong."""
        with self._reading():
            while not self._has_begun and self._arrived is None:
                self._raise_error()
                await self._news.wait()

    async def finished(self) -> Arrived:
        """Wait until all of it has arrived. Raises what went wrong."""
        with self._reading():
            while self._arrived is None:
                self._raise_error()
                await self._news.wait()
            return self._arrived

    def _raise_error(self) -> None:
        if self._error is not None:
            # Of its own for each who waits: a traceback grows with every raise.
            raise copy(self._error)

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes from *start* to before *stop* as they arrive."""
        assert self.size_bytes is not None
        with self._reading():
            while start < stop and self._arrived is None:
                self._raise_error()
                assert self._staged is not None
                end = min(stop, self._staged.size_bytes, self.size_bytes - HELD_BACK_BYTES)
                if start < end:
                    chunk = await self._read_staged(start, min(end, start + CHUNK_SIZE_BYTES))
                    start += len(chunk)
                    yield chunk
                else:
                    await self._news.wait()
        if start < stop and self._arrived is not None:
            arrived = self._arrived
            content = await self._blobs.open(arrived.sha256, arrived.size_bytes)
            async for chunk in read_content(content, start, stop):
                yield chunk

    async def _read_staged(self, start: int, stop: int) -> bytes:
        assert self._staged is not None
        try:
            return await self._staged.read(start, stop)
        except Unavailable:
            # The stage has been left: the blob has the rest, or there is an error to tell.
            if self._arrived is None and self._error is None:
                await self._news.wait()
            return b""


async def read_content(content: Content, start: int, stop: int) -> AsyncIterator[bytes]:
    """Yield a part of contents that are here."""
    match content:
        case InMemory(data):
            yield data[start:stop]
        case OnDisk(path):
            with await asyncio.to_thread(path.open, "rb", buffering=0) as file:
                while start < stop:
                    part = (file.fileno(), start, min(stop, start + CHUNK_SIZE_BYTES))
                    chunk = read_cached(*part)
                    if chunk is None:
                        chunk = await asyncio.to_thread(_read, *part)
                    if not chunk:
                        raise Unavailable(f"The blob {path.name} is shorter than it was")
                    start += len(chunk)
                    yield chunk
        case Streamed(_, read):
            async for chunk in read(start, stop):
                yield chunk


def _read(descriptor: int, start: int, stop: int) -> bytes:
    return os.pread(descriptor, stop - start, start)


class Downloads:
    """The files of one repository that are on their way now."""

    def __init__(self, client: UpstreamClient, blobs: BlobStore, size_max_bytes: int) -> None:
        self._client = client
        self._blobs = blobs
        self._size_max_bytes = size_max_bytes
        self._running: dict[str, Download] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, file: UpstreamFile, check: Callable[[Path], None], keep: Keeper) -> Download:
        """Return the download of *file* that is under way, or begin one."""
        running = self._running.get(file.filename)
        if running is not None and _is_same(running.file, file) and not running.has_failed:
            return running
        download = Download(file, self._client, self._blobs, self._size_max_bytes)
        self._running[file.filename] = download
        task = asyncio.create_task(download.run(check, keep))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._end(done, download))
        return download

    def _end(self, task: asyncio.Task[None], download: Download) -> None:
        self._tasks.discard(task)
        if self._running.get(download.file.filename) is download:
            del self._running[download.file.filename]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("Fetching %s failed", download.file.filename, exc_info=error)

    async def open(self, download: Download) -> StoredFile:
        """Return the file as soon as it can be said what it will be.

        Raises:
            NotFound: the upstream does not have it.
            UpstreamFailed: it does not come, or wrongly.
        """
        await download.begun()
        size, sha256 = download.size_bytes, download.file.sha256
        # Without a digest to hold it against, nothing is passed on before all is here.
        if size is None or sha256 is None or size <= WAIT_MAX_BYTES:
            arrived = await download.finished()
            content = await self._blobs.open(arrived.sha256, arrived.size_bytes)
            return StoredFile(content, arrived.sha256)
        return StoredFile(Streamed(size, download.read), sha256)

    async def close(self) -> None:
        """Give up what is on its way."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _is_same(before: UpstreamFile, file: UpstreamFile) -> bool:
    """Say whether the upstream has not replaced the file meanwhile.

    Without digests only its address and size can tell. With them they do not: signed URLs
    differ each time.
    """
    if before.hashes or file.hashes:
        return before.hashes == file.hashes
    return (before.url, before.size_bytes) == (file.url, file.size_bytes)

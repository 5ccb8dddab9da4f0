"""A remote repository: a cache of another index that never says more, or less, than it knows.

Pages are asked for again when they are no longer fresh, and served as they were while the
upstream is down. Files are fetched once and never change. What is known hangs on serials as in
a standard repository, so a cached answer costs what it costs there: until when a page is fresh
is a number in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from bonded.server.archives import Limits
from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache, PackageCache
from bonded.server.core.clock import Clock
from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.errors import NotFound, OutOfSpace, Unavailable, UpstreamFailed
from bonded.server.core.files import File, InMemory, Package, Status, UpstreamFile
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.caches import CachedFile, Evicted
from bonded.server.metadata.store import MetadataStore, listing_scope
from bonded.server.repositories.arrivals import Check, file_of, informed
from bonded.server.repositories.cached_pages import CachedPages, Outage
from bonded.server.repositories.core_metadata import fetch_core_metadata, read_core_metadata_of
from bonded.server.repositories.downloads import Arrived, Download, Downloads
from bonded.server.repositories.protocol import StoredFile
from bonded.server.upstream.client import UpstreamClient

REMEMBERED_FILES_MAX = 16_384
"""Rows of files kept in the process; each is good for as long as its package's serial stands."""
EVICTED_AT_ONCE = 200
"""In one transaction, so that no writer waits long."""
USED_EVERY = timedelta(hours=1)
"""How coarsely the last use of a file is known."""

_log = logging.getLogger("bonded.server.upstream")

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """How long pages are good, and how large files may be."""

    freshness_s: int
    stale_max_s: int
    cache_size_max_bytes: int | None
    """Of all files, core metadata and pages; None: as many as come."""
    file_size_max_bytes: int
    archives: Limits


class RemoteRepository:
    """Answers from a cache of an upstream; see `Repository`."""

    def __init__(
        self,
        name: RepositoryName,
        metadata: MetadataStore,
        blobs: BlobStore,
        *,
        core_metadata: ByteCache,
        packages: PackageCache,
        client: UpstreamClient,
        clock: Clock,
        limits: RemoteLimits,
        vouch: Callable[[], Awaitable[None]] | None = None,
        is_private: bool = False,
    ) -> None:
        self.name = name
        self._metadata = metadata
        self._blobs = blobs
        self._core_metadata = core_metadata
        self._packages = packages
        self._client = client
        self._clock = clock
        self._limits = limits
        self._pages = CachedPages(
            name,
            metadata,
            client,
            clock,
            packages=packages,
            freshness_s=limits.freshness_s,
            stale_max_s=limits.stale_max_s,
            vouch=vouch,
            is_private=is_private,
        )
        self._downloads = Downloads(client, blobs, limits.file_size_max_bytes)
        self._files: OrderedDict[tuple[str, str], tuple[int, CachedFile]] = OrderedDict()
        self._digests: OrderedDict[tuple[str, str], tuple[int, Sha256]] = OrderedDict()
        self._extracting: dict[tuple[str, str], asyncio.Task[StoredFile]] = {}
        self._used: set[tuple[PackageName, str]] = set()
        # At first too: the limit may have been lowered while this process did not run.
        self._has_grown = True

    @property
    def index_url(self) -> str:
        """Where the index is that this is a cache of."""
        return self._client.index_url

    async def version(self, name: PackageName | None) -> int:
        """Return the serial of the package, or of the list; ask the upstream if it is time."""
        if name is None:
            (serial,) = await self._metadata.serials.read(listing_scope(self.name))
            return serial
        return await self._pages.version(name)

    async def list_packages(self) -> tuple[PackageName, ...]:
        """Return every package of which a file is here, in order (gar.md §2.2).

        One that the upstream has withdrawn has no page any more, and is left out.
        """
        async with self._metadata.read() as tx:
            names = await tx.files.list_packages(self.name)
            withdrawn = frozenset(await tx.lifecycle.list_emptied(self.name, None))
        return tuple(name for name in names if name not in withdrawn)

    async def list_reserved(self) -> frozenset[PackageName]:
        """Return the names that the upstream has withdrawn."""
        async with self._metadata.read() as tx:
            return frozenset(await tx.lifecycle.list_emptied(self.name, None))

    async def get_package(self, name: PackageName) -> Package:
        """Return the upstream's page, and what is known besides of files that are here."""
        # Read before the rows, as everywhere. Who finds out whether the package is here has its
        # page rendered next: a virtual repository.
        serial = await self._pages.version(name)
        key = ("package", self.name, name.normalized)
        package = self._packages.find(key, serial)
        if package is None:
            package = await self._informed_package(await self._pages.get(name))
            self._packages.add(key, serial, package)
        return package

    async def _informed_package(self, package: Package) -> Package:
        name = package.name
        async with self._metadata.read() as tx:
            cached = await tx.caches.list_files(self.name, name)
            digests = await tx.caches.list_core_metadata(self.name, name)
        known = {one.file.filename: one.file for one in cached}
        files = tuple(
            informed(file, known.get(file.filename), digests.get(file.filename))
            for file in package.files
            if isinstance(file, UpstreamFile)
        )
        return replace(package, files=files)

    def find_outage(self, name: PackageName) -> Outage | None:
        """Return why the page of a package is served as it was; None if it is fresh."""
        return self._pages.find_outage(name)

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """Open one file; fetch it if it is not here."""
        cached = await self._find_cached(name, filename)
        if cached is not None:
            try:
                content = await self._blobs.open(cached.file.sha256, cached.file.size_bytes)
            except Unavailable as error:
                # Evicted by another replica, or lost: the upstream has it still.
                _log.warning("%s is fetched again: %s", filename, error)
            else:
                return StoredFile(content, cached.file.sha256)
        file = await self._get_listed(name, filename)
        return await self._downloads.open(self._fetch(name, file))

    def _fetch(self, name: PackageName, file: UpstreamFile) -> Download:
        check = Check(file, self._limits.archives)
        return self._downloads.join(file, check, partial(self._keep, name, file, check))

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """Open a wheel's core metadata: passed on, or read out of the wheel where it is."""
        serial = await self._pages.version_of_files(name)
        key = (name.normalized, filename)
        known = self._digests.get(key)
        if known is not None and known[0] == serial:
            data = self._core_metadata.find(known[1])
            if data is not None:
                return StoredFile(InMemory(data), known[1])
        extracting = self._extracting.get(key)
        if extracting is None:
            extracting = asyncio.create_task(self._open_core_metadata(name, filename, serial))
            self._extracting[key] = extracting
            extracting.add_done_callback(lambda done: self._end_extracting(key, done))
        return await asyncio.shield(extracting)

    def _end_extracting(self, key: tuple[str, str], task: asyncio.Task[StoredFile]) -> None:
        self._extracting.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waits is told; this is for the case that nobody does any more.
            _log.debug("Core metadata of %s is not to be had: %s", key[1], error)

    async def _open_core_metadata(
        self, name: PackageName, filename: str, serial: int
    ) -> StoredFile:
        try:
            file = await self._get_listed(name, filename)
        except (NotFound, UpstreamFailed):
            # Resolvers that ask for the file ask for this first.
            cached = await self._find_cached(name, filename)
            if cached is None:
                raise
            content = await self._core_metadata_of_copy(cached.file)
            return StoredFile(InMemory(content), sha256_of(content))
        known = await self._find_core_metadata(name, file)
        if known is None:
            data = await self._core_metadata_from_here(name, file)
            if data is None:
                data = await fetch_core_metadata(self._client, file, self._limits.archives)
            if data is None:
                data = await self._core_metadata_of_whole(name, file)
            known = (await self._keep_core_metadata(name, file, data), data)
        digest, data = known
        self._core_metadata.add(digest, data)
        _remember(self._digests, (name.normalized, filename), (serial, digest))
        return StoredFile(InMemory(data), digest)

    async def _find_core_metadata(
        self, name: PackageName, file: UpstreamFile
    ) -> tuple[Sha256, bytes] | None:
        """Return core metadata that is here, with its digest."""
        digest = file.core_metadata_sha256
        async with self._metadata.read() as tx:
            if digest is None:
                cached = await tx.caches.find_file(self.name, name, file.filename)
                digest = None if cached is None else cached.file.core_metadata_sha256
            if digest is None:
                digest = (await tx.caches.list_core_metadata(self.name, name)).get(file.filename)
            data = None if digest is None else await tx.files.find_core_metadata(digest)
        return None if digest is None or data is None else (digest, data)

    async def _core_metadata_from_here(self, name: PackageName, file: UpstreamFile) -> bytes | None:
        """Return the core metadata in a wheel that is here, if it is what the upstream tells."""
        cached = await self._find_cached(name, file.filename)
        if cached is None:
            return None
        try:
            data = await self._core_metadata_of_copy(cached.file)
        except (NotFound, Unavailable) as error:
            _log.info("%s is asked for its core metadata: %s", self._client, error)
            return None
        return data if file.core_metadata_sha256 in (None, sha256_of(data)) else None

    async def _core_metadata_of_copy(self, file: File) -> bytes:
        content = await self._blobs.open(file.sha256, file.size_bytes)
        return await read_core_metadata_of(content, file.filename, self._limits.archives)

    async def _core_metadata_of_whole(self, name: PackageName, file: UpstreamFile) -> bytes:
        # The upstream has no ranges: the client would fetch the wheel next, so it comes now.
        if await self._find_cached(name, file.filename) is None:
            await self._fetch(name, file).finished()
        found = await self._find_core_metadata(name, file)
        if found is None:
            raise NotFound(f"{file.filename} has no core metadata")
        return found[1]

    async def _keep_core_metadata(
        self, name: PackageName, file: UpstreamFile, data: bytes
    ) -> Sha256:
        try:
            async with self._metadata.transaction() as tx:
                digest = await tx.caches.keep_core_metadata(
                    self.name,
                    name,
                    file.filename,
                    data,
                    self._clock(),
                    is_news=file.core_metadata_sha256 is None,
                )
        except OutOfSpace as error:
            # It is right, and small: whoever asked for it gets it all the same.
            _log.warning("Core metadata of %s is not kept: %s", file.filename, error)
            return sha256_of(data)
        self._has_grown = True
        return digest

    async def _find_cached(self, name: PackageName, filename: str) -> CachedFile | None:
        """Return the row of a file that is here and still what the upstream lists."""
        # The serial is read before the row, as in a standard repository.
        serial = await self._pages.version_of_files(name)
        key = (name.normalized, filename)
        known = self._files.get(key)
        if known is None or known[0] != serial:
            async with self._metadata.read() as tx:
                cached = await tx.caches.find_file(self.name, name, filename)
            if cached is None or not await self._is_current(name, cached.file):
                return None
            known = (serial, cached)
            _remember(self._files, key, known)
        self._note_use(name, known[1])
        return known[1]

    async def _is_current(self, name: PackageName, file: File) -> bool:
        """Say whether the page as it is known does not speak against a file that is here.

        One that the upstream has removed stays: builds that pin it go on. One that the
        upstream has quarantined, or replaced by other bytes, does not.
        """
        package = await self._pages.find_known(name)
        if package is None:
            return True
        if package.status is Status.QUARANTINED:
            return False
        listed = next((one for one in package.files if one.filename == file.filename), None)
        return listed is None or listed.sha256 in (None, file.sha256)

    def _note_use(self, name: PackageName, cached: CachedFile) -> None:
        if self._clock() - cached.used_at < USED_EVERY:
            return
        self._used.add((name, cached.file.filename))
        key = (name.normalized, cached.file.filename)
        self._files[key] = (self._files[key][0], replace(cached, used_at=self._clock()))

    async def _get_listed(self, name: PackageName, filename: str) -> UpstreamFile:
        package = await self._pages.get(name)
        for file in package.files:
            if file.filename == filename and isinstance(file, UpstreamFile):
                return file
        raise NotFound(f"No file {filename} of {name} in {self.name}")

    async def _keep(
        self, name: PackageName, listed: UpstreamFile, check: Check, arrived: Arrived
    ) -> None:
        """Make the row of a file whose blob is durable."""
        core_metadata = check.core_metadata
        file, is_news = file_of(listed, arrived, core_metadata, self._clock)
        async with self._metadata.transaction() as tx:
            await tx.caches.keep_file(
                self.name,
                name,
                CachedFile(file, listed.url, self._clock()),
                core_metadata or b"",
                is_news=is_news,
            )
        self._has_grown = True

    async def flush(self) -> None:
        """Write down what was used and confirmed, which nobody waits for.

        Raises:
            NotFound: the repository is gone.
            Unavailable: the database does not answer.
        """
        used, self._used = self._used, set()
        if used:
            async with self._metadata.transaction() as tx:
                await tx.caches.use_files(self.name, used, self._clock())
        await self._pages.flush()

    async def evict(self) -> int:
        """Let go of what was used longest ago, until the rest is as small as it must be.

        Returns how many files, core metadata and pages went. Blobs of files go with the next
        collection of orphans.

        Raises:
            NotFound: the repository is gone.
            Unavailable: the database does not answer.
        """
        size_max = self._limits.cache_size_max_bytes
        if size_max is None or not (self._has_grown or self._pages.has_grown):
            return 0
        self._has_grown = self._pages.has_grown = False
        count = 0
        try:
            # Once a package has no file here, its page may go too: so on to the end.
            while evicted := await self._evict_some(size_max):
                count += len(evicted)
        except BaseException:
            # What did not go must go the next time, though nothing has come until then.
            self._has_grown = True
            raise
        return count

    async def _evict_some(self, size_max_bytes: int) -> tuple[Evicted, ...]:
        async with self._metadata.transaction() as tx:
            evicted = await tx.caches.evict(
                self.name, size_max_bytes, EVICTED_AT_ONCE, self._clock()
            )
        for one in evicted:
            self._files.pop((one.name.normalized, one.filename), None)
        return evicted

    async def close(self) -> None:
        """Give up what is on its way."""
        extracting = tuple(self._extracting.values())
        for task in extracting:
            task.cancel()
        if extracting:
            await asyncio.wait(extracting)
        await self._downloads.close()
        await self._pages.close()


def _remember(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > REMEMBERED_FILES_MAX:
        kept.popitem(last=False)

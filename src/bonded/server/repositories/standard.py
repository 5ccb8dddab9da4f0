"""A standard repository: what the team published, from the metadata store and the blob store."""

from __future__ import annotations

from collections import OrderedDict

from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache
from bonded.server.core.errors import NotFound, Reserved, Unavailable
from bonded.server.core.files import File, InMemory, Package, Status
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.store import MetadataStore, listing_scope, package_scope
from bonded.server.repositories.protocol import StoredFile

REMEMBERED_FILES_MAX = 16_384
"""Rows of files kept in the process; each is good for as long as its package's serial stands."""


class StandardRepository:
    """Answers from rows and blobs; see `Repository`."""

    def __init__(
        self,
        name: RepositoryName,
        metadata: MetadataStore,
        blobs: BlobStore,
        core_metadata: ByteCache,
    ) -> None:
        self.name = name
        self._metadata = metadata
        self._blobs = blobs
        self._core_metadata = core_metadata
        self._files: OrderedDict[tuple[str, str], tuple[int, File]] = OrderedDict()

    async def version(self, name: PackageName | None) -> int:
        """Return the serial of the package, or of the list."""
        scope = listing_scope(self.name) if name is None else package_scope(self.name, name)
        (serial,) = await self._metadata.serials.read(scope)
        return serial

    async def list_packages(self) -> tuple[PackageName, ...]:
        """Return every package that offers something, in order."""
        async with self._metadata.read() as tx:
            return await tx.files.list_packages(self.name)

    async def list_reserved(self) -> frozenset[PackageName]:
        """Return the names of which every file was deleted."""
        async with self._metadata.read() as tx:
            return frozenset(await tx.lifecycle.list_emptied(self.name, None))

    async def get_package(self, name: PackageName) -> Package:
        """Return one package; a quarantined one offers no file (PEP 792)."""
        async with self._metadata.read() as tx:
            package = await tx.files.find_package(self.name, name)
        if package is None:
            raise NotFound(f"No package {name} in {self.name}")
        if not package.files:
            # Or the public index would answer for the name as soon as its last file is deleted.
            raise Reserved(
                f"No package {name} in {self.name}: every file of it was deleted, and the name "
                "stays with this repository"
            )
        if package.status is Status.QUARANTINED:
            return Package(package.name, (), (), package.status, package.status_reason)
        return package

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """Open one file."""
        file = await self._get_file(name, filename)
        content = await self._blobs.open(file.sha256, file.size_bytes)
        return StoredFile(content, file.sha256)

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """Open a file's core metadata."""
        file = await self._get_file(name, filename)
        digest = file.core_metadata_sha256
        if digest is None:
            raise NotFound(f"{filename} has no core metadata file")
        data = self._core_metadata.find(digest)
        if data is None:
            async with self._metadata.read() as tx:
                data = await tx.files.find_core_metadata(digest)
            if data is None:
                raise Unavailable(f"The core metadata {digest} is missing from the database")
            self._core_metadata.add(digest, data)
        return StoredFile(InMemory(data), digest)

    async def _get_file(self, name: PackageName, filename: str) -> File:
        # The serial is read before the row: a change in between makes the row
        # look older than it is, which costs one more look, never a stale answer.
        serial = await self.version(name)
        key = (name.normalized, filename)
        known = self._files.get(key)
        if known is not None and known[0] == serial:
            return known[1]
        async with self._metadata.read() as tx:
            file, status = await tx.files.find_file(self.name, name, filename)
        if file is None or status is Status.QUARANTINED:
            raise NotFound(f"No file {filename} of {name} in {self.name}")
        self._files[key] = (serial, file)
        self._files.move_to_end(key)
        if len(self._files) > REMEMBERED_FILES_MAX:
            self._files.popitem(last=False)
        return file

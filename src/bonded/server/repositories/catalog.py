"""Every repository by its name."""

from __future__ import annotations

from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache
from bonded.server.core.errors import NotFound
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.store import MetadataStore
from bonded.server.repositories.protocol import Repository
from bonded.server.repositories.standard import StandardRepository


class Catalog:
    """Opens repositories, and keeps those that it has opened."""

    def __init__(
        self, metadata: MetadataStore, blobs: BlobStore, *, core_metadata_cache_bytes: int
    ) -> None:
        self._metadata = metadata
        self._core_metadata = ByteCache(core_metadata_cache_bytes)
        self._blobs = blobs
        self._open: dict[RepositoryName, Repository] = {}

    async def open(self, name: RepositoryName) -> Repository:
        """Return the repository.

        One that was deleted since may still be returned; it then answers that
        it has nothing, because its rows are gone and its serials have moved.

        Raises:
            NotFound: there is no repository of this name.
        """
        known = self._open.get(name)
        if known is not None:
            return known
        async with self._metadata.read() as tx:
            if await tx.repositories.find(name) is None:
                raise NotFound(f"Repository {name} does not exist")
        found = StandardRepository(name, self._metadata, self._blobs, self._core_metadata)
        return self._open.setdefault(name, found)

"""The metadata store as one repository may use it: what it writes is its own, or is not written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from bonded.server.core.errors import NotFound
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.store import MetadataStore, Serials, Transaction


class OwnRows:
    """A metadata store for a repository that may be removed, and made anew, while it works.

    Its rows are found by its name. What an upstream has said before is nothing that the upstream
    of another repository of the same name has said.
    """

    def __init__(self, metadata: MetadataStore, name: RepositoryName, created_at: datetime) -> None:
        self._metadata = metadata
        self._name = name
        self._created_at = created_at

    @property
    def serials(self) -> Serials:
        """See `MetadataStore`."""
        return self._metadata.serials

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """See `MetadataStore`."""
        return self._metadata.read()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Open a transaction to change what is the repository's.

        Raises:
            NotFound: the repository was removed, whatever is called so now; nothing was changed.
        """
        async with self._metadata.transaction() as tx:
            yield tx
            # Last, for whatever writes holds the row of the repository until the commit.
            record = await tx.repositories.find(self._name)
            if record is None or record.created_at != self._created_at:
                raise NotFound(f"Repository {self._name} was removed meanwhile")

    async def check(self) -> None:
        """See `MetadataStore`."""
        await self._metadata.check()

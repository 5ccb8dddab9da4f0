"""The remote repositories of this process: made when they are asked for, and tidied."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial

from bonded.server.archives import Limits
from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache, PackageCache
from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Unavailable
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import RemoteConfig
from bonded.server.metadata.store import MetadataStore
from bonded.server.repositories.own_rows import OwnRows
from bonded.server.repositories.remote import RemoteLimits, RemoteRepository
from bonded.server.upstream.client import UpstreamClient
from bonded.server.upstream.clients import Clients
from bonded.server.upstream.probing import probe

TIDY_EVERY_S = 30
"""How long the database may not know which files were used and which pages confirmed."""
PACKAGES_FILES_MAX = 100_000
"""Files of packages that are kept as values; one takes up to a kilobyte."""

_log = logging.getLogger("bonded.server.upstream")


class Remotes:
    """Makes remote repositories, and lets go of those whose configuration has changed."""

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        core_metadata: ByteCache,
        clock: Clock,
        clients: Clients,
        *,
        file_size_max_bytes: int,
        archive_limits: Limits,
        forget_removed: Callable[[], Awaitable[None]],
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._core_metadata = core_metadata
        self._clock = clock
        self._clients = clients
        self._file_size_max_bytes = file_size_max_bytes
        self._archive_limits = archive_limits
        self._forget_removed = forget_removed
        self._packages = PackageCache(PACKAGES_FILES_MAX)
        self._open: dict[RepositoryName, tuple[RemoteRepository, UpstreamClient]] = {}
        # Whoever still asks them is answered: they are held by their requests, and by nothing here.
        self._retired: weakref.WeakSet[RemoteRepository] = weakref.WeakSet()
        self._closing: set[asyncio.Task[None]] = set()

    def make(
        self, name: RepositoryName, config: RemoteConfig, created_at: datetime
    ) -> RemoteRepository:
        """Return the repository; one made before for *name* serves those who have it, and goes."""
        client = self._clients.make(config)
        repository = RemoteRepository(
            name,
            OwnRows(self._metadata, name, created_at),
            self._blobs,
            core_metadata=self._core_metadata,
            packages=self._packages,
            client=client,
            clock=self._clock,
            limits=RemoteLimits(
                freshness_s=config.freshness_s,
                stale_max_s=config.stale_max_s,
                cache_size_max_bytes=config.cache_size_max_bytes,
                file_size_max_bytes=self._file_size_max_bytes,
                archives=self._archive_limits,
            ),
            # Of an index without a list, an administrator has said that there is none.
            vouch=partial(probe, client) if config.is_validated else None,
            is_private=config.credentials is not None,
        )
        before = self._open.get(name)
        if before is not None:
            self._retire(*before)
        self._open[name] = (repository, client)
        return repository

    def _retire(self, repository: RemoteRepository, client: UpstreamClient) -> None:
        """Let go of a repository that nobody is given any more; some may have it still."""
        self._retired.add(repository)
        closing = asyncio.create_task(client.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def index_url(self, config: RemoteConfig) -> str:
        """Return where the index of a remote repository is; the preset says it by a name only."""
        return self._clients.index_url(config)

    async def probe(self, _name: RepositoryName, config: RemoteConfig) -> None:
        """Ask an upstream whether it is there, before anybody relies on it.

        Raises:
            UpstreamFailed: it does not answer, refuses the credentials, or is no index.
        """
        client = self._clients.make(config)
        try:
            await probe(client)
        finally:
            await client.close()

    def __iter__(self) -> Iterator[RemoteRepository]:
        """Yield the repositories that are open now."""
        return iter([repository for repository, _ in self._open.values()])

    async def tidy(self) -> None:
        """Write down what was used and confirmed, and let go of what is too much."""
        for repository in self:
            try:
                await repository.flush()
                if evicted := await repository.evict():
                    _log.info(
                        "Evicted %d files, pages and core metadata of %s", evicted, repository.name
                    )
                await self._look_up(repository.name)
            except NotFound:
                # Deleted; nobody asks for it again. Unless there is another of the name by now,
                # for which this one has been retired.
                current, client = self._open.get(repository.name, (None, None))
                if current is repository and client is not None:
                    del self._open[repository.name]
                    self._retire(repository, client)
            except Unavailable as error:
                _log.warning("What was used is not written down: %s", error)
            except Exception:  # noqa: BLE001
                # The boundary between repositories: one must not keep another from being tidied.
                _log.exception("Tidying %s failed", repository.name)
        try:
            await self._forget_removed()
        except Unavailable as error:
            _log.warning("What was deleted is not let go of: %s", error)

    async def _look_up(self, name: RepositoryName) -> None:
        """Look whether the repository is still there. Raises NotFound."""
        async with self._metadata.read() as tx:
            if await tx.repositories.find(name) is None:
                raise NotFound(f"Repository {name} does not exist")

    async def run(self) -> None:
        """Tidy again and again, until cancelled."""
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            try:
                await self.tidy()
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on.
                _log.exception("Tidying remote repositories failed")

    async def close(self) -> None:
        """Give up what is on its way, and let go of every connection."""
        await self.tidy()
        for name in tuple(self._open):
            self._retire(*self._open.pop(name))
        for repository in tuple(self._retired):
            await repository.close()
        if self._closing:
            await asyncio.wait(self._closing)
        self._clients.close()

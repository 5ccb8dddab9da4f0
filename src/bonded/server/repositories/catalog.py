"""Every repository by its name, opened as its mode has it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from bonded.server.core.errors import NotFound
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    RemoteConfig,
    ServerRepository,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.store import REPOSITORIES, MetadataStore, RepositoryRecord
from bonded.server.repositories.protocol import Repository
from bonded.server.repositories.virtual import VirtualRepository

MakeStandard = Callable[[RepositoryName], Repository]
MakeRemote = Callable[[RepositoryName, RemoteConfig, datetime], Repository]
"""Also takes when it was created: another repository may have had the name before."""


@dataclass(frozen=True, slots=True)
class _Opened:
    serial: int
    """Of `REPOSITORIES`, when the record was last looked at."""
    record: RepositoryRecord
    repository: Repository


class Catalog:
    """Opens repositories, and keeps those that it has opened."""

    def __init__(
        self, metadata: MetadataStore, make_standard: MakeStandard, make_remote: MakeRemote
    ) -> None:
        self._metadata = metadata
        self._make_standard = make_standard
        self._make_remote = make_remote
        self._opened: dict[RepositoryName, _Opened] = {}

    async def version(self) -> int:
        """Return what differs whenever `open` may return something else."""
        (serial,) = await self._metadata.serials.read(REPOSITORIES)
        return serial

    async def open(self, name: RepositoryName) -> Repository:
        """Return the repository, as it is set up now.

        Raises:
            NotFound: there is no repository of this name.
        """
        return (await self._look_up(name)).repository

    async def find_record(self, name: RepositoryName) -> RepositoryRecord:
        """Return how a repository is set up; its sizes and times may be old. Raises NotFound."""
        return (await self._look_up(name)).record

    async def _look_up(self, name: RepositoryName) -> _Opened:
        while True:
            # Read before the row: a change in between costs one more look, never a stale answer.
            serial = await self.version()
            known = self._opened.get(name)
            if known is not None and known.serial == serial:
                return known
            async with self._metadata.read() as tx:
                record = await tx.repositories.find(name)
            if self._opened.get(name) is known:
                break
            # Somebody has looked meanwhile, maybe at a newer row: there is one repository for all.
        if record is None:
            self._opened.pop(name, None)
            raise NotFound(f"Repository {name} does not exist")
        if known is not None and _identity(known.record) == _identity(record):
            # Some other repository has changed; what this one remembers is good.
            repository = known.repository
        else:
            repository = self._make(record)
        opened = self._opened[name] = _Opened(serial, record, repository)
        return opened

    async def forget_removed(self) -> None:
        """Let go of repositories that were deleted, for which nobody may ever ask again."""
        serial = await self.version()
        # One by one, for another task may open some meanwhile; all are there if nothing changed.
        for name in [name for name, one in self._opened.items() if one.serial != serial]:
            with suppress(NotFound):
                await self._look_up(name)

    def _make(self, record: RepositoryRecord) -> Repository:
        name, config = record.name, record.config
        match config:
            case None:
                return self._make_standard(name)
            case RemoteConfig(source=ServerRepository(upstream)):
                # What is here already needs no cache: it is looked at through a window.
                policy = UpstreamPolicy(upstream.repository, upstream, 0)
                return VirtualRepository(name, VirtualConfig((policy,)), self)
            case RemoteConfig():
                return self._make_remote(name, config, record.created_at)
            case VirtualConfig():
                return VirtualRepository(name, config, self)
            case _:
                assert_never(config)


def _identity(record: RepositoryRecord) -> object:
    config = record.config
    if isinstance(config, RemoteConfig):
        config = replace(config, description="")
    return record.created_at, config

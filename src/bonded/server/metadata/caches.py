"""What the layers above need of a metadata store for what remote repositories have cached."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bonded.server.core.digests import Sha256
from bonded.server.core.files import File
from bonded.server.core.names import PackageName, RepositoryName


@dataclass(frozen=True, slots=True)
class CachedPage:
    """What a remote repository knows of its upstream's page of one package."""

    name: PackageName
    content: bytes
    """The page, as whoever keeps it packs it; empty if it was evicted. Of a package that the
    upstream has no more, something; empty if it never had it."""
    digest: str
    """Of what clients see of it."""
    etag: str
    last_modified: str
    """The upstream's validators, as it sent them."""
    checked_at: datetime
    """When the upstream last said that this is the page."""
    is_absent: bool = False
    """Whether the upstream has no such package."""
    is_expired: bool = False
    """Whether the upstream is to be asked again, however fresh this is."""

    @property
    def is_evicted(self) -> bool:
        """Whether the page made room: all that is left is that the upstream has the package."""
        return not self.is_absent and not self.content

    @property
    def is_withdrawn(self) -> bool:
        """Whether the upstream had the package once, and has it no more."""
        return self.is_absent and bool(self.content)


@dataclass(frozen=True, slots=True)
class KeptPage:
    """What became of a page that was to be kept."""

    serial: int
    """The package's, then."""
    is_current: bool
    """Whether nobody has asked later, or wants it to be asked for again."""


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file of a remote repository that is here, and where it came from."""

    file: File
    url: str
    used_at: datetime


@dataclass(frozen=True, slots=True)
class Evicted:
    """A file that was let go, or whose core metadata was; or the page of a package."""

    name: PackageName
    filename: str
    """Of a page: empty."""
    sha256: Sha256


class CacheTable(Protocol):
    """What remote repositories have cached."""

    async def find_page(
        self, repository: RepositoryName, name: PackageName
    ) -> CachedPage | None: ...
    async def keep_page(
        self, repository: RepositoryName, page: CachedPage, as_of: int
    ) -> KeptPage: ...
    async def confirm_pages(
        self, repository: RepositoryName, pages: Collection[CachedPage]
    ) -> None: ...
    async def expire_pages(self, repository: RepositoryName, name: PackageName | None) -> int: ...
    async def find_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> CachedFile | None: ...
    async def list_files(
        self, repository: RepositoryName, name: PackageName
    ) -> tuple[CachedFile, ...]: ...
    async def list_urls(
        self, repository: RepositoryName, wanted: Collection[tuple[PackageName, str]]
    ) -> Mapping[tuple[PackageName, str], str]: ...
    async def keep_file(
        self,
        repository: RepositoryName,
        name: PackageName,
        cached: CachedFile,
        core_metadata: bytes,
        *,
        is_news: bool,
    ) -> None: ...
    async def use_files(
        self, repository: RepositoryName, used: Collection[tuple[PackageName, str]], at: datetime
    ) -> None: ...
    async def list_core_metadata(
        self, repository: RepositoryName, name: PackageName
    ) -> Mapping[str, Sha256]: ...
    async def keep_core_metadata(
        self,
        repository: RepositoryName,
        name: PackageName,
        filename: str,
        content: bytes,
        at: datetime,
        *,
        is_news: bool,
    ) -> Sha256: ...
    async def evict(
        self, repository: RepositoryName, size_max_bytes: int, at_once: int, at: datetime
    ) -> tuple[Evicted, ...]: ...

"""What the layers above need of a metadata store for files after they were published."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from bonded.server.core.digests import Sha256
from bonded.server.core.files import DeletedFile, DeletedPackage, File, Selection
from bonded.server.core.names import PackageName, RepositoryName


class LifecycleTable(Protocol):
    """Files after they were published, and what no file needs any more."""

    async def yank(
        self, repository: RepositoryName, selection: Selection, reason: str | None
    ) -> tuple[File, ...]: ...
    async def delete(
        self,
        repository: RepositoryName,
        selection: Selection,
        at: datetime,
        restorable_until: datetime,
    ) -> tuple[File, ...]: ...
    async def restore(
        self, repository: RepositoryName, selection: Selection, at: datetime
    ) -> tuple[File, ...]: ...
    async def drop(
        self, repository: RepositoryName, selection: Selection, at: datetime
    ) -> tuple[File, ...]: ...
    async def list_emptied(
        self, repository: RepositoryName, name: PackageName | None
    ) -> Collection[PackageName]: ...
    async def list_deleted_packages(
        self, repository: RepositoryName, since: datetime, after: str, limit: int
    ) -> tuple[DeletedPackage, ...]: ...
    async def list_deleted_files(
        self, repository: RepositoryName, since: datetime, after: tuple[str, str], limit: int
    ) -> tuple[DeletedFile, ...]: ...
    async def list_deleted_of(
        self, repository: RepositoryName, name: PackageName, since: datetime
    ) -> tuple[DeletedFile, ...]: ...
    async def find_named(
        self, digests: Collection[Sha256], since: datetime
    ) -> frozenset[Sha256]: ...
    async def forget_core_metadata(self, prefix: str, since: datetime) -> int: ...

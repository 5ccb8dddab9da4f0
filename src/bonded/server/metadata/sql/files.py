"""Packages and their files, as rows."""

from __future__ import annotations

from datetime import datetime

from packaging.version import Version
from sqlalchemy import Row, Select, exists, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.files import File, Package, Status
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.projects import hold_repository, named
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import listing_scope, package_scope

_repositories = schema.repositories
_packages = schema.packages
_files = schema.files


class SqlFiles:
    """Packages and their files."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list_packages(self, repository: RepositoryName) -> tuple[PackageName, ...]:
        """Return every package that offers something, in order. Raises NotFound."""
        await self._repository_key(repository)
        query = (
            select(_packages.c.normalized, _packages.c.spelled)
            .join(_repositories)
            # A quarantined package offers nothing and is not listed (PEP 792).
            .where(*named(repository), _packages.c.status != Status.QUARANTINED)
            .order_by(_packages.c.normalized)
        )
        rows = await self._connection.execute(query)
        return tuple(PackageName(row.normalized, row.spelled) for row in rows)

    async def find_package(self, repository: RepositoryName, name: PackageName) -> Package | None:
        """Return the package with all its files, or None."""
        row = await self._package(repository, name)
        if row is None:
            return None
        query = select(_files).where(_files.c.package == row.key).order_by(_files.c.key)
        files = tuple(_file(file) for file in await self._connection.execute(query))
        return Package(
            name=PackageName(row.normalized, row.spelled),
            files=files,
            versions=tuple(sorted({file.version for file in files}, key=Version)),
            status=Status(row.status),
            status_reason=row.status_reason,
        )

    async def find_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> File | None:
        """Return one file, or None."""
        query = (
            select(_files)
            .select_from(_files.join(_packages).join(_repositories))
            .where(
                *named(repository),
                _packages.c.normalized == name.normalized,
                _files.c.filename == filename,
            )
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _file(row)

    async def find_status(self, repository: RepositoryName, name: PackageName) -> Status | None:
        """Return the package's status, or None if there is no such package."""
        row = await self._package(repository, name)
        return None if row is None else Status(row.status)

    async def add(self, repository: RepositoryName, name: PackageName, file: File) -> None:
        """Add *file*, and its package if it is the first.

        Raises:
            NotFound: the repository does not exist.
            Conflict: the filename is taken.
        """
        key = await hold_repository(self._connection, repository)
        package, is_new = await self._ensure_package(key, repository, name, file.upload_time)
        try:
            await self._connection.execute(insert(_files).values(package=package, **_row(file)))
        except IntegrityError as error:
            raise Conflict(f"File already exists: {file.filename}") from error
        await self._connection.execute(
            update(_repositories)
            .where(_repositories.c.key == key)
            .values(
                size_bytes=_repositories.c.size_bytes + file.size_bytes,
                updated_at=file.upload_time,
            )
        )
        scopes = [listing_scope(repository)] if is_new else []
        await advance(self._connection, *scopes, package_scope(repository, name))

    async def is_named(self, digest: Sha256) -> bool:
        """Say whether any file, or its core metadata, is the blob *digest*."""
        named_by = or_(_files.c.sha256 == digest, _files.c.core_metadata_sha256 == digest)
        query = select(literal(1)).where(exists().where(named_by))
        return (await self._connection.execute(query)).first() is not None

    async def _repository_key(self, repository: RepositoryName) -> int:
        query = select(_repositories.c.key).where(*named(repository))
        key: int | None = (await self._connection.execute(query)).scalar_one_or_none()
        if key is None:
            raise NotFound(f"Repository {repository} does not exist")
        return key

    async def _ensure_package(
        self, key: int, repository: RepositoryName, name: PackageName, at: datetime
    ) -> tuple[int, bool]:
        row = await self._package(repository, name)
        if row is not None:
            return row.key, False
        values = {
            "repository": key,
            "normalized": name.normalized,
            "spelled": name.spelled,
            "status": Status.ACTIVE,
            "status_reason": "",
            "created_at": at,
        }
        query = insert(_packages).values(values).returning(_packages.c.key)
        return (await self._connection.execute(query)).scalar_one(), True

    async def _package(
        self, repository: RepositoryName, name: PackageName
    ) -> Row[tuple[object, ...]] | None:
        query: Select[tuple[object, ...]] = (
            select(_packages)
            .join(_repositories)
            .where(*named(repository), _packages.c.normalized == name.normalized)
        )
        return (await self._connection.execute(query)).one_or_none()


def _row(file: File) -> dict[str, object]:
    return {
        "filename": file.filename,
        "version": file.version,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "upload_time": file.upload_time,
        "requires_python": file.requires_python,
        "core_metadata_sha256": file.core_metadata_sha256,
        "core_metadata_size_bytes": file.core_metadata_size_bytes,
        "yanked": file.yanked,
    }


def _file(row: Row[tuple[object, ...]]) -> File:
    digest = row.core_metadata_sha256
    return File(
        filename=row.filename,
        version=row.version,
        size_bytes=row.size_bytes,
        sha256=Sha256(row.sha256),
        upload_time=row.upload_time,
        requires_python=row.requires_python,
        core_metadata_sha256=None if digest is None else Sha256(digest),
        core_metadata_size_bytes=row.core_metadata_size_bytes,
        yanked=row.yanked,
    )

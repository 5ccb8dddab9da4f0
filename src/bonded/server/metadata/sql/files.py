"""Packages and their files, as rows."""

from __future__ import annotations

import asyncio
from datetime import datetime

import zstandard
from sqlalchemy import Row, and_, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Conflict, NotFound, Rejected
from bonded.server.core.files import File, Filename, Package, Status
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.sql.projects import (
    NAMED,
    SqlRepositories,
    hold_repository,
    parts_of,
)
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import listing_scope, package_scope

_repositories = schema.repositories
_packages = schema.packages
_files = schema.files
_deleted = schema.deleted_files
_core_metadata = schema.core_metadata

# Making one costs more than compressing METADATA with it. Used on the event loop alone.
_COMPRESSOR = zstandard.ZstdCompressor()
FEW_BYTES = 64 * 1024
"""So many are compressed on the event loop in less time than matters to anybody."""

_ONE_PACKAGE = (*NAMED, _packages.c.normalized == bindparam("in_package"))

# Statements that installs and uploads send are built once: building costs more than running.
_LIST_PACKAGES = (
    select(_packages.c.normalized, _packages.c.spelled)
    .join(_repositories)
    # A quarantined package offers nothing and is not listed (PEP 792).
    .where(*NAMED, _packages.c.status != Status.QUARANTINED, _packages.c.emptied_at.is_(None))
    .order_by(_packages.c.normalized)
)
_FIND_PACKAGE = Prepared(select(_packages).join(_repositories).where(*_ONE_PACKAGE))
_LIST_FILES = (
    select(_files)
    .where(_files.c.package == bindparam("in_key"))
    # A file that was deleted and came back has another key, and its old place.
    .order_by(_files.c.upload_time, _files.c.key)
)
_LIST_FILES_OF_VERSION = _LIST_FILES.where(_files.c.version == bindparam("in_version"))
_FIND_FILE = Prepared(
    select(_packages.c.status, _files)
    .select_from(
        _repositories.join(_packages).outerjoin(
            _files,
            and_(
                _files.c.package == _packages.c.key,
                _files.c.filename == bindparam("in_filename"),
            ),
        )
    )
    .where(*_ONE_PACKAGE)
)
_FIND_CORE_METADATA = Prepared(
    select(_core_metadata.c.content).where(_core_metadata.c.sha256 == bindparam("in_sha256"))
)
_ADD_CORE_METADATA = postgresql.insert(_core_metadata)
_KEEP_CORE_METADATA = {
    "sqlite": Prepared(sqlite.insert(_core_metadata).on_conflict_do_nothing()),
    # Where there can be another writer, a row that is there already is held until the commit:
    # see `SqlLifecycle.forget_core_metadata`.
    "postgresql": Prepared(
        _ADD_CORE_METADATA.on_conflict_do_update(
            index_elements=["sha256"], set_={"sha256": _ADD_CORE_METADATA.excluded.sha256}
        )
    ),
}
_ADD_PACKAGE = Prepared(insert(_packages).returning(_packages.c.key))
_ADD_FILE = Prepared(insert(_files))
_FIND_DELETED = Prepared(
    select(_deleted).where(
        _deleted.c.package == bindparam("in_key"),
        _deleted.c.canonical == bindparam("in_canonical"),
    )
)
_GROW = Prepared(
    update(_repositories)
    .where(_repositories.c.key == bindparam("in_key"))
    .values(
        size_bytes=_repositories.c.size_bytes + bindparam("grown_by"),
        updated_at=bindparam("at", type_=schema.Instant),
    )
)


class SqlFiles:
    """Packages and their files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list_packages(self, repository: RepositoryName) -> tuple[PackageName, ...]:
        """Return every package that offers something, in order. Raises NotFound."""
        if await SqlRepositories(self._connection).find(repository) is None:
            raise NotFound(f"Repository {repository} does not exist")
        return await self._connection.collect(
            _LIST_PACKAGES,
            lambda row: PackageName(row.normalized, row.spelled),
            parts_of(repository),
        )

    async def find_package(
        self, repository: RepositoryName, name: PackageName, version: str = ""
    ) -> Package | None:
        """Return the package with all its files, or None; without any if all were deleted.

        With a *version*, of its files only those of that.
        """
        row = await self._package(repository, name)
        if row is None:
            return None
        wanted = {"in_key": row.key} | ({"in_version": version} if version else {})
        query = _LIST_FILES_OF_VERSION if version else _LIST_FILES
        files = await self._connection.collect(query, file_of, wanted)
        return Package(
            name=PackageName(row.normalized, row.spelled),
            files=files,
            versions=tuple(dict.fromkeys(file.version for file in files)),
            status=Status(row.status),
            status_reason=row.status_reason,
        )

    async def find_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> tuple[File | None, Status | None]:
        """Return one file and its package's status; None for what is not there."""
        wanted = parts_of(repository) | {"in_package": name.normalized, "in_filename": filename}
        row = (await self._connection.run(_FIND_FILE, wanted)).one_or_none()
        if row is None:
            return None, None
        return None if row.filename is None else file_of(row), Status(row.status)

    async def find_core_metadata(self, digest: Sha256) -> bytes | None:
        """Return core metadata by its digest, or None."""
        found = await self._connection.run(_FIND_CORE_METADATA, {"in_sha256": digest})
        content: bytes | None = found.scalar_one_or_none()
        if content is None:
            return None
        decompress = zstandard.ZstdDecompressor().decompress
        if zstandard.frame_content_size(content) <= FEW_BYTES:
            return decompress(content)
        return await asyncio.to_thread(decompress, content)

    async def restore_core_metadata(
        self, repository: RepositoryName, name: PackageName, digest: Sha256, data: bytes
    ) -> None:
        """Put back the core metadata of a file that is listed with it, if it is missing.

        Raises:
            NotFound: the repository does not exist.
        """
        await hold_repository(self._connection, repository)
        await keep_core_metadata(self._connection, digest, data)
        await advance(self._connection, package_scope(repository, name))

    async def add(
        self, repository: RepositoryName, name: PackageName, file: File, core_metadata: bytes
    ) -> File:
        """Add *file* with its core metadata (of no account unless the file has its digest).

        Its package is added if this is the first file. One that was deleted comes back as it
        was. Returns the file as it is listed.

        Raises:
            NotFound: the repository does not exist.
            Conflict: the filename is taken, or was by other bytes before they were deleted.
            Rejected: the package takes no files (PEP 792).
        """
        # Held first, and asked for the package after it: only then is a package seen that
        # somebody else has added while this transaction waited.
        key = await hold_repository(self._connection, repository)
        row = await self._package(repository, name)
        is_new = row is None or row.emptied_at is not None
        if row is not None and row.status in (Status.ARCHIVED, Status.QUARANTINED):
            raise Rejected(f"Package {name} is {row.status} and takes no files")
        canonical = Filename.parse(file.filename).canonical
        at = file.upload_time
        if row is None:
            package = await add_package(self._connection, key, name, at)
        else:
            package = row.key
            file = await self._as_it_was(package, canonical, file)
        if row is not None and row.emptied_at is not None:
            full = update(_packages).where(_packages.c.key == package)
            await self._connection.execute(full.values(emptied_at=None))
        try:
            await self._connection.run(_ADD_FILE, {"package": package, **row_of(file, canonical)})
        except IntegrityError as error:
            raise Conflict(
                f"File already exists: {file.filename}",
                hint="It, or the same file under another spelling of its name, is published.",
            ) from error
        if file.core_metadata_sha256 is not None:
            await keep_core_metadata(self._connection, file.core_metadata_sha256, core_metadata)
        await grow(self._connection, key, file.size_bytes, at)
        scopes = [listing_scope(repository)] if is_new else []
        await advance(self._connection, *scopes, package_scope(repository, name))
        return file

    async def _as_it_was(self, package: int, canonical: str, file: File) -> File:
        """Return *file* as it was before it was deleted, if it was, and take up its tombstone."""
        wanted = {"in_key": package, "in_canonical": canonical}
        row = (await self._connection.run(_FIND_DELETED, wanted)).one_or_none()
        if row is None:
            return file
        if (row.filename, row.sha256) != (file.filename, file.sha256):
            raise Conflict(
                f"The file {row.filename} was deleted, and only the same bytes may come back "
                f"under its name (sha256 {row.sha256})",
                hint="Raise the version and upload again.",
            )
        await self._connection.execute(delete(_deleted).where(_deleted.c.key == row.key))
        return file_of(row)

    async def _package(
        self, repository: RepositoryName, name: PackageName
    ) -> Row[tuple[object, ...]] | None:
        wanted = parts_of(repository) | {"in_package": name.normalized}
        row: Row[tuple[object, ...]] | None
        row = (await self._connection.run(_FIND_PACKAGE, wanted)).one_or_none()
        return row


async def add_package(
    connection: Connection, repository: int, name: PackageName, at: datetime
) -> int:
    """Add a package, for whoever holds its repository; return its key."""
    values = {
        "repository": repository,
        "normalized": name.normalized,
        "spelled": name.spelled,
        "status": Status.ACTIVE,
        "status_reason": "",
        "created_at": at,
    }
    key: int = (await connection.run(_ADD_PACKAGE, values)).scalar_one()
    return key


async def grow(connection: Connection, repository: int, by_bytes: int, at: datetime) -> None:
    """Count what has come to a repository, or (negative) gone."""
    await connection.run(_GROW, {"in_key": repository, "grown_by": by_bytes, "at": at})


async def keep_core_metadata(connection: Connection, digest: Sha256, data: bytes) -> None:
    """Keep core metadata, which wheels of one version mostly share."""
    statement = _KEEP_CORE_METADATA[connection.dialect.name]
    if len(data) <= FEW_BYTES:
        kept = {"sha256": digest, "content": _COMPRESSOR.compress(data)}
        await connection.run(statement, kept)
        return
    # Megabytes are rare, and would be felt by everybody.
    content = await asyncio.to_thread(zstandard.ZstdCompressor().compress, data)
    await connection.execute_each(statement.statement, [{"sha256": digest, "content": content}])


def row_of(file: File, canonical: str) -> dict[str, object]:
    """Return the row of *file*, without its package."""
    return {
        "filename": file.filename,
        "canonical": canonical,
        "version": file.version,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "upload_time": file.upload_time,
        "requires_python": file.requires_python,
        "core_metadata_sha256": file.core_metadata_sha256,
        "yanked": file.yanked,
    }


def file_of(row: Row[tuple[object, ...]]) -> File:
    """Return the file that a row describes."""
    digest = row.core_metadata_sha256
    return File(
        filename=row.filename,
        version=row.version,
        size_bytes=row.size_bytes,
        sha256=Sha256(row.sha256),
        upload_time=row.upload_time,
        requires_python=row.requires_python,
        core_metadata_sha256=None if digest is None else Sha256(digest),
        yanked=row.yanked,
    )

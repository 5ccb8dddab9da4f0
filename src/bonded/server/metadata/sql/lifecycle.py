"""What becomes of files after they were published, as rows.

What is deleted moves to a table of its own, so that nobody who reads `files` has to leave it
out. Its row stays there as a tombstone: see `files.SqlFiles.add`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    tuple_,
    union,
    union_all,
    update,
)

from bonded.server.core.digests import Sha256
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.files import DeletedFile, DeletedPackage, File, PackageSummary, Selection
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.cached_pages import SqlCachedPages
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.files import file_of, grow
from bonded.server.metadata.sql.listings import NAMES_AT_ONCE_MAX
from bonded.server.metadata.sql.projects import NAMED, hold_repository, parts_of
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import listing_scope, package_scope

_packages = schema.packages
_files = schema.files
_deleted = schema.deleted_files
_pages = schema.cached_pages
_core = schema.cached_core_metadata
_core_metadata = schema.core_metadata

# All that a file is, but for its key, which another may have by the time it comes back.
_SHARED = [column.name for column in _files.c if column.name != "key"]
_SINCE = bindparam("since", type_=schema.Instant)
_LIST_DELETED = (
    select(_packages.c.normalized, _packages.c.spelled, _deleted)
    .select_from(_deleted.join(_packages).join(schema.repositories))
    .where(*NAMED, _deleted.c.restorable_until > _SINCE)
    .order_by(_packages.c.normalized, _deleted.c.filename)
)
_LIST_DELETED_PACKAGES = (
    select(
        _packages.c.normalized,
        _packages.c.spelled,
        _packages.c.created_at,
        _packages.c.emptied_at,
        func.max(_deleted.c.upload_time).label("updated_at"),
        func.max(_deleted.c.restorable_until).label("restorable_until"),
    )
    .select_from(_packages.join(schema.repositories).join(_deleted))
    .where(
        *NAMED,
        _packages.c.emptied_at.is_not(None),
        _deleted.c.restorable_until > _SINCE,
        _packages.c.normalized > bindparam("after"),
    )
    .group_by(_packages.c.key)
    .order_by(_packages.c.normalized)
    .limit(bindparam("at_most"))
)


class SqlLifecycle:
    """Files after they were published, and what no file needs any more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def yank(
        self, repository: RepositoryName, selection: Selection, reason: str | None
    ) -> tuple[File, ...]:
        """Mark files as yanked for *reason*, or (None) no longer; return them as they are now.

        Raises:
            NotFound: the repository does not exist, or has nothing of what is selected.
        """
        _, package = await self._hold_package(repository, selection)
        chosen = _chosen(_files, package, selection)
        await self._connection.execute(update(_files).where(*chosen).values(yanked=reason))
        files = await self._list(chosen)
        if not files:
            raise NotFound(f"No {selection} in {repository}")
        await advance(self._connection, package_scope(repository, selection.name))
        return files

    async def delete(
        self,
        repository: RepositoryName,
        selection: Selection,
        at: datetime,
        restorable_until: datetime,
    ) -> tuple[File, ...]:
        """Delete files, so that `restore` brings them back until then; return them.

        Raises:
            NotFound: the repository does not exist, or has nothing of what is selected.
        """
        holding, package = await self._hold_package(repository, selection)
        chosen = _chosen(_files, package, selection)
        files = await self._list(chosen)
        if not files:
            raise NotFound(f"No {selection} in {repository}")
        until = literal(restorable_until, schema.Instant)
        rows = select(*(_files.c[name] for name in _SHARED), literal(at, schema.Instant), until)
        buried = [*_SHARED, "deleted_at", "restorable_until"]
        await self._connection.execute_long(
            insert(_deleted).from_select(buried, rows.where(*chosen))
        )
        await self._connection.execute_long(delete(_files).where(*chosen))
        await grow(self._connection, holding, -sum(file.size_bytes for file in files), at)
        emptied = await self._connection.execute(
            update(_packages)
            .where(_packages.c.key == package, ~exists().where(_files.c.package == package))
            .values(emptied_at=at)
        )
        await self._advance(repository, selection.name, is_listed_otherwise=bool(emptied.rowcount))
        return files

    async def restore(
        self, repository: RepositoryName, selection: Selection, at: datetime
    ) -> tuple[File, ...]:
        """Bring back what was deleted and can be restored after *at*; return it.

        Raises:
            NotFound: the repository does not exist, or nothing of what is selected was deleted.
            Rejected: it was deleted too long ago.
        """
        holding, package = await self._hold_package(repository, selection)
        chosen = _chosen(_deleted, package, selection)
        timely = [*chosen, _deleted.c.restorable_until > at]
        query = select(_deleted).where(*timely).order_by(_deleted.c.key)
        files = await self._connection.collect(query, file_of)
        if not files:
            await self._refuse(repository, selection, chosen)
        rows = select(*(_deleted.c[name] for name in _SHARED)).where(*timely)
        await self._connection.execute_long(insert(_files).from_select(_SHARED, rows))
        await self._connection.execute_long(delete(_deleted).where(*timely))
        await grow(self._connection, holding, sum(file.size_bytes for file in files), at)
        filled = await self._connection.execute(
            update(_packages)
            .where(_packages.c.key == package, _packages.c.emptied_at.is_not(None))
            .values(emptied_at=None)
        )
        await self._advance(repository, selection.name, is_listed_otherwise=bool(filled.rowcount))
        return files

    async def _refuse(
        self, repository: RepositoryName, selection: Selection, chosen: list[ColumnElement[bool]]
    ) -> None:
        latest = select(func.max(_deleted.c.restorable_until)).where(*chosen)
        until = (await self._connection.execute(latest)).scalar_one()
        if until is None:
            raise NotFound(f"Nothing of {selection} in {repository} is deleted")
        raise Rejected(
            f"What was deleted of {selection} could be restored until {until:%Y-%m-%d %H:%M} UTC",
            hint="Upload the same files again: the same bytes may come back at any time.",
        )

    async def drop(
        self, repository: RepositoryName, selection: Selection, at: datetime
    ) -> tuple[File, ...]:
        """Let go of copies of an upstream's files, which may be fetched again; return them.

        Raises:
            NotFound: the repository does not exist, or has nothing of what is selected.
        """
        holding, package = await self._hold_package(repository, selection)
        chosen = _chosen(_files, package, selection)
        files = await self._list(chosen)
        if not files:
            raise NotFound(f"No {selection} in {repository}")
        await self._connection.execute_long(delete(_files).where(*chosen))
        core = delete(_core).where(
            _core.c.repository == holding, _core.c.normalized == selection.name.normalized
        )
        if selection.version or selection.filename:
            core = core.where(_core.c.filename.in_([file.filename for file in files]))
        await self._connection.execute_long(core)
        gone = await self._connection.execute(
            delete(_packages).where(
                _packages.c.key == package, ~exists().where(_files.c.package == package)
            )
        )
        await grow(self._connection, holding, -sum(file.size_bytes for file in files), at)
        if gone.rowcount:
            await advance(self._connection, listing_scope(repository))
        # This advances the package's serial, too.
        pages = SqlCachedPages(self._connection)
        await pages.expire_page(repository, holding, selection.name)
        return files

    async def list_emptied(
        self, repository: RepositoryName, name: PackageName | None
    ) -> Collection[PackageName]:
        """Return the packages, or (if it is one) *name*, that are here no more.

        Every file of them was deleted; or, in a remote repository, the upstream has withdrawn
        them.
        """
        emptied = (
            select(_packages.c.normalized, _packages.c.spelled)
            .join(schema.repositories)
            .where(*NAMED, _packages.c.emptied_at.is_not(None))
        )
        withdrawn = (
            select(_pages.c.normalized, _pages.c.spelled)
            .join(schema.repositories)
            .where(*NAMED, _pages.c.is_absent.is_(True), _pages.c.size_bytes > 0)
        )
        if name is not None:
            emptied = emptied.where(_packages.c.normalized == name.normalized)
            withdrawn = withdrawn.where(_pages.c.normalized == name.normalized)
        return await self._connection.collect(
            union_all(emptied, withdrawn),
            lambda row: PackageName(row.normalized, row.spelled),
            parts_of(repository),
        )

    async def list_deleted_packages(
        self, repository: RepositoryName, since: datetime, after: str, limit: int
    ) -> tuple[DeletedPackage, ...]:
        """Return packages without files that can be restored after *since*, in order of name."""
        wanted = parts_of(repository) | {"since": since, "after": after, "at_most": limit}
        return await self._connection.collect(_LIST_DELETED_PACKAGES, _deleted_package, wanted)

    async def list_deleted_files(
        self, repository: RepositoryName, since: datetime, after: tuple[str, str], limit: int
    ) -> tuple[DeletedFile, ...]:
        """Return files that can be restored after *since*, by package and filename."""
        place = tuple_(_packages.c.normalized, _deleted.c.filename)
        query = _LIST_DELETED.where(place > tuple_(*after)).limit(limit)
        return await self._collect_deleted(query, repository, since)

    async def list_deleted_of(
        self, repository: RepositoryName, name: PackageName, since: datetime
    ) -> tuple[DeletedFile, ...]:
        """Return the files of one package that can be restored after *since*, by filename."""
        query = _LIST_DELETED.where(_packages.c.normalized == name.normalized)
        return await self._collect_deleted(query, repository, since)

    async def find_named(self, digests: Collection[Sha256], since: datetime) -> frozenset[Sha256]:
        """Return those of *digests* that are a file's blob, or can be one again after *since*."""
        listed = select(_files.c.sha256).where(_files.c.sha256.in_(digests))
        restorable = select(_deleted.c.sha256).where(
            _deleted.c.sha256.in_(digests), _deleted.c.restorable_until > since
        )
        query = union(listed, restorable)
        return frozenset(await self._connection.collect(query, lambda row: Sha256(row.sha256)))

    async def forget_core_metadata(self, prefix: str, since: datetime) -> int:
        """Forget core metadata of no file, among those whose digest starts with *prefix*.

        Those of files that can be restored after *since* stay. Returns how many went. By parts,
        so that no writer waits long.
        """
        # Held first, and looked at again by the next statement, which sees what was committed
        # until then: the row may be held by somebody who adds a file that has it.
        in_part = _core_metadata.c.sha256.between(prefix, f"{prefix}g")
        held = select(_core_metadata.c.sha256).where(in_part, *_is_orphan(since))
        digests = await self._connection.collect(
            held.with_for_update(skip_locked=True), lambda row: str(row.sha256)
        )
        removed = 0
        for start in range(0, len(digests), NAMES_AT_ONCE_MAX):
            still_held = _core_metadata.c.sha256.in_(digests[start : start + NAMES_AT_ONCE_MAX])
            gone = await self._connection.execute_long(
                delete(_core_metadata).where(still_held, *_is_orphan(since))
            )
            removed += gone.rowcount
        return removed

    async def _collect_deleted(
        self, query: Select[Any], repository: RepositoryName, since: datetime
    ) -> tuple[DeletedFile, ...]:
        wanted = parts_of(repository) | {"since": since}
        return await self._connection.collect(query, _deleted_file, wanted)

    async def _list(self, chosen: list[ColumnElement[bool]]) -> tuple[File, ...]:
        query = select(_files).where(*chosen).order_by(_files.c.key)
        return await self._connection.collect(query, file_of)

    async def _advance(
        self, repository: RepositoryName, name: PackageName, *, is_listed_otherwise: bool
    ) -> None:
        scopes = [listing_scope(repository)] if is_listed_otherwise else []
        await advance(self._connection, *scopes, package_scope(repository, name))

    async def _hold_package(
        self, repository: RepositoryName, selection: Selection
    ) -> tuple[int, int]:
        """Return both keys, and let nobody else change the package's files until the commit."""
        holding = await hold_repository(self._connection, repository)
        query = select(_packages.c.key).where(
            _packages.c.repository == holding,
            _packages.c.normalized == selection.name.normalized,
        )
        package: int | None = (await self._connection.execute(query)).scalar_one_or_none()
        if package is None:
            raise NotFound(f"No {selection} in {repository}")
        return holding, package


def _is_orphan(since: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on core metadata of no file, and of none that can come back."""
    digest = _core_metadata.c.sha256
    return (
        ~exists().where(_files.c.core_metadata_sha256 == digest),
        ~exists().where(
            _deleted.c.core_metadata_sha256 == digest, _deleted.c.restorable_until > since
        ),
        ~exists().where(_core.c.sha256 == digest),
    )


def _chosen(table: Table, package: int, selection: Selection) -> list[ColumnElement[bool]]:
    """Return the conditions that single out what is selected, in a table of files."""
    conditions = [table.c.package == package]
    if selection.version:
        conditions.append(table.c.version == selection.version)
    if selection.filename:
        conditions.append(table.c.filename == selection.filename)
    return conditions


def _deleted_file(row: Row[Any]) -> DeletedFile:
    return DeletedFile(
        package=PackageName(row.normalized, row.spelled),
        file=file_of(row),
        deleted_at=row.deleted_at,
        restorable_until=row.restorable_until,
    )


def _deleted_package(row: Row[Any]) -> DeletedPackage:
    name = PackageName(row.normalized, row.spelled)
    return DeletedPackage(
        PackageSummary(name, row.created_at, row.updated_at),
        deleted_at=row.emptied_at,
        restorable_until=row.restorable_until,
    )

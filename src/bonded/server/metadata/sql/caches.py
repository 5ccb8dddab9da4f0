"""What remote repositories have cached, as rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import (
    Row,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.caches import CachedFile, Evicted
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.cached_pages import SqlCachedPages
from bonded.server.metadata.sql.files import (
    add_package,
    file_of,
    grow,
    keep_core_metadata,
    row_of,
)
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.sql.projects import NAMED, hold_repository, parts_of
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import listing_scope, package_scope

_repositories = schema.repositories
_packages = schema.packages
_files = schema.files
_pages = schema.cached_pages
_cached = schema.cached_files
_core = schema.cached_core_metadata
_contents = schema.core_metadata

# Statements that installs send are built once: building costs more than running.
_LIST_FILES = (
    select(_files, _cached.c.url, _cached.c.used_at)
    .select_from(
        _repositories.join(_packages).join(_files).join(_cached, _cached.c.file == _files.c.key)
    )
    .where(*NAMED, _packages.c.normalized == bindparam("in_package"))
)
_FIND_FILE = Prepared(_LIST_FILES.where(_files.c.filename == bindparam("in_filename")))
_LIST_URLS = (
    select(_packages.c.normalized, _files.c.filename, _cached.c.url)
    .select_from(
        _repositories.join(_packages).join(_files).join(_cached, _cached.c.file == _files.c.key)
    )
    .where(
        *NAMED,
        _packages.c.normalized.in_(bindparam("in_packages", expanding=True)),
        _files.c.filename.in_(bindparam("in_filenames", expanding=True)),
    )
)
_FIND_PACKAGE = Prepared(
    select(_packages.c.key).where(
        _packages.c.repository == bindparam("in_key"),
        _packages.c.normalized == bindparam("in_package"),
    )
)
_ADD_FILE = Prepared(insert(_files).returning(_files.c.key))
_ADD_CACHED = Prepared(insert(_cached))
_FORGET_FILE = Prepared(
    delete(_files)
    .where(_files.c.package == bindparam("in_key"), _files.c.filename == bindparam("in_filename"))
    .returning(_files.c.size_bytes)
)
_LIST_CORE = (
    select(_core.c.filename, _core.c.sha256)
    .join(_repositories)
    .where(*NAMED, _core.c.normalized == bindparam("in_package"))
)
_KEEP_CORE = {
    dialect: Prepared(
        (made_core := kind(_core)).on_conflict_do_update(
            index_elements=["repository", "normalized", "filename"],
            set_={"sha256": made_core.excluded.sha256, "kept_at": made_core.excluded.kept_at},
        )
    )
    for dialect, kind in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}
_CORE_SIZE = func.length(_contents.c.content)
_CORE_CONTENTS = _core.join(_contents, _contents.c.sha256 == _core.c.sha256)
# Of a package that its upstream has no more, what is left is small, and stays.
_LISTED_PAGE = (_pages.c.repository == bindparam("in_key"), _pages.c.is_absent.is_(False))
_SIZE = select(
    _repositories.c.size_bytes
    + select(func.coalesce(func.sum(_CORE_SIZE), 0))
    .select_from(_CORE_CONTENTS)
    .where(_core.c.repository == bindparam("in_key"))
    .scalar_subquery()
    + select(func.coalesce(func.sum(_pages.c.size_bytes), 0)).where(*_LISTED_PAGE).scalar_subquery()
).where(_repositories.c.key == bindparam("in_key"))
_OLDEST_FILES = (
    select(_files.c.key, _packages.c.normalized, _packages.c.spelled)
    .add_columns(_files.c.filename, _files.c.sha256, _files.c.size_bytes, _cached.c.used_at)
    .select_from(_cached.join(_files, _cached.c.file == _files.c.key).join(_packages))
    .where(_cached.c.repository == bindparam("in_key"))
    .order_by(_cached.c.used_at)
    .limit(bindparam("at_once"))
)
_OLDEST_CORE = (
    select(cast(null(), _files.c.key.type), _core.c.normalized, _core.c.normalized)
    .add_columns(_core.c.filename, _core.c.sha256, _CORE_SIZE, _core.c.kept_at)
    .select_from(_CORE_CONTENTS)
    .where(_core.c.repository == bindparam("in_key"))
    .order_by(_core.c.kept_at)
    .limit(bindparam("at_once"))
)
# As long as a file is here its page stays: in an outage, nothing is served without it.
_OLDEST_PAGES = (
    select(cast(null(), _files.c.key.type), _pages.c.normalized, _pages.c.spelled)
    .add_columns(literal(""), literal(""), _pages.c.size_bytes, _pages.c.checked_at)
    .where(*_LISTED_PAGE, _pages.c.size_bytes > 0)
    .where(
        ~exists().where(
            _packages.c.repository == _pages.c.repository,
            _packages.c.normalized == _pages.c.normalized,
        )
    )
    .order_by(_pages.c.checked_at)
    .limit(bindparam("at_once"))
)
NAMES_AT_ONCE_MAX = 500
"""Of one statement; databases have limits of their own on its parameters."""
_EACH_OLDEST = union_all(
    *(select(each.subquery()) for each in (_OLDEST_FILES, _OLDEST_CORE, _OLDEST_PAGES))
).subquery()
_OLDEST = select(_EACH_OLDEST).order_by(_EACH_OLDEST.c.used_at).limit(bindparam("at_once"))


class SqlCaches(SqlCachedPages):
    """Pages, files and core metadata that came from upstreams."""

    async def find_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> CachedFile | None:
        """Return a file that is here, or None."""
        wanted = parts_of(repository) | {"in_package": name.normalized, "in_filename": filename}
        row = (await self._connection.run(_FIND_FILE, wanted)).one_or_none()
        return None if row is None else _cached_file(row)

    async def list_files(
        self, repository: RepositoryName, name: PackageName
    ) -> tuple[CachedFile, ...]:
        """Return the files of a package that are here."""
        wanted = parts_of(repository) | {"in_package": name.normalized}
        return await self._connection.collect_lazily(_LIST_FILES, _cached_file, wanted)

    async def list_urls(
        self, repository: RepositoryName, wanted: Collection[tuple[PackageName, str]]
    ) -> Mapping[tuple[PackageName, str], str]:
        """Return where files that are here came from, by package and filename."""
        found: dict[tuple[PackageName, str], str] = {}
        in_order = sorted(wanted)
        for start in range(0, len(in_order), NAMES_AT_ONCE_MAX):
            part = in_order[start : start + NAMES_AT_ONCE_MAX]
            which = {
                "in_packages": sorted({name.normalized for name, _ in part}),
                "in_filenames": [filename for _, filename in part],
            }
            found |= await self._connection.collect(
                _LIST_URLS,
                lambda row: ((PackageName(row.normalized, row.normalized), row.filename), row.url),
                parts_of(repository) | which,
            )
        return found

    async def keep_file(
        self,
        repository: RepositoryName,
        name: PackageName,
        cached: CachedFile,
        core_metadata: bytes,
        *,
        is_news: bool,
    ) -> None:
        """Keep a file in place of what was known under its name.

        *is_news* says that clients see more of the package now.

        Raises:
            NotFound: the repository does not exist.
        """
        key = await hold_repository(self._connection, repository)
        found = await self._connection.run(
            _FIND_PACKAGE, {"in_key": key, "in_package": name.normalized}
        )
        package: int | None = found.scalar_one_or_none()
        if package is None:
            package = await add_package(self._connection, key, name, cached.used_at)
            await advance(self._connection, listing_scope(repository))
        else:
            await self._forget_file(key, package, cached)
        # An upstream may have two spellings of one filename, and both must be had.
        row = row_of(cached.file, canonical=cached.file.filename)
        added = await self._connection.run(_ADD_FILE, {"package": package, **row})
        beside = {"repository": key, "url": cached.url, "used_at": cached.used_at}
        await self._connection.run(_ADD_CACHED, {"file": added.scalar_one(), **beside})
        if cached.file.core_metadata_sha256 is not None and core_metadata:
            digest = cached.file.core_metadata_sha256
            await keep_core_metadata(self._connection, digest, core_metadata)
        await grow(self._connection, key, cached.file.size_bytes, cached.used_at)
        if is_news:
            await advance(self._connection, package_scope(repository, name))

    async def _forget_file(self, repository: int, package: int, cached: CachedFile) -> None:
        wanted = {"in_key": package, "in_filename": cached.file.filename}
        gone = (await self._connection.run(_FORGET_FILE, wanted)).one_or_none()
        if gone is not None:
            await grow(self._connection, repository, -gone.size_bytes, cached.used_at)

    async def use_files(
        self, repository: RepositoryName, used: Collection[tuple[PackageName, str]], at: datetime
    ) -> None:
        """Say that files were used at about that time."""
        key = await self.hold_shared(repository)
        find = (
            select(_files.c.key)
            .join(_packages)
            .where(
                _packages.c.repository == bindparam("in_repository"),
                _packages.c.normalized == bindparam("in_package"),
                _files.c.filename == bindparam("in_filename"),
            )
            .scalar_subquery()
        )
        statement = update(_cached).where(_cached.c.file == find).values(used_at=at)
        # In order, so that two replicas never wait for each other.
        for name, filename in sorted(used):
            which = {
                "in_repository": key,
                "in_package": name.normalized,
                "in_filename": filename,
            }
            await self._connection.execute(statement, which)

    async def list_core_metadata(
        self, repository: RepositoryName, name: PackageName
    ) -> Mapping[str, Sha256]:
        """Return the digests of core metadata that was fetched by itself, by filename."""
        wanted = parts_of(repository) | {"in_package": name.normalized}
        return dict(
            await self._connection.collect_lazily(
                _LIST_CORE, lambda row: (str(row.filename), Sha256(row.sha256)), wanted
            )
        )

    async def keep_core_metadata(
        self,
        repository: RepositoryName,
        name: PackageName,
        filename: str,
        content: bytes,
        at: datetime,
        *,
        is_news: bool,
    ) -> Sha256:
        """Keep the core metadata of a file that need not be here; return its digest.

        Raises:
            NotFound: the repository does not exist.
        """
        key = await self.hold_shared(repository)
        digest = sha256_of(content)
        await keep_core_metadata(self._connection, digest, content)
        values = {
            "repository": key,
            "normalized": name.normalized,
            "filename": filename,
            "sha256": digest,
            "kept_at": at,
        }
        await self._connection.run(_KEEP_CORE[self._connection.dialect.name], values)
        if is_news:
            await advance(self._connection, package_scope(repository, name))
        return digest

    async def evict(
        self, repository: RepositoryName, size_max_bytes: int, at_once: int, at: datetime
    ) -> tuple[Evicted, ...]:
        """Let go of what was used longest ago, at most *at_once*, until the rest fits.

        Files; core metadata kept by itself, of which only when it was fetched is known; and
        pages of packages without a file here, by when they were last checked. Of such a page
        stays that the upstream has the package: absence must be confirmed then, as of any other.

        Raises:
            NotFound: the repository does not exist.
        """
        key = await hold_repository(self._connection, repository)
        held = {"in_key": key}
        excess = (await self._connection.execute(_SIZE, held)).scalar_one() - size_max_bytes
        if excess <= 0:
            return ()
        going = []
        oldest = await self._connection.execute(_OLDEST, held | {"at_once": at_once})
        for row in oldest.all():
            if excess <= 0:
                break
            excess -= row.size_bytes
            going.append(row)
        await self._remove(key, repository, going, at)
        return tuple(
            Evicted(PackageName(row.normalized, row.spelled), row.filename, Sha256(row.sha256))
            for row in going
        )

    async def _remove(
        self,
        key: int,
        repository: RepositoryName,
        going: list[Row[tuple[object, ...]]],
        at: datetime,
    ) -> None:
        files = [row for row in going if row.key is not None]
        await self._connection.execute_long(
            delete(_files).where(_files.c.key.in_([row.key for row in files]))
        )
        alone = [row for row in going if row.key is None]
        by_itself = [(row.normalized, row.filename) for row in alone if row.filename]
        await self._connection.execute_long(
            delete(_core).where(
                _core.c.repository == key,
                tuple_(_core.c.normalized, _core.c.filename).in_(by_itself),
            )
        )
        pages = [row.normalized for row in alone if not row.filename]
        await self._connection.execute_long(
            update(_pages)
            .where(_pages.c.repository == key, _pages.c.normalized.in_(pages))
            .values(
                content=b"",
                size_bytes=0,
                digest="",
                etag="",
                last_modified="",
                is_expired=True,
            )
        )
        is_empty = ~exists().where(_files.c.package == _packages.c.key)
        emptied = await self._connection.execute_long(
            delete(_packages).where(_packages.c.repository == key, is_empty)
        )
        if emptied.rowcount:
            await advance(self._connection, listing_scope(repository))
        await grow(self._connection, key, -sum(row.size_bytes for row in files), at)
        # In order, so that two transactions never wait for each other.
        for normalized in sorted({row.normalized for row in going}):
            name = PackageName(normalized, normalized)
            await advance(self._connection, package_scope(repository, name))


def _cached_file(row: Row[tuple[object, ...]]) -> CachedFile:
    return CachedFile(file_of(row), row.url, row.used_at)

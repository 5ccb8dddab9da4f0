"""Pages of upstreams, as rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import ColumnElement, Row, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from bonded.server.core.errors import NotFound
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.caches import CachedPage, KeptPage
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.sql.projects import NAMED, hold_repository, parts_of
from bonded.server.metadata.sql.serials import advance, advance_below, read
from bonded.server.metadata.store import listing_scope, package_scope

_repositories = schema.repositories
_pages = schema.cached_pages

_HOLD_SHARED = Prepared(
    select(_repositories.c.key).where(*NAMED).with_for_update(read=True, key_share=True)
)
_ONE_PAGE = (*NAMED, _pages.c.normalized == bindparam("in_package"))
_FIND_PAGE = Prepared(select(_pages).join(_repositories).where(*_ONE_PAGE))
_HOLD_PAGE = Prepared(
    select(_pages).join(_repositories).where(*_ONE_PAGE).with_for_update(of=_pages)
)
_PAGE_KEY = ("repository", "normalized")
_PAGE_REST = [one.name for one in _pages.c if one.name not in _PAGE_KEY]
_KEEP_PAGE = {
    dialect: Prepared(
        (made := kind(_pages)).on_conflict_do_update(
            index_elements=list(_PAGE_KEY), set_={name: made.excluded[name] for name in _PAGE_REST}
        )
    )
    for dialect, kind in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


class SqlCachedPages:
    """What is known of upstreams' pages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_page(self, repository: RepositoryName, name: PackageName) -> CachedPage | None:
        """Return what is known of a page, or None."""
        wanted = parts_of(repository) | {"in_package": name.normalized}
        row = (await self._connection.run(_FIND_PAGE, wanted)).one_or_none()
        return None if row is None else _page(row)

    async def keep_page(self, repository: RepositoryName, page: CachedPage, as_of: int) -> KeptPage:
        """Keep a page in place of what was known of it; advance serials if clients see a change.

        *as_of* is the package's serial from before its upstream was asked: whoever wanted it to
        be asked again since then may want a later answer than this. An older answer never takes
        the place of a newer one that another replica has had since then; whatever was there
        before is not newer, though the clock that says so was ahead.

        Raises:
            NotFound: the repository does not exist.
        """
        key = await self.hold_shared(repository)
        wanted = parts_of(repository) | {"in_package": page.name.normalized}
        row = (await self._connection.run(_HOLD_PAGE, wanted)).one_or_none()
        before = None if row is None else _page(row)
        scope = package_scope(repository, page.name)
        serial = await read(self._connection, scope)
        is_overtaken = before is not None and before.checked_at > page.checked_at
        # Never in favour of nothing: that a page made room, or was forgotten, is no answer.
        if before is not None and before.content and is_overtaken and serial != as_of:
            return KeptPage(serial, is_current=False)
        if before is not None and before.is_expired and serial != as_of:
            page = replace(page, is_expired=True)
        values = {
            "repository": key,
            "normalized": page.name.normalized,
            "spelled": page.name.spelled,
            "is_absent": page.is_absent,
            "content": page.content,
            "size_bytes": len(page.content),
            "digest": page.digest,
            "etag": page.etag,
            "last_modified": page.last_modified,
            "checked_at": page.checked_at,
            "is_expired": page.is_expired,
        }
        await self._connection.run(_KEEP_PAGE[self._connection.dialect.name], values)
        if page.is_withdrawn != (before is not None and before.is_withdrawn):
            await advance(self._connection, listing_scope(repository))
        if before is None or (before.digest, before.is_absent) != (page.digest, page.is_absent):
            serial = await advance(self._connection, scope)
        return KeptPage(serial, is_current=not page.is_expired)

    async def confirm_pages(
        self, repository: RepositoryName, pages: Collection[CachedPage]
    ) -> None:
        """Say that pages are still what they were, when these were checked."""
        key = await self.hold_shared(repository)
        # Never back: another replica may have checked later.
        statement = (
            update(_pages)
            .where(
                _pages.c.repository == bindparam("in_repository"),
                _pages.c.normalized == bindparam("in_package"),
                _pages.c.digest == bindparam("in_digest"),
                _pages.c.is_absent == bindparam("in_absent"),
                _pages.c.checked_at < bindparam("at", type_=schema.Instant),
                _pages.c.is_expired.is_(False),
            )
            .values(
                checked_at=bindparam("at", type_=schema.Instant),
                etag=bindparam("in_etag"),
                last_modified=bindparam("in_modified"),
            )
        )
        # In order, so that two replicas never wait for each other.
        for page in sorted(pages, key=lambda one: one.name):
            confirmed = {
                "in_repository": key,
                "in_package": page.name.normalized,
                "in_digest": page.digest,
                "in_absent": page.is_absent,
                "in_etag": page.etag,
                "in_modified": page.last_modified,
                "at": page.checked_at,
            }
            await self._connection.execute(statement, confirmed)

    async def expire_pages(self, repository: RepositoryName, name: PackageName | None) -> int:
        """Have the upstream asked about a package, or all, before the next answer.

        Returns how many pages that concerns. Of a package that is named, it is forgotten too
        that the upstream once had it.

        Raises:
            NotFound: the repository does not exist.
        """
        if name is None:
            # Alone: it takes the pages in any order, and who confirms some takes them in theirs.
            key = await hold_repository(self._connection, repository)
            changed = await self._expire(_pages.c.repository == key)
            # Every replica keeps in memory until when a page is fresh, by its serial.
            await advance_below(self._connection, listing_scope(repository))
            return changed
        key = await self.hold_shared(repository)
        forgotten = await self._connection.execute(
            update(_pages)
            .where(
                _pages.c.repository == key,
                _pages.c.normalized == name.normalized,
                _pages.c.is_absent.is_(True),
            )
            .values(content=b"", size_bytes=0, digest="")
        )
        if forgotten.rowcount:
            await advance(self._connection, listing_scope(repository))
        return await self.expire_page(repository, key, name)

    async def expire_page(self, repository: RepositoryName, key: int, name: PackageName) -> int:
        """Have the upstream asked about a package, of which nothing is forgotten.

        For whoever holds the repository; *key* is its. Returns how many pages that concerns.
        """
        which = (_pages.c.repository == key, _pages.c.normalized == name.normalized)
        changed = await self._expire(*which)
        await advance(self._connection, package_scope(repository, name))
        return changed

    async def _expire(self, *which: ColumnElement[bool]) -> int:
        statement = update(_pages).where(*which).values(is_expired=True)
        return (await self._connection.execute_long(statement)).rowcount

    async def hold_shared(self, repository: RepositoryName) -> int:
        """Return the repository's key, and keep it from being removed until the commit."""
        found = await self._connection.run(_HOLD_SHARED, parts_of(repository))
        key: int | None = found.scalar_one_or_none()
        if key is None:
            raise NotFound(f"Repository {repository} does not exist")
        return key


def _page(row: Row[tuple[object, ...]]) -> CachedPage:
    return CachedPage(
        name=PackageName(row.normalized, row.spelled),
        content=row.content,
        digest=row.digest,
        etag=row.etag,
        last_modified=row.last_modified,
        checked_at=row.checked_at,
        is_absent=row.is_absent,
        is_expired=row.is_expired,
    )

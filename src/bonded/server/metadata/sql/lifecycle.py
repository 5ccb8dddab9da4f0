"""What becomes of files after they were published, as rows."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, select, update

from bonded.server.core.errors import NotFound
from bonded.server.core.files import File, Selection
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.files import file_of
from bonded.server.metadata.sql.projects import hold_repository
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import package_scope

_packages = schema.packages
_files = schema.files


class SqlLifecycle:
    """Files after they were published."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def yank(
        self, repository: RepositoryName, selection: Selection, reason: str | None
    ) -> tuple[File, ...]:
        """Mark files as yanked for *reason*, or (None) no longer; return them as they are now.

        Raises:
            NotFound: the repository does not exist, or has nothing of what is selected.
        """
        package = await self._hold_package(repository, selection)
        chosen = _chosen(_files, package, selection)
        await self._connection.execute(update(_files).where(*chosen).values(yanked=reason))
        query = select(_files).where(*chosen).order_by(_files.c.key)
        files = await self._connection.collect(query, file_of)
        if not files:
            raise NotFound(f"No {selection} in {repository}")
        await advance(self._connection, package_scope(repository, selection.name))
        return files

    async def _hold_package(self, repository: RepositoryName, selection: Selection) -> int:
        """Return the package's key, and let nobody else change its files until the commit."""
        holding = await hold_repository(self._connection, repository)
        query = select(_packages.c.key).where(
            _packages.c.repository == holding,
            _packages.c.normalized == selection.name.normalized,
        )
        key: int | None = (await self._connection.execute(query)).scalar_one_or_none()
        if key is None:
            raise NotFound(f"No {selection} in {repository}")
        return key


def _chosen(table: Table, package: int, selection: Selection) -> list[ColumnElement[bool]]:
    """Return the conditions that single out what is selected, in a table of files."""
    conditions = [table.c.package == package]
    if selection.version:
        conditions.append(table.c.version == selection.version)
    if selection.filename:
        conditions.append(table.c.filename == selection.filename)
    return conditions

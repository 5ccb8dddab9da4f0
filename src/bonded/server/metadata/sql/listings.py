"""What the control plane lists of packages."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from bonded.server.core.files import PackageSummary
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.projects import NAMED, parts_of

NAMES_AT_ONCE_MAX = 500
"""Parameters of one statement; databases have limits of their own on them."""

_packages = schema.packages
_files = schema.files

_DESCRIBE = (
    select(
        _packages.c.normalized,
        _packages.c.spelled,
        _packages.c.created_at,
        func.max(_files.c.upload_time).label("updated_at"),
    )
    .join(schema.repositories, schema.repositories.c.key == _packages.c.repository)
    .outerjoin(_files, _files.c.package == _packages.c.key)
    .where(*NAMED, _packages.c.emptied_at.is_(None))
    .where(_packages.c.normalized.in_(bindparam("in_names", expanding=True)))
    .group_by(_packages.c.key)
    .order_by(_packages.c.normalized)
)


class SqlListings:
    """What the control plane lists."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def describe_packages(
        self, repository: RepositoryName, names: Sequence[PackageName]
    ) -> tuple[PackageSummary, ...]:
        """Return those of *names* that the repository has files of, in order."""
        found: list[PackageSummary] = []
        wanted = sorted({name.normalized for name in names})
        for start in range(0, len(wanted), NAMES_AT_ONCE_MAX):
            part = wanted[start : start + NAMES_AT_ONCE_MAX]
            found += await self._connection.collect(
                _DESCRIBE,
                lambda row: PackageSummary(
                    PackageName(row.normalized, row.spelled),
                    row.created_at,
                    row.updated_at or row.created_at,
                ),
                parts_of(repository) | {"in_names": part},
            )
        return tuple(found)

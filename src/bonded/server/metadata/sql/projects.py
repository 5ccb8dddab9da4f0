"""Projects and repositories, as rows."""

from __future__ import annotations

from sqlalchemy import Row, bindparam, delete, exists, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from bonded.server.core.errors import Conflict, Needed, NotFound
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import RepositoryConfig, upstreams_of
from bonded.server.metadata.sql import configurations, schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.sql.serials import advance, forget_below
from bonded.server.metadata.store import (
    ACCESS,
    REPOSITORIES,
    Project,
    RepositoryRecord,
    listing_scope,
)

_projects = schema.projects
_repositories = schema.repositories
_upstreams = schema.repository_upstreams

NAMED = (
    _repositories.c.project == bindparam("in_project"),
    _repositories.c.location == bindparam("in_location"),
    _repositories.c.repository == bindparam("in_repository"),
)
"""The conditions that single out one repository."""

# Statements that uploads send are built once: building one costs more than running it.
_HOLD_REPOSITORY = Prepared(select(_repositories.c.key).where(*NAMED).with_for_update())
_FIND_REPOSITORY = Prepared(select(_repositories).where(*NAMED))


class SqlProjects:
    """Projects."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, project: Project) -> None:
        """Add *project*. Raises Conflict if its id is taken."""
        await advance(self._connection, ACCESS)
        try:
            await self._connection.execute(
                insert(_projects).values(
                    id=project.id,
                    number=project.number,
                    name=project.name,
                    labels=project.labels,
                    created_at=project.created_at,
                )
            )
        except IntegrityError as error:
            raise Conflict(f"Project {project.id} already exists") from error

    async def find(self, project: str) -> Project | None:
        """Return the project, or None."""
        rows = await self._connection.execute(select(_projects).where(_projects.c.id == project))
        row = rows.one_or_none()
        return None if row is None else _project(row)

    async def find_numbered(self, number: int) -> Project | None:
        """Return the project with that number, or None."""
        rows = await self._connection.execute(select(_projects).where(_projects.c.number == number))
        row = rows.one_or_none()
        return None if row is None else _project(row)

    async def hold(self, project: str) -> None:
        """Keep the project from being removed until the transaction ends. Raises NotFound."""
        query = select(_projects.c.id).where(_projects.c.id == project)
        held = query.with_for_update(read=True, key_share=True)
        if (await self._connection.execute(held)).first() is None:
            raise NotFound(f"Project {project} does not exist")

    async def list(self, after: str, limit: int) -> tuple[Project, ...]:
        """Return up to *limit* projects in order of id, from the one that follows *after*."""
        query = select(_projects).where(_projects.c.id > after).order_by(_projects.c.id)
        return tuple(_project(row) for row in await self._connection.execute(query.limit(limit)))

    async def remove(self, project: str) -> None:
        """Remove the project with its service accounts. Raises Needed if it is not empty."""
        await advance(self._connection, ACCESS)
        owned = delete(schema.accounts).where(schema.accounts.c.project == project)
        await self._connection.execute(owned)
        try:
            await self._connection.execute(delete(_projects).where(_projects.c.id == project))
        except IntegrityError as error:
            raise Needed(f"Project {project} is not empty") from error

    async def is_empty(self, project: str) -> bool:
        """Say whether no repository belongs to the project."""
        owned = exists().where(_repositories.c.project == project)
        return not (await self._connection.execute(select(literal(1)).where(owned))).first()


def _project(row: Row[tuple[object, ...]]) -> Project:
    return Project(
        id=row.id,
        number=row.number,
        name=row.name,
        created_at=row.created_at,
        labels=dict(row.labels),
    )


class SqlRepositories:
    """Repositories, without what is in them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, record: RepositoryRecord) -> None:
        """Add *record*.

        Raises:
            Conflict: its name is taken.
            NotFound: its project, or an upstream on this server, does not exist.
        """
        name = record.name
        await self.hold_all()
        await SqlProjects(self._connection).hold(name.project)
        try:
            await self._connection.execute(
                insert(_repositories).values(
                    project=name.project,
                    location=name.location,
                    repository=name.repository,
                    mode=record.mode,
                    description=record.description,
                    labels=record.labels,
                    created_at=record.created_at,
                    updated_at=record.updated_at,
                    size_bytes=record.size_bytes,
                    config=configurations.encode(record.config),
                )
            )
        except IntegrityError as error:
            raise Conflict(f"Repository {name} already exists") from error
        await self._name_upstreams(name, record.config)
        await advance(self._connection, listing_scope(name))

    async def find(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""
        row = (await self._connection.run(_FIND_REPOSITORY, parts_of(name))).one_or_none()
        return None if row is None else _repository(row)

    async def list(
        self, project: str, location: str | None, after: str, limit: int
    ) -> tuple[RepositoryRecord, ...]:
        """Return up to *limit* repositories of a project, in order of location and id.

        *after* is `LOCATION/REPOSITORY` of the last one seen, or empty.
        """
        place = _repositories.c.location + "/" + _repositories.c.repository
        query = select(_repositories).where(_repositories.c.project == project, place > after)
        if location is not None:
            query = query.where(_repositories.c.location == location)
        rows = await self._connection.execute(query.order_by(place).limit(limit))
        return tuple(_repository(row) for row in rows)

    async def hold(self, name: RepositoryName) -> None:
        """Let nobody else change the repository until the commit. Raises NotFound."""
        await hold_repository(self._connection, name)

    async def list_locations(self, project: str) -> tuple[str, ...]:
        """Return the locations where the project has repositories, in order."""
        place = _repositories.c.location
        query = select(place).where(_repositories.c.project == project).distinct().order_by(place)
        return tuple((await self._connection.execute(query)).scalars().all())

    async def hold_all(self) -> None:
        """Let nobody else add, set up or remove a repository until the commit.

        What is decided by looking at several of them, that none is its own upstream, then
        stays true.
        """
        await advance(self._connection, REPOSITORIES)

    async def list_dependents(self, name: RepositoryName) -> tuple[RepositoryName, ...]:
        """Return the repositories that have *name* as an upstream, in order."""
        named = select(_repositories.c.key).where(*NAMED).scalar_subquery()
        query = (
            select(_repositories)
            .join(_upstreams, _upstreams.c.repository == _repositories.c.key)
            .where(_upstreams.c.upstream == named)
        )
        rows = await self._connection.execute(query, parts_of(name))
        return tuple(sorted(_repository(row).name for row in rows))

    async def update(self, record: RepositoryRecord) -> None:
        """Change description, labels and configuration to those of *record*.

        A configuration other than before is for whoever has called `hold_all`.

        Raises:
            NotFound: it, or an upstream on this server, does not exist.
        """
        changed = await self._connection.execute(
            update(_repositories)
            .where(*NAMED)
            .values(
                description=record.description,
                labels=record.labels,
                updated_at=record.updated_at,
                config=configurations.encode(record.config),
            ),
            parts_of(record.name),
        )
        if not changed.rowcount:
            raise NotFound(f"Repository {record.name} does not exist")
        await self._name_upstreams(record.name, record.config)

    async def remove(self, name: RepositoryName) -> None:
        """Remove the repository and every row in it; its blobs become orphans.

        Raises:
            NotFound: it does not exist.
            Needed: it is an upstream of another.
        """
        await advance(self._connection, ACCESS)
        await self.hold_all()
        # Held before anything goes, or a package published meanwhile would disappear
        # without its serial moving.
        key = await hold_repository(self._connection, name)
        if dependents := await self.list_dependents(name):
            raise Needed(
                f"Repository {name} is an upstream of {', '.join(map(str, dependents))}",
                hint="Take it out of there first.",
            )
        removal = delete(_repositories).where(_repositories.c.key == key)
        await self._connection.execute_long(removal)
        await forget_below(self._connection, listing_scope(name))
        await advance(self._connection, listing_scope(name))

    async def _name_upstreams(self, name: RepositoryName, config: RepositoryConfig) -> None:
        key = await hold_repository(self._connection, name)
        before = delete(_upstreams).where(_upstreams.c.repository == key)
        await self._connection.execute(before)
        for upstream in upstreams_of(config):
            found = await self._connection.run(_FIND_REPOSITORY, parts_of(upstream))
            row = found.one_or_none()
            if row is None:
                raise NotFound(f"Repository {upstream} does not exist")
            await self._connection.execute(
                insert(_upstreams).values(repository=key, upstream=row.key)
            )


def _repository(row: Row[tuple[object, ...]]) -> RepositoryRecord:
    name = RepositoryName(row.project, row.location, row.repository)
    return RepositoryRecord(
        name=name,
        description=row.description,
        labels=dict(row.labels),
        created_at=row.created_at,
        updated_at=row.updated_at,
        size_bytes=row.size_bytes,
        config=configurations.decode(row.config, name),
    )


async def hold_repository(connection: Connection, name: RepositoryName) -> int:
    """Return the repository's key, and let nobody else change what is in it until the commit.

    Raises:
        NotFound: it does not exist.
    """
    found = await connection.run(_HOLD_REPOSITORY, parts_of(name))
    key: int | None = found.scalar_one_or_none()
    if key is None:
        raise NotFound(f"Repository {name} does not exist")
    return key


def parts_of(name: RepositoryName) -> dict[str, str]:
    """Return the parameters that NAMED asks for."""
    return {
        "in_project": name.project,
        "in_location": name.location,
        "in_repository": name.repository,
    }

"""Workload identity pools, their providers and trusted publishers, as rows.

Every change advances the access serial, and does so first: the serial's row is
the lock under which changes of access follow one another (see access.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName, Publisher
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.projects import SqlProjects
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import ACCESS

_projects = schema.projects
_repositories = schema.repositories
_pools = schema.pools
_providers = schema.providers
_publishers = schema.publishers
_spent = schema.spent_assertions

_FIND_POOLS = select(_pools, _projects.c.number).join(_projects, _pools.c.project == _projects.c.id)
_FIND_PROVIDERS = select(_providers, _projects.c.number).join(
    _projects, _providers.c.project == _projects.c.id
)
_FIND_PUBLISHERS = select(
    _publishers,
    _repositories.c.project,
    _repositories.c.location,
    _repositories.c.repository.label("repository_id"),
).join(_repositories, _publishers.c.repository == _repositories.c.key)


class SqlPools:
    """Workload identity pools and their providers.

    Names come with the project's id; what is returned holds its number, as Google's does.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, pool: Pool) -> None:
        """Add *pool*. Raises Conflict if its name is taken, NotFound without its project."""
        await advance(self._connection, ACCESS)
        await SqlProjects(self._connection).hold(pool.project)
        row = {"project": pool.project, "id": pool.name.pool, "created_at": pool.created_at}
        try:
            await self._connection.execute(insert(_pools).values(**row, **_changeable(pool)))
        except IntegrityError as error:
            raise Conflict(f"Workload identity pool {pool.name.pool} already exists") from error

    async def find(self, name: PoolName) -> Pool | None:
        """Return the pool, or None."""
        query = _FIND_POOLS.where(*_is_pool(name))
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _pool(row)

    async def list(self, project: str, after: str, limit: int) -> tuple[Pool, ...]:
        """Return up to *limit* pools of a project in order of id, from after *after*."""
        query = _FIND_POOLS.where(_pools.c.project == project, _pools.c.id > after)
        rows = await self._connection.execute(query.order_by(_pools.c.id).limit(limit))
        return tuple(_pool(row) for row in rows)

    async def update(self, name: PoolName, pool: Pool) -> None:
        """Change display name, description, and whether it is disabled."""
        await advance(self._connection, ACCESS)
        await self._connection.execute(
            update(_pools).where(*_is_pool(name)).values(**_changeable(pool))
        )

    async def remove(self, name: PoolName) -> None:
        """Remove the pool and its providers. Raises NotFound."""
        await advance(self._connection, ACCESS)
        removed = await self._connection.execute(delete(_pools).where(*_is_pool(name)))
        if not removed.rowcount:
            raise NotFound(f"Workload identity pool {name} does not exist")

    async def add_provider(self, name: ProviderName, provider: Provider) -> None:
        """Add *provider*. Raises Conflict if its name is taken, NotFound without its pool."""
        await advance(self._connection, ACCESS)
        if await self.find(name.pool) is None:
            raise NotFound(f"Workload identity pool {name.pool} does not exist")
        row = {
            "project": name.pool.project,
            "pool": name.pool.pool,
            "id": name.provider,
            "created_at": provider.created_at,
        }
        try:
            await self._connection.execute(insert(_providers).values(**row, **_settings(provider)))
        except IntegrityError as error:
            raise Conflict(
                f"Workload identity pool provider {name.provider} already exists"
            ) from error

    async def find_provider(self, name: ProviderName) -> Provider | None:
        """Return the provider, or None."""
        query = _FIND_PROVIDERS.where(*_is_provider(name))
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _provider(row)

    async def list_providers(self, pool: PoolName, after: str, limit: int) -> tuple[Provider, ...]:
        """Return up to *limit* providers of a pool in order of id, from after *after*."""
        query = _FIND_PROVIDERS.where(
            _providers.c.project == pool.project,
            _providers.c.pool == pool.pool,
            _providers.c.id > after,
        )
        rows = await self._connection.execute(query.order_by(_providers.c.id).limit(limit))
        return tuple(_provider(row) for row in rows)

    async def update_provider(self, name: ProviderName, provider: Provider) -> None:
        """Change everything but the name."""
        await advance(self._connection, ACCESS)
        await self._connection.execute(
            update(_providers).where(*_is_provider(name)).values(**_settings(provider))
        )

    async def remove_provider(self, name: ProviderName) -> None:
        """Remove the provider. Raises NotFound."""
        await advance(self._connection, ACCESS)
        removed = await self._connection.execute(delete(_providers).where(*_is_provider(name)))
        if not removed.rowcount:
            raise NotFound(f"Workload identity pool provider {name} does not exist")


def _is_pool(name: PoolName) -> tuple[Any, Any]:
    return _pools.c.project == name.project, _pools.c.id == name.pool


def _is_provider(name: ProviderName) -> tuple[Any, Any, Any]:
    return (
        _providers.c.project == name.pool.project,
        _providers.c.pool == name.pool.pool,
        _providers.c.id == name.provider,
    )


def _changeable(one: Pool | Provider) -> dict[str, object]:
    return {
        "display_name": one.display_name,
        "description": one.description,
        "is_disabled": one.is_disabled,
    }


def _settings(provider: Provider) -> dict[str, object]:
    return _changeable(provider) | {
        "issuer": provider.issuer,
        "attribute_mapping": dict(provider.attribute_mapping),
        "attribute_condition": provider.attribute_condition,
        "allowed_audiences": list(provider.allowed_audiences),
        "jwks": provider.jwks,
    }


def _pool(row: Row[tuple[object, ...]]) -> Pool:
    return Pool(
        name=PoolName(str(row.number), row.id),
        project=row.project,
        created_at=row.created_at,
        display_name=row.display_name,
        description=row.description,
        is_disabled=row.is_disabled,
    )


def _provider(row: Row[tuple[object, ...]]) -> Provider:
    return Provider(
        name=ProviderName(PoolName(str(row.number), row.pool), row.id),
        issuer=row.issuer,
        attribute_mapping=dict(row.attribute_mapping),
        created_at=row.created_at,
        attribute_condition=row.attribute_condition,
        allowed_audiences=tuple(row.allowed_audiences),
        jwks=row.jwks,
        display_name=row.display_name,
        description=row.description,
        is_disabled=row.is_disabled,
    )


class SqlPublishers:
    """Trusted publishers, and the assertions that were exchanged already."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, publisher: Publisher) -> None:
        """Add *publisher*. Raises NotFound without its repository."""
        await advance(self._connection, ACCESS)
        key = await self._hold(publisher.repository)
        await self._connection.execute(
            insert(_publishers).values(
                id=publisher.id,
                repository=key,
                kind=publisher.kind,
                issuer=publisher.issuer,
                anchor=publisher.anchor,
                claims=dict(publisher.claims),
                packages=list(publisher.packages),
                created_at=publisher.created_at,
                pins=_packed(publisher.pins),
            )
        )

    async def find(self, publisher: str) -> Publisher | None:
        """Return the publisher with that id, or None."""
        query = _FIND_PUBLISHERS.where(_publishers.c.id == publisher)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _publisher(row)

    async def find_matching(
        self, issuer: str, anchors: Collection[str], limit: int
    ) -> tuple[Publisher, ...]:
        """Return up to *limit* publishers of *issuer* that are found by any of *anchors*."""
        query = _FIND_PUBLISHERS.where(
            _publishers.c.issuer == issuer, _publishers.c.anchor.in_(list(anchors))
        )
        rows = await self._connection.execute(query.order_by(_publishers.c.id).limit(limit))
        return tuple(_publisher(row) for row in rows)

    async def has_issuer(self, issuer: str) -> bool:
        """Say whether any publisher is of *issuer*."""
        query = select(_publishers.c.id).where(_publishers.c.issuer == issuer).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def list(
        self, repository: RepositoryName, after: str, limit: int
    ) -> tuple[Publisher, ...]:
        """Return up to *limit* publishers of a repository in order of id, from after *after*."""
        query = _FIND_PUBLISHERS.where(*_is_repository(repository), _publishers.c.id > after)
        rows = await self._connection.execute(query.order_by(_publishers.c.id).limit(limit))
        return tuple(_publisher(row) for row in rows)

    async def remove(self, repository: RepositoryName, publisher: str) -> None:
        """Remove one publisher of a repository. Raises NotFound."""
        await advance(self._connection, ACCESS)
        owner = select(_repositories.c.key).where(*_is_repository(repository)).scalar_subquery()
        removed = await self._connection.execute(
            delete(_publishers).where(
                _publishers.c.id == publisher, _publishers.c.repository == owner
            )
        )
        if not removed.rowcount:
            raise NotFound(f"Trusted publisher {publisher} of {repository} does not exist")

    async def pin(self, publisher: str, pins: Mapping[str, str]) -> None:
        """Write down what a publisher is held to, unless that was done before.

        Raises:
            Conflict: it was, and is something else.
        """
        await self._connection.execute(
            update(_publishers)
            .where(_publishers.c.id == publisher, _publishers.c.pins.is_(None))
            .values(pins=_packed(pins))
        )
        found = await self.find(publisher)
        if found is None or found.pins != pins:
            raise Conflict(f"The trusted publisher {publisher} has just been used by another owner")

    async def spend(self, assertion: str, expires_at: datetime, now: datetime) -> None:
        """Remember that *assertion* (its digest) was exchanged, until it expires.

        Raises:
            Conflict: it was exchanged before.
        """
        await self._connection.execute(delete(_spent).where(_spent.c.expires_at < now))
        try:
            await self._connection.execute(
                insert(_spent).values(digest=assertion, expires_at=expires_at)
            )
        except IntegrityError as error:
            raise Conflict("The assertion was exchanged before") from error

    async def _hold(self, repository: RepositoryName) -> int:
        query = select(_repositories.c.key).where(*_is_repository(repository))
        row = (await self._connection.execute(query.with_for_update())).first()
        if row is None:
            raise NotFound(f"Repository {repository} does not exist")
        key: int = row.key
        return key


def _is_repository(name: RepositoryName) -> tuple[Any, Any, Any]:
    return (
        _repositories.c.project == name.project,
        _repositories.c.location == name.location,
        _repositories.c.repository == name.repository,
    )


def _publisher(row: Row[tuple[object, ...]]) -> Publisher:
    return Publisher(
        id=row.id,
        repository=RepositoryName(row.project, row.location, row.repository_id),
        kind=row.kind,
        issuer=row.issuer,
        anchor=row.anchor,
        claims=dict(row.claims),
        created_at=row.created_at,
        packages=tuple(row.packages),
        pins=orjson.loads(row.pins) if row.pins else {},
    )


def _packed(pins: Mapping[str, str]) -> str | None:
    return orjson.dumps(dict(pins)).decode() if pins else None

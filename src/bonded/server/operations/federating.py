"""Administering workload identity pools and their providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName
from bonded.server.core.names import is_project_number
from bonded.server.metadata.store import MetadataStore, Project, Transaction
from bonded.server.operations.administering import parse_description

DISPLAY_NAME_LENGTH_MAX = 32
AUDIENCES_MAX = 10
AUDIENCE_LENGTH_MAX = 256
MAPPINGS_MAX = 50


class Federation:
    """Creates, shows, changes and deletes pools and providers.

    Projects are named by id or by number, as Google's API takes them. *check*
    refuses a provider whose expressions, keys or issuer are wrong. Deletion is
    final: nothing is kept for thirty days, so its grants are forgotten with a pool.
    """

    def __init__(
        self, metadata: MetadataStore, clock: Clock, check: Callable[[Provider], None]
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._check = check

    async def create_pool(self, project: str, pool: str, body: Mapping[str, Any]) -> Pool:
        """Create a pool. Raises Rejected, NotFound without the project, Conflict."""
        async with self._metadata.transaction() as tx:
            owner = await _project(tx, project)
            created = Pool(
                name=PoolName.parse(str(owner.number), pool),
                project=owner.id,
                created_at=self._clock(),
                **_description(body),
            )
            await tx.pools.add(created)
        return created

    async def get_pool(self, name: PoolName) -> Pool:
        """Return a pool. Raises NotFound."""
        async with self._metadata.read() as tx:
            return (await _pool(tx, name))[1]

    async def list_pools(self, project: str, after: str, limit: int) -> tuple[Pool, ...]:
        """Return up to *limit* pools of a project, from after *after*. Raises NotFound."""
        async with self._metadata.read() as tx:
            return await tx.pools.list((await _project(tx, project)).id, after, limit)

    async def update_pool(self, name: PoolName, changes: Mapping[str, Any]) -> Pool:
        """Change what *changes* holds. Raises Rejected, NotFound."""
        async with self._metadata.transaction() as tx:
            found, pool = await _pool(tx, name)
            changed = replace(pool, **_description(changes))
            await tx.pools.update(found, changed)
        return changed

    async def delete_pool(self, name: PoolName) -> Pool:
        """Delete a pool with its providers; their tokens stop at once. Raises NotFound."""
        async with self._metadata.transaction() as tx:
            found, pool = await _pool(tx, name)
            await tx.pools.remove(found)
            # Or a pool made later under the same name would inherit the grants.
            await tx.policies.forget_members(lambda member: member.startswith(pool.principals))
        return pool

    async def create_provider(self, name: ProviderName, body: Mapping[str, Any]) -> Provider:
        """Create a provider. Raises Rejected, NotFound without the pool, Conflict."""
        async with self._metadata.transaction() as tx:
            found, pool = await _pool(tx, name.pool)
            parsed = ProviderName.parse(found, name.provider)
            provider = Provider(
                name=replace(parsed, pool=pool.name),
                created_at=self._clock(),
                **{"issuer": "", "attribute_mapping": {}} | _settings(body),
            )
            self._check(provider)
            await tx.pools.add_provider(parsed, provider)
        return provider

    async def get_provider(self, name: ProviderName) -> Provider:
        """Return a provider. Raises NotFound."""
        async with self._metadata.read() as tx:
            return (await _provider(tx, name))[1]

    async def list_providers(self, pool: PoolName, after: str, limit: int) -> tuple[Provider, ...]:
        """Return up to *limit* providers of a pool, from after *after*. Raises NotFound."""
        async with self._metadata.read() as tx:
            return await tx.pools.list_providers((await _pool(tx, pool))[0], after, limit)

    async def update_provider(self, name: ProviderName, changes: Mapping[str, Any]) -> Provider:
        """Change what *changes* holds. Raises Rejected, NotFound."""
        async with self._metadata.transaction() as tx:
            found, provider = await _provider(tx, name)
            changed = replace(provider, **_settings(changes))
            self._check(changed)
            await tx.pools.update_provider(found, changed)
        return changed

    async def delete_provider(self, name: ProviderName) -> Provider:
        """Delete a provider; its tokens stop at once. Raises NotFound."""
        async with self._metadata.transaction() as tx:
            found, provider = await _provider(tx, name)
            await tx.pools.remove_provider(found)
        return provider


async def _project(tx: Transaction, project: str) -> Project:
    if is_project_number(project):
        found = await tx.projects.find_numbered(int(project))
    else:
        found = await tx.projects.find(project)
    if found is None:
        raise NotFound(f"Project {project[:80]} does not exist")
    return found


async def _pool(tx: Transaction, name: PoolName) -> tuple[PoolName, Pool]:
    """Return the pool, and the name it is kept under."""
    found = replace(name, project=(await _project(tx, name.project)).id)
    pool = await tx.pools.find(found)
    if pool is None:
        raise NotFound(f"Workload identity pool {name} does not exist")
    return found, pool


async def _provider(tx: Transaction, name: ProviderName) -> tuple[ProviderName, Provider]:
    """Return the provider, and the name it is kept under."""
    found = replace(name, pool=(await _pool(tx, name.pool))[0])
    provider = await tx.pools.find_provider(found)
    if provider is None:
        raise NotFound(f"Workload identity pool provider {name} does not exist")
    return found, provider


def _description(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *body* says about name and state; what it does not mention is left out."""
    said: dict[str, Any] = {}
    if "displayName" in body:
        said["display_name"] = parse_description(body["displayName"])
        if len(said["display_name"]) > DISPLAY_NAME_LENGTH_MAX:
            raise Rejected(f"displayName may have {DISPLAY_NAME_LENGTH_MAX} characters")
    if "description" in body:
        said["description"] = parse_description(body["description"])
    if "disabled" in body:
        if not isinstance(body["disabled"], bool | None):
            raise Rejected("disabled must be true or false")
        said["is_disabled"] = bool(body["disabled"])
    return said


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *body* says about a provider; what it does not mention is left out."""
    said = _description(body)
    if "attributeMapping" in body:
        said["attribute_mapping"] = _mapping(body["attributeMapping"])
    if "attributeCondition" in body:
        said["attribute_condition"] = _text(body["attributeCondition"], "attributeCondition")
    if "issuerUri" in body:
        said["issuer"] = _text(body["issuerUri"], "oidc.issuerUri")
    if "jwksJson" in body:
        said["jwks"] = _text(body["jwksJson"], "oidc.jwksJson")
    if "allowedAudiences" in body:
        said["allowed_audiences"] = _audiences(body["allowedAudiences"])
    return said


def _text(value: object, field: str) -> str:
    if not isinstance(value, str | None) or "\0" in (value or ""):
        raise Rejected(f"{field} must be a string")
    return value or ""


def _mapping(value: object) -> dict[str, str]:
    if not isinstance(value, dict | None) or len(value or {}) > MAPPINGS_MAX:
        raise Rejected(f"attributeMapping must be an object of at most {MAPPINGS_MAX} entries")
    return {key: _text(text, f"attributeMapping.{key}") for key, text in (value or {}).items()}


def _audiences(value: object) -> tuple[str, ...]:
    listed = value or []
    if (
        not isinstance(listed, list)
        or len(listed) > AUDIENCES_MAX
        or not all(isinstance(one, str) and 0 < len(one) <= AUDIENCE_LENGTH_MAX for one in listed)
    ):
        raise Rejected(
            f"oidc.allowedAudiences must be a list of at most {AUDIENCES_MAX} strings of up to "
            f"{AUDIENCE_LENGTH_MAX} characters"
        )
    return tuple(listed)

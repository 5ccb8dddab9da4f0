"""Defining roles: sets of permissions that administrators put together and name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bonded.server.core.audit import note
from bonded.server.core.errors import Conflict, NotFound
from bonded.server.core.iam import PERMISSIONS
from bonded.server.core.roles import Role, check_role, role_name
from bonded.server.metadata.store import MetadataStore, Transaction
from bonded.server.operations.owning import Guard


class Roles:
    """Creates, shows, changes and deletes custom roles."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def create(self, parent: str, role_id: str, role: Role) -> Role:
        """Create a role. Raises Rejected, Conflict, NotFound without its project."""
        named = replace(role, name=role_name(parent, role_id))
        check_role(named, PERMISSIONS)
        note(named.name)
        async with self._metadata.transaction() as tx:
            return await tx.roles.add(named)

    async def get(self, name: str) -> Role:
        """Return a role, even a deleted one. Raises NotFound."""
        async with self._metadata.read() as tx:
            return await _find(tx, name)

    async def list(self, parent: str, after: str, limit: int) -> tuple[Role, ...]:
        """Return up to *limit* roles of *parent* in order of name, from after *after*."""
        async with self._metadata.read() as tx:
            return await tx.roles.list(parent, after, limit)

    async def update(
        self, name: str, revise: Callable[[Role], Role], guard: Guard | None = None
    ) -> Role:
        """Change a role; it counts at once wherever it is bound. *guard* has the last word.

        Raises:
            NotFound: it does not exist, or is deleted.
            Rejected: what is to be is no role.
            Aborted: the role carries an etag and has been changed since it was read.
        """
        async with self._metadata.transaction() as tx:
            await tx.policies.hold()
            role = await _find(tx, name)
            if role.is_deleted:
                raise Conflict(f"Role {name} is deleted", hint="Undelete it first.")
            revised = revise(role)
            check_role(revised, PERMISSIONS)
            written = await tx.roles.update(revised)
            if guard is not None:
                await guard(tx)
        return written

    async def set_deleted(self, name: str, *, is_deleted: bool, guard: Guard | None = None) -> Role:
        """Delete a role, whose bindings then grant nothing, or undelete it. Raises NotFound."""
        async with self._metadata.transaction() as tx:
            await tx.policies.hold()
            role = await _find(tx, name)
            written = await tx.roles.update(replace(role, is_deleted=is_deleted, etag=""))
            if guard is not None:
                await guard(tx)
        return written


async def _find(tx: Transaction, name: str) -> Role:
    role = await tx.roles.find(name)
    if role is None:
        raise NotFound(f"Role {name} does not exist")
    return role

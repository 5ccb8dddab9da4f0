"""The policies that govern a resource, arranged for decisions and kept by serial."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from bonded.server.core.grants import Grants
from bonded.server.core.iam import (
    GROUPS,
    ORGANIZATION,
    ROLES,
    Binding,
    Permission,
    Policy,
    publishers_of,
)
from bonded.server.core.names import RepositoryName
from bonded.server.core.roles import GROUP_OWNER, UPLOADER, Role
from bonded.server.metadata.store import MetadataStore, Transaction

REMEMBERED_MAX = 4096

Resource = str | RepositoryName
"""`organizations/bonded`, `projects/P`, `projects/P/serviceAccounts/S`, or a repository."""


class PolicyBook:
    """Answers with a resource's effective grants: its own, its project's and the server's."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._known: OrderedDict[Resource, tuple[int, Grants]] = OrderedDict()

    async def grants_on(self, resource: Resource, access_serial: int) -> Grants:
        """Return who may do what on *resource*, as of *access_serial* or later."""
        known = self._known.get(resource)
        if known is not None and known[0] == access_serial:
            return known[1]
        async with self._metadata.read() as tx:
            grants = await grants_in(tx, resource)
        self._known[resource] = (access_serial, grants)
        self._known.move_to_end(resource)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return grants


async def grants_in(tx: Transaction, resource: Resource) -> Grants:
    """Return who may do what on *resource* as *tx* sees it, with what it has written itself."""
    policies = (
        *await tx.policies.find_all(await _lineage(tx, resource)),
        *await _implied(tx, resource),
    )
    named = {binding.role for policy in policies for binding in policy.bindings}
    custom = await tx.roles.find_all(named - ROLES.keys()) if named - ROLES.keys() else ()
    return Grants(policies, str(resource), _permissions_of(custom))


def _permissions_of(custom: Iterable[Role]) -> dict[str, frozenset[Permission]]:
    routed = {permission.value: permission for permission in Permission}
    return {
        role.name: frozenset(routed[name] for name in role.permissions if name in routed)
        for role in custom
        if role.counts
    }


async def _implied(tx: Transaction, resource: Resource) -> tuple[Policy, ...]:
    if isinstance(resource, RepositoryName):
        name = str(resource)
        return (Policy(name, (Binding(UPLOADER, (publishers_of(name),)),)),)
    if resource.startswith(GROUPS):
        owners = await tx.groups.list_owners(resource.removeprefix(GROUPS))
        return (Policy(resource, (Binding(GROUP_OWNER, owners),)),)
    return ()


async def _lineage(tx: Transaction, resource: Resource) -> list[str]:
    if isinstance(resource, RepositoryName):
        return [ORGANIZATION, f"projects/{resource.project}", str(resource)]
    number = resource.removeprefix("projects/")
    if number.isdigit():
        # Pools name their project by its number, as Google's do; policies hang on its id.
        project = await tx.projects.find_numbered(int(number))
        return [ORGANIZATION] if project is None else [ORGANIZATION, f"projects/{project.id}"]
    if resource == ORGANIZATION or resource.startswith(GROUPS):
        return [ORGANIZATION]
    # A project, or something right below one, such as a service account.
    above = "/".join(resource.split("/", 2)[:2])
    return list(dict.fromkeys((ORGANIZATION, above, resource)))

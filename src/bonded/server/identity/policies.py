"""The policies that govern a resource, arranged for decisions and kept by serial."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from bonded.server.core.grants import Grants, PolicyGrants, Roles
from bonded.server.core.iam import (
    GROUPS,
    ORGANIZATION,
    ROLES,
    Binding,
    Permission,
    Policy,
    publishers_of,
)
from bonded.server.core.names import RepositoryName, is_project_number
from bonded.server.core.roles import GROUP_OWNER, UPLOADER, Role
from bonded.server.metadata.store import MetadataStore, Transaction

RESOURCES_MAX = 4096
"""Resources of which it is kept which policies govern them; they need not exist."""
GRANTS_MAX = 200_000
"""Grants of policies that are kept arranged, of all policies together: some 70 MB."""

Resource = str | RepositoryName
"""`organizations/bonded`, `projects/P`, `projects/P/serviceAccounts/S`, or a repository."""


class PolicyBook:
    """Answers with a resource's effective grants: its own, its project's and the server's.

    A policy is arranged once for all that it governs, and again only when it or a role in it has
    changed: what does not exist shares what its project has, so asking for it fills nothing.
    """

    def __init__(self, metadata: MetadataStore, *, grants_max: int = GRANTS_MAX) -> None:
        self._metadata = metadata
        self._known: OrderedDict[Resource, tuple[int, Grants]] = OrderedDict()
        self._shelf = _Shelf(grants_max)

    async def grants_on(self, resource: Resource, access_serial: int) -> Grants:
        """Return who may do what on *resource*, as of *access_serial* or later."""
        known = self._known.get(resource)
        if known is not None and known[0] == access_serial:
            self._known.move_to_end(resource)
            return known[1]
        async with self._metadata.read() as tx:
            lineage = await _lineage(tx, resource)
            kept = await self._find_kept(tx, lineage)
            changed = [one for one in lineage if one not in kept]
            policies = await tx.policies.find_all(changed) if changed else ()
            custom = await _custom_roles(tx, policies)
            implied = await _implied(tx, resource)
        arranged = kept | {one.resource: self._shelf.arrange(one, custom) for one in policies}
        own = tuple(map(PolicyGrants, implied))
        found = [one for one in map(arranged.get, lineage) if one is not None]
        grants = Grants((*found, *own), str(resource))
        self._known[resource] = (access_serial, grants)
        self._known.move_to_end(resource)
        if len(self._known) > RESOURCES_MAX:
            self._known.popitem(last=False)
        return grants

    async def _find_kept(
        self, tx: Transaction, resources: Sequence[str]
    ) -> dict[str, PolicyGrants | None]:
        """Return what is kept of the policies that are as they were; None for what has none."""
        etags = await tx.policies.find_etags(resources)
        found = {one: self._shelf.find(one, etags[one]) for one in resources if one in etags}
        named = {role for one in found.values() if one is not None for role in one.custom}
        roles = await tx.roles.find_all(named) if named else ()
        permissions = _permissions_of(roles)
        kept: dict[str, PolicyGrants | None] = {
            resource: one
            for resource, one in found.items()
            if one is not None and one.custom == _of(one.custom, permissions)
        }
        return kept | {one: None for one in resources if one not in etags}


class _Shelf:
    """Policies that are arranged, with *grants_max* grants at most; the least asked for go."""

    def __init__(self, grants_max: int) -> None:
        self._grants_max = grants_max
        self._policies: OrderedDict[str, tuple[str, PolicyGrants]] = OrderedDict()
        self._size = 0

    def find(self, resource: str, etag: str) -> PolicyGrants | None:
        """Return the policy of *resource*, if it is here as of *etag*."""
        kept = self._policies.get(resource)
        if kept is None or kept[0] != etag:
            return None
        self._policies.move_to_end(resource)
        return kept[1]

    def arrange(self, policy: Policy, custom: Roles) -> PolicyGrants:
        """Arrange *policy*, unless somebody else has meanwhile, and keep it."""
        found = self.find(policy.resource, policy.etag)
        if found is not None and found.custom == _of(found.custom, custom):
            return found
        made = PolicyGrants(policy, custom)
        _, replaced = self._policies.pop(policy.resource, ("", None))
        self._size += made.size - (replaced.size if replaced is not None else 0)
        self._policies[policy.resource] = (policy.etag, made)
        while self._size > self._grants_max:
            _, (_, gone) = self._policies.popitem(last=False)
            self._size -= gone.size
        return made


async def grants_in(tx: Transaction, resource: Resource) -> Grants:
    """Return who may do what on *resource* as *tx* sees it, with what it has written itself."""
    policies = (
        *await tx.policies.find_all(await _lineage(tx, resource)),
        *await _implied(tx, resource),
    )
    return Grants.of(policies, str(resource), await _custom_roles(tx, policies))


async def _custom_roles(tx: Transaction, policies: Iterable[Policy]) -> Roles:
    """Return what the roles may that administrators have defined and *policies* name."""
    named = {binding.role for policy in policies for binding in policy.bindings} - ROLES.keys()
    return _permissions_of(await tx.roles.find_all(named)) if named else {}


def _of(named: Iterable[str], permissions: Roles) -> Roles:
    return {role: permissions.get(role, frozenset()) for role in named}


def _permissions_of(custom: Iterable[Role]) -> dict[str, frozenset[Permission]]:
    routed = {permission.value: permission for permission in Permission}
    return {
        role.name: frozenset(routed[name] for name in role.permissions if name in routed)
        for role in custom
        if role.counts
    }


async def policies_on(tx: Transaction, resource: Resource) -> tuple[Policy, ...]:
    """Return the policies that hang on *resource* and above it, as they were written."""
    return await tx.policies.find_all(await _lineage(tx, resource))


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
    if is_project_number(number):
        # Pools name their project by its number, as Google's do; policies hang on its id.
        project = await tx.projects.find_numbered(int(number))
        return [ORGANIZATION] if project is None else [ORGANIZATION, f"projects/{project.id}"]
    if resource == ORGANIZATION or resource.startswith(GROUPS):
        return [ORGANIZATION]
    # A project, or something right below one, such as a service account.
    above = "/".join(resource.split("/", 2)[:2])
    return list(dict.fromkeys((ORGANIZATION, above, resource)))

"""Granting: reading and replacing policies: the server's, projects', repositories', accounts'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import nullcontext

from bonded.server.core.audit import note
from bonded.server.core.conditions import Condition
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.grants import CONVENIENCE
from bonded.server.core.iam import (
    ALL_AUTHENTICATED_USERS,
    ALL_USERS,
    NEVER_SET,
    ORGANIZATION,
    ROLES,
    Binding,
    Permission,
    Policy,
    is_reading,
)
from bonded.server.core.members import parse_member
from bonded.server.core.names import RepositoryName
from bonded.server.core.policy_versions import restore_conditions
from bonded.server.core.roles import counts_on
from bonded.server.metadata.store import MetadataStore, Transaction
from bonded.server.operations.naming import Naming
from bonded.server.operations.owning import Guard, Owners

ACCOUNTS = "/serviceAccounts/"
Resource = str | RepositoryName
_NEVER_PUBLIC = {Permission.REPOSITORY_GET_POLICY}
"""Reads a repository, but tells who people are."""


class Granting:
    """Reads and replaces policies."""

    def __init__(
        self,
        metadata: MetadataStore,
        check_conditions: Callable[[Iterable[Condition], Collection[Condition]], None],
        owners: Owners,
        naming: Naming,
    ) -> None:
        self._metadata = metadata
        self._owners = owners
        self._check_conditions = check_conditions
        self._naming = naming

    async def get_policy(self, resource: Resource) -> Policy:
        """Return the policy that hangs on *resource* itself. Raises NotFound."""
        async with self._metadata.read() as tx:
            await _require(tx, resource)
            policy = await tx.policies.find(str(resource))
        return policy or Policy(str(resource), etag=NEVER_SET)

    async def require(self, resource: Resource) -> None:
        """Do nothing if *resource* exists. Raises NotFound."""
        async with self._metadata.read() as tx:
            await _require(tx, resource)

    async def set_policy(
        self, policy: Policy, resource: Resource, version: int, guard: Guard | None = None
    ) -> Policy:
        """Replace the policy of *resource*; return it with its new etag.

        *version* is what the policy's author knows: below 3, nothing of conditions. *guard* has
        the last word.

        Raises:
            Rejected: a condition is no expression or would be lost, or a member or role cannot
                be named here.
            NotFound: the resource does not exist.
            Lockout: the server would be left without an owner.
            Aborted: the policy carries an etag and has been changed since it was read.
        """
        # In a thread and before the lock, because it may take a second; asked again under it, what
        # has been looked at is known.
        async with self._metadata.read() as tx:
            before = await tx.policies.find(str(resource))
        if before is None or policy.etag in ("", before.etag):
            await asyncio.to_thread(self._checked, policy, before, version)
        async with self._metadata.transaction() as tx:
            # First of all, because that takes the lock on access: what is asked after it
            # stays true until the commit.
            await tx.policies.hold()
            before = await tx.policies.find(str(resource))
            if before is None or policy.etag in ("", before.etag):  # `set` refuses any other
                policy = self._checked(policy, before, version)
                for binding in policy.bindings:
                    _check_members(binding, resource)
                await self._check_gained(tx, before, policy)
            owners = self._owners.kept(tx) if resource == ORGANIZATION else nullcontext()
            async with owners:
                written = await tx.policies.set(policy)
            note(policyDelta={"bindingDeltas": binding_deltas(before, policy)})
            await _hold(tx, resource)
            if guard is not None:
                await guard(tx)
        return written

    def _checked(self, policy: Policy, before: Policy | None, version: int) -> Policy:
        """Return *policy* with the conditions that its author did not see, all of them good."""
        policy = restore_conditions(policy, before, version)
        self._check_conditions(_conditions(policy), _conditions(before))
        return policy

    async def _check_gained(self, tx: Transaction, before: Policy | None, policy: Policy) -> None:
        """Refuse what is granted anew of a role, or to somebody of this server, that is not there.

        What was there before may stay, or a role that has been deleted, or a member whom an
        older server took, would keep everything else in the policy from being changed. Users
        may be invited later.
        """
        for member in sorted(_members(policy) - _members(before)):
            parse_member(member)
        gained = _grants(policy) - _grants(before)
        await _check_roles(tx, {role for role, _, _ in gained}, policy.resource)
        for member in sorted({member for _, member, _ in gained}):
            await self._naming.require(tx, member)


def _check_members(binding: Binding, resource: Resource) -> None:
    for member in binding.members:
        kind, _, project = member.partition(":")
        is_below = str(resource).startswith(f"projects/{project}/")
        if kind in CONVENIENCE and not is_below:
            raise Rejected(f"{member} may be named only below projects/{project}")
        if not _may_have(member, binding.role):
            raise Rejected(
                f"{member} cannot have {binding.role}: that would open more than reading packages "
                "to them",
                hint="Use a role such as roles/artifactregistry.reader, or name who is to have it.",
            )


def binding_deltas(before: Policy | None, after: Policy) -> list[dict[str, object]]:
    """Return who has gained and lost which role, as Google's audit log says it."""
    had = _grants(before)
    has = _grants(after)
    changes = (("REMOVE", had - has), ("ADD", has - had))
    return [
        _delta(action, role, member, condition)
        for action, grants in changes
        for role, member, condition in sorted(grants, key=str)
    ]


def _delta(action: str, role: str, member: str, condition: Condition | None) -> dict[str, object]:
    delta: dict[str, object] = {"action": action, "role": role, "member": member}
    if condition is not None:
        delta["condition"] = {"title": condition.title, "expression": condition.expression}
    return delta


def _grants(policy: Policy | None) -> set[tuple[str, str, Condition | None]]:
    bindings = () if policy is None else policy.bindings
    return {(one.role, member, one.condition) for one in bindings for member in one.members}


def _members(policy: Policy | None) -> set[str]:
    return {member for _, member, _ in _grants(policy)}


def _conditions(policy: Policy | None) -> list[Condition]:
    bindings = () if policy is None else policy.bindings
    return [one.condition for one in bindings if one.condition is not None]


async def _check_roles(tx: Transaction, roles: Collection[str], resource: str) -> None:
    named = set(roles) - ROLES.keys()
    known = {role.name for role in await tx.roles.find_all(named) if not role.is_deleted}
    for role in sorted(named):
        if role not in known or not counts_on(role, resource):
            raise Rejected(
                f"Role {role} does not exist, or not for {resource}",
                hint="`bonded iam roles list` shows a project's roles; they count below it.",
            )


async def _require(tx: Transaction, resource: Resource) -> None:
    if isinstance(resource, RepositoryName):
        if await tx.repositories.find(resource) is None:
            raise NotFound(f"Repository {resource} does not exist")
    elif ACCOUNTS in resource:
        email = resource.partition(ACCOUNTS)[2]
        if await tx.accounts.find(email) is None:
            raise NotFound(f"Service account {email} does not exist")
    elif resource != ORGANIZATION:
        project = resource.removeprefix("projects/")
        if await tx.projects.find(project) is None:
            raise NotFound(f"Project {project} does not exist")


async def _hold(tx: Transaction, resource: Resource) -> None:
    if isinstance(resource, RepositoryName):
        await tx.repositories.hold(resource)
    elif ACCOUNTS in resource:
        # Whoever removes an account waits for the lock on access, which we have.
        await _require(tx, resource)
    elif resource != ORGANIZATION:
        await tx.projects.hold(resource.removeprefix("projects/"))


def _may_have(member: str, role: str) -> bool:
    """Say whether *member* may be given *role*: everybody only what reads, as it is defined here.

    A custom role may come to hold more than it does, and whoever changes it would not think of
    whom it opens things to. Those who have signed in may also publish; whoever has not may read
    packages, and nothing of people, accounts, groups, policies or the audit log.
    """
    if member == ALL_USERS:
        return role in ROLES and all(_is_public(one) for one in ROLES[role])
    if member == ALL_AUTHENTICATED_USERS:
        held = ROLES.get(role, frozenset())
        return role in ROLES and all(map(is_reading, held - {Permission.REPOSITORY_UPLOAD}))
    return True


def _is_public(permission: Permission) -> bool:
    if permission in _NEVER_PUBLIC:
        return False
    is_of_packages = permission.startswith("artifactregistry.")
    return is_reading(permission) and (is_of_packages or permission == Permission.PROJECT_GET)

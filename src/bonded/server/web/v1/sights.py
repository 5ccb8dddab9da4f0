"""What whoever asks why may see: policies, groups, people, by the permission to read each."""

from __future__ import annotations

from bonded.server.core.iam import ORGANIZATION, Permission
from bonded.server.core.names import RepositoryName, account_resource
from bonded.server.identity.explaining import Sight
from bonded.server.web.access import Access
from bonded.server.web.messages import Call

Resource = str | RepositoryName
ACCOUNTS = "/serviceAccounts/"


async def sight_of(access: Access, call: Call, member: str) -> Sight:
    """Return what the caller may see of what decides about *member* on the call's resource."""
    lacks: list[str] = []

    async def sees(permission: Permission, resource: Resource) -> bool:
        is_seen = await access.allows(call, permission, resource)
        if not is_seen:
            lacks.append(f"{permission} on {resource}")
        return is_seen

    readers = _readers(call.resource)
    seen = [str(one) for one, permission in readers.items() if await sees(permission, one)]
    has_groups = await sees(Permission.GROUP_GET, ORGANIZATION)
    needed = None if member == call.principal.member else _needed_for(member)
    has_principal = needed is None or await sees(*needed)
    shows = _shows(call.resource)
    has_resource = shows is None or await access.allows(call, shows, call.resource)
    return Sight(frozenset(seen), has_groups, has_principal, has_resource, tuple(lacks))


def _shows(resource: Resource) -> Permission | None:
    """Return what it takes to see whether *resource* is there; None if everybody knows."""
    if isinstance(resource, RepositoryName):
        return Permission.REPOSITORY_GET
    if ACCOUNTS in resource:
        return Permission.ACCOUNT_GET
    return None if resource == ORGANIZATION else Permission.PROJECT_GET


def _readers(resource: Resource) -> dict[Resource, Permission]:
    """Return each resource whose policy counts on *resource*, and what it takes to read that."""
    found: dict[Resource, Permission] = {ORGANIZATION: Permission.ORGANIZATION_GET_POLICY}
    if isinstance(resource, RepositoryName):
        found[f"projects/{resource.project}"] = Permission.PROJECT_GET_POLICY
        found[resource] = Permission.REPOSITORY_GET_POLICY
    elif resource != ORGANIZATION:
        project, inside, _ = resource.partition(ACCOUNTS)
        found[project] = Permission.PROJECT_GET_POLICY
        if inside:
            found[resource] = Permission.ACCOUNT_GET_POLICY
    return found


def _needed_for(member: str) -> tuple[Permission, str] | None:
    """Return what it takes to see how *member* stands; None where that is known of nobody."""
    kind, _, address = member.partition(":")
    if kind == "user":
        return Permission.USER_GET, ORGANIZATION
    if kind == "serviceAccount":
        # No account has an address that names no project: whoever may see all may hear that.
        return Permission.ACCOUNT_GET, account_resource("-", address) or ORGANIZATION
    return None

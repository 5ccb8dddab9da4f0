"""Why somebody may do something, or may not: every grant that names them, looked at aloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bonded.server.core.clock import Clock
from bonded.server.core.conditions import Condition
from bonded.server.core.grants import Grant
from bonded.server.core.iam import ROLES, Permission, Principal
from bonded.server.identity.conditions import Circumstances, verdict_on
from bonded.server.identity.expressions import Verdict
from bonded.server.identity.groups import GroupBook
from bonded.server.identity.policies import PolicyBook, Resource


@dataclass(frozen=True, slots=True)
class Look:
    """One grant that names the principal, and what it is worth for the question."""

    grant: Grant
    has_permission: bool
    verdicts: tuple[tuple[Condition, Verdict], ...]
    way: tuple[str, ...]
    """From the principal to the member that is named: the groups in between, outermost last."""

    @property
    def allows(self) -> bool:
        """Whether this grant alone would do."""
        return self.has_permission and all(verdict.is_true for _, verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, and the grants it comes from."""

    principal: Principal
    permission: Permission
    resource: str
    looks: tuple[Look, ...]
    roles: tuple[str, ...]
    """Predefined roles that have the permission."""

    @property
    def is_allowed(self) -> bool:
        """Whether some grant allows it."""
        return any(look.allows for look in self.looks)


class Explaining:
    """Answers why."""

    def __init__(self, policies: PolicyBook, groups: GroupBook, clock: Clock) -> None:
        self._policies = policies
        self._groups = groups
        self._clock = clock

    def now(self) -> datetime:
        """Return the time by the server's clock."""
        return self._clock()

    async def explain(
        self,
        principal: Principal,
        permission: Permission,
        resource: Resource,
        serial: int,
        circumstances: Circumstances,
    ) -> Explanation:
        """Say why *principal* may or may not use *permission* on *resource*.

        *circumstances* are those of the request that is asked about.
        """
        ways = await self._groups.ways_to(principal)
        known = replace(principal, groups=frozenset(ways))
        grants = await self._policies.grants_on(resource, serial)
        looks = tuple(
            Look(
                grant,
                permission in grant.permissions,
                tuple((one, verdict_on(one, circumstances)) for one in grant.conditions),
                _way(ways, grant.member, principal),
            )
            for grant in grants.given_to(known)
        )
        roles = tuple(role for role, permissions in ROLES.items() if permission in permissions)
        return Explanation(principal, permission, str(resource), looks, roles)


def _way(ways: Mapping[str, str], member: str, principal: Principal) -> tuple[str, ...]:
    way: list[str] = []
    while member in ways and member != principal.member:
        way.append(member)
        member = ways[member]
    return tuple(reversed(way))

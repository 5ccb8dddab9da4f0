"""The decision: who may do what on one resource, and why (gar.md §3.2).

Every policy is arranged by member once, whatever the number of resources that it
governs; the grants on a resource are those of the few policies on it and above it.
A decision looks up the principal's own few names, so it costs the same with ten
bindings and with ten thousand; what one policy grants to a principal in very many
groups is found once and kept. Conditions are asked last, and only those that could
decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from bonded.server.core.conditions import Condition, Judge, never
from bonded.server.core.iam import ORGANIZATION, ROLES, Permission, Policy, Principal
from bonded.server.core.roles import EDITOR, OWNER, VIEWER

NAMES_FEW = 4
"""So many names of a principal are looked up on every decision; of more, the outcome is kept.
A policy with no more members is looked through for whoever has more names."""
KEPT_MAX = 64
"""Principals with many names that are kept for one policy."""

CONVENIENCE = {"projectOwner": OWNER, "projectEditor": EDITOR, "projectViewer": VIEWER}
"""Members that stand for whoever has a basic role on the project (gar.md §3.3)."""

Roles = Mapping[str, frozenset[Permission]]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and which grant on which resource allowed it."""

    is_allowed: bool
    resource: str = ""
    role: str = ""
    member: str = ""
    is_conditional: bool = False
    """Whether it holds only in the circumstances in which it was asked."""


DENIED = Decision(is_allowed=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one binding gives to one member: where it hangs, and when it counts."""

    member: str
    role: str
    resource: str
    permissions: frozenset[Permission]
    conditions: tuple[Condition, ...] = ()
    """All of them must hold."""
    through: str = ""
    """The member that the binding names, where that stands for others (`projectOwner:P`)."""


class PolicyGrants:
    """What one policy grants, by member. *custom* are the roles that administrators defined."""

    __slots__ = ("_by_member", "_kept", "custom", "resource", "size", "standing")

    def __init__(self, policy: Policy, custom: Roles | None = None) -> None:
        named = {binding.role for binding in policy.bindings} - ROLES.keys()
        self.custom: Roles = {role: (custom or {}).get(role, frozenset()) for role in named}
        """The roles that it names and that may change without it."""
        self.resource = policy.resource
        """What the policy hangs on."""
        found: dict[str, dict[tuple[object, ...], Grant]] = {}
        for grant in _granted(policy, self.custom):
            # The same role from several bindings is one grant, unless conditions tell them apart.
            same = (grant.role, grant.conditions)
            found.setdefault(grant.member, {}).setdefault(same, grant)
        self.size = sum(map(len, found.values()))
        """How many grants there are."""
        self.standing = tuple(
            grant for member in [*found] if _stands(member) for grant in found.pop(member).values()
        )
        """What is given to members that stand for others (`projectOwner:P`)."""
        self._by_member = {member: tuple(grants.values()) for member, grants in found.items()}
        self._kept: dict[tuple[object, ...], tuple[frozenset[str], tuple[Grant, ...]]] = {}

    def given_to(self, principal: Principal) -> Iterable[Grant]:
        """Return what names *principal*."""
        if len(principal.groups) + len(principal.also) <= NAMES_FEW:
            return self._look_up(principal)
        if len(self._by_member) <= NAMES_FEW:
            return self._sift(principal)
        groups = principal.groups
        key = (principal.member, principal.also)
        kept = self._kept.get(key)
        # The same set is the same at once; comparing it with an equal one grows with the groups.
        if kept is not None and kept[0] is groups:
            return kept[1]
        if kept is not None and kept[0] == groups:
            found = kept[1]
        else:
            found = tuple(self._look_up(principal))
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
        self._kept[key] = (groups, found)
        return found

    def _look_up(self, principal: Principal) -> Iterator[Grant]:
        for member in principal.counts_as:
            yield from self._by_member.get(member, ())

    def _sift(self, principal: Principal) -> Iterator[Grant]:
        names = principal.names
        for member, grants in self._by_member.items():
            if member in principal.groups or member in names:
                yield from grants


class Grants:
    """The policies that govern one resource, each of them arranged.

    *resource* is what the limits of a token are compared with.
    """

    __slots__ = ("_resource", "policies")

    def __init__(self, policies: Sequence[PolicyGrants], resource: str = ORGANIZATION) -> None:
        self.policies = policies
        """On the resource and above it."""
        self._resource = resource

    @classmethod
    def of(
        cls, policies: Iterable[Policy], resource: str = ORGANIZATION, custom: Roles | None = None
    ) -> Self:
        """Arrange *policies*, and keep nothing of it for another resource."""
        return cls(tuple(PolicyGrants(policy, custom) for policy in policies), resource)

    def decide(
        self, principal: Principal, permission: Permission, judge: Judge = never
    ) -> Decision:
        """Say whether *principal* may use *permission*, and through which grant.

        *judge* is asked only about conditions on which the answer depends.
        """
        limits = principal.limits
        if limits is not None and not limits.allow(permission, self._resource):
            return DENIED
        conditional = []
        for grant in self._given_to(principal):
            if permission in grant.permissions:
                if not grant.conditions:
                    return _allowed_by(grant)
                conditional.append(grant)
        for grant in conditional:
            if all(map(judge, grant.conditions)):
                return _allowed_by(grant)
        return DENIED

    def given_to(self, principal: Principal) -> tuple[Grant, ...]:
        """Return every grant that names *principal*, whatever it is good for."""
        return tuple(self._given_to(principal))

    def _given_to(self, principal: Principal) -> Iterator[Grant]:
        for policy in self.policies:
            yield from policy.given_to(principal)
            for grant in policy.standing:
                yield from self._through(grant, principal)

    def _through(self, grant: Grant, principal: Principal) -> Iterator[Grant]:
        """Yield what *grant* is to a *principal* for whom its member stands."""
        kind, _, project = grant.member.partition(":")
        for policy in self.policies:
            if policy.resource == f"projects/{project}":
                for basic in policy.given_to(principal):
                    if basic.role == CONVENIENCE[kind]:
                        conditions = (*grant.conditions, *basic.conditions)
                        yield replace(
                            grant,
                            member=basic.member,
                            conditions=conditions,
                            through=grant.member,
                        )


def _allowed_by(grant: Grant) -> Decision:
    return Decision(
        is_allowed=True,
        resource=grant.resource,
        role=grant.role,
        member=grant.member,
        is_conditional=bool(grant.conditions),
    )


def _granted(policy: Policy, custom: Roles) -> Iterator[Grant]:
    for binding in policy.bindings:
        permissions = ROLES.get(binding.role) or custom.get(binding.role, frozenset())
        conditions = () if binding.condition is None else (binding.condition,)
        for member in binding.members:
            yield Grant(member, binding.role, policy.resource, permissions, conditions)


def _stands(member: str) -> bool:
    return member.partition(":")[0] in CONVENIENCE

"""The decision: who may do what on one resource, and why (gar.md §3.2).

Grants are the policies that govern a resource, arranged by member. A decision
looks up the principal's own few names, so it costs the same with ten bindings
and with ten thousand; what a principal in very many groups is granted is found
once and kept. Conditions are asked last, and only those that could decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bonded.server.core.conditions import Condition, Judge, never
from bonded.server.core.iam import ORGANIZATION, ROLES, Binding, Permission, Policy, Principal
from bonded.server.core.roles import EDITOR, OWNER, VIEWER

NAMES_FEW = 4
"""So many names of a principal are looked up on every decision; of more, the outcome is kept."""
KEPT_MAX = 64
"""Principals with many names that are kept for one resource."""

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


class Grants:
    """The policies that govern one resource. *custom* are the roles that administrators defined.

    *resource* is what the limits of a token are compared with.
    """

    __slots__ = ("_by_member", "_kept", "_resource")

    def __init__(
        self,
        policies: Iterable[Policy],
        resource: str = ORGANIZATION,
        custom: Roles | None = None,
    ) -> None:
        self._resource = resource
        self._kept: dict[tuple[object, ...], tuple[Grant, ...]] = {}
        self._by_member: dict[str, tuple[Grant, ...]] = {}
        found: dict[str, dict[tuple[object, ...], Grant]] = {}
        for grant in _arranged(tuple(policies), custom or {}):
            # The same role from several bindings is one grant, unless conditions tell them apart.
            same = (grant.role, grant.conditions)
            found.setdefault(grant.member, {}).setdefault(same, grant)
        for member, grants in found.items():
            self._by_member[member] = tuple(grants.values())

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

    def _given_to(self, principal: Principal) -> Iterable[Grant]:
        if len(principal.groups) + len(principal.also) <= NAMES_FEW:
            return self._look_up(principal)
        # A frozenset computes its hash once, so asking again does not grow with the groups.
        key = (principal.member, principal.also, principal.groups)
        kept = self._kept.get(key)
        if kept is None:
            kept = tuple(self._look_up(principal))
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    def _look_up(self, principal: Principal) -> Iterator[Grant]:
        for member in principal.counts_as:
            yield from self._by_member.get(member, ())


def _allowed_by(grant: Grant) -> Decision:
    return Decision(
        is_allowed=True,
        resource=grant.resource,
        role=grant.role,
        member=grant.member,
        is_conditional=bool(grant.conditions),
    )


def _arranged(policies: tuple[Policy, ...], custom: Roles) -> Iterator[Grant]:
    for policy in policies:
        for binding in policy.bindings:
            permissions = ROLES.get(binding.role) or custom.get(binding.role, frozenset())
            conditions = () if binding.condition is None else (binding.condition,)
            grant = Grant("", binding.role, policy.resource, permissions, conditions)
            for member in binding.members:
                kind, _, project = member.partition(":")
                if kind in CONVENIENCE:
                    yield from _expanded(policies, f"projects/{project}", member, grant)
                else:
                    yield _to(member, grant)


def _expanded(
    policies: tuple[Policy, ...], project: str, named: str, grant: Grant
) -> Iterator[Grant]:
    role = CONVENIENCE[named.partition(":")[0]]
    for binding in _bindings_of(policies, project, role):
        conditions = () if binding.condition is None else (binding.condition,)
        for member in binding.members:
            yield Grant(
                member,
                grant.role,
                grant.resource,
                grant.permissions,
                (*grant.conditions, *conditions),
                through=named,
            )


def _bindings_of(policies: tuple[Policy, ...], resource: str, role: str) -> Iterator[Binding]:
    for policy in policies:
        if policy.resource == resource:
            yield from (one for one in policy.bindings if one.role == role)


def _to(member: str, grant: Grant) -> Grant:
    return Grant(member, grant.role, grant.resource, grant.permissions, grant.conditions)

"""Why somebody may do something, or may not: every grant that names them, looked at aloud.

What is asked is whether they may by the policies, with a credential of their own that nothing
narrows. What the answer depends on and nobody has said is named, and never guessed.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bonded.server.core.clock import Clock
from bonded.server.core.conditions import Condition
from bonded.server.core.grants import Grant
from bonded.server.core.iam import ROLES, Permission, Policy, Principal
from bonded.server.identity.conditions import (
    Circumstances,
    judge_part,
    lacking,
    parts_of,
    verdict_on,
)
from bonded.server.identity.expressions import Verdict
from bonded.server.identity.groups import GroupBook
from bonded.server.identity.policies import PolicyBook, Resource, policies_on
from bonded.server.identity.standing import Standing, Standings
from bonded.server.metadata.people import PROVIDER
from bonded.server.metadata.store import MetadataStore, Transaction

NAMED_MAX = 20
"""Groups and sets that an answer names because nobody knows whether the principal is in them."""
PARTS_MAX = 20
"""Parts of a condition that an answer shows; one with more is shown as a whole."""
_SUBJECT = "/subject/"


class Access(enum.StrEnum):
    """The answer, in the words of Google's Policy Troubleshooter."""

    GRANTED = "GRANTED"
    NOT_GRANTED = "NOT_GRANTED"
    UNKNOWN_CONDITIONAL = "UNKNOWN_CONDITIONAL"
    """It depends on a condition that asks about more than was said."""
    UNKNOWN_INFO = "UNKNOWN_INFO"
    """It depends on groups of the principal that only their provider knows."""
    UNKNOWN_INFO_DENIED = "UNKNOWN_INFO_DENIED"
    """It may depend on what whoever asks may not see."""


class Source(enum.StrEnum):
    """Where it is known from which groups of others, and which sets, a principal is in."""

    REQUEST = "REQUEST"
    """Whoever asks has said so."""
    SIGN_INS = "SIGN_INS"
    """The sign-ins of the person that are alive hold them."""
    NONE = "NONE"
    """Nobody but this server says it of such a principal."""
    NOT_KNOWN = "NOT_KNOWN"
    UNKNOWN_INFO_DENIED = "UNKNOWN_INFO_DENIED"
    """It is not for whoever asks to know."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What whoever asks may see; what they may not has no part in the answer.

    The rest is not even looked at, so the answer is the same whatever there is to be seen.
    """

    policies: frozenset[str] = frozenset()
    """The resources whose policies they may read."""
    has_groups: bool = False
    """Whether they may see who is in the groups of this server."""
    has_principal: bool = False
    """Whether they may see how the principal stands, and what their provider says of them."""
    has_resource: bool = True
    """Whether they may see that the resource is there."""
    lacks: tuple[str, ...] = ()
    """The permissions, and on what, without which something stays hidden."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. *also* are groups of others and sets that the principal is in, if said."""

    principal: Principal
    permission: Permission
    resource: Resource
    circumstances: Circumstances
    sight: Sight
    also: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A condition, or a part of one, what it gives, and what would have to be known for that."""

    condition: Condition
    verdict: Verdict
    lacks: tuple[str, ...]
    """The attributes without which it cannot be said."""
    parts: tuple[Judged, ...] = ()
    """Where it joins several that must all hold, and not too many, each of them."""

    @classmethod
    def of(cls, condition: Condition, circumstances: Circumstances) -> Judged:
        """Look at *condition*, and at each of its parts."""
        parts = parts_of(condition)
        return cls(
            condition,
            verdict_on(condition, circumstances),
            lacking(condition, circumstances),
            tuple(cls(one, *judge_part(one, circumstances)) for one in parts)
            if 1 < len(parts) <= PARTS_MAX
            else (),
        )

    @property
    def is_false(self) -> bool:
        """Whether it does not hold, whatever is not known."""
        return not self.verdict.is_true and not self.lacks

    @property
    def reason(self) -> str:
        """Why it does not hold, by the parts of which that is so."""
        failing = [part.verdict.reason for part in self.parts if part.is_false]
        return "; ".join(failing) or self.verdict.reason


@dataclass(frozen=True, slots=True)
class Look:
    """One grant that names the principal, and what it is worth for the question."""

    grant: Grant
    has_permission: bool
    judged: tuple[Judged, ...]
    """Its conditions."""
    way: tuple[str, ...]
    """From the principal to the member that is named: the groups in between, outermost last."""

    @property
    def access(self) -> Access:
        """What this grant alone would do."""
        if not self.has_permission or any(one.is_false for one in self.judged):
            return Access.NOT_GRANTED
        return Access.UNKNOWN_CONDITIONAL if self.lacks else Access.GRANTED

    @property
    def lacks(self) -> tuple[str, ...]:
        """What was not said and would have to be known."""
        return tuple(dict.fromkeys(name for one in self.judged for name in one.lacks))


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, and the grants it comes from."""

    question: Question
    looks: tuple[Look, ...]
    standing: Standing
    also: tuple[str, ...]
    """Groups of others and sets that the principal is taken to be in."""
    source: Source
    undecided: tuple[str, ...]
    """Groups and sets that would be granted the permission, if the principal is in them."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Predefined roles that have the permission."""
        permission = self.question.permission
        return tuple(role for role, permissions in ROLES.items() if permission in permissions)

    @property
    def is_kept_out(self) -> bool:
        """Whether nobody is let in as the principal, whatever they are granted."""
        is_person = self.question.principal.member.startswith("user:")
        # An account without a key may still be acted as.
        without = (Standing.ABSENT, Standing.DISABLED)
        return self.standing in without or (is_person and self.standing is Standing.UNPROVEN)

    @property
    def by_policy(self) -> Access:
        """What the policies say."""
        found = {look.access for look in self.looks}
        if Access.GRANTED in found:
            return Access.GRANTED
        if Access.UNKNOWN_CONDITIONAL in found:
            return Access.UNKNOWN_CONDITIONAL
        if self.question.sight.lacks:
            return Access.UNKNOWN_INFO_DENIED
        return Access.UNKNOWN_INFO if self.undecided else Access.NOT_GRANTED

    @property
    def access(self) -> Access:
        """What a request would get."""
        return Access.NOT_GRANTED if self.is_kept_out else self.by_policy

    def first(self, access: Access) -> Look | None:
        """Return the first grant that alone would do *access*."""
        return next((look for look in self.looks if look.access is access), None)


class Explaining:
    """Answers why."""

    def __init__(
        self,
        metadata: MetadataStore,
        policies: PolicyBook,
        groups: GroupBook,
        standings: Standings,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._policies = policies
        self._groups = groups
        self._standings = standings
        self._clock = clock

    def now(self) -> datetime:
        """Return the time by the server's clock."""
        return self._clock()

    async def explain(self, question: Question, serial: int) -> Explanation:
        """Say why the principal may or may not use the permission on the resource."""
        sight = question.sight
        standing = Standing.UNKNOWN_INFO_DENIED
        async with self._metadata.read() as tx:
            if sight.has_principal:
                standing = await self._standings.of(tx, question.principal.member)
            also, source = await self._outside(tx, question)
            policies = await policies_on(tx, question.resource)
        principal = replace(question.principal, also=also)
        ways = await self._groups.ways_to(principal) if sight.has_groups else {}
        known = replace(principal, groups=frozenset(ways))
        grants = await self._policies.grants_on(question.resource, serial)
        named = [
            (grant, _way(ways, grant.member, principal))
            for grant in grants.given_to(known)
            if _is_seen(grant, sight, question.resource)
        ]
        # Their conditions may have to be compiled, and each of their parts: that takes a while.
        looks = await asyncio.to_thread(_look_at, named, question)
        seen = [policy for policy in policies if policy.resource in sight.policies]
        undecided = _undecided(question, seen, known) if source is Source.NOT_KNOWN else ()
        return Explanation(question, looks, standing, also, source, undecided)

    async def _outside(self, tx: Transaction, question: Question) -> tuple[tuple[str, ...], Source]:
        """Return which groups of others and which sets the principal is in, and who says so."""
        kind, _, name = question.principal.member.partition(":")
        everybody: tuple[str, ...] = ()
        if kind == "principal":
            everybody = (f"principalSet:{name.partition(_SUBJECT)[0]}/*",)
        if question.also is not None:
            return tuple(dict.fromkeys((*question.also, *everybody))), Source.REQUEST
        if kind == "principal":
            return everybody, Source.NOT_KNOWN
        if not question.sight.has_principal:
            return (), Source.UNKNOWN_INFO_DENIED
        user = await tx.users.find(name) if kind == "user" else None
        if user is None or user.source != PROVIDER:
            return (), Source.NONE
        now = self._clock()
        alive = [one for one in await tx.sessions.list(name) if one.expires_at > now]
        named = tuple(sorted({group for one in alive for group in one.also}))
        return named, Source.SIGN_INS if alive else Source.NOT_KNOWN


def _look_at(
    named: Iterable[tuple[Grant, tuple[str, ...]]], question: Question
) -> tuple[Look, ...]:
    return tuple(
        Look(
            grant,
            question.permission in grant.permissions,
            tuple(Judged.of(one, question.circumstances) for one in grant.conditions),
            way,
        )
        for grant, way in named
    )


def _is_seen(grant: Grant, sight: Sight, resource: Resource) -> bool:
    # Who is a project's owner, for whom projectOwner:P stands, is in the project's policy.
    needed = {grant.resource}
    if grant.through:
        needed.add("/".join(str(resource).split("/")[:2]))
    return needed <= sight.policies


def _undecided(
    question: Question, policies: Iterable[Policy], principal: Principal
) -> tuple[str, ...]:
    """Return the groups and sets that *principal* may be in, for all that is known here."""
    kind, _, name = question.principal.member.partition(":")
    prefix = f"principalSet:{name.partition(_SUBJECT)[0]}/" if kind == "principal" else "group:"
    known = set(principal.counts_as)
    named = (
        member
        for policy in policies
        for binding in policy.bindings
        # A role that an administrator has defined may hold it.
        if question.permission in ROLES.get(binding.role, {question.permission})
        for member in binding.members
        if member.startswith(prefix) and member not in known
    )
    return tuple(sorted(set(named)))[:NAMED_MAX]


def _way(ways: Mapping[str, str], member: str, principal: Principal) -> tuple[str, ...]:
    way: list[str] = []
    while member in ways and member != principal.member:
        way.append(member)
        member = ways[member]
    if member in principal.also:
        way.append(member)
    return tuple(reversed(way))

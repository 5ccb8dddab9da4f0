"""The part of `bonded doctor` that looks at policies: who was let in, and who could let themselves.

It asks with the caller's own rights, through the same REST as every other command.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bonded.cli.findings import ORGANIZATION, Finding, command, take_command
from bonded.client.api import Message

OWNER = "roles/owner"
OWNERS_MAX = 3
ASKED_MAX = 25
"""Owners of the server of whom the server is asked whether they can sign in."""
_EVERYBODY = ("allUsers", "allAuthenticatedUsers")
_ON_SERVER = frozenset(
    {
        "bonded.groups.create",
        "bonded.groups.update",
        "bonded.users.create",
        "bonded.users.update",
        "iam.roles.update",
        "resourcemanager.organizations.setIamPolicy",
    }
)
"""Permissions on the server by which somebody may make themselves its owner: by a policy, by a
role or a group that has been granted much, or by inviting an owner and being them."""
_AS_OUTSIDE = frozenset(
    {"iam.workloadIdentityPoolProviders.create", "iam.workloadIdentityPoolProviders.update"}
)
"""Permissions by which somebody may be any outside identity of a pool: its issuer is theirs."""
_AS_ACCOUNT = frozenset(
    {
        "iam.serviceAccountKeys.create",
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.setIamPolicy",
    }
)
"""Permissions by which somebody may be a service account."""
_ON_PROJECT = frozenset({"iam.roles.update", "resourcemanager.projects.setIamPolicy"})


@dataclass
class Known:
    """What was seen of principals and roles before the policies are looked at."""

    accounts: dict[str, bool] = field(default_factory=dict)
    """Address of each service account → whether it is disabled."""
    projects: set[str] = field(default_factory=set)
    """Projects whose accounts were all seen."""
    users: dict[str, bool] | None = None
    """Address of each user → whether they are disabled; None if they may not be seen."""
    roles: dict[str, frozenset[str]] = field(default_factory=dict)
    """Name of each role → its permissions."""
    deleted_roles: set[str] = field(default_factory=set)
    role_parents: set[str] = field(default_factory=set)
    """The server and projects whose roles were all seen."""


class Grants:
    """Looks at the bindings of policies.

    *list_members* answers with the members of a group, or None if they cannot be seen;
    *state_of* with how the server says a principal stands, or ""; *problem_of* with why it would
    not take a condition today that a member has on a resource, or "".
    """

    def __init__(
        self,
        known: Known,
        list_members: Callable[[str], list[Message] | None],
        state_of: Callable[[str], str],
        problem_of: Callable[[str, str, str], str],
    ) -> None:
        self._known = known
        self._problem_of = problem_of
        self._problems: dict[str, str] = {}
        self._list_members = list_members
        self._state_of = state_of
        self._owning_accounts: set[str] = set()
        self._naming_outsiders: set[str] = set()

    def in_server(self, policy: Message) -> Iterator[Finding]:
        """Yield what is found in the server's own policy. It comes before any other."""
        direct: dict[str, Message] = {}
        for binding in policy.get("bindings", ()):
            if binding["role"] == OWNER:
                direct |= dict.fromkeys(binding.get("members", ()), binding)
        groups = [member for member in direct if member.startswith("group:")]
        within: dict[str, str] = {}
        for group in groups:
            members = self._list_members(group.removeprefix("group:")) or []
            yield from _joinable(group, members)
            for one in members:
                if not one["member"].startswith("group:"):
                    within.setdefault(one["member"], group)
                elif one["member"] not in groups:
                    groups.append(one["member"])
        people = [member for member in {**direct, **within} if not member.startswith("group:")]
        self._owning_accounts = {
            member.removeprefix("serviceAccount:")
            for member in people
            if member.startswith("serviceAccount:")
        }
        if len(people) > OWNERS_MAX:
            yield Finding(
                "OWNER",
                ORGANIZATION,
                f"{len(people)} own the server: {', '.join(people)}",
                command("organizations", "get-iam-policy", "bonded"),
            )
        yield from self._who_cannot_sign_in(people, direct, within)
        yield from self.in_policy(ORGANIZATION, policy)

    def _who_cannot_sign_in(
        self, people: Iterable[str], direct: dict[str, Message], within: dict[str, str]
    ) -> Iterator[Finding]:
        for member in list(people)[:ASKED_MAX]:
            state = self._state_of(member)
            # Of others whom a binding names, what follows says it.
            if state == "UNPROVEN" or (member not in direct and state in ("ABSENT", "DISABLED")):
                group = within.get(member, "").removeprefix("group:")
                advice = (
                    take_command(ORGANIZATION, direct[member], member)
                    if member in direct
                    else command("groups", "remove-member", group, f"--member={member}")
                )
                why = {"ABSENT": "does not exist", "DISABLED": "is disabled"}
                yield Finding(
                    "OWNER_CANNOT_SIGN_IN",
                    ORGANIZATION,
                    f"{member} {why.get(state, 'has no password or good key')}",
                    advice,
                )

    def in_policy(self, resource: str, policy: Message) -> Iterator[Finding]:
        """Yield what is found in the policy of *resource*."""
        members = [one for binding in policy.get("bindings", ()) for one in binding["members"]]
        if any(one.startswith(("principal:", "principalSet:")) for one in members):
            self._naming_outsiders.add(resource)
        for binding in policy.get("bindings", ()):
            for member in binding.get("members", ()):
                yield from self._grant(resource, binding, member)
            yield from _expired(resource, binding)
            yield from self._useless(resource, binding)

    def in_group(self, group: str, members: Iterable[Message]) -> Iterator[Finding]:
        """Yield who is in a group and is not there, or disabled."""
        for one in members:
            member = one["member"]
            if found := self._missing(member):
                advice = command("groups", "remove-member", group, f"--member={member}")
                what = f"{member} is in it, and {found[1]}"
                yield Finding(found[0], f"groups/{group}", what, advice)

    def _useless(self, resource: str, binding: Message) -> Iterator[Finding]:
        """Yield what keeps a binding from ever granting anything, whoever asks."""
        role, members = binding["role"], binding.get("members", [])
        if not members:
            return
        take = " && ".join(take_command(resource, binding, member) for member in members)
        what = f"{', '.join(members)} has {role}, which"
        parent, custom, _ = role.partition("/roles/")
        if role in self._known.deleted_roles:
            advice = f"{take}  # or: {command('iam', 'roles', 'undelete', role)}"
            yield Finding("ROLE_DELETED", resource, f"{what} was deleted", advice)
        elif custom and parent in self._known.role_parents and role not in self._known.roles:
            yield Finding("NO_SUCH_ROLE", resource, f"{what} does not exist", take)
        expression = str((binding.get("condition") or {}).get("expression", ""))
        if expression and expression not in self._problems:
            self._problems[expression] = self._problem_of(resource, members[0], expression)
        if problem := self._problems.get(expression):
            what = f"the condition of {role} for {', '.join(members)}: {problem}"
            yield Finding("BAD_CONDITION", resource, what, take)

    def _grant(self, resource: str, binding: Message, member: str) -> Iterator[Finding]:
        role, take = binding["role"], take_command(resource, binding, member)
        if member in _EVERYBODY:
            advice = f"{take}  # if it is not meant"
            yield Finding("PUBLIC", resource, f"{member} has {role}", advice)
        elif found := self._missing(member):
            yield Finding(found[0], resource, f"{member} has {role}, and {found[1]}", take)
        if role == OWNER:
            if resource != ORGANIZATION:
                advice = f"{take}  # after granting a smaller role"
                yield Finding("OWNER", resource, f"{member} may do everything", advice)
        elif grave := sorted(self._known.roles.get(role, frozenset()) & self._grave_on(resource)):
            what = f"{member} has {role}, and with {', '.join(grave)} could become more than that"
            yield Finding("LIKE_OWNER", resource, what, take)

    def _missing(self, member: str) -> tuple[str, str] | None:
        """Return the finding that a member is, who is disabled or absent, and how to say it."""
        kind, _, address = member.partition(":")
        known = self._known
        if kind == "serviceAccount":
            if known.accounts.get(address):
                return "DISABLED_ACCOUNT", "is disabled"
            if address not in known.accounts and _project_of(address) in known.projects:
                return "NO_SUCH_ACCOUNT", "does not exist"
        if kind == "user" and known.users is not None:
            if known.users.get(address):
                return "DISABLED_USER", "is disabled"
            if address not in known.users:
                return "NO_SUCH_USER", "does not exist (yet)"
        return None

    def _grave_on(self, resource: str) -> frozenset[str]:
        """Return the permissions on *resource* that lead to more than they say."""
        if resource == ORGANIZATION:
            return _ON_SERVER | _AS_ACCOUNT | _AS_OUTSIDE
        parts = resource.split("/")
        if "serviceAccounts" in parts:
            return _AS_ACCOUNT if parts[-1] in self._owning_accounts else frozenset()
        if "repositories" in parts:
            return frozenset()
        holds_owner = any(_project_of(one) == parts[-1] for one in self._owning_accounts)
        has_outsiders = not self._naming_outsiders.isdisjoint({ORGANIZATION, resource})
        return (
            _ON_PROJECT
            | (_AS_ACCOUNT if holds_owner else frozenset())
            | (_AS_OUTSIDE if has_outsiders else frozenset())
        )


def _joinable(group: str, members: Iterable[Message]) -> Iterator[Finding]:
    """Say who may let themselves and others into a *group* that owns the server."""
    owners = [one["member"] for one in members if one.get("role") == "OWNER"]
    who = f"{', '.join(owners)} and everybody" if owners else "everybody"
    yield Finding(
        "GROUP_OWNS",
        ORGANIZATION,
        f"{group} owns the server, and {who} with bonded.groups.update may say who is in it",
        command("groups", "list-members", group.removeprefix("group:")),
    )


def _expired(resource: str, binding: Message) -> Iterator[Finding]:
    condition = binding.get("condition") or {}
    until = end_of(str(condition.get("expression", "")))
    if until is not None and until.timestamp() < time.time():
        members = binding.get("members", [])
        yield Finding(
            "EXPIRED_CONDITION",
            resource,
            f"{binding['role']} for {', '.join(members)} expired on {until:%Y-%m-%d}",
            " && ".join(take_command(resource, binding, member) for member in members),
        )


# The form that people and consoles write for an expiry (gar.md §3.4).
_UNTIL = re.compile(r"""request\.time\s*<=?\s*timestamp\(\s*(["'])([^"']+)\1\s*\)""")


def end_of(expression: str) -> datetime | None:
    """Return when *expression* stops holding for good, if it is plain to see."""
    parts = [part.strip() for part in expression.split("&&")]
    # Beside an alternative, or within parentheses, an end may be the end of nothing.
    if re.search(r"\|\||\?", expression) or any(p.count("(") != p.count(")") for p in parts):
        return None
    ends = []
    for part in parts:
        found = _UNTIL.fullmatch(part)
        try:
            end = datetime.fromisoformat(found[2]) if found else None
        except ValueError:
            end = None
        if end is not None:
            ends.append(end if end.tzinfo else end.replace(tzinfo=UTC))
    return min(ends, default=None)


def _project_of(email: str) -> str:
    return email.partition("@")[2].partition(".")[0]

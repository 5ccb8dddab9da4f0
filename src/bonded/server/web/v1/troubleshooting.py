"""Why somebody may or may not, in JSON: after Google's Policy Troubleshooter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from packaging.utils import canonicalize_name

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.core.members import parse_member
from bonded.server.core.names import RepositoryName
from bonded.server.identity.conditions import Circumstances, find_problem
from bonded.server.identity.explaining import Access, Explanation, Judged, Look
from bonded.server.identity.standing import Standing
from bonded.server.web.v1 import wire

GROUPS_MAX = 100
"""Groups and sets that one question may name."""
_OUTSIDE = ("group:", "principalSet:")


def parse_request(
    body: Mapping[str, Any], resource: str | RepositoryName, now: datetime
) -> Circumstances:
    """Return the request that is asked about; *now* unless it says when.

    What it does not say is not known: only about a repository can a request be about a package.

    Raises:
        Rejected: its time is no time, or its address no address.
    """
    package, time = wire.parse_text(body, "package"), wire.parse_text(body, "time")
    has_package = "package" in body or not isinstance(resource, RepositoryName)
    return Circumstances(
        resource,
        _parse_time(time) if time else now,
        _parse_address(wire.parse_text(body, "ip")),
        (canonicalize_name(package) if package else "") if has_package else None,
    )


def parse_groups(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the groups and sets that the principal is said to be in; None if nothing is said.

    Raises:
        Rejected: one is neither, or they are too many.
    """
    if "groups" not in body:
        return None
    named = wire.parse_strings(body, "groups")
    if len(named) > GROUPS_MAX:
        raise Rejected(f"groups holds {len(named)}; {GROUPS_MAX} are the most")
    members = [parse_member(one if ":" in one else f"group:{one}") for one in named]
    for member in members:
        if not member.startswith(_OUTSIDE):
            raise Rejected(
                f"{member} is not something that a principal is in",
                hint="Name groups by their address, or principalSet://….",
            )
    return tuple(members)


def _parse_time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected(
            f"request.time {text[:40]!r} is no time", hint="Such as 2027-01-01T00:00:00Z."
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _parse_address(text: str) -> str | None:
    if not text:
        return None
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise Rejected(
            f"request.ip {text[:60]!r} is no address", hint="Such as 192.0.2.1."
        ) from error


def view(explanation: Explanation) -> dict[str, object]:
    """Return an explanation."""
    asked = explanation.question
    shown: dict[str, object] = {
        "access": explanation.access,
        "principal": asked.principal.member,
        "principalState": explanation.standing,
        "permission": asked.permission,
        "resource": str(asked.resource),
        "time": wire.timestamp(asked.circumstances.at),
        "summary": _summary(explanation),
        "groupsFrom": explanation.source,
        "explainedBindings": [_look_view(look) for look in explanation.looks],
        "rolesWithPermission": list(explanation.roles),
    }
    if asked.sight.lacks:
        shown["deniedPermissions"] = list(asked.sight.lacks)
    if explanation.also:
        shown["groups"] = list(explanation.also)
    if explanation.undecided:
        shown["undecidedMembers"] = list(explanation.undecided)
    return shown


def condition_view(condition: Condition) -> dict[str, str]:
    """Return a condition as Google's Expr."""
    shown = {"title": condition.title, "expression": condition.expression}
    return shown | ({"description": condition.description} if condition.description else {})


def _look_view(look: Look) -> dict[str, object]:
    grant = look.grant
    shown: dict[str, object] = {
        "access": look.access,
        "resource": grant.resource,
        "role": grant.role,
        "rolePermission": "INCLUDED" if look.has_permission else "NOT_INCLUDED",
        "member": grant.through or grant.member,
    }
    if look.way:
        shown["through"] = list(look.way)
    if look.judged:
        shown["conditions"] = [_condition_verdict(one) for one in look.judged]
    return shown


def _condition_verdict(one: Judged) -> dict[str, object]:
    shown: dict[str, object] = {**condition_view(one.condition), **_verdict_view(one)}
    if one.parts:
        shown["parts"] = [
            {"expression": part.condition.expression} | _verdict_view(part) for part in one.parts
        ]
    if (problem := find_problem(one.condition)) is not None:
        shown["problem"] = str(problem)
    return shown


def _verdict_view(one: Judged) -> dict[str, object]:
    if one.lacks:
        return {"result": "UNKNOWN", "reason": f"it depends on {' and '.join(one.lacks)}"}
    if one.is_false:
        return {"result": "FALSE", "reason": one.reason}
    return {"result": "TRUE"}


_KEPT_OUT = {
    Standing.ABSENT: "nobody of that name exists here",
    Standing.DISABLED: "they are disabled, so nobody is let in as them",
    Standing.UNPROVEN: "they have no password yet, and no provider vouches for them",
}
_SAY = {"resource.package": "the package", "request.ip": "the address it comes from"}


def _summary(explanation: Explanation) -> str:
    question = explanation.question
    who = question.principal.member
    summary = f"{who} {_by_policy(explanation)}"
    if explanation.is_kept_out:
        summary = f"{who} may not: {_KEPT_OUT[explanation.standing]}. By the policies, {summary}"
    if question.sight.has_resource:
        return summary
    return f"{summary} That is so if {question.resource} exists, which you may not see."


def _by_policy(explanation: Explanation) -> str:
    if granted := explanation.first(Access.GRANTED):
        is_unused = explanation.standing is Standing.UNPROVEN and not explanation.is_kept_out
        more = " It has no key that is good: only who may act as it has this." if is_unused else ""
        return f"may: {granted.grant.role} on {granted.grant.resource} allows it.{more}"
    if depends := explanation.first(Access.UNKNOWN_CONDITIONAL):
        say = " and ".join(_SAY[name] for name in depends.lacks)
        return (
            f"may or may not: {depends.grant.role} on {depends.grant.resource} has a condition "
            f"that depends on {' and '.join(depends.lacks)}. Say {say} of the request."
        )
    if unknown := _unknown(explanation):
        return unknown
    failing = [one for one in explanation.looks if one.has_permission]
    if failing:
        why = next(one.reason for one in failing[0].judged if one.is_false)
        return f"may not: every binding that would allow it has a condition that fails: {why}."
    if explanation.looks:
        return "may not: none of the roles they have here holds the permission."
    return "may not: no binding here or above names them or a group they are in."


def _unknown(explanation: Explanation) -> str:
    """Return the sentence for what cannot be said, or nothing."""
    if lacks := explanation.question.sight.lacks:
        return (
            f"may or may not: it may depend on what you may not see, for which it takes "
            f"{' and '.join(lacks)}. Nothing that you may see allows it."
        )
    if explanation.undecided:
        return (
            f"may or may not: it depends on whether they are in {explanation.undecided[0]}"
            f"{_more(explanation)}, which is said when they sign in, and they are not signed in. "
            "Say which groups they are in."
        )
    return ""


def _more(explanation: Explanation) -> str:
    others = len(explanation.undecided) - 1
    return f" or {others} more" if others else ""

"""Why somebody may or may not, in JSON: after Google's Policy Troubleshooter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from packaging.utils import canonicalize_name

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.core.names import RepositoryName
from bonded.server.identity.conditions import Circumstances
from bonded.server.identity.explaining import Explanation, Look
from bonded.server.web.v1 import wire


def parse_request(
    body: Mapping[str, Any], resource: str | RepositoryName, now: datetime
) -> Circumstances:
    """Return the request that is asked about; *now* unless it says when.

    Raises:
        Rejected: its time is no time.
    """
    package, time = wire.parse_text(body, "package"), wire.parse_text(body, "time")
    return Circumstances(
        resource,
        _parse_time(time) if time else now,
        wire.parse_text(body, "ip"),
        canonicalize_name(package) if package else "",
    )


def _parse_time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected(
            f"request.time {text[:40]!r} is no time", hint="Such as 2027-01-01T00:00:00Z."
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def view(explanation: Explanation) -> dict[str, object]:
    """Return an explanation."""
    return {
        "access": "GRANTED" if explanation.is_allowed else "NOT_GRANTED",
        "principal": explanation.principal.member,
        "permission": explanation.permission,
        "resource": explanation.resource,
        "summary": _summary(explanation),
        "explainedBindings": [_look_view(look) for look in explanation.looks],
        "rolesWithPermission": list(explanation.roles),
    }


def condition_view(condition: Condition) -> dict[str, str]:
    """Return a condition as Google's Expr."""
    shown = {"title": condition.title, "expression": condition.expression}
    return shown | ({"description": condition.description} if condition.description else {})


def _look_view(look: Look) -> dict[str, object]:
    grant = look.grant
    shown: dict[str, object] = {
        "access": "GRANTED" if look.allows else "NOT_GRANTED",
        "resource": grant.resource,
        "role": grant.role,
        "rolePermission": "INCLUDED" if look.has_permission else "NOT_INCLUDED",
        "member": grant.through or grant.member,
    }
    if look.way:
        shown["through"] = list(look.way)
    if look.verdicts:
        shown["conditions"] = [
            {
                **condition_view(condition),
                "result": "TRUE" if verdict.is_true else "FALSE",
                **({"reason": verdict.reason} if verdict.reason else {}),
            }
            for condition, verdict in look.verdicts
        ]
    return shown


def _summary(explanation: Explanation) -> str:
    who = explanation.principal.member
    for look in explanation.looks:
        if look.allows:
            return f"{who} may: {look.grant.role} on {look.grant.resource} allows it."
    if any(look.has_permission for look in explanation.looks):
        return f"{who} may not: every binding that would allow it has a condition that fails."
    if explanation.looks:
        return f"{who} may not: none of the roles they have here holds the permission."
    return f"{who} may not: no binding here or above names them or a group they are in."

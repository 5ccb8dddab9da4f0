"""Conditions of bindings: checked when they are written, evaluated when a decision needs them.

What they may ask about is Google's (gar.md §3.4), and two attributes of ours:
`resource.package`, the normalized name of the package that a request is about ("" if it is
about none), and `request.ip`, where it comes from, with `inIpRange(request.ip, "10.0.0.0/8")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.core.iam import ORGANIZATION
from bonded.server.core.names import RepositoryName
from bonded.server.identity.expressions import (
    Expression,
    Kinds,
    Verdict,
    parse_expression,
)

COMPILED_MAX = 4096
PACKAGE = "resource.package"
ATTRIBUTES: Kinds = (
    ("request.time", "timestamp"),
    ("request.ip", "string"),
    ("resource.name", "string"),
    ("resource.type", "string"),
    ("resource.service", "string"),
    (PACKAGE, "string"),
)

_REPOSITORY = "artifactregistry.googleapis.com"
_ACCOUNT = "iam.googleapis.com"
_PROJECT = "cloudresourcemanager.googleapis.com"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What conditions may ask about one request."""

    resource: str | RepositoryName
    at: datetime
    address: str = ""
    package: str | None = ""
    """Normalized; "" if the request is about none, None if its body will say about which."""


def check_condition(condition: Condition) -> None:
    """Refuse what is no condition. Raises Rejected, which says where the mistake is."""
    _compiled(condition.expression)


def verdict_on(condition: Condition, circumstances: Circumstances) -> Verdict:
    """Say whether *condition* holds, and if not, why. What cannot be evaluated does not hold."""
    try:
        expression = _compiled(condition.expression)
    except Rejected as error:
        return Verdict(is_true=False, reason=error.message)
    return expression.verdict(_attributes(circumstances))


def holds(condition: Condition, circumstances: Circumstances) -> bool:
    """Say whether *condition* holds, or may hold while the package is not known yet."""
    if verdict_on(condition, circumstances).is_true:
        return True
    if circumstances.package is not None:
        return False
    # Without the package, CEL gives an error just where the answer depends on it.
    try:
        _compiled(condition.expression).evaluate(_attributes(circumstances))
    except Rejected:
        return PACKAGE in condition.expression
    return False


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(text: str) -> Expression:
    return parse_expression(text, ATTRIBUTES, is_condition=True)


def _attributes(circumstances: Circumstances) -> dict[str, object]:
    service, kind = _described(circumstances.resource)
    attributes: dict[str, object] = {
        "request.time": circumstances.at,
        "request.ip": circumstances.address,
        "resource.name": str(circumstances.resource),
        "resource.type": f"{service}/{kind}",
        "resource.service": service,
    }
    if circumstances.package is not None:
        attributes[PACKAGE] = circumstances.package
    return attributes


def _described(resource: str | RepositoryName) -> tuple[str, str]:
    if isinstance(resource, RepositoryName):
        return _REPOSITORY, "Repository"
    if "/serviceAccounts/" in resource:
        return _ACCOUNT, "ServiceAccount"
    return _PROJECT, "Organization" if resource == ORGANIZATION else "Project"

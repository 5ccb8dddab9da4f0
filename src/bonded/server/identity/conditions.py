"""Conditions of bindings: checked when they are written, evaluated when a decision needs them.

What they may ask about is Google's (gar.md §3.4), and two attributes of ours:
`resource.package`, the normalized name of the package that a request is about ("" if it is
about none), and `request.ip`, where it comes from, with `inIpRange(request.ip, "10.0.0.0/8")`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.core.iam import ORGANIZATION
from bonded.server.core.names import RepositoryName
from bonded.server.identity.bounding import HEAVY, TOKENS_PER_COST, tokenize
from bonded.server.identity.expressions import (
    Expression,
    Kinds,
    Verdict,
    parse_expression,
)
from bonded.server.identity.fragments import check_literals, conjuncts

COMPILED_MAX = 4096
COST_MAX = 600
"""Of all conditions of one policy (`identity.bounding`): all may be evaluated for one request."""
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
    address: str | None = ""
    """Where the request comes from; None if that is not known."""
    package: str | None = ""
    """Normalized; "" if the request is about none, None if it is not known yet about which."""


def check_conditions(conditions: Iterable[Condition], before: Collection[Condition] = ()) -> None:
    """Refuse what are no conditions of a policy, and what can never be as it is written.

    What was stored *before* may stay, or it would keep everything else from being changed; and if
    that costs more than is allowed now, as much as it did.

    It may take a second the first time, and hardly any when it is asked again: ask in a thread.

    Raises:
        Rejected: one is wrong, which says where the mistake is; or together they cost too much.
    """
    cost, cost_max, stored = 0, max(COST_MAX, sum(map(_cost_of, before))), set(before)
    for condition in conditions:
        problem = None if condition in stored else find_problem(condition)
        if problem is not None:
            raise problem.with_traceback(None)  # it is kept: what raised it before is not
        cost += _cost_of(condition)
        # At once: what follows could take long to look at.
        if cost > cost_max:
            raise Rejected(
                f"The conditions of the policy cost more than {COST_MAX}, where every variable "
                f"that is named costs 1 (or every {TOKENS_PER_COST} words and signs, if that is "
                f"more), and every matches {HEAVY}",
                hint="Give one binding more members, or use startsWith instead of matches.",
            )


def _cost_of(condition: Condition) -> int:
    compiled = _compiled(condition.expression)
    return 0 if isinstance(compiled, Rejected) else compiled.cost


@lru_cache(maxsize=COMPILED_MAX)
def find_problem(condition: Condition) -> Rejected | None:
    """Return why *condition* would be refused today, if it would be."""
    compiled = _compiled(condition.expression)
    if isinstance(compiled, Rejected):
        return compiled
    try:
        check_literals(condition.expression, PACKAGE)
    except Rejected as error:
        return error
    return None


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """Return the conditions that must all hold for *condition* to hold, each a part of it."""
    if isinstance(_compiled(condition.expression), Rejected):
        return (condition,)
    return tuple(replace(condition, expression=one) for one in conjuncts(condition.expression))


def verdict_on(condition: Condition, circumstances: Circumstances) -> Verdict:
    """Say whether *condition* holds, and if not, why. What cannot be evaluated does not hold.

    Nor does what was stored by a server that allowed more.
    """
    return _verdict(_compiled(condition.expression), circumstances)


def judge_part(part: Condition, circumstances: Circumstances) -> tuple[Verdict, tuple[str, ...]]:
    """Return what `verdict_on` and `lacking` say of one of `parts_of` a condition.

    It is not kept: parts decide nothing, and would drive out conditions that do.
    """
    expression = _compile(part.expression)
    return _verdict(expression, circumstances), _lacking(expression, circumstances)


def _verdict(expression: Expression | Rejected, circumstances: Circumstances) -> Verdict:
    if isinstance(expression, Rejected):
        return Verdict(is_true=False, reason=expression.message)
    return expression.verdict(_attributes(circumstances))


def holds(condition: Condition, circumstances: Circumstances) -> bool:
    """Say whether *condition* holds, or may hold while the package is not known yet."""
    if verdict_on(condition, circumstances).is_true:
        return True
    return PACKAGE in lacking(condition, circumstances)


def lacking(condition: Condition, circumstances: Circumstances) -> tuple[str, ...]:
    """Return the attributes that are not known and on which it depends whether it holds."""
    return _lacking(_compiled(condition.expression), circumstances)


def _lacking(expression: Expression | Rejected, circumstances: Circumstances) -> tuple[str, ...]:
    if isinstance(expression, Rejected):
        return ()
    known = _attributes(circumstances)
    absent = tuple(name for name in _asked(expression.text) if name not in known)
    if not absent:
        return ()
    # Without an attribute, CEL gives an error just where the answer depends on it.
    try:
        expression.evaluate(known)
    except Rejected:
        return absent
    return ()


@lru_cache(maxsize=COMPILED_MAX)
def _asked(text: str) -> tuple[str, ...]:
    """Return the attributes that an expression asks about, however their names are spaced."""
    words = "".join(
        " " if token.kind == "text" else token.text.strip("`") for token in tokenize(text)
    )
    return tuple(name for name, _ in ATTRIBUTES if name in words)


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(text: str) -> Expression | Rejected:
    return _compile(text)


def _compile(text: str) -> Expression | Rejected:
    try:
        # Google's conditions ask about no elements either.
        return parse_expression(text, ATTRIBUTES, is_condition=True, has_comprehensions=False)
    except Rejected as error:
        # Kept as well: a stored one is not compiled again for every request.
        return error


def _attributes(circumstances: Circumstances) -> dict[str, object]:
    service, kind = _described(circumstances.resource)
    attributes: dict[str, object] = {
        "request.time": circumstances.at,
        "resource.name": str(circumstances.resource),
        "resource.type": f"{service}/{kind}",
        "resource.service": service,
    }
    if circumstances.address is not None:
        attributes["request.ip"] = circumstances.address
    if circumstances.package is not None:
        attributes[PACKAGE] = circumstances.package
    return attributes


def _described(resource: str | RepositoryName) -> tuple[str, str]:
    if isinstance(resource, RepositoryName):
        return _REPOSITORY, "Repository"
    if "/serviceAccounts/" in resource:
        return _ACCOUNT, "ServiceAccount"
    return _PROJECT, "Organization" if resource == ORGANIZATION else "Project"

"""From the claims of a verified token to a principal: attribute mapping and condition.

As Google's workload identity federation has it: CEL expressions over `assertion`
give `google.subject`, `google.groups` and `attribute.NAME`; a condition over all
three says whether the identity is let in at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bonded.server.core.errors import Rejected, Unauthenticated
from bonded.server.core.federation import IAM_HOST, Provider
from bonded.server.identity.bounding import HEAVY, TOKENS_PER_COST
from bonded.server.identity.expressions import Expression, Value, parse_expression
from bonded.server.identity.fragments import check_literals

SUBJECT = "google.subject"
GROUPS = "google.groups"
SUBJECT_LENGTH_MAX_BYTES = 127
COST_MAX = 400
"""Of all expressions of one provider (`identity.bounding`): each exchange evaluates them all."""
COMPILED_MAX = 1024
EXPRESSION_LENGTH_MAX = 2048
"""Of a mapping; conditions may be longer. Both as Google has it."""
MEMBERS_LENGTH_MAX = 6000
"""Of everything that a principal is called, together: it travels in the access token, and that
in a header (about 50 groups and attributes)."""
SHARED_ISSUERS = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://agent.buildkite.com",
    "https://app.terraform.io",
)
"""Issuers that sign for everybody who asks: without a condition, everybody would be let in."""

_ATTRIBUTE = re.compile(r"attribute\.([a-z0-9_]{1,100})")
_CLAIMS = ("assertion",)
_MAPPED = ("assertion", "google", "attribute")


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token proves: a principal, and the sets it belongs to."""

    member: str
    also: tuple[str, ...]


def check_expressions(provider: Provider) -> None:
    """Refuse a provider whose mapping or condition could never work.

    Raises:
        Rejected: one of them is wrong, or something needed is missing.
    """
    cost = 0
    for key, text in provider.attribute_mapping.items():
        if key not in (SUBJECT, GROUPS) and not _ATTRIBUTE.fullmatch(key):
            raise Rejected(
                f"attributeMapping has the unknown key {key[:80]!r}",
                hint=f"Use {SUBJECT}, {GROUPS} and attribute.NAME (lower-case letters, digits, _).",
            )
        if len(text) > EXPRESSION_LENGTH_MAX:
            raise Rejected(f"attributeMapping.{key} is longer than {EXPRESSION_LENGTH_MAX}")
        cost += parse_expression(text, _CLAIMS).cost
        check_literals(text)
    if SUBJECT not in provider.attribute_mapping:
        raise Rejected(
            f"attributeMapping must say what {SUBJECT} is",
            hint=f"For instance {SUBJECT}=assertion.sub.",
        )
    if provider.attribute_condition:
        cost += parse_expression(provider.attribute_condition, _MAPPED, is_condition=True).cost
        check_literals(provider.attribute_condition)
    elif provider.issuer.rstrip("/") in SHARED_ISSUERS:
        raise Rejected(
            f"{provider.issuer} signs tokens for everybody: the provider needs a condition",
            hint="Set attributeCondition, for instance to "
            "assertion.repository_owner == 'YOUR-ORGANIZATION'.",
        )
    if cost > COST_MAX:
        raise Rejected(
            f"The provider's expressions cost {cost} together; {COST_MAX} are allowed, where every "
            f"variable that is named costs 1 (or every {TOKENS_PER_COST} words and signs, if that "
            f"is more), and every matches, filter and the like {HEAVY}",
            hint="Map fewer attributes, or use startsWith instead of matches.",
        )


def identify(provider: Provider, claims: Mapping[str, Any]) -> Identity:
    """Return whom *claims* prove, as *provider* maps them.

    Raises:
        Unauthenticated: the mapping gives nothing for these claims, or the condition is not met.
    """
    assertion = {"assertion": dict(claims)}
    subject = _subject(provider, assertion)
    groups: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    for key, text in provider.attribute_mapping.items():
        if key == GROUPS:
            groups = _groups(_mapped(key, text, assertion))
        elif key != SUBJECT:
            attributes[key.removeprefix("attribute.")] = _text(key, _mapped(key, text, assertion))
    _check_condition(provider, assertion, subject, groups, attributes)
    return _members(provider, subject, groups, attributes)


def _check_condition(
    provider: Provider,
    assertion: Mapping[str, object],
    subject: str,
    groups: tuple[str, ...],
    attributes: Mapping[str, str],
) -> None:
    if not provider.attribute_condition:
        return
    try:
        condition = _compiled(provider.attribute_condition, _MAPPED, is_condition=True)
    except Rejected as error:
        # Stored by a server that allowed more.
        raise Unauthenticated(
            f"The attribute condition of {provider.name} is refused: {error.message}",
            hint="Have it changed.",
        ) from error
    google = {"subject": subject, "groups": list(groups)}
    verdict = condition.verdict({**assertion, "google": google, "attribute": dict(attributes)})
    if not verdict.is_true:
        raise Unauthenticated(
            f"The identity is refused by the attribute condition of {provider.name}: "
            f"{verdict.reason}",
            hint="Sign in from where the condition holds, or have it changed.",
        )


def _members(
    provider: Provider, subject: str, groups: tuple[str, ...], attributes: Mapping[str, str]
) -> Identity:
    pool = f"//{IAM_HOST}/{provider.name.pool}"
    sets = [f"group/{group}" for group in groups]
    sets += [f"attribute.{name}/{value}" for name, value in attributes.items() if value]
    also = tuple(f"principalSet:{pool}/{one}" for one in (*sets, "*"))
    if sum(len(one.encode()) for one in also) > MEMBERS_LENGTH_MAX:
        raise Unauthenticated(
            f"The identity has {len(groups)} groups and {len(attributes)} attributes, more than "
            "an access token can hold",
            hint="Map fewer, for instance google.groups="
            "assertion.groups.filter(g, g.startsWith('packages-')).",
        )
    return Identity(f"principal:{pool}/subject/{subject}", also)


def _subject(provider: Provider, assertion: Mapping[str, object]) -> str:
    text = provider.attribute_mapping[SUBJECT]
    subject = _text(SUBJECT, _mapped(SUBJECT, text, assertion))
    if not 0 < len(subject.encode()) <= SUBJECT_LENGTH_MAX_BYTES:
        raise Unauthenticated(
            f"The mapping of {SUBJECT} gives {len(subject.encode())} bytes; "
            f"1 to {SUBJECT_LENGTH_MAX_BYTES} are allowed",
            hint="Map a shorter claim.",
        )
    return subject


def _mapped(key: str, text: str, assertion: Mapping[str, object]) -> Value:
    try:
        return _compiled(text, _CLAIMS).evaluate(assertion)
    except Rejected as error:
        raise Unauthenticated(
            f"The mapping of {key} gives nothing: {error.message}",
            hint="Compare the provider's attribute mapping with the claims of the token.",
        ) from error


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(text: str, variables: tuple[str, ...], *, is_condition: bool = False) -> Expression:
    return parse_expression(text, variables, is_condition=is_condition)


def _text(key: str, value: Value) -> str:
    if not isinstance(value, str):
        raise Unauthenticated(
            f"The mapping of {key} gives no string", hint="Convert it with string(…)."
        )
    return _printable(key, value)


def _groups(value: Value) -> tuple[str, ...]:
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, tuple):
        raise Unauthenticated(
            f"The mapping of {GROUPS} gives no list of strings", hint="Map a claim that is one."
        )
    return tuple(dict.fromkeys(_printable(GROUPS, one) for one in value if one))


def _printable(key: str, value: str) -> str:
    if not value.isprintable():
        raise Unauthenticated(
            f"The mapping of {key} gives characters that cannot be printed",
            hint="Map a claim without them.",
        )
    return value

"""Policies for clients that know nothing of conditions (versions 0 and 1, gar.md §3.4).

They see a conditional binding under a role that does not exist, as Google shows it:
`roles/artifactregistry.reader_withcond_2b17cc25d2cd9e2c54d8`. What they write back under
that name keeps its condition; what they would lose, or widen, is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.core.iam import Binding, Policy, plain_role

CONDITIONAL = 3
"""The version of policies with conditions."""
VERSIONS = (0, 1, CONDITIONAL)

_HINT = "Read and write it with version 3 (options.requestedPolicyVersion=3, policy.version=3)."


def hide_conditions(policy: Policy) -> Policy:
    """Return *policy* as versions 0 and 1 show it."""
    return replace(policy, bindings=tuple(_marked(binding) for binding in policy.bindings))


def restore_conditions(policy: Policy, before: Policy | None, version: int) -> Policy:
    """Return *policy* with the conditions that its author, who wrote *version*, did not see.

    Raises:
        Rejected: a condition would be lost, or comes with a version that has none.
    """
    known = {_marked(one).role: one.condition for one in before.bindings} if before else {}
    bindings = tuple(_restored(binding, known) for binding in policy.bindings)
    restored = replace(policy, bindings=bindings)
    if version == CONDITIONAL:
        return restored
    if policy.has_conditions:
        raise Rejected("Bindings with conditions need a policy of version 3", hint=_HINT)
    if before is not None and not _conditional(before) <= _conditional(restored):
        raise Rejected("This would drop bindings with conditions", hint=_HINT)
    return restored


def _conditional(policy: Policy) -> set[tuple[str, Condition]]:
    return {(one.role, one.condition) for one in policy.bindings if one.condition is not None}


def _restored(binding: Binding, known: dict[str, Condition | None]) -> Binding:
    role = plain_role(binding.role)
    if role == binding.role:
        return binding
    if binding.role not in known or binding.condition is not None:
        raise Rejected(f"Role {binding.role[:160]!r} stands for no binding of this policy")
    return replace(binding, role=role, condition=known[binding.role])


def _marked(binding: Binding) -> Binding:
    condition = binding.condition
    if condition is None:
        return binding
    parts = f"{condition.title}\0{condition.description}\0{condition.expression}"
    digest = hashlib.sha256(parts.encode()).hexdigest()[:20]
    return replace(binding, role=f"{binding.role}_withcond_{digest}", condition=None)

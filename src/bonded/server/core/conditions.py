"""Conditions of bindings as values: what somebody wrote, and what it may be asked about.

They are CEL, which `identity.conditions` checks and evaluates; here they are text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bonded.server.core.errors import Rejected

TITLE_LENGTH_MAX = 100
DESCRIPTION_LENGTH_MAX = 256
EXPRESSION_LENGTH_MAX = 4096
"""Google's limits."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When a binding counts: an expression, and what it is called."""

    title: str
    expression: str
    description: str = ""

    def __post_init__(self) -> None:
        """Keep the limits, whoever builds it."""
        if not self.title or not self.expression.strip():
            raise Rejected("A condition needs a title and an expression")
        if (
            len(self.title) > TITLE_LENGTH_MAX
            or len(self.description) > DESCRIPTION_LENGTH_MAX
            or len(self.expression) > EXPRESSION_LENGTH_MAX
        ):
            raise Rejected(
                f"A condition's title may have {TITLE_LENGTH_MAX} characters, its description "
                f"{DESCRIPTION_LENGTH_MAX}, its expression {EXPRESSION_LENGTH_MAX}"
            )


Judge = Callable[[Condition], bool]
"""Says whether a condition holds for the request at hand."""


def never(_condition: Condition) -> bool:
    """Judge when nothing is known about a request: what is conditional is not granted."""
    return False

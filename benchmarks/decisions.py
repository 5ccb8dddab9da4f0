"""What an access decision costs: ten bindings against ten thousand, a thousand groups, ten levels.

Run it: `python benchmarks/decisions.py`. It prints microseconds and their ratio; conditions
and the expansion of groups, which is done once for a credential, have lines of their own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bonded.server.core.conditions import Condition
from bonded.server.core.grants import Grants
from bonded.server.core.iam import Binding, Permission, Policy, Principal
from bonded.server.identity.conditions import Circumstances, holds

ROUNDS = 20_000
REPEATS = 5
READER = "roles/artifactregistry.reader"
DOWNLOAD = Permission.REPOSITORY_DOWNLOAD
UPLOAD = Permission.REPOSITORY_UPLOAD
POLICY_BINDINGS = 1250


def best_us(act: Callable[[], object]) -> float:
    """Return what one call takes, in microseconds, in the best of several runs."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(ROUNDS):
            act()
        best = min(best, time.perf_counter() - started)
    return best / ROUNDS * 1e6


def grants_of(bindings: int) -> Grants:
    """Return grants from so many bindings, one of them for the group that counts."""
    named = [Binding(READER, (f"user:u{number}@example.com",)) for number in range(bindings - 1)]
    named.append(Binding(READER, ("group:g0@example.com",)))
    policies = [
        Policy(f"projects/p{start}", tuple(named[start : start + POLICY_BINDINGS]))
        for start in range(0, len(named), POLICY_BINDINGS)
    ]
    return Grants(policies)


def member_of(groups: int) -> Principal:
    """Return somebody in so many groups."""
    named = frozenset(f"group:g{number}@example.com" for number in range(groups))
    return Principal("user:ada@example.com", groups=named)


def main() -> int:
    """Print the table."""
    small, large = grants_of(10), grants_of(10_000)
    few, many = member_of(10), member_of(1000)
    lines = {
        "allowed, 10 bindings, 10 groups": lambda: small.decide(few, DOWNLOAD),
        "allowed, 10,000 bindings, 1,000 groups": lambda: large.decide(many, DOWNLOAD),
        "denied, 10 bindings, 10 groups": lambda: small.decide(few, UPLOAD),
        "denied, 10,000 bindings, 1,000 groups": lambda: large.decide(many, UPLOAD),
    }
    found = {name: best_us(act) for name, act in lines.items()}
    for name, cost in found.items():
        sys.stdout.write(f"{name:45} {cost:7.2f} us\n")
    allowed_small, allowed_large, denied_small, denied_large = found.values()
    sys.stdout.write(f"{'ratio, allowed':45} {allowed_large / allowed_small:7.2f}\n")
    sys.stdout.write(f"{'ratio, denied':45} {denied_large / denied_small:7.2f}\n")
    condition = Condition("until", 'request.time < timestamp("2999-01-01T00:00:00Z")')
    circumstances = Circumstances("projects/p", datetime(2026, 11, 22, tzinfo=UTC))
    cost = best_us(lambda: holds(condition, circumstances))
    sys.stdout.write(f"{'one condition, where the answer needs it':45} {cost:7.2f} us\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

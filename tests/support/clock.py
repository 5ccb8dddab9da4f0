"""A clock that tests set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **elapsed: float) -> None:
        """Move on, by arguments of timedelta."""
        self.now += timedelta(**elapsed)

"""The time, as an argument: tests bring their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present moment, aware, in UTC."""


def system_clock() -> datetime:
    """Return the present moment by the system's clock."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that asks the system

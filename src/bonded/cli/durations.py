"""Durations as gcloud writes them: 90s, 15m, 1h30m, 7d, or seconds alone; and moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bonded.client.errors import Misconfigured

DURATION_MAX_S = 100 * 365 * 86_400
"""Longer than anything here lives, and no end of it is past what a calendar can say."""
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(at: float) -> str:
    """Return a moment (seconds since 1970) as the server writes it: `2030-01-31T00:00:00Z`."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str, *, or_else: str = "") -> int:
    """Return gcloud's way to write a time, `1h30m`, in seconds; *or_else* is what else will do.

    Raises:
        Misconfigured: it is none, or of more than a hundred years.
    """
    if not re.fullmatch(r"(?:\d{1,9}[smhd]?)+", text):
        raise Misconfigured(
            f"[{text}] is not a duration.", hint=f"Write it as 90s, 5m, 1h30m or 90d{or_else}."
        )
    parts = re.findall(r"(\d+)([smhd]?)", text)
    total_s = sum(int(number) * _UNITS_S[unit] for number, unit in parts)
    if total_s > DURATION_MAX_S:
        raise Misconfigured(
            f"[{text}] is more than a hundred years.", hint="Write less, such as 365d."
        )
    return total_s

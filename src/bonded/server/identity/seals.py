"""What the server writes for itself and hands to a browser: sealed, for one purpose, for a while.

Cookies and hidden fields carry it, so that nothing has to be stored for somebody
who has not proved anything yet.
"""

from __future__ import annotations

from typing import Any

import orjson

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unavailable
from bonded.server.identity.sealing import Sealer

SEALED_LENGTH_MAX = 4096


class Seals:
    """Seals values so that nobody else can read or make them."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def seal(self, purpose: str, value: dict[str, object], life_s: float) -> str:
        """Return *value* as a text that only `open` can read, until it expires."""
        expires_at = self._clock().timestamp() + life_s
        return self._sealer.seal(orjson.dumps([purpose, expires_at, value]).decode())

    def open(self, purpose: str, text: str) -> dict[str, Any] | None:
        """Return the value, or None if we did not seal it for *purpose*, or it has expired."""
        if not text or len(text) > SEALED_LENGTH_MAX:
            return None
        try:
            sealed_for, expires_at, value = orjson.loads(self._sealer.open(text))
        except (Unavailable, ValueError, TypeError):
            return None
        if sealed_for != purpose or expires_at <= self._clock().timestamp():
            return None
        found: dict[str, Any] = value
        return found

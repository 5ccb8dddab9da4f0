"""What the server writes for itself and hands to a browser: sealed, for one purpose, for a while.

Cookies and hidden fields carry it, so that nothing has to be stored for somebody
who has not proved anything yet.
"""

from __future__ import annotations

from typing import Any

import orjson

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Rejected, Unavailable
from bonded.server.identity.sealing import Sealer

SEALED_LENGTH_MAX = 4096
"""Of a cookie browsers keep no more (RFC 6265 §6.1)."""


class Seals:
    """Seals values so that nobody else can read or make them."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    def seal(self, purpose: str, value: dict[str, object], life_s: float) -> str:
        """Return *value* as a text that only `open` can read, until it expires.

        Raises:
            Rejected: it is too long to be read again.
        """
        expires_at = self._clock().timestamp() + life_s
        text = self._sealer.seal(orjson.dumps([purpose, expires_at, value]).decode())
        if len(text) > SEALED_LENGTH_MAX:
            raise Rejected("The request is too long to be kept until the next page")
        return text

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

"""A line for every request, for operators. The audit log is another thing: see core/audit.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from bonded.server.web.addresses import Addresses
from bonded.server.web.messages import Answer, Reply, Scope

_log = logging.getLogger("bonded.access")


class AccessLog:
    """Writes who asked for what, what the answer was, and how long it took."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def write(
        self, scope: Scope, headers: Mapping[bytes, bytes], answer: Answer, started_at: float
    ) -> None:
        """Write the line. Without the query, in which sign-ins carry what proves them."""
        size = len(answer.body) if isinstance(answer, Reply) else answer.stop - answer.start
        _log.info(
            '%s "%s %s" %d %d %.1fms %s',
            self._addresses.of(scope, headers) or "-",
            scope["method"],
            # As it came: percent-encoded, so that nobody can start a line of their own.
            scope["raw_path"].decode("latin-1"),
            answer.status,
            0 if scope["method"] == "HEAD" else size,
            (time.perf_counter() - started_at) * 1000,
            repr(headers.get(b"user-agent", b"-").decode("latin-1")),
        )

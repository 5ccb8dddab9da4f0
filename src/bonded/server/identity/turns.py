"""Turns at what is costly: few at once, and a bounded queue that no crowd can keep for itself.

Strangers are counted by the site that they call from. When their places are taken, whoever
comes takes the place of the last one of the site that most wait from: so a crowd of one site,
however many networks it calls from, takes places from itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bonded.server.core.errors import TooMany

BUSY_S = 5
"""When to come back who found no place."""


class Turns:
    """Lets a few work at once; the others wait in the order in which they came."""

    def __init__(self, at_once_max: int, waiting_max: int, strangers_max: int) -> None:
        self._free = at_once_max
        self._waiting_max = waiting_max
        self._strangers_max = strangers_max
        self._queue: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def taken(self, site: str = "") -> AsyncIterator[None]:
        """Wait for a turn, and have it during the block.

        *site* is where a stranger calls from; "" for whoever is none.

        Raises:
            TooMany: too many wait, or somebody of a site that fewer wait from came later.
        """
        await self._wait(site)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, site: str) -> None:
        if self._free:
            self._free -= 1
            return
        self._make_room(site)
        turn = asyncio.get_running_loop().create_future()
        self._queue[turn] = site
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled in the moment in which the turn had come.
            if not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            raise
        finally:
            self._queue.pop(turn, None)

    def _make_room(self, site: str) -> None:
        """Find a place in the queue for *site*. Raises TooMany."""
        strangers = Counter(each for each in self._queue.values() if each)
        has_room = len(self._queue) < self._waiting_max
        if has_room and not (site and strangers.total() >= self._strangers_max):
            return
        crowd, number = max(strangers.items(), key=lambda each: each[1], default=("", 0))
        # A place that would only change hands stays where it is.
        if number <= (strangers[site] + 1 if site else 0):
            raise _too_many()
        last = next(turn for turn in reversed(self._queue) if self._queue[turn] == crowd)
        del self._queue[last]
        if not last.done():
            last.set_exception(_too_many())

    def _pass_on(self) -> None:
        while self._queue:
            turn = next(iter(self._queue))
            del self._queue[turn]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _too_many() -> TooMany:
    return TooMany("Too many people sign in at the moment", retry_after_s=BUSY_S)

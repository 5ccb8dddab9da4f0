"""Turns at what is costly: few at once, and a bounded queue that no crowd can keep for itself.

Strangers are counted by the site that they call from, and who is known by their account, or one
account with many devices would keep the queue. When the places are taken, whoever comes takes the
place of the last one of whom most wait for: so a crowd of one site, however many networks it calls
from, takes places from itself, and so does a crowd of one account.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bonded.server.core.errors import TooMany

BUSY_S = 5
"""When to come back who found no place."""


@dataclass(frozen=True, slots=True)
class Party:
    """Those who share their places in the queue."""

    name: str
    """The account of who is known, the site of strangers."""
    is_known: bool


class Turns:
    """Lets a few work at once; the others wait in the order in which they came."""

    def __init__(self, at_once_max: int, waiting_max: int, strangers_max: int) -> None:
        self._free = at_once_max
        self._waiting_max = waiting_max
        self._strangers_max = strangers_max
        self._queue: dict[asyncio.Future[None], Party] = {}

    @asynccontextmanager
    async def taken(self, party: Party) -> AsyncIterator[None]:
        """Wait for a turn of *party*'s, and have it during the block.

        Raises:
            TooMany: too many wait, or somebody of a party that fewer wait of came later.
        """
        await self._wait(party)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, party: Party) -> None:
        if self._free:
            self._free -= 1
            return
        self._make_room(party)
        turn = asyncio.get_running_loop().create_future()
        self._queue[turn] = party
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled in the moment in which the turn had come.
            if not turn.cancelled() and turn.exception() is None:
                self._pass_on()
            raise
        finally:
            self._queue.pop(turn, None)

    def _make_room(self, party: Party) -> None:
        """Find a place in the queue for *party*. Raises TooMany."""
        waiting = Counter(self._queue.values())
        strangers = Counter({each: waiting[each] for each in waiting if not each.is_known})
        is_their_limit = not party.is_known and strangers.total() >= self._strangers_max
        if len(self._queue) < self._waiting_max and not is_their_limit:
            return
        # Of those who are alike, strangers make room first.
        crowd, number = max(
            (strangers if is_their_limit else waiting).items(),
            key=lambda each: (each[1], not each[0].is_known),
            default=(party, 0),
        )
        # A place that would only change hands stays where it is; but who is known goes before as
        # many strangers.
        goes_before = party.is_known and not crowd.is_known
        if number <= waiting[party] + (0 if goes_before else 1):
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

"""Turns to have a large page in memory: few at a time, whoever they come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """The turns of one upstream, out of those that all have together."""

    def __init__(self, at_once: int, shared: asyncio.Semaphore) -> None:
        self._own = asyncio.Semaphore(max(1, at_once - 1))
        self._shared = shared

    @property
    def are_free(self) -> bool:
        """Whether `take` would not have to wait now."""
        return not self._own.locked() and not self._shared.locked()

    @asynccontextmanager
    async def take(self, limit_s: float) -> AsyncIterator[None]:
        """Wait for a turn, for so long at most, and have it. Raises TimeoutError."""
        async with AsyncExitStack() as held:
            # What is done in a turn has bounds of its own.
            async with asyncio.timeout(limit_s):
                await held.enter_async_context(self._own)
                await held.enter_async_context(self._shared)
            yield


class SharedTurns:
    """The turns that all upstreams have together.

    No upstream ever takes all of them, if there are more than one, however many repositories
    ask it: if it is slow, the others go on.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._shared = asyncio.Semaphore(at_once)
        self._of: WeakValueDictionary[Hashable, Turns] = WeakValueDictionary()

    def of(self, upstream: Hashable) -> Turns:
        """Return the turns of an upstream, the same as long as somebody has them."""
        turns = self._of.get(upstream)
        if turns is None:
            turns = self._of[upstream] = Turns(self._at_once, self._shared)
        return turns

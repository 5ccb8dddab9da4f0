"""Turns to have a large page in memory: few at a time, whoever they come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """The turns of one upstream, out of those that all have together.

    One upstream never takes all of them, if there are more than one: if it is slow, the others
    go on.
    """

    def __init__(self, at_once: int, shared: asyncio.Semaphore) -> None:
        self._own = asyncio.Semaphore(max(1, at_once - 1))
        self._shared = shared

    @property
    def are_free(self) -> bool:
        """Whether `take` would not have to wait now."""
        return not self._own.locked() and not self._shared.locked()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        async with self._own, self._shared:
            yield

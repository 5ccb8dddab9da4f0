"""SQLite's one writer: transactions take turns, and share commits."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError

from bonded.server.core.errors import Unavailable
from bonded.server.metadata.sql.connections import LocalConnection

TURN_WAIT_S = 30
"""How long a writer waits for those before it."""
LOCKED_RETRY_S = 0.01

_log = logging.getLogger("bonded.server")


class Writer:
    """Runs transactions one after the other on one connection.

    A commit waits for the disk, and meanwhile others come to write. They then run
    together as savepoints of one transaction of the database, and one commit makes
    all of them durable: how many may be written in a second depends on how many
    come, not on how long the disk takes (group commit).
    """

    def __init__(self, connection: LocalConnection) -> None:
        # Its busy timeout must be 0: waiting for another process would stop the loop.
        self._connection = connection
        # First come, first served: a commit comes after those who waited before it.
        self._turn = asyncio.Lock()
        self._group: asyncio.Future[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LocalConnection]:
        """Open a transaction; it is durable when its block has ended.

        Raises:
            Unavailable: others write for too long.
            sqlite3.Error: the database does not do it; nothing was changed.
        """
        failure: Exception | None = None
        await self._take_turn()
        try:
            group = self._group or await self._begin()
            try:
                self._connection.driver.execute("SAVEPOINT one")
                yield self._connection
                self._connection.driver.execute("RELEASE one")
            except Exception as error:  # noqa: BLE001 - raised below
                failure = error
                self._undo(group, error)
            except BaseException as error:
                self._undo(group, error)
                raise
        finally:
            self._turn.release()
        # Even after a failure: it may be due to what another of the group has written, and
        # whoever asks next must find that.
        await asyncio.shield(group)
        if failure is not None:
            raise failure

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable("The database has been busy for too long") from error

    async def _begin(self) -> asyncio.Future[None]:
        """Begin a group, waiting on the loop for another process that writes at the moment."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + TURN_WAIT_S
        while True:
            try:
                self._connection.driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or loop.time() > give_up_at:
                    raise
                await asyncio.sleep(LOCKED_RETRY_S)
            else:
                break
        group: asyncio.Future[None] = loop.create_future()
        self._group = group
        self._committing = asyncio.create_task(self._commit(group))
        return group

    def _undo(self, group: asyncio.Future[None], cause: BaseException) -> None:
        """Undo one transaction of the group."""
        driver = self._connection.driver
        try:
            driver.execute("ROLLBACK TO one")
            driver.execute("RELEASE one")
        except sqlite3.Error as error:
            # A full or broken disk. SQLite may have undone everything by itself
            # (sqlite.org/lang_transaction.html §3), so nobody of the group has written anything.
            self._lose(group, cause if isinstance(cause, sqlite3.Error | DBAPIError) else error)

    async def _commit(self, group: asyncio.Future[None]) -> None:
        """Commit for everybody who is in the group when the turn comes."""
        async with self._turn:
            if self._group is not group:
                return
            try:
                # In a thread, because it waits for the disk.
                await self._connection.in_thread(self._connection.driver.commit)
            except Exception as error:  # noqa: BLE001 - told to everybody of the group
                self._lose(group, error)
            except BaseException:
                self._lose(group, Unavailable("The server was stopped"))
                raise
            else:
                self._group = None
                group.set_result(None)

    def _lose(self, group: asyncio.Future[None], cause: Exception) -> None:
        """Undo everything, and tell the whole group."""
        self._group = None
        try:
            self._connection.driver.rollback()
        except sqlite3.Error as error:
            _log.error("A transaction could not be rolled back: %s", error)
        finally:
            group.set_exception(cause)
            # Perhaps nobody waits any more: then it is not worth a word in the log.
            group.exception()

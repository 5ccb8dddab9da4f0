"""When keys and accounts were last used: gathered in memory, written about once a minute.

Requests only gather. What a crash forgets is less than a minute old, and the
answer is meant for people who look for keys that nobody uses any more.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from bonded.server.core.errors import BondedError
from bonded.server.core.iam import Principal
from bonded.server.metadata.store import MetadataStore

WRITE_EVERY_S = 60
GATHERED_MAX = 65_536
"""Keys and accounts between two writes; what comes beyond is noted at its next use."""

_log = logging.getLogger("bonded.server.uses")


class Uses:
    """Gathers and writes when keys and service accounts were last used."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._keys: dict[str, datetime] = {}
        self._accounts: dict[str, datetime] = {}

    def note(self, principal: Principal, at: float) -> None:
        """Note that a credential of *principal* was accepted, *at* seconds since 1970."""
        kind, _, email = principal.member.partition(":")
        if kind != "serviceAccount" or len(self._keys) + len(self._accounts) >= GATHERED_MAX:
            return
        moment = datetime.fromtimestamp(at, tz=UTC)
        self._accounts[email] = moment
        origin, _, name = principal.credential.partition(":")
        if origin == "key":
            self._keys[name] = moment

    async def write(self) -> None:
        """Write what has been gathered. Raises Unavailable; then the next time writes it."""
        if not self._accounts:
            return
        accounts, keys = dict(self._accounts), dict(self._keys)
        async with self._metadata.transaction() as tx:
            await tx.accounts.note_uses(accounts, keys)
        for gathered, written in ((self._accounts, accounts), (self._keys, keys)):
            for name, moment in written.items():
                if gathered.get(name) == moment:
                    del gathered[name]

    async def run(self) -> None:
        """Write again and again, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write()
            except BondedError as error:
                _log.warning("When keys were last used could not be written: %s", error)
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on in a minute.
                _log.exception("Writing when keys were last used failed")

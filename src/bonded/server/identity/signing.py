"""The keys that sign what this server issues: shared by its replicas, and renewed in time.

They are in the database, sealed, because every replica must sign and verify
with the same ones, and learn of a new one before another replica signs with it.
A key is published a while before it signs, so that whoever keeps the published
set (JWKS) for some hours knows it in time; and it stays until the last token
that it signed has expired.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Unavailable
from bonded.server.identity.sealing import Sealer
from bonded.server.metadata.store import MetadataStore, SealedKey, Transaction

ALGORITHM = "ES256"
"""Its tokens are short, and verifying one costs less than a tenth of a millisecond."""

LEAD_MAX = timedelta(days=1)
"""How long a key is published before it signs, unless its whole period is short."""
REFRESH_EVERY_S = 60
LOOK_AGAIN_AFTER_S = 1
"""Tokens that name unknown keys make the server look for new ones this often at most."""

_log = logging.getLogger("bonded.server.signing")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When signing keys are made and forgotten."""

    period: timedelta
    """How long one key signs."""
    token_life_max: timedelta

    @property
    def lead(self) -> timedelta:
        """How long before it signs a key is published."""
        return min(LEAD_MAX, self.period / 2)

    def next_start(self, starts: Sequence[datetime], now: datetime) -> datetime | None:
        """Return when a key that must be made now begins to sign; None if none need be made.

        *starts* are those of the keys there are, the earliest first.
        """
        if not starts:
            return now
        ends_at = starts[-1] + self.period
        # After a long stop its end has passed; it goes on until its successor is known.
        return max(ends_at, now + self.lead) if ends_at - self.lead <= now else None

    def count_over(self, starts: Sequence[datetime], now: datetime) -> int:
        """Return how many of the earliest keys have signed nothing that can still be good."""
        # A key stops signing when its successor starts.
        return sum(1 for start in starts[1:] if start + self.token_life_max < now)


class SigningKeys:
    """The server's signing keys, as this replica knows them."""

    def __init__(
        self, metadata: MetadataStore, sealer: Sealer, clock: Clock, schedule: Schedule
    ) -> None:
        self._metadata = metadata
        self._sealer = sealer
        self._clock = clock
        self._schedule = schedule
        self._known: Mapping[str, tuple[datetime, ECKey]] = {}
        self._looked_at = float("-inf")

    def current(self) -> ECKey:
        """Return the key that signs now."""
        now = self._clock()
        # Starts ascend. Even the first one may lie ahead, by another replica's clock.
        keys = list(self._known.values())
        return next((key for start, key in reversed(keys) if start <= now), keys[0][1])

    async def find(self, key_id: str) -> ECKey | None:
        """Return the key that a token names; None if there is none."""
        known = self._known.get(key_id)
        now = asyncio.get_running_loop().time()
        if known is None and now - self._looked_at >= LOOK_AGAIN_AFTER_S:
            self._looked_at = now
            await self.refresh()
            known = self._known.get(key_id)
        return None if known is None else known[1]

    def public(self) -> list[dict[str, Any]]:
        """Return the public halves, for everybody who verifies (RFC 7517)."""
        return [
            {**key.as_dict(private=False), "alg": ALGORITHM, "use": "sig"}
            for _, key in self._known.values()
        ]

    async def refresh(self) -> None:
        """Learn of other replicas' keys; make and forget keys when it is time.

        Raises:
            Unavailable: the database does not answer, or another sealing key is needed.
        """
        async with self._metadata.read() as tx:
            sealed = await tx.tokens.list_signing_keys()
        if self._is_due(sealed):
            async with self._metadata.transaction() as tx:
                sealed = await self._renew(tx)
        self._known = {one.id: (one.starts_at, self._open(one)) for one in sealed}

    def _is_due(self, sealed: Sequence[SealedKey]) -> bool:
        starts, now = [one.starts_at for one in sealed], self._clock()
        schedule = self._schedule
        return bool(schedule.next_start(starts, now) or schedule.count_over(starts, now))

    async def _renew(self, tx: Transaction) -> tuple[SealedKey, ...]:
        # First of all, because it locks: of replicas that come at once, one makes the key.
        await tx.tokens.hold_signing_keys()
        sealed = await tx.tokens.list_signing_keys()
        starts, now = [one.starts_at for one in sealed], self._clock()
        start = self._schedule.next_start(starts, now)
        if start is not None:
            made = self._make(start)
            await tx.tokens.add_signing_key(made)
            _log.info("The signing key %s signs from %s on", made.id, start)
            sealed = (*sealed, made)
        over = self._schedule.count_over(starts, now)
        for one in sealed[:over]:
            await tx.tokens.remove_signing_key(one.id)
        return sealed[over:]

    def _make(self, starts_at: datetime) -> SealedKey:
        key = ECKey.generate_key("P-256", private=True)
        text = json.dumps(key.as_dict(private=True))
        return SealedKey(key.thumbprint(), self._sealer.seal(text), self._clock(), starts_at)

    def _open(self, sealed: SealedKey) -> ECKey:
        known = self._known.get(sealed.id)
        if known is not None:
            return known[1]
        text = self._sealer.open(sealed.sealed)
        try:
            return ECKey.import_key({**json.loads(text), "kid": sealed.id})
        except (JoseError, ValueError, TypeError) as error:
            raise Unavailable(f"The signing key {sealed.id} cannot be read") from error

    async def run(self) -> None:
        """Refresh again and again, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            try:
                await self.refresh()
            except Unavailable as error:
                _log.warning("Signing keys could not be refreshed: %s", error)
            except Exception:  # noqa: BLE001
                # The boundary of a task that nobody waits for: it must go on in a minute.
                _log.exception("Refreshing signing keys failed")

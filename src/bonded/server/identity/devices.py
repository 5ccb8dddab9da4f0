"""Devices without a browser, signed in from another one (RFC 8628)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import GrantRefused, NotFound
from bonded.server.identity.codes import Redeemed
from bonded.server.identity.sessions import Sessions
from bonded.server.identity.throttle import site_of
from bonded.server.metadata.people import DeviceGrant, Session
from bonded.server.metadata.store import MetadataStore, Transaction

LIFE_S = 600
INTERVAL_S = 5
INTERVAL_MAX_S = 60
SKEW_S = 0.5
"""A poll may be so early: networks do not keep time."""
WAITING_MAX = 10_000
"""Of all networks together; who comes then takes the place of who has waited longest, in the
network that most wait in: nobody can keep everybody else from signing devices in."""
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words; nothing that looks like another (RFC 8628 §6.1)."""
_LENGTH = 8


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """The codes of a device that waits: one for itself, one for the person."""

    device_code: str
    user_code: str
    expires_in_s: int = LIFE_S
    interval_s: int = INTERVAL_S


class DeviceGrants:
    """Lets devices wait, people answer, and devices hear of it."""

    def __init__(
        self,
        metadata: MetadataStore,
        sessions: Sessions,
        clock: Clock,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._metadata = metadata
        self._sessions = sessions
        self._clock = clock
        self._waiting_max = waiting_max

    async def start(self, client: str, scope: str, client_address: str) -> Waiting:
        """Let a device wait for somebody."""
        user_code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        waiting = Waiting(secrets.token_urlsafe(32), spelled(user_code))
        now = self._clock()
        grant = DeviceGrant(
            secret_hash=sha256_of(waiting.device_code.encode()),
            user_code_hash=_hash_of(user_code),
            client=client,
            scope=scope,
            client_address=client_address[:64],
            created_at=now,
            expires_at=now + timedelta(seconds=LIFE_S),
            interval_s=INTERVAL_S,
            network=site_of(client_address),
        )
        async with self._metadata.transaction() as tx:
            # Kept a while longer, so that a late device hears that it is late.
            await tx.sign_ins.forget_expired(now - timedelta(seconds=LIFE_S))
            if await tx.sign_ins.count_waiting_devices(now) >= self._waiting_max:
                await tx.sign_ins.crowd_out_device(now)
            await tx.sign_ins.add_device(grant)
        return waiting

    async def find(self, user_code: str) -> DeviceGrant:
        """Return the device that shows *user_code*, however it was typed.

        Raises:
            NotFound: no device shows it, or somebody has answered it.
        """
        async with self._metadata.read() as tx:
            grant = await tx.sign_ins.find_device(_hash_of(user_code))
        if grant is None or grant.expires_at <= self._clock() or grant.address or grant.is_denied:
            raise _no_device()
        return grant

    async def answer(self, user_code: str, browser: Session, *, is_approved: bool) -> None:
        """Sign a device in as whoever *browser* is signed in as, or refuse it.

        Raises:
            NotFound: no device shows the code, or somebody has answered it.
        """
        grant = await self.find(user_code)
        async with self._metadata.transaction() as tx:
            answered = await tx.sign_ins.answer_device(
                grant.user_code_hash, browser if is_approved else None
            )
        if not answered:
            raise _no_device()

    async def redeem(self, device_code: str, client: str, client_address: str) -> Redeemed:
        """Start the session of a device that somebody has signed in.

        Raises:
            GrantRefused: nobody has yet, or they refused, or have signed out since, or it asks
                too often, or too late.
        """
        secret_hash = sha256_of(device_code.encode())
        redeemed, refusal = None, None
        async with self._metadata.transaction() as tx:
            grant = await tx.sign_ins.hold_device(secret_hash)
            refusal = await self._refusal(tx, grant, client)
            if refusal is None and grant is not None:
                redeemed = await self._start(tx, grant, client_address)
        # Not inside: an error there would undo what was written.
        if refusal is not None:
            raise refusal
        if redeemed is None:
            raise GrantRefused(
                "access_denied",
                "The sign-in of the browser that approved this device has ended",
                hint="Start again.",
            )
        return redeemed

    async def _refusal(
        self, tx: Transaction, grant: DeviceGrant | None, client: str
    ) -> GrantRefused | None:
        if grant is None or grant.client != client:
            return GrantRefused("invalid_grant", "The device code is not valid, or was used")
        now = self._clock()
        if grant.expires_at <= now:
            return GrantRefused(
                "expired_token", "Nobody signed this device in in time", hint="Start again."
            )
        if grant.is_denied:
            return GrantRefused("access_denied", "The request was refused in the browser")
        if grant.address:
            return None
        since_s = (now - (grant.polled_at or grant.created_at)).total_seconds()
        is_early = grant.polled_at is not None and since_s < grant.interval_s - SKEW_S
        interval_s = grant.interval_s + (INTERVAL_S if is_early else 0)
        await tx.sign_ins.poll_device(grant.secret_hash, now, min(interval_s, INTERVAL_MAX_S))
        if is_early:
            return GrantRefused("slow_down", f"Ask every {interval_s} s at the most")
        return GrantRefused("authorization_pending", "Nobody has signed this device in yet")

    async def _start(
        self, tx: Transaction, grant: DeviceGrant, client_address: str
    ) -> Redeemed | None:
        await tx.sign_ins.remove_device(grant.secret_hash)
        started = await self._sessions.start_approved(
            tx, grant.approved_by, grant.client, client_address
        )
        return None if started is None else Redeemed(started, grant.scope, nonce="")


def spelled(user_code: str) -> str:
    """Return a code as devices show it, `BDFG-HJKL`, however it was typed."""
    letters = _letters_of(user_code)
    half = _LENGTH // 2
    return f"{letters[:half]}-{letters[half:]}" if len(letters) == _LENGTH else letters


def _letters_of(user_code: str) -> str:
    return "".join(one for one in user_code.upper() if one.isascii() and one.isalnum())


def _hash_of(user_code: str) -> str:
    return str(sha256_of(_letters_of(user_code).encode()))


def _no_device() -> NotFound:
    return NotFound(
        "No device waits with this code",
        hint="Look at the code on the device again; after ten minutes it has a new one.",
    )

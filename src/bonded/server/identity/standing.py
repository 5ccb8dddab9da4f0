"""Whether a principal that a policy names can prove who they are: now, here, by themselves."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime

from bonded.server.core.clock import Clock
from bonded.server.metadata.people import User
from bonded.server.metadata.store import Transaction


class Standing(enum.StrEnum):
    """What is known of somebody whom a policy names."""

    ABLE = "ABLE"
    """Can sign in."""
    ABSENT = "ABSENT"
    """Is nobody here, yet or any more."""
    DISABLED = "DISABLED"
    UNPROVEN = "UNPROVEN"
    """Is somebody here, but has nothing to prove it by: no password, no good key."""
    UNKNOWN = "UNKNOWN"
    """Is somebody else's to know: a group, an outside identity, everybody."""
    UNKNOWN_INFO_DENIED = "UNKNOWN_INFO_DENIED"
    """Is not for whoever asks to know."""


Vouches = Callable[[User], bool]
"""Says whether an identity provider that this server asks vouches for somebody."""


class Standings:
    """Looks at users and service accounts as a transaction sees them."""

    def __init__(self, clock: Clock, vouches_for: Vouches) -> None:
        self._clock = clock
        self._vouches_for = vouches_for

    async def of(self, tx: Transaction, member: str, at: datetime | None = None) -> Standing:
        """Say how *member* stands, or would stand *at* some time if nothing else changes."""
        kind, _, address = member.partition(":")
        match kind:
            case "user":
                return await self._of_user(tx, address)
            case "serviceAccount":
                return await self._of_account(tx, address, at or self._clock())
            case _:
                return Standing.UNKNOWN

    async def can_sign_in(self, tx: Transaction, member: str, at: datetime) -> bool:
        """Say whether *member* is somebody who can prove it to this server *at* some time."""
        return await self.of(tx, member, at) is Standing.ABLE

    async def _of_user(self, tx: Transaction, address: str) -> Standing:
        user = await tx.users.find(address)
        if user is None:
            return Standing.ABSENT
        if user.is_disabled:
            return Standing.DISABLED
        proof = await tx.users.find_proof(address)
        has_password = proof is not None and bool(proof.password_hash)
        is_able = has_password or self._vouches_for(user)
        return Standing.ABLE if is_able else Standing.UNPROVEN

    async def _of_account(self, tx: Transaction, email: str, at: datetime) -> Standing:
        account = await tx.accounts.find(email)
        if account is None:
            return Standing.ABSENT
        if account.is_disabled:
            return Standing.DISABLED
        is_able = any(key.is_good(at) for key in await tx.accounts.list_keys(email))
        return Standing.ABLE if is_able else Standing.UNPROVEN

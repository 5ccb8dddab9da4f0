"""The server keeps an owner: asked in the transaction of every act that could take the last one.

An owner has `roles/owner` on the server, always, by name or through groups of this server, and
can sign in by themselves: a user who exists, is enabled and has a password, or has signed in
through the provider that is configured; a service account that is enabled and has a good key, one
that is good for another day as long as somebody has one.
Nobody else counts, because nobody here can know that they will come: users who have not accepted
their invitation, identities of outside issuers (`principal://…`), groups and domains that a
provider names, who may act as somebody else. Nor does a custom role make an owner, so changing
one takes none away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.errors import Lockout
from bonded.server.core.iam import ORGANIZATION, Policy
from bonded.server.core.roles import OWNER
from bonded.server.metadata.store import Transaction

LISTED_MAX = 100
"""Members of groups that are looked at in one query; nearly always the first can sign in."""

LASTING = timedelta(days=1)
"""A key that ends sooner is none for who should stay: time, which nobody refuses, would take the
last owner soon after the act."""

CanSignIn = Callable[[Transaction, str, datetime], Awaitable[bool]]
"""Says whether a user or a service account can prove who they are at some time."""


Guard = Callable[[Transaction], Awaitable[None]]
"""Looks at what a transaction has written, and raises to have it undone."""


class Owners:
    """Knows who owns the server, and keeps the last of them."""

    def __init__(self, can_sign_in: CanSignIn, clock: Clock) -> None:
        self._can_sign_in = can_sign_in
        self._clock = clock

    @asynccontextmanager
    async def kept(self, tx: Transaction, about: str = "") -> AsyncIterator[None]:
        """Let the block write, and refuse what it has written if that takes the last owner.

        Where the block can take nothing but from one user, service account or group, *about*
        says from whom: unless they own the server, no owners are looked for.

        A server that has none already, because a key has expired, can still be mended.

        Raises:
            Lockout: nobody would own the server who can sign in.
        """
        # Takes the lock on access: what is asked after it stays true until the commit.
        await tx.policies.hold()
        if about and not await _is_among(tx, about, await _named(tx)):
            yield
            return
        at = self._clock() + LASTING
        had_one = await self._has_one(tx, at)
        if not had_one:
            at = self._clock()
            had_one = await self._has_one(tx, at)
        yield
        if had_one and not await self._has_one(tx, at):
            raise Lockout(
                f"This would leave the server without an owner ({OWNER} on {ORGANIZATION}) who "
                "can sign in",
                hint="Grant that role first to another user who has a password, or to another "
                "service account that is enabled and has a key that is good for another day.",
            )

    async def _has_one(self, tx: Transaction, at: datetime) -> bool:
        named = await _named(tx)
        for member in named:
            if not member.startswith("group:") and await self._can_sign_in(tx, member, at):
                return True
        groups = [member for member in named if member.startswith("group:")]
        after = ""
        while groups:
            found = await tx.groups.list_provable(groups, at, after, LISTED_MAX)
            for member in found:
                # Whether a provider vouches for somebody is not the database's to know.
                if await self._can_sign_in(tx, member, at):
                    return True
            if len(found) < LISTED_MAX:
                break
            after = found[-1]
        return False


async def _named(tx: Transaction) -> tuple[str, ...]:
    policy = await tx.policies.find(ORGANIZATION)
    return () if policy is None else _owners(policy)


async def _is_among(tx: Transaction, member: str, named: Collection[str]) -> bool:
    """Say whether *member* is one of those *named*, or in one of the groups among them."""
    if member in named:
        return True
    if not any(one.startswith("group:") for one in named):
        return False
    around, _ = await tx.groups.find_around([member])
    return not around.keys().isdisjoint(named)


def _owners(policy: Policy) -> tuple[str, ...]:
    """Return the users, service accounts and groups whom the server's policy makes its owners.

    Always: who owns the server on a condition may own it no more tomorrow.
    """
    return tuple(
        member
        for binding in policy.bindings
        if binding.role == OWNER and binding.condition is None
        for member in binding.members
        if member.startswith(("user:", "serviceAccount:", "group:"))
    )

"""The server keeps an owner: asked in the transaction of every act that could take the last one.

An owner has `roles/owner` on the server, always, by name or through groups of this server, and
can sign in by themselves: a user who exists, is enabled and has a password, or has signed in
through the provider that is configured; a service account that is enabled and has a good key.
Nobody else counts, because nobody here can know that they will come: users who have not accepted
their invitation, identities of outside issuers (`principal://…`), groups and domains that a
provider names, who may act as somebody else. Nor does a custom role make an owner, so changing
one takes none away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from bonded.server.core.errors import Lockout
from bonded.server.core.iam import ORGANIZATION, Policy
from bonded.server.core.roles import OWNER
from bonded.server.metadata.store import Transaction

LISTED_MAX = 1000
"""Members of a group that are looked at in one query."""

CanSignIn = Callable[[Transaction, str], Awaitable[bool]]
"""Says whether a user or a service account can prove who they are."""


Guard = Callable[[Transaction], Awaitable[None]]
"""Looks at what a transaction has written, and raises to have it undone."""


class Owners:
    """Knows who owns the server, and keeps the last of them."""

    def __init__(self, can_sign_in: CanSignIn) -> None:
        self._can_sign_in = can_sign_in

    @asynccontextmanager
    async def kept(self, tx: Transaction) -> AsyncIterator[None]:
        """Let the block write, and refuse what it has written if that takes the last owner.

        A server that has none already, because a key has expired, can still be mended.

        Raises:
            Lockout: nobody would own the server who can sign in.
        """
        # Takes the lock on access: what is asked after it stays true until the commit.
        await tx.policies.hold()
        had_one = await self._has_one(tx)
        yield
        if had_one and not await self._has_one(tx):
            raise Lockout(
                f"This would leave the server without an owner ({OWNER} on {ORGANIZATION}) who "
                "can sign in",
                hint="Grant that role first to another user who has a password, or to another "
                "service account that is enabled and has a key.",
            )

    async def _has_one(self, tx: Transaction) -> bool:
        policy = await tx.policies.find(ORGANIZATION)
        named = () if policy is None else _owners(policy)
        async for member in _everybody_in(tx, named):
            if await self._can_sign_in(tx, member):
                return True
        return False


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


async def _everybody_in(tx: Transaction, named: Iterable[str]) -> AsyncIterator[str]:
    """Yield users and service accounts: those *named*, then those in groups, outermost first."""
    groups = []
    for member in named:
        if member.startswith("group:"):
            groups.append(member)
        else:
            yield member
    # Grows as groups are found in groups; none is looked into twice.
    for group in groups:
        async for member in _members_of(tx, group.removeprefix("group:")):
            if not member.startswith("group:"):
                yield member
            elif member not in groups:
                groups.append(member)


async def _members_of(tx: Transaction, address: str) -> AsyncIterator[str]:
    after, is_more = "", True
    while is_more:
        found = await tx.groups.list_members(address, after, LISTED_MAX)
        for one in found:
            yield one.member
            after = one.member
        is_more = len(found) == LISTED_MAX

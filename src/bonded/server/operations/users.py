"""Administering people: creating, inviting, disabling, deleting; and their sign-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.names import parse_address
from bonded.server.metadata.people import DIRECTORY, PROVIDER, Invitation, Proof, Session, User
from bonded.server.metadata.store import MetadataStore
from bonded.server.operations.owning import Owners

DISPLAY_NAME_LENGTH_MAX = 200
ALL_SESSIONS = "-"


class MakeInvitation(Protocol):
    """Makes an invitation that is not stored yet, and the only copy of its secret."""

    def __call__(self, address: str, now: datetime, life: timedelta) -> tuple[Invitation, str]: ...  # noqa: D102


@dataclass(frozen=True, slots=True, repr=False)
class Invited:
    """A user, and the only copy of the link that lets them set their password."""

    user: User
    link: str
    expires_at: datetime


class Users:
    """Creates, invites, shows, disables and deletes people."""

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        owners: Owners,
        *,
        make_invitation: MakeInvitation,
        link_to: Callable[[str], str],
        invitation_life: timedelta,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._owners = owners
        self._make_invitation = make_invitation
        self._link_to = link_to
        self._invitation_life = invitation_life

    async def create(self, address: str, display_name: str) -> Invited:
        """Create a user of the built-in directory, with an invitation.

        Raises:
            Rejected: the address or the name is malformed.
            Conflict: the address is taken.
        """
        if len(display_name) > DISPLAY_NAME_LENGTH_MAX or not display_name.isprintable():
            raise Rejected(f"A name has at most {DISPLAY_NAME_LENGTH_MAX} printable characters")
        user = User(parse_address(address), display_name, DIRECTORY, self._clock())
        invitation, secret = self._invitation_for(user)
        async with self._metadata.transaction() as tx:
            await tx.users.add(user)
            await tx.users.invite(invitation)
        return Invited(user, self._link_to(secret), invitation.expires_at)

    async def invite(self, address: str) -> Invited:
        """Make a new invitation, in place of earlier ones: it lets the user set a new password.

        Raises:
            NotFound: there is no such user.
            Rejected: a provider vouches for them, and they have no password.
        """
        address = (await self.get(address)).address
        async with self._metadata.transaction() as tx:
            # Held while it is read: whoever comes by the provider for the first time does so
            # before, or finds the invitation and takes it away.
            await tx.users.hold_proof(address)
            user = await tx.users.find(address)
            if user is None:
                raise NotFound(f"User {address} does not exist")
            if user.source == PROVIDER:
                raise Rejected(f"{address} signs in at the identity provider, without a password")
            invitation, secret = self._invitation_for(user)
            await tx.users.invite(invitation)
        return Invited(user, self._link_to(secret), invitation.expires_at)

    async def get(self, address: str) -> User:
        """Return a user. Raises NotFound."""
        async with self._metadata.read() as tx:
            user = await tx.users.find(address.lower())
        if user is None:
            raise NotFound(f"User {address} does not exist")
        return user

    async def has_factor(self, address: str) -> bool:
        """Say whether the user has a second factor."""
        async with self._metadata.read() as tx:
            return bool((await tx.users.find_proof(address) or Proof()).factor)

    async def list(self, after: str, limit: int) -> tuple[User, ...]:
        """Return up to *limit* users in order of address, from after *after*."""
        async with self._metadata.read() as tx:
            return await tx.users.list(after, limit)

    async def disable(self, address: str) -> User:
        """Let nobody sign in as this user; their sign-ins and tokens end at once, for good.

        The sign-ins are kept until the user is enabled, so that whoever holds one can be told.

        Raises:
            NotFound: there is no such user.
            Lockout: it is the server's last owner.
        """
        user = await self.get(address)
        async with (
            self._metadata.transaction() as tx,
            self._owners.kept(tx, f"user:{user.address}"),
        ):
            await tx.users.set_disabled(user.address, is_disabled=True)
        return await self.get(address)

    async def enable(self, address: str) -> User:
        """Let the user sign in again. Raises NotFound."""
        user = await self.get(address)
        async with self._metadata.transaction() as tx:
            # Takes the lock on access: nobody is disabled meanwhile.
            await tx.policies.hold()
            if (await tx.users.find(user.address) or user).is_disabled:
                await tx.sessions.remove_all(user.address)
            await tx.users.set_disabled(user.address, is_disabled=False)
        return await self.get(address)

    async def delete(self, address: str) -> None:
        """Delete a user with their sign-ins; their tokens stop at once.

        Raises:
            NotFound: there is no such user.
            Lockout: it is the server's last owner.
        """
        user = await self.get(address)
        async with (
            self._metadata.transaction() as tx,
            self._owners.kept(tx, f"user:{user.address}"),
        ):
            await tx.users.remove(user.address)
            # Or somebody who gets the address later would inherit its grants.
            await tx.policies.forget_members(f"user:{user.address}".__eq__)

    async def forget_factor(self, address: str) -> User:
        """Take away a second factor whose phone and recovery codes are lost. Raises NotFound."""
        user = await self.get(address)
        async with self._metadata.transaction() as tx:
            proof = await tx.users.hold_proof(user.address) or Proof()
            await tx.users.set_proof(user.address, Proof(password_hash=proof.password_hash))
        return user

    async def list_sessions(self, address: str) -> tuple[Session, ...]:
        """Return a user's sign-ins that are alive, newest first. Raises NotFound."""
        user = await self.get(address)
        async with self._metadata.read() as tx:
            sessions = await tx.sessions.list(user.address)
        return tuple(one for one in sessions if one.expires_at > self._clock())

    async def end_session(self, address: str, session_id: str) -> None:
        """End one sign-in of a user, or all; its tokens stop at once. Raises NotFound."""
        user = await self.get(address)
        async with self._metadata.transaction() as tx:
            if session_id == ALL_SESSIONS:
                await tx.sessions.remove_all(user.address)
            else:
                await tx.sessions.remove(user.address, session_id)

    def _invitation_for(self, user: User) -> tuple[Invitation, str]:
        return self._make_invitation(user.address, self._clock(), self._invitation_life)

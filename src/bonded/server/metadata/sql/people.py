"""People and their sign-ins, as rows.

What takes a right away advances the access serial first: its row is the lock
under which changes of access follow one another (see access.py).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from bonded.server.core.errors import Conflict, NotFound
from bonded.server.metadata.people import (
    CodeGrant,
    DeviceGrant,
    Invitation,
    Proof,
    Session,
    User,
)
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import ACCESS

_users = schema.users
_invitations = schema.invitations
_sessions = schema.sessions
_codes = schema.code_grants
_devices = schema.device_grants

_PROOF = (
    *(_users.c.password_hash, _users.c.factor),
    *(_users.c.factor_step, _users.c.recovery_hashes),
)


class SqlUsers:
    """People, what they prove themselves by, and their invitations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, user: User) -> None:
        """Add somebody who cannot prove anything yet. Raises Conflict if the address is taken."""
        await advance(self._connection, ACCESS)
        values = asdict(user) | _columns_of(Proof())
        try:
            await self._connection.execute(insert(_users).values(**values))
        except IntegrityError as error:
            raise Conflict(f"User {user.address} already exists") from error

    async def find(self, address: str) -> User | None:
        """Return the user, or None."""
        rows = await self._connection.execute(select(_users).where(_users.c.address == address))
        row = rows.one_or_none()
        return None if row is None else _user(row)

    async def list(self, after: str, limit: int) -> tuple[User, ...]:
        """Return up to *limit* users in order of address, from after *after*."""
        query = select(_users).where(_users.c.address > after).order_by(_users.c.address)
        return tuple(_user(row) for row in await self._connection.execute(query.limit(limit)))

    async def update(self, user: User) -> None:
        """Write down who the user is to the provider, their name and when they signed in."""
        values = {
            "display_name": user.display_name,
            "source": user.source,
            "subject": user.subject,
            "last_sign_in_at": user.last_sign_in_at,
        }
        await self._connection.execute(
            update(_users).where(_users.c.address == user.address).values(**values)
        )

    async def remove(self, address: str) -> None:
        """Remove the user with their invitations, sign-ins and approvals. Raises NotFound."""
        await advance(self._connection, ACCESS)
        # Sign-ins wait for this, or this for them. Whoever redeems what a browser has approved
        # holds that and the browser's session before they need the user, who is therefore locked
        # for good after these: left to the cascade, the two would wait for each other.
        await self.hold_proof(address)
        for table in (_codes, _devices, _invitations, _sessions):
            await self._connection.execute(delete(table).where(table.c.address == address))
        removed = await self._connection.execute(delete(_users).where(_users.c.address == address))
        if not removed.rowcount:
            raise NotFound(f"User {address} does not exist")

    async def set_disabled(self, address: str, *, is_disabled: bool) -> None:
        """Let nobody be this user, or somebody again. Raises NotFound."""
        await advance(self._connection, ACCESS)
        changed = await self._connection.execute(
            update(_users).where(_users.c.address == address).values(is_disabled=is_disabled)
        )
        if not changed.rowcount:
            raise NotFound(f"User {address} does not exist")

    async def find_proof(self, address: str) -> Proof | None:
        """Return what the user proves themselves by, or None if there is no such user."""
        rows = await self._connection.execute(select(*_PROOF).where(_users.c.address == address))
        row = rows.one_or_none()
        return None if row is None else _proof(row)

    async def hold_proof(self, address: str) -> Proof | None:
        """Return it, and keep it from changing until the transaction ends.

        Other sessions of the user can be added meanwhile, which only need that there is one.
        """
        query = select(*_PROOF).where(_users.c.address == address)
        query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _proof(row)

    async def set_proof(self, address: str, proof: Proof) -> None:
        """Replace what the user proves themselves by."""
        await self._connection.execute(
            update(_users).where(_users.c.address == address).values(**_columns_of(proof))
        )

    async def invite(self, invitation: Invitation) -> None:
        """Add an invitation in place of the user's earlier ones."""
        await self.forget_invitations(invitation.address)
        await self._connection.execute(insert(_invitations).values(**asdict(invitation)))

    async def find_invitation(self, secret_hash: str) -> Invitation | None:
        """Return the invitation, or None."""
        query = select(_invitations).where(_invitations.c.secret_hash == secret_hash)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else Invitation(**row._asdict())

    async def take_invitation(self, secret_hash: str) -> Invitation | None:
        """Return the invitation and forget it: of two who come at once, one gets it."""
        taken = await self._connection.execute(
            delete(_invitations)
            .where(_invitations.c.secret_hash == secret_hash)
            .returning(*_invitations.c)
        )
        row = taken.one_or_none()
        return None if row is None else Invitation(**row._asdict())

    async def forget_invitations(self, address: str) -> None:
        """Forget the user's invitations."""
        await self._connection.execute(
            delete(_invitations).where(_invitations.c.address == address)
        )


class SqlSessions:
    """Sign-ins of people."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, session: Session) -> None:
        """Add a session, and forget those of the same user that have expired.

        Raises:
            NotFound: there is no such user (any more).
        """
        # First, because that locks the user, as whoever removes them with their sessions does.
        try:
            values = asdict(session) | {"also": list(session.also)}
            await self._connection.execute(insert(_sessions).values(**values))
        except IntegrityError as error:
            raise NotFound(f"User {session.address} does not exist") from error
        await self._connection.execute(
            delete(_sessions).where(
                _sessions.c.address == session.address,
                _sessions.c.id != session.id,
                _sessions.c.expires_at <= session.created_at,
            )
        )

    async def find(self, session_id: str) -> Session | None:
        """Return the session, or None."""
        return await self._one(_sessions.c.id == session_id)

    async def find_by_secret(self, secret_hash: str) -> Session | None:
        """Return the session that a secret belongs to, or None."""
        return await self._one(_sessions.c.secret_hash == secret_hash)

    async def hold(self, session_id: str) -> Session | None:
        """Return the session, and keep it from being removed until the transaction ends."""
        query = select(_sessions).where(_sessions.c.id == session_id)
        held = query.with_for_update(read=True, key_share=True)
        row = (await self._connection.execute(held)).one_or_none()
        return None if row is None else _session(row)

    async def list(self, address: str) -> tuple[Session, ...]:
        """Return the user's sessions, newest first."""
        query = select(_sessions).where(_sessions.c.address == address)
        rows = await self._connection.execute(
            query.order_by(_sessions.c.created_at.desc(), _sessions.c.id)
        )
        return tuple(_session(row) for row in rows)

    async def touch(self, session_id: str, at: datetime) -> None:
        """Write down when the session was used."""
        await self._connection.execute(
            update(_sessions).where(_sessions.c.id == session_id).values(last_used_at=at)
        )

    async def remove(self, address: str, session_id: str) -> None:
        """End one session of a user. Raises NotFound."""
        await advance(self._connection, ACCESS)
        removed = await self._connection.execute(
            delete(_sessions).where(_sessions.c.address == address, _sessions.c.id == session_id)
        )
        if not removed.rowcount:
            raise NotFound(f"{address} has no session {session_id[:80]}")

    async def remove_all(self, address: str, besides: str = "") -> None:
        """End every session of a user *besides* one, and what they have approved meanwhile."""
        await advance(self._connection, ACCESS)
        # A code or a device that waits would become a session after this.
        for table in (_codes, _devices):
            await self._connection.execute(delete(table).where(table.c.address == address))
        await self._connection.execute(
            delete(_sessions).where(_sessions.c.address == address, _sessions.c.id != besides)
        )

    async def _one(self, condition: Any) -> Session | None:
        row = (await self._connection.execute(select(_sessions).where(condition))).one_or_none()
        return None if row is None else _session(row)


class SqlSignIns:
    """Sign-ins that are under way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add_code(self, code: CodeGrant) -> None:
        """Add a code that nobody has redeemed."""
        await self._connection.execute(
            insert(_codes).values(**asdict(code) | {"also": list(code.also)})
        )

    async def hold_code(self, secret_hash: str) -> CodeGrant | None:
        """Return a code, and keep others from redeeming it until the transaction ends."""
        query = select(_codes).where(_codes.c.secret_hash == secret_hash).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else CodeGrant(**{**row._asdict(), "also": tuple(row.also)})

    async def redeem_code(self, secret_hash: str, session_id: str) -> None:
        """Write down which session the code became: whoever redeems it again ends that."""
        await self._connection.execute(
            update(_codes).where(_codes.c.secret_hash == secret_hash).values(session=session_id)
        )

    async def add_device(self, device: DeviceGrant) -> None:
        """Add a device that waits. Raises Conflict if its user code is in use."""
        try:
            await self._connection.execute(
                insert(_devices).values(**asdict(device) | {"also": list(device.also)})
            )
        except IntegrityError as error:
            raise Conflict("The user code is in use") from error

    async def count_waiting_devices(self, now: datetime) -> int:
        """Return how many devices wait for somebody to answer them."""
        query = select(func.count()).select_from(_devices).where(*_waits(now))
        return int((await self._connection.execute(query)).scalar_one())

    async def crowd_out_device(self, now: datetime) -> None:
        """Forget the device that has waited longest, of the network that most wait in."""
        crowd = select(_devices.c.network).where(*_waits(now)).group_by(_devices.c.network)
        largest = crowd.order_by(func.count().desc(), _devices.c.network).limit(1)
        waiting = select(_devices.c.secret_hash).where(
            *_waits(now), _devices.c.network == largest.scalar_subquery()
        )
        first = waiting.order_by(_devices.c.created_at, _devices.c.secret_hash).limit(1)
        await self._connection.execute(
            delete(_devices).where(_devices.c.secret_hash == first.scalar_subquery())
        )

    async def find_device(self, user_code_hash: str) -> DeviceGrant | None:
        """Return the device that shows a user code, or None."""
        query = select(_devices).where(_devices.c.user_code_hash == user_code_hash)
        return _device((await self._connection.execute(query)).one_or_none())

    async def hold_device(self, secret_hash: str) -> DeviceGrant | None:
        """Return a device, and keep others from redeeming it until the transaction ends."""
        query = select(_devices).where(_devices.c.secret_hash == secret_hash).with_for_update()
        return _device((await self._connection.execute(query)).one_or_none())

    async def answer_device(self, user_code_hash: str, browser: Session | None) -> bool:
        """Sign a device in from a browser, or refuse it (None); say whether it still waited."""
        answer: dict[str, object] = {"is_denied": True}
        if browser is not None:
            answer = {
                "address": browser.address,
                "also": list(browser.also),
                "approved_by": browser.id,
            }
        changed = await self._connection.execute(
            update(_devices)
            .where(
                _devices.c.user_code_hash == user_code_hash,
                _devices.c.address == "",
                _devices.c.is_denied.is_(False),
            )
            .values(**answer)
        )
        return bool(changed.rowcount)

    async def poll_device(self, secret_hash: str, at: datetime, interval_s: int) -> None:
        """Write down when a device has asked, and how long it has to wait."""
        await self._connection.execute(
            update(_devices)
            .where(_devices.c.secret_hash == secret_hash)
            .values(polled_at=at, interval_s=interval_s)
        )

    async def remove_device(self, secret_hash: str) -> None:
        """Forget a device that has been answered."""
        await self._connection.execute(
            delete(_devices).where(_devices.c.secret_hash == secret_hash)
        )

    async def forget_expired(self, now: datetime) -> None:
        """Forget codes, devices and invitations that have expired."""
        for table in (_codes, _devices, _invitations):
            await self._connection.execute(delete(table).where(table.c.expires_at <= now))


def _waits(now: datetime) -> tuple[Any, Any, Any]:
    return _devices.c.address == "", _devices.c.is_denied.is_(False), _devices.c.expires_at > now


def _columns_of(proof: Proof) -> dict[str, object]:
    return asdict(proof) | {"recovery_hashes": list(proof.recovery_hashes)}


def _user(row: Row[tuple[object, ...]]) -> User:
    return User(
        address=row.address,
        display_name=row.display_name,
        source=row.source,
        created_at=row.created_at,
        subject=row.subject,
        is_disabled=row.is_disabled,
        last_sign_in_at=row.last_sign_in_at,
        unique_id=row.unique_id,
    )


def _proof(row: Row[Any]) -> Proof:
    return Proof(row.password_hash, row.factor, row.factor_step, tuple(row.recovery_hashes))


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(**{**row._asdict(), "also": tuple(row.also)})


def _device(row: Row[tuple[object, ...]] | None) -> DeviceGrant | None:
    return None if row is None else DeviceGrant(**{**row._asdict(), "also": tuple(row.also)})

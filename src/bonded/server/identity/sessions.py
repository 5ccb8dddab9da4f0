"""Sign-ins of people: what their access tokens hang on (`session:ID`).

A refresh token is not replaced when it is used. Several processes of one person
use it at once, and google-auth never writes a new one back (gar.md §5.5): a
token that is good once would sign people out. What stands in for rotation:
every session is listed with its last use and can be ended, it ends by itself,
and ending it ends its access tokens within a second (RFC 9700 §4.14).
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import GrantRefused, Unauthenticated, proved_to_be
from bonded.server.identity.tokens import AccessToken, TokenIssuer
from bonded.server.metadata.people import Session
from bonded.server.metadata.store import MetadataStore, Transaction

BROWSER = "browser"
"""The client of sessions that a browser's cookie belongs to."""
BROWSER_LIFE_S = 12 * 3600
REFRESH_TOKEN = "brt_"  # noqa: S105 - a prefix, by which scanners recognize a leaked one
SECRET_BYTES = 32
USED_EVERY_S = 3600
"""How exactly the last use is known: a write for every use would cost more than the use."""
SECRET_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who has just proved who they are, with the groups that their provider named."""

    address: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Started:
    """A new session, and the only copy of its secret."""

    session: Session
    secret: str


Admit = Callable[[Transaction], Awaitable[None]]
"""Looks, in the transaction that starts a session, whether what was proved still holds.

It holds the person's row, so that whoever ends their sign-ins comes before or after. Raises
Forbidden.
"""


class Sessions:
    """Starts, finds and ends sessions, and issues access tokens for them."""

    def __init__(
        self, metadata: MetadataStore, tokens: TokenIssuer, clock: Clock, life: timedelta
    ) -> None:
        self._metadata = metadata
        self._tokens = tokens
        self._clock = clock
        self._life = life

    def draft(self, person: Person, client: str, client_address: str) -> Started:
        """Return a new session that is not stored yet."""
        now = self._clock()
        is_browser = client == BROWSER
        life = timedelta(seconds=BROWSER_LIFE_S) if is_browser else self._life
        secret = ("" if is_browser else REFRESH_TOKEN) + secrets.token_urlsafe(SECRET_BYTES)
        session = Session(
            id=secrets.token_hex(12),
            address=person.address,
            client=client,
            secret_hash=sha256_of(secret.encode()),
            created_at=now,
            expires_at=now + life,
            last_used_at=now,
            also=person.also,
            client_address=client_address[:64],
        )
        return Started(session, secret)

    async def start(
        self, person: Person, client: str, client_address: str, admit: Admit
    ) -> Started:
        """Start a session, if *admit* still lets the person in.

        Raises:
            Forbidden: it does not.
        """
        started = self.draft(person, client, client_address)
        async with self._metadata.transaction() as tx:
            await admit(tx)
            await tx.sessions.add(started.session)
        return started

    async def start_approved(
        self, tx: Transaction, approved_by: str, client: str, client_address: str
    ) -> Started | None:
        """Start the session of a program that a person has let in from their browser.

        Of a browser's session that has ended there is none: what it approved ends with it.
        """
        approver = await self._alive(tx, await tx.sessions.hold(approved_by))
        if approver is None:
            return None
        started = self.draft(Person(approver.address, approver.also), client, client_address)
        await tx.sessions.add(started.session)
        return started

    async def find_browser(self, cookie: str) -> Session | None:
        """Return the session of a browser that a cookie belongs to, if it is alive."""
        session = await self._find(cookie)
        # A refresh token is no cookie: who has stolen one must not be able to sign in more.
        return session if session is not None and session.client == BROWSER else None

    async def _find(self, secret: str) -> Session | None:
        """Return the session that a secret belongs to, if it is alive; note that it is used."""
        if not secret or len(secret) > SECRET_LENGTH_MAX:
            return None
        async with self._metadata.read() as tx:
            session = await tx.sessions.find_by_secret(sha256_of(secret.encode()))
            alive = await self._alive(tx, session)
        if alive is None:
            return None
        now = self._clock()
        if (now - alive.last_used_at).total_seconds() >= USED_EVERY_S:
            async with self._metadata.transaction() as tx:
                await tx.sessions.touch(alive.id, now)
        return alive

    async def refresh(self, refresh_token: str, client: str) -> Session:
        """Return the session that a client's refresh token belongs to.

        Raises:
            GrantRefused: there is none, it has ended, or it is another client's.
        """
        session = await self._find(refresh_token)
        if session is None:
            await self._refuse_disabled(refresh_token)
        if session is None or session.client != client or client == BROWSER:
            raise GrantRefused(
                "invalid_grant", "The sign-in has ended or was revoked", hint="Sign in again."
            )
        return session

    async def subject_of(self, session: Session) -> str:
        """Return who a session's person is to others: a number, which nobody else ever has.

        Raises:
            GrantRefused: the person has just been removed.
        """
        async with self._metadata.read() as tx:
            user = await tx.users.find(session.address)
        if user is None:
            raise GrantRefused("invalid_grant", "The user does not exist any more")
        return user.unique_id

    async def _refuse_disabled(self, secret: str) -> None:
        """Say so to whoever has signed in, and is disabled since. Raises Ended."""
        async with self._metadata.read() as tx:
            session = await tx.sessions.find_by_secret(
                sha256_of(secret[:SECRET_LENGTH_MAX].encode())
            )
            if session is not None and session.expires_at > self._clock():
                with proved_to_be(f"user:{session.address}", f"session:{session.id}"):
                    await _require_enabled(tx, session.address)

    def issue(self, session: Session) -> tuple[str, int]:
        """Return an access token that hangs on *session*, and its life in seconds."""
        return self._tokens.issue(
            f"user:{session.address}", f"session:{session.id}", also=session.also
        )

    async def end(self, secret: str) -> None:
        """End the session that a secret belongs to, if there is one."""
        if not secret:
            return
        async with self._metadata.transaction() as tx:
            session = await tx.sessions.find_by_secret(
                sha256_of(secret[:SECRET_LENGTH_MAX].encode())
            )
            if session is not None:
                await tx.sessions.remove(session.address, session.id)

    async def check(self, session_id: str, token: AccessToken) -> float:
        """Say until when a token that hangs on a session is good (see `identity.origins`).

        Raises:
            Unauthenticated: the session has ended, or its user may not sign in any more.
        """
        kind, _, address = token.member.partition(":")
        async with self._metadata.read() as tx:
            session = await self._alive(tx, await tx.sessions.find(session_id))
            if session is None and kind == "user":
                await _require_enabled(tx, address)
        if session is None or token.member != f"user:{session.address}":
            raise Unauthenticated("The sign-in has ended or was revoked", hint="Sign in again.")
        return session.expires_at.timestamp()

    async def _alive(self, tx: Transaction, session: Session | None) -> Session | None:
        if session is None or session.expires_at <= self._clock():
            return None
        user = await tx.users.find(session.address)
        return None if user is None or user.is_disabled else session


async def _require_enabled(tx: Transaction, address: str) -> None:
    user = await tx.users.find(address)
    if user is not None and user.is_disabled:
        raise Unauthenticated(
            f"The user {address} is disabled",
            hint="Signing in again does not help: ask an administrator of this server for "
            f"`bonded users enable {shlex.quote(address)}`.",
        )

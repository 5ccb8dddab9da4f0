"""Authorization codes: the browser brings one to the client, which redeems it (RFC 6749 §4.1).

Only with PKCE and S256 (RFC 7636, RFC 9700 §2.1.1): our clients are programs on
somebody's machine, and have no secret of their own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from bonded.server.core.clock import Clock
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import GrantRefused, NotFound
from bonded.server.identity.sessions import Sessions, Started
from bonded.server.metadata.people import CodeGrant, Session
from bonded.server.metadata.store import MetadataStore, Transaction

LIFE_S = 60
REPLAYS_KNOWN_S = 600
"""How long a used code is remembered, so that using it again ends what it started."""
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """What a client asks for at /authorize."""

    client: str
    redirect_uri: str
    challenge: str
    scope: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The session that a grant became, and what the client had asked for."""

    started: Started
    scope: str
    nonce: str


class CodeGrants:
    """Issues and redeems authorization codes."""

    def __init__(self, metadata: MetadataStore, sessions: Sessions, clock: Clock) -> None:
        self._metadata = metadata
        self._sessions = sessions
        self._clock = clock

    async def issue(self, browser: Session, request: CodeRequest) -> str:
        """Return a code that *request*'s client can redeem once, while *browser* is signed in."""
        code = secrets.token_urlsafe(32)
        now = self._clock()
        grant = CodeGrant(
            secret_hash=sha256_of(code.encode()),
            client=request.client,
            redirect_uri=request.redirect_uri,
            challenge=request.challenge,
            scope=request.scope,
            nonce=request.nonce,
            address=browser.address,
            also=browser.also,
            expires_at=now + timedelta(seconds=LIFE_S),
            approved_by=browser.id,
        )
        async with self._metadata.transaction() as tx:
            await tx.sign_ins.forget_expired(now - timedelta(seconds=REPLAYS_KNOWN_S))
            await tx.sign_ins.add_code(grant)
        return code

    async def redeem(
        self, code: str, client: str, redirect_uri: str, verifier: str, client_address: str
    ) -> Redeemed:
        """Start the session that a code stands for.

        Raises:
            GrantRefused: it is no code of this client, was used, or has expired, or so has the
                sign-in of the browser; or the verifier is not the one it was asked for with.
        """
        secret_hash = sha256_of(code.encode())
        async with self._metadata.transaction() as tx:
            grant = await tx.sign_ins.hold_code(secret_hash)
            redeemed = None
            if grant is not None and self._fits(grant, client, redirect_uri, verifier):
                redeemed = await self._start(tx, grant, client_address)
        if grant is not None and grant.session:
            await self._end(grant)
        if redeemed is None:
            raise GrantRefused(
                "invalid_grant",
                "The authorization code is not valid, was used already, or has expired",
                hint="Sign in again.",
            )
        return redeemed

    def _fits(self, grant: CodeGrant, client: str, redirect_uri: str, verifier: str) -> bool:
        return (
            not grant.session
            and grant.client == client
            and grant.redirect_uri == redirect_uri
            and grant.expires_at > self._clock()
            and _VERIFIER.fullmatch(verifier) is not None
            and hmac.compare_digest(grant.challenge, challenge_of(verifier))
        )

    async def _start(
        self, tx: Transaction, grant: CodeGrant, client_address: str
    ) -> Redeemed | None:
        started = await self._sessions.start_approved(
            tx, grant.approved_by, grant.client, client_address
        )
        if started is None:
            return None
        await tx.sign_ins.redeem_code(grant.secret_hash, started.session.id)
        return Redeemed(started, grant.scope, grant.nonce)

    async def _end(self, grant: CodeGrant) -> None:
        # Somebody else has had the code as well, and nobody knows which of the two was right.
        # A transaction of its own, because it begins with the lock on access.
        with suppress(NotFound):
            async with self._metadata.transaction() as tx:
                await tx.sessions.remove(grant.address, grant.session)


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier (RFC 7636 §4.2, S256)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def is_challenge(text: str) -> bool:
    """Say whether *text* can be the challenge of a verifier."""
    return _CHALLENGE.fullmatch(text) is not None

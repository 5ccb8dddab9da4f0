"""People and their sign-ins, as the metadata store keeps them.

Every secret is here as its hash only: passwords by argon2; the rest, which is
random and long, by SHA-256. A second factor's secret, which must be known to check
a code, is sealed with a key that is not in the database (`identity.sealing`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

DIRECTORY = "DIRECTORY"
"""Of users whose password this server keeps."""
PROVIDER = "PROVIDER"
"""Of users whom an OpenID Connect provider vouches for."""


def _number() -> str:
    # As service accounts have, and so like Google's: 21 digits, the first of which is 1.
    return f"1{secrets.randbelow(10**20):020d}"


@dataclass(frozen=True, slots=True)
class User:
    """A person, by the address that policies name (`user:ADDRESS`)."""

    address: str
    display_name: str
    source: str
    created_at: datetime
    subject: str = ""
    """Who that is to the provider (issuer and `sub`): an address may pass to somebody else."""
    is_disabled: bool = False
    last_sign_in_at: datetime | None = None
    unique_id: str = field(default_factory=_number)
    """Who that is to others, in ID tokens: whoever gets the address later has another.

    Of users from before there were numbers it is the address, by which others know them.
    """


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """What a person proves themselves by. Has no repr, so that it cannot be printed."""

    password_hash: str = ""
    """Argon2's own text; "" for nobody's password."""
    factor: str = ""
    """The second factor's secret, sealed; "" if there is none."""
    factor_step: int = 0
    """The time step of the last code that was used: none is good twice (RFC 6238 §5.2)."""
    recovery_hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link, good once, that lets somebody set their password."""

    secret_hash: str
    address: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of a person: what their tokens hang on."""

    id: str
    address: str
    client: str
    """The id of the OAuth client, or `browser`."""
    secret_hash: str
    """Of the refresh token, or of the browser's cookie."""
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    """To the hour: not every use is written down."""
    also: tuple[str, ...] = ()
    """The groups that the provider named at this sign-in."""
    client_address: str = ""


@dataclass(frozen=True, slots=True)
class CodeGrant:
    """An authorization code, from the browser's answer until the client has redeemed it."""

    secret_hash: str
    client: str
    redirect_uri: str
    challenge: str
    """SHA-256 of the client's verifier, base64url (RFC 7636)."""
    scope: str
    nonce: str
    address: str
    also: tuple[str, ...]
    expires_at: datetime
    session: str = ""
    """The session it was redeemed for; "" until then."""
    approved_by: str = ""
    """The browser's session in which the person said yes: it is good while that is alive."""


@dataclass(frozen=True, slots=True)
class DeviceGrant:
    """A device that waits for somebody to sign it in elsewhere (RFC 8628)."""

    secret_hash: str
    user_code_hash: str
    client: str
    scope: str
    client_address: str
    created_at: datetime
    expires_at: datetime
    polled_at: datetime | None = None
    interval_s: int = 5
    address: str = ""
    """Who has signed it in; "" until somebody has."""
    also: tuple[str, ...] = ()
    is_denied: bool = False
    network: str = "unknown"
    """Whose devices are let go first when too many wait: those of the network that has most."""
    approved_by: str = ""
    """The browser's session in which somebody has signed it in: it ends with that."""


class UserTable(Protocol):
    """People, what they prove themselves by, and their invitations."""

    async def add(self, user: User) -> None: ...
    async def find(self, address: str) -> User | None: ...
    async def list(self, after: str, limit: int) -> tuple[User, ...]: ...
    async def update(self, user: User) -> None: ...
    async def remove(self, address: str) -> None: ...
    async def set_disabled(self, address: str, *, is_disabled: bool) -> None: ...
    async def find_proof(self, address: str) -> Proof | None: ...
    async def hold_proof(self, address: str) -> Proof | None: ...
    async def set_proof(self, address: str, proof: Proof) -> None: ...
    async def invite(self, invitation: Invitation) -> None: ...
    async def find_invitation(self, secret_hash: str) -> Invitation | None: ...
    async def take_invitation(self, secret_hash: str) -> Invitation | None: ...
    async def forget_invitations(self, address: str) -> None: ...


class SessionTable(Protocol):
    """Sign-ins of people."""

    async def add(self, session: Session) -> None: ...
    async def find(self, session_id: str) -> Session | None: ...
    async def find_by_secret(self, secret_hash: str) -> Session | None: ...
    async def hold(self, session_id: str) -> Session | None: ...
    async def list(self, address: str) -> tuple[Session, ...]: ...
    async def touch(self, session_id: str, at: datetime) -> None: ...
    async def remove(self, address: str, session_id: str) -> None: ...
    async def remove_all(self, address: str, besides: str = "") -> None: ...


class SignInTable(Protocol):
    """Sign-ins that are under way: authorization codes and waiting devices."""

    async def add_code(self, code: CodeGrant) -> None: ...
    async def hold_code(self, secret_hash: str) -> CodeGrant | None: ...
    async def redeem_code(self, secret_hash: str, session_id: str) -> None: ...
    async def add_device(self, device: DeviceGrant) -> None: ...
    async def count_waiting_devices(self, now: datetime) -> int: ...
    async def crowd_out_device(self, now: datetime) -> None: ...
    async def find_device(self, user_code_hash: str) -> DeviceGrant | None: ...
    async def hold_device(self, secret_hash: str) -> DeviceGrant | None: ...
    async def answer_device(self, user_code_hash: str, browser: Session | None) -> bool: ...
    async def poll_device(self, secret_hash: str, at: datetime, interval_s: int) -> None: ...
    async def remove_device(self, secret_hash: str) -> None: ...
    async def forget_expired(self, now: datetime) -> None: ...

"""Time-based one-time passwords (RFC 6238), as every authenticator app makes them.

Unlike a password, the secret must be known to check a code: the database keeps it
sealed (`identity.sealing`).
"""

from __future__ import annotations

import base64
import hmac
import secrets
import struct
from urllib.parse import quote

from bonded.server.core.digests import sha256_of

STEP_S = 30
DIGITS = 6
WINDOW = 1
"""How many steps a phone's clock may be off, either way."""
SECRET_BYTES = 20
"""As long as the SHA-1 that apps expect (RFC 4226 §4)."""
RECOVERY_CODES = 8
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"
"""Without what is easily misread."""


def code_at(secret: bytes, step: int) -> str:
    """Return the code of one time step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 0x0F
    (number,) = struct.unpack(">I", digest[offset : offset + 4])
    return f"{(number & 0x7FFFFFFF) % 10**DIGITS:0{DIGITS}d}"


def step_of(secret: bytes, code: str, now_s: float, after: int) -> int | None:
    """Return the time step that *code* is of, or None if it is of none later than *after*."""
    current = int(now_s) // STEP_S
    found = None
    for step in range(current - WINDOW, current + WINDOW + 1):
        # All are compared, so that the time it takes says nothing.
        if hmac.compare_digest(code_at(secret, step).encode(), code.encode()) and step > after:
            found = step
    return found


def base32_of(secret: bytes) -> str:
    """Return the secret as a person types it."""
    return base64.b32encode(secret).decode().rstrip("=")


def secret_of(base32: str) -> bytes:
    """Return the secret that a person would have typed. Raises ValueError."""
    return base64.b32decode(base32 + "=" * (-len(base32) % 8))


def app_uri(secret: bytes, issuer: str, address: str) -> str:
    """Return what authenticator apps read from a QR code."""
    return (
        f"otpauth://totp/{quote(f'{issuer}:{address}', safe='')}"
        f"?secret={base32_of(secret)}&issuer={quote(issuer, safe='')}"
    )


def make_recovery_codes() -> tuple[str, ...]:
    """Return codes for the day the phone is lost, each good once: 78 bits each."""
    return tuple(
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
        for _ in range(RECOVERY_CODES)
    )


def recovery_hash(code: str) -> str:
    """Return the hash of a recovery code, however it was typed."""
    return str(sha256_of("".join(code.lower().split()).replace("-", "").encode()))

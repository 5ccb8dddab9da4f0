"""Key pairs of service accounts and Google's key file around them (gar.md §5.3, §6.7).

The server keeps the public half. Making and reading RSA keys takes tens of
milliseconds, so callers on the event loop go through `asyncio.to_thread`.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bonded.server.core.errors import Rejected

KEY_BITS = 2048
UPLOADED_BITS_MAX = 4096
FOR_EVER_YEAR = 9999
PRIVATE_PEM_LENGTH_MAX = 2000
"""A key of 2048 bits takes 1,700; larger ones cost seconds to check, and are not ours."""
_KEY_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A fresh key pair. Has no repr, so that the private half cannot be printed."""

    id: str
    private_key_pem: str
    public_key_pem: str


def is_key_id(value: object) -> bool:
    """Say whether *value* has the form of a key's id; whatever else is no key of ours."""
    return isinstance(value, str) and _KEY_ID.fullmatch(value) is not None


def make_key_pair() -> KeyPair:
    """Make an RSA key pair with an id in Google's form: 40 hexadecimal digits."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(secrets.token_hex(20), private.decode(), _public_pem(key.public_key()))


def public_half(private_key_pem: str) -> str | None:
    """Return the public half of a private key somebody presents, or None if it is none of ours."""
    if len(private_key_pem) > PRIVATE_PEM_LENGTH_MAX:
        return None
    try:
        key = serialization.load_pem_private_key(private_key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return _public_pem(key.public_key()) if isinstance(key, rsa.RSAPrivateKey) else None


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key pair that its owner has made."""

    pem: str
    expires_at: datetime | None = None
    """Until when its certificate says that it is valid."""


def read_public_key(text: str) -> PublicKey:
    """Read a public RSA key, bare or in an X.509 certificate, in PEM.

    Raises:
        Rejected: it is none, or too short to be safe or too long to be quick.
    """
    expires_at = None
    try:
        if "BEGIN CERTIFICATE" in text:
            certificate = x509.load_pem_x509_certificate(text.encode())
            key, expires_at = certificate.public_key(), certificate.not_valid_after_utc
        else:
            key = serialization.load_pem_public_key(text.encode())  # type: ignore[assignment]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Rejected(
            "The public key cannot be read",
            hint="Send an RSA public key, or an X.509 certificate with one, in PEM.",
        ) from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise Rejected("The public key is not an RSA key", hint="Keys sign with RS256.")
    if not KEY_BITS <= key.key_size <= UPLOADED_BITS_MAX:
        raise Rejected(
            f"The public key has {key.key_size} bits",
            hint=f"Use one of {KEY_BITS} to {UPLOADED_BITS_MAX} bits.",
        )
    if expires_at is not None and expires_at.year == FOR_EVER_YEAR:
        # 99991231235959Z says that there is no end (RFC 5280 §4.1.2.5).
        expires_at = None
    return PublicKey(_public_pem(key), expires_at)


def count_bits(public_key_pem: str) -> int:
    """Return the size of a public RSA key that we keep."""
    key = serialization.load_pem_public_key(public_key_pem.encode())
    return key.key_size if isinstance(key, rsa.RSAPublicKey) else 0


def key_file(
    *,
    project: str,
    email: str,
    unique_id: str,
    pair: KeyPair,
    server_url: str,
    universe_domain: str,
) -> str:
    """Return Google's key file for *pair*, with this server in the places of Google's.

    Its `token_uri` is where google-auth then asks for tokens, if *universe_domain*
    is Google's own. With any other it asks nobody and signs its own (gar.md §5.3);
    but gcloud refuses such files (gar.md §6.1).
    """
    return json.dumps(
        {
            "type": "service_account",
            "project_id": project,
            "private_key_id": pair.id,
            "private_key": pair.private_key_pem,
            "client_email": email,
            "client_id": unique_id,
            "auth_uri": f"{server_url}/authorize",
            "token_uri": f"{server_url}/token",
            "auth_provider_x509_cert_url": f"{server_url}/.well-known/jwks.json",
            "client_x509_cert_url": f"{server_url}/robot/v1/metadata/x509/{quote(email, safe='')}",
            "universe_domain": universe_domain,
        },
        indent=2,
    )


def _public_pem(key: rsa.RSAPublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()

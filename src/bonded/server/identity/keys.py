"""Key pairs of service accounts and Google's key file around them (gar.md §5.3, §6.7).

The server keeps the public half. Making and reading RSA keys takes tens of
milliseconds, so callers on the event loop go through `asyncio.to_thread`.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY_BITS = 2048
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
    return KeyPair(secrets.token_hex(20), private.decode(), _public_pem(key))


def public_half(private_key_pem: str) -> str | None:
    """Return the public half of a private key somebody presents, or None if it is none of ours."""
    if len(private_key_pem) > PRIVATE_PEM_LENGTH_MAX:
        return None
    try:
        key = serialization.load_pem_private_key(private_key_pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return _public_pem(key) if isinstance(key, rsa.RSAPrivateKey) else None


def key_file(*, project: str, email: str, unique_id: str, pair: KeyPair, server_url: str) -> str:
    """Return Google's key file for *pair*, with this server in the places of Google's.

    Its `token_uri` is where google-auth then asks for tokens; `universe_domain`
    is Google's own, because gcloud refuses others (gar.md §6.1).
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
            "universe_domain": "googleapis.com",
        },
        indent=2,
    )


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )

"""JWTs as attackers and broken programs write them: good ones, spoiled in one way each."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Sign = Callable[[bytes], bytes]

RSA_KEY = rsa.generate_private_key(65537, 2048)
"""Nobody's: what is signed with it is forged."""
CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
CURVE_KEYS = {name: ec.generate_private_key(curve) for name, curve in CURVES.items()}


@dataclass
class Draft:
    """A token that is good, and not signed yet."""

    claims: dict[str, object]
    header: dict[str, object]
    key: PrivateKey
    sign: Sign | None = None
    """In place of what goes with the key and the header's `alg`."""
    spoil: Callable[[str], str] = field(default=lambda text: text)
    """What becomes of the token once it is signed."""

    def text(self) -> str:
        """Return the token."""
        signed = f"{_part(_json(self.header))}.{_part(_json(self.claims))}"
        sign = self.sign or signer_of(self.key)
        return self.spoil(f"{signed}.{_part(sign(signed.encode()))}")


def signer_of(key: PrivateKey, pad: padding.AsymmetricPadding | None = None) -> Sign:
    """Return what signs with *key* over SHA-256: RS256 unless padded otherwise, or by its curve."""
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda text: key.sign(text, pad or padding.PKCS1v15(), SHA256())
    size = (key.curve.key_size + 7) // 8

    def sign(text: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(text, ec.ECDSA(SHA256())))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def by_pss(key: PrivateKey) -> Sign:
    """Return what signs as PS256 says (RFC 7518 §3.5)."""
    return signer_of(key, padding.PSS(padding.MGF1(SHA256()), SHA256.digest_size))


def by_public_key(key: PrivateKey) -> Sign:
    """Return what signs with HMAC, taking the public half for the secret."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return lambda text: hmac.digest(public, text, hashlib.sha256)


def with_other_claims(**claims: object) -> Callable[[str], str]:
    """Return what changes a token's claims and leaves its signature."""

    def spoil(text: str) -> str:
        header, said, signature = text.split(".")
        changed = json.loads(base64.urlsafe_b64decode(said + "==")) | claims
        return f"{header}.{_part(_json(changed))}.{signature}"

    return spoil


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

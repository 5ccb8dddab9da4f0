"""Digests: the only address of a blob."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from bonded.server.core.errors import Rejected

Sha256 = NewType("Sha256", str)
"""Sixty-four lower-case hexadecimal digits."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse_sha256(text: str) -> Sha256:
    """Return *text* as a digest, in lower case.

    Raises:
        Rejected: it is not 64 hexadecimal digits.
    """
    lowered = text.strip().lower()
    if not _SHA256.fullmatch(lowered):
        raise Rejected(f"{text[:80]!r} is not a SHA-256 digest in hexadecimal")
    return Sha256(lowered)


def sha256_of(data: bytes) -> Sha256:
    """Return the digest of *data*."""
    return Sha256(hashlib.sha256(data).hexdigest())

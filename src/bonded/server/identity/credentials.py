"""What an Authorization header presents, before anybody believes it (gar.md §5.10)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from bonded.server.core.errors import Unauthenticated
from bonded.server.identity.keys import is_key_id

HEADER_LENGTH_MAX = 16 * 1024
"""Longest Authorization header: a key file in base64 twice over takes about 6 kB."""


@dataclass(frozen=True, slots=True, repr=False)
class PresentedToken:
    """An access token or a self-signed assertion. Has no repr, so that it cannot be printed."""

    text: str


@dataclass(frozen=True, slots=True, repr=False)
class PresentedKeyFile:
    """A service-account key used as a password. Has no repr, so that it cannot be printed."""

    email: str
    key_id: str
    private_key_pem: str


Presented = PresentedToken | PresentedKeyFile

_KEY_FILE_USERS = ("_json_key", "_json_key_base64")


def parse_authorization(header: bytes) -> Presented:
    """Return what the header presents.

    A secret is judged by its content, not by the user name beside it: people
    write `__token__`, `oauth2accesstoken`, `token` or nothing at all. An empty
    password is what pip sends first when a URL names only a user.

    Raises:
        Unauthenticated: no scheme that we know, or nothing in it.
    """
    if len(header) > HEADER_LENGTH_MAX:
        raise Unauthenticated("The Authorization header is too long")
    scheme, _, value = header.decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer":
        return _token(value.strip())
    if scheme.lower() != "basic":
        raise Unauthenticated("The Authorization header is neither Basic nor Bearer")
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:
        raise Unauthenticated("The Basic credential is not base64 of user:password") from error
    if not password:
        raise Unauthenticated("The password is empty")
    if user in _KEY_FILE_USERS or password.lstrip().startswith("{"):
        return _key_file(password)
    return _token(password)


def _token(text: str) -> PresentedToken:
    if not text:
        raise Unauthenticated("The token is empty")
    return PresentedToken(text)


def _key_file(password: str) -> PresentedKeyFile:
    try:
        text = password if password.lstrip().startswith("{") else base64.b64decode(password)
        key = json.loads(text)
        presented = PresentedKeyFile(key["client_email"], key["private_key_id"], key["private_key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Without its cause, which would quote the secret.
        raise Unauthenticated(
            "The password is not a service-account key file",
            hint="With user _json_key_base64 the password is the whole key file in base64.",
        ) from None
    strings = (presented.email, presented.private_key_pem)
    if not all(isinstance(value, str) for value in strings) or not is_key_id(presented.key_id):
        raise Unauthenticated("The password is not a service-account key file")
    return presented

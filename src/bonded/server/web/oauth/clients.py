"""The OAuth clients that may ask for people's tokens.

All are programs on somebody's own machine: public clients, which have no secret
that is one (RFC 8252 §8.5). What they are sent goes to the loop-back address.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_plus, urlsplit

from bonded.server.core.errors import GrantRefused
from bonded.server.web.messages import Call

COMMAND_LINE = "bonded-cli"
CLIENTS: Mapping[str, str] = {
    COMMAND_LINE: "Bonded command line",
    # gcloud's own, for `auth login` and for any login with --login-config (gar.md §6.2).
    "32555940559.apps.googleusercontent.com": "Google Cloud CLI",
    # … and for `auth application-default login`.
    "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com": (
        "Google Cloud CLI (application default credentials)"
    ),
}
_LOOP_BACK = ("127.0.0.1", "::1", "localhost")
URI_LENGTH_MAX = 512


def client_of(call: Call, form: Mapping[str, str]) -> str:
    """Return the id of the client that asks, from its Basic credential or the form.

    A secret is not looked at: everybody can read it in the program.

    Raises:
        GrantRefused: it names none that we know.
    """
    scheme, _, value = call.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    named = form.get("client_id", "")
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            user = ""
        named = unquote_plus(user)
    if named not in CLIENTS:
        raise GrantRefused("invalid_client", f"There is no OAuth client {named[:80]!r}")
    return named


def is_loop_back(uri: str) -> bool:
    """Say whether *uri* leads to a program on the person's own machine (RFC 8252 §7.3)."""
    if len(uri) > URI_LENGTH_MAX or not uri.isascii() or not uri.isprintable() or " " in uri:
        return False
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    # No user name: http://localhost@elsewhere leads elsewhere, and so do backslashes.
    plain = not ({"@", "\\", "#", '"', "'", "<", ">", ";", ","} & set(uri))
    return (
        plain
        and parts.scheme == "http"
        and parts.hostname in _LOOP_BACK
        and (port is not None or ":" not in parts.netloc.rpartition("]")[2])
    )


def origin_of(uri: str) -> str:
    """Return where a redirect leads, as a content security policy names it."""
    parts = urlsplit(uri)
    # Policies have no way to write an IPv6 address.
    return "http:" if "[" in parts.netloc else f"http://{parts.netloc}"

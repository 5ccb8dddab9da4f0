"""The credential files that google-auth knows: where each has its tokens from, and whose they are.

Some hold what proves an identity. Others only say where a proof is found, and with one of those a
job gets tokens as whoever it is now, which may be somebody else than a minute ago.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private

_GOOGLE = "googleapis.com"
# Of a digest in hexadecimal: 96 bits tell proofs apart, in a name with room for other things.
MARK_CHARACTERS = 24
# A file that google-auth knows has fewer than ten.
BRACKETS_MAX = 100


def parse_json(text: str) -> Any:
    """Return what a credential file holds.

    Raises:
        ValueError: it is not JSON, or may be nested so deeply that nobody can read it.
    """
    # No file goes deeper than it has brackets, wherever they are.
    if text.count("{") + text.count("[") > BRACKETS_MAX:
        raise ValueError(f"There are more than {BRACKETS_MAX} opening brackets in it.")
    return json.loads(text)


def endpoint_of(fields: Mapping[str, Any]) -> str | None:
    """Return the URL that the last token of the exchange comes from; None if nothing says."""
    universe = fields.get("universe_domain") or _GOOGLE
    endpoint: Any
    match fields.get("type"):
        case "service_account" | "gdch_service_account":
            endpoint = fields.get("token_uri")
        case "authorized_user":
            # google-auth ignores what the file says (gar.md §5.4).
            endpoint = f"https://oauth2.{_GOOGLE}/token"
        case "external_account":
            endpoint = fields.get("service_account_impersonation_url") or fields.get("token_url")
        case "external_account_authorized_user":
            endpoint = fields.get("token_url") or f"https://sts.{universe}/v1/oauthtoken"
        case "impersonated_service_account":
            endpoint = f"https://iamcredentials.{universe}"
        case _:
            endpoint = None
    return endpoint if isinstance(endpoint, str) and endpoint else None


def find_mark(fields: Mapping[Any, Any]) -> str | None:
    """Return what tells whom the tokens are for, of all for whom the file may earn some.

    That is nothing where the file itself says it, and a digest of the proof where the proof is in
    another file. It is None where no more than the exchange tells: the proof comes from a program,
    a certificate, or an address that answers everybody on the machine.
    """
    match fields:
        case {"type": "external_account", "credential_source": {**source}}:
            return _mark_of_source(source)
        case {"type": "external_account"}:
            return None
        case {"type": "impersonated_service_account", "source_credentials": {**source}}:
            return find_mark(source)
        case _:
            return ""


def digest(text: str) -> str:
    """Return what stands for *text* in the name of a file."""
    return sha256(text.encode()).hexdigest()[:MARK_CHARACTERS]


def _mark_of_source(source: Mapping[Any, Any]) -> str | None:
    match source:
        case {"file": str(path), **more} if more.keys() <= {"format"}:
            try:
                proof = read_private(Path(path))
            except Misconfigured:
                return None
            return None if proof is None else digest(proof)
        case {"url": str(), "headers": {**headers}}:
            # Such as GitHub's for one job. A header that is no proof, as Azure wants, says nothing.
            return "" if any(str(name).lower() == "authorization" for name in headers) else None
        case _:
            return None

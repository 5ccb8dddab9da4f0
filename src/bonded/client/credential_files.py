"""The credential files that google-auth knows: where each has its access tokens from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_GOOGLE = "googleapis.com"


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

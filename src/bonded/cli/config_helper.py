"""`bonded config config-helper`: a token and the properties, for tools that would ask gcloud."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client.errors import Misconfigured
from bonded.client.properties import nest

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command("config-helper", cls=Command)
@click.option("--min-expiry", metavar="DURATION", help="What life the token has left, such as 5m.")
@click.option("--force-auth-refresh", is_flag=True, help="Fetch a token even if one is at hand.")
@pass_session
def config_helper(session: Session, min_expiry: str | None, *, force_auth_refresh: bool) -> None:
    """Print the active credential and properties, in the shape of gcloud's."""
    life_s = _parse_duration(min_expiry) if min_expiry else 0
    if force_auth_refresh:
        session.tokens.forget()
    token = session.tokens.get_token()
    if token.expires_at - time.time() < life_s:
        session.tokens.forget()
        token = session.tokens.get_token()
    expiry = datetime.fromtimestamp(token.expires_at, UTC)
    document: dict[str, Any] = {
        "configuration": {
            "active_configuration": session.configuration.name,
            "properties": nest(session.configuration.in_force()),
        },
        "credential": {
            "access_token": token.secret,
            "token_expiry": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
        },
        "sentinels": {"config_sentinel": str(session.sentinel)},
    }
    session.show(document)


def _parse_duration(text: str) -> int:
    """Return gcloud's way to write a time, `1h30m`, in seconds.

    Raises:
        Misconfigured: it is none.
    """
    if not re.fullmatch(r"(?:\d+[smhd]?)+", text):
        raise Misconfigured(f"[{text}] is not a duration.", hint="Write it as 90s, 5m or 1h30m.")
    parts = re.findall(r"(\d+)([smhd]?)", text)
    return sum(int(number) * _UNITS_S[unit] for number, unit in parts)

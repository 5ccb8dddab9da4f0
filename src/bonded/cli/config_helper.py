"""`bonded config config-helper`: a token and the properties, for tools that would ask gcloud."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import click

from bonded.cli.durations import parse_duration
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.client.properties import nest


@click.command("config-helper", cls=Command)
@click.option("--min-expiry", metavar="DURATION", help="What life the token has left, such as 5m.")
@click.option("--force-auth-refresh", is_flag=True, help="Fetch a token even if one is at hand.")
@pass_session
def config_helper(session: Session, min_expiry: str | None, *, force_auth_refresh: bool) -> None:
    """Print the active credential and properties, in the shape of gcloud's."""
    life_s = parse_duration(min_expiry) if min_expiry else 0
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

"""What somebody could do to themselves and not undo: asked about first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from bonded.cli.session import Session
from bonded.client.api import Message
from bonded.client.errors import Refused

PRECONDITION_FAILED = 412


def keeping_access(
    session: Session, send: Callable[[Mapping[str, str]], Message], risk: str, *, force: bool
) -> Message:
    """Send a change; if whoever runs the command could not undo it, say *risk* and ask first.

    *send* is given the query by which the server refuses such a change, or none. By *force*
    nobody is asked.

    Raises:
        Refused: the server says no.
        Misconfigured: it would lock them out, and they have not said yes.
    """
    if force:
        return send({})
    try:
        # The server decides, on what it is about to commit: only it knows groups and roles.
        return send({"keepAccess": "true"})
    except Refused as refusal:
        if refusal.code != PRECONDITION_FAILED:
            raise
    session.confirm_risk(risk, "--force")
    return send({})


def ask_about_oneself(session: Session, address: str, *, force: bool) -> None:
    """Ask first when somebody is about to shut out the account that they act as.

    Raises:
        Misconfigured: *address* is their own, and they have not said yes.
    """
    own = session.find_account() or ""
    if not force and own.casefold() == address.casefold():
        session.confirm_risk(
            f"{address} is the account that you act as: you could not undo this yourself.",
            "--force",
        )


FORCE_TEXT = "Do it even if you lose the right to undo it."
FORCE = click.option("--force", is_flag=True, help=FORCE_TEXT)
"""The flag that says yes beforehand."""

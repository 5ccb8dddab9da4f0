"""What somebody could do to themselves and not undo: asked about first."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click

from bonded.cli.session import Session
from bonded.client.accounts import ServiceAccountKey, Workload
from bonded.client.api import Message
from bonded.client.errors import Refused

PRECONDITION_FAILED = 412
ACCOUNT_DOMAIN = ".iam.gserviceaccount.com"


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
    own = {one.casefold() for one in (session.find_account(), session.impersonated) if one}
    if address.casefold() in own:
        _ask(session, f"{address} is the account that you act as", force=force)


def ask_about_key(session: Session, email: str, key_id: str, *, force: bool) -> None:
    """Ask first when somebody is about to end the key that they act with.

    Another key of theirs would do as well, but it is not the one that is at hand.

    Raises:
        Misconfigured: the key is their own, and they have not said yes.
    """
    own = session.find_credential()
    if isinstance(own, ServiceAccountKey) and (own.email, own.key_id) == (email, key_id):
        _ask(session, f"[{key_id}] is the key that you act with", force=force)


def ask_about_way_in(session: Session, path: str, what: str, *, force: bool) -> None:
    """Ask first when somebody is about to close the pool or provider by which they came.

    *path* is where the API has it, and *what* is how it is called.

    Raises:
        Misconfigured: they came by it, and have not said yes.
    """
    own = session.find_credential()
    if force or not isinstance(own, Workload):
        return
    # The file names the project by its number, the line by its id.
    names = (path.removeprefix("/v1/"), session.api.get(path)["name"])
    if any(f"{own.provider}/".startswith(f"{name}/") for name in names):
        _ask(session, f"{what} is what you came by", force=force)


def ask_about_home(session: Session, project: str, *, force: bool) -> None:
    """Ask first when somebody is about to delete the project of the account that they act as.

    Raises:
        Misconfigured: it is, and they have not said yes.
    """
    own = (session.find_account() or "").casefold()
    if own.endswith(f"@{project}{ACCOUNT_DOMAIN}"):
        _ask(session, f"Project [{project}] holds {own}, the account that you act as", force=force)


def _ask(session: Session, fact: str, *, force: bool) -> None:
    if not force:
        session.confirm_risk(f"{fact}: you could not undo this yourself.", "--force")


FORCE_TEXT = "Do it even if you lose the right to undo it."
FORCE = click.option("--force", is_flag=True, help=FORCE_TEXT)
"""The flag that says yes beforehand."""

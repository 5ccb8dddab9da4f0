"""What the commands share that sign people in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bonded.cli.session import Session
from bonded.client.accounts import SignIn
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn
from bonded.client.signing_in import (
    Grant,
    end_sign_in,
    has_browser,
    sign_in_by_browser,
    sign_in_by_device,
)
from bonded.client.sources import complete

F = TypeVar("F", bound=Callable[..., Any])


def ways_to_sign_in(command: F) -> F:
    """Add the options that say where the browser is."""
    return click.option(
        "--no-browser",
        "--no-launch-browser",
        "no_browser",
        is_flag=True,
        help="Sign in with a browser of another machine: an address and a code are shown.",
    )(command)


def obtain(session: Session, server: str, email: str | None, *, no_browser: bool) -> Grant:
    """Have the person sign in at *server*, as *email* if that is given.

    Raises:
        ClientError: they did not, or signed in as somebody else.
    """
    if no_browser or not has_browser(session.environment):
        if not no_browser:
            session.say("There is no browser here that could be opened.\n")
        grant = sign_in_by_device(server, session.say)
    else:
        grant = sign_in_by_browser(server, email, session.say, session.is_for)
    if email and grant.sign_in.email != email:
        end(session, grant.sign_in)
        raise NotSignedIn(
            f"You attempted to sign in as [{email}], but signed in as [{grant.sign_in.email}].",
            hint="Sign out in the browser first, or name the other account.",
        )
    return grant


def find_server(session: Session) -> str:
    """Return the server to sign in to: the one that is named, else the only one that is known.

    Raises:
        Misconfigured: nothing says which.
    """
    if server := session.find_server():
        return server
    known = {account.server for account in session.accounts.list_accounts()}
    if len(known) == 1:
        return known.pop()
    raise Misconfigured(
        "Nothing says which registry to sign in to.",
        hint="Name it: `bonded auth login --server=https://packages.example.com`, or "
        "`bonded config set core/server URL` for good.",
    )


def end(session: Session, sign_in: SignIn) -> bool:
    """End a sign-in on its server, and say whether that can be told."""
    try:
        end_sign_in(sign_in.server, complete(sign_in).refresh_token or "")
    except ClientError as error:
        session.say(
            f"WARNING: {sign_in.server} could not be told that the sign-in of [{sign_in.email}] "
            f"has ended: {error}\nIt lasts until it expires, or until you end it there."
        )
        return False
    return True

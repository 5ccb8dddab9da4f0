"""`bonded auth application-default`: the credential that Google's libraries would find."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.session import Session, pass_session
from bonded.client.accounts import Account
from bonded.client.default_credentials import (
    VARIABLE,
    DefaultCredential,
    default_path,
    find_default,
)
from bonded.client.errors import ClientError, NotSignedIn
from bonded.client.private_files import read_private, remove_private
from bonded.client.tokens import CachedTokens, forget_tokens


@click.group("application-default", cls=Group)
def application_default() -> None:
    """Manage Application Default Credentials."""


@application_default.command("print-access-token")
@pass_session
def print_access_token(session: Session) -> None:
    """Print an access token of the credential that Google's libraries would find."""
    credential = find_default(session.environment)
    if credential is None:
        raise NotSignedIn(
            "Your default credentials were not found.",
            hint=f"Name a key file in {VARIABLE}.",
        )
    token = CachedTokens(credential, session.directory, credential.server).get_token()
    if session.flags.format:
        session.show({"token": token.secret})
    else:
        click.echo(token.secret)


@application_default.command()
@pass_session
def revoke(session: Session) -> None:
    """Remove the credential file of this user, and the tokens it earned."""
    path = default_path(session.environment)
    text = read_private(path)
    if text is None:
        raise NotSignedIn(
            "Application Default Credentials have not been set up, nothing to revoke.",
            hint=f"A file that {VARIABLE} names is your own to remove."
            if session.environment.find(VARIABLE)
            else "",
        )
    session.confirm(f"You are about to remove the credentials stored in: [{path}]")
    try:
        credential = DefaultCredential.parse(path, text)
        forget_tokens(session.directory, Account(credential.account, credential.server))
    except ClientError:
        session.say(f"WARNING: {path} is no credential file.")
    remove_private(path)
    session.say(
        f"Credentials revoked on this machine: {path} is removed.\n"
        "WARNING: whoever issued them was not told. If they are kept elsewhere, they still work "
        "there: to end that, delete the key."
    )

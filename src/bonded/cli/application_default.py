"""`bonded auth application-default`: the credential that Google's libraries would find."""

from __future__ import annotations

from pathlib import Path

import click

from bonded.cli.grammar import Group
from bonded.cli.session import Session, pass_session
from bonded.cli.signing_in import end, find_server, obtain, ways_to_sign_in
from bonded.client.accounts import CLIENT_ID, Account, SignIn
from bonded.client.default_credentials import (
    VARIABLE,
    DefaultCredential,
    default_path,
    find_default,
)
from bonded.client.errors import ClientError, NotSignedIn
from bonded.client.private_files import check_writable, read_private, remove_private, write_private
from bonded.client.tokens import CachedTokens, forget_tokens, keep_token


@click.group("application-default", cls=Group)
def application_default() -> None:
    """Manage Application Default Credentials."""


@application_default.command()
@ways_to_sign_in
@pass_session
def login(session: Session, *, no_browser: bool) -> None:
    """Sign in as a person, for every program that finds credentials as Google's libraries do."""
    path = default_path(session.environment)
    check_writable(path)
    if read_private(path) is not None:
        session.confirm(f"{path} holds credentials already. They will be replaced.")
    named = session.environment.find(VARIABLE)
    server = find_server(session)
    grant = obtain(session, server, session.flags.account, no_browser=no_browser)
    write_private(path, grant.sign_in.text)
    credential = DefaultCredential.parse(path, grant.sign_in.text)
    account = Account(credential.account, credential.server)
    keep_token(session.directory, account, grant.token)
    session.say(
        f"\nCredentials saved to file: [{path}]\n\n"
        "These credentials will be used by any library that requests Application Default "
        "Credentials (ADC).\n"
        f"They are those of [{grant.sign_in.email}] at {server}, and hold nothing of Google's."
    )
    if named:
        session.say(f"WARNING: as long as {VARIABLE} is set, {named} is used instead.")


@application_default.command("print-access-token")
@pass_session
def print_access_token(session: Session) -> None:
    """Print an access token of the credential that Google's libraries would find."""
    credential = find_default(session.environment)
    if credential is None:
        raise NotSignedIn(
            "Your default credentials were not found.",
            hint="Sign in with `bonded auth application-default login`, or name a key file in "
            f"{VARIABLE}.",
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
    ended = False
    try:
        credential = DefaultCredential.parse(path, text)
        forget_tokens(session.directory, Account(credential.account, credential.server))
        ended = _end(session, path, text)
    except ClientError:
        session.say(f"WARNING: {path} is no credential file.")
    remove_private(path)
    session.say(f"Credentials revoked on this machine: {path} is removed.")
    if not ended:
        session.say(
            "WARNING: whoever issued them was not told. If they are kept elsewhere, they still "
            "work there: to end that, delete the key."
        )


def _end(session: Session, path: Path, text: str) -> bool:
    """End the sign-in that a file holds, if it holds one of ours; say whether that was done."""
    if CLIENT_ID not in text:
        return False
    return end(session, SignIn.parse(text, str(path)))

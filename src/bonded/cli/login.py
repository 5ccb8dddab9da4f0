"""`bonded auth login`: a person signs in, once, and every tool of theirs is signed in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from bonded.cli.auth import activate_key
from bonded.cli.grammar import Command
from bonded.cli.session import Session, pass_session
from bonded.cli.signing_in import end, find_server, obtain, ways_to_sign_in
from bonded.client import properties
from bonded.client.accounts import (
    Account,
    Credential,
    ServiceAccountKey,
    SignIn,
    Workload,
    parse_credential,
)
from bonded.client.errors import Misconfigured, NotSignedIn
from bonded.client.private_files import read_private
from bonded.client.signing_in import Grant, find_subject
from bonded.client.sources import tokens_of
from bonded.client.system_keyring import keep_secret
from bonded.client.tokens import fetch_marked, forget_tokens, keep_token


@click.command(cls=Command)
@click.argument("email", metavar="ACCOUNT", required=False)
@ways_to_sign_in
@click.option(
    "--cred-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign in with this file instead: a service account's key, a workload's configuration "
    "from create-cred-config, or a sign-in of a person.",
)
@click.option("--force", is_flag=True, help="Sign in again, even if the account is signed in.")
@click.option(
    "--activate/--no-activate", default=True, help="Whether to make it the active account."
)
@pass_session
def login(
    session: Session,
    email: str | None,
    cred_file: Path | None,
    *,
    no_browser: bool,
    force: bool,
    activate: bool,
) -> None:
    """Sign in to a registry as a person, in a browser."""
    email = email.lower() if email else session.flags.account
    if cred_file:
        _sign_in_by_file(session, cred_file, email, activate=activate)
        return
    server = find_server(session)
    known = Account(email, server) if email else None
    if known is None or force or not _is_signed_in(session, known):
        known = _keep(session, obtain(session, server, email, no_browser=no_browser))
    if activate:
        _activate(session, known)
    _say_who(session, known.email)


def _is_signed_in(session: Session, account: Account) -> bool:
    """Say whether what is stored of *account* still opens the server: then it is only chosen."""
    credential = _find_intact(session, account)
    if credential is None:
        return False
    forget_tokens(session.directory, account)
    try:
        session.tokens_of(credential).get_token()
    except NotSignedIn:
        return False
    return True


def _find_intact(session: Session, account: Account) -> Credential | None:
    """Return what is stored of *account*; nothing if it is damaged, for it is about to be new."""
    try:
        return session.accounts.find(account)
    except Misconfigured:
        return None


def _keep(session: Session, grant: Grant) -> Account:
    """Store a sign-in, its secret in the system's keyring if there is one."""
    sign_in, account = grant.sign_in, grant.sign_in.account
    older = _find_intact(session, account)
    if isinstance(older, SignIn):
        # What is replaced would live on at the server, known to nobody.
        end(session, older)
    is_in_keyring = keep_secret(account, sign_in.refresh_token or "")
    session.accounts.add(replace(sign_in, refresh_token=None) if is_in_keyring else sign_in)
    forget_tokens(session.directory, account)
    keep_token(session.directory, account, grant.token)
    return account


def _activate(session: Session, account: Account) -> None:
    """Make *account* the one that commands act as, at its server."""
    session.configuration.set(properties.ACCOUNT, account.email)
    if session.configuration.server != account.server:
        session.configuration.set(properties.SERVER, account.server)
        session.say(f"Updated property [core/server] to {account.server}.")


def _sign_in_by_file(session: Session, path: Path, email: str | None, *, activate: bool) -> None:
    """Sign in with what a file holds.

    Raises:
        ClientError: it holds nothing that one could sign in with, is somebody else's, or is
            refused.
    """
    text = read_private(path)
    if text is None:
        raise Misconfigured(f"There is no file {path}.", hint="Say with --cred-file where it is.")
    credential = parse_credential(text, str(path))
    match credential:
        case ServiceAccountKey():
            activate_key(session, credential, email, activates=activate)
            return
        case SignIn():
            forget_tokens(session.directory, credential.account)
            session.tokens_of(credential).get_token()
        case Workload():
            credential = _prove(session, credential)
    if email not in {None, credential.email}:
        raise Misconfigured(f"{path} is of [{credential.email}], not of [{email}].")
    session.accounts.add(credential)
    if activate:
        _activate(session, credential.account)
    if isinstance(credential, Workload):
        session.say(f"Authenticated with external account credentials for: [{credential.email}].")
    else:
        _say_who(session, credential.email)


def _prove(session: Session, workload: Workload) -> Workload:
    """Return *workload* under the name that the server has for it, with its first token kept."""
    token, mark = fetch_marked(tokens_of(workload))
    # A file that was stored here before, or that names a service account, says who it is.
    workload = workload.named(workload.email or find_subject(workload.server, token))
    forget_tokens(session.directory, workload.account)
    if mark is not None:
        keep_token(session.directory, workload.account, token, mark)
    return workload


def _say_who(session: Session, email: str) -> None:
    project = session.flags.project or session.configuration.find(properties.PROJECT)
    session.say(
        f"\nYou are now logged in as [{email}].\n"
        f"Your current project is [{project}].  You can change this setting by running:\n"
        "  $ bonded config set project PROJECT_ID"
    )

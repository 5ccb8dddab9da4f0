"""`bonded auth`: who this machine is."""

from __future__ import annotations

import time
from pathlib import Path

import click

from bonded.cli.durations import moment, parse_duration
from bonded.cli.grammar import Group
from bonded.cli.session import Session, pass_session
from bonded.client import properties
from bonded.client.accounts import (
    Account,
    ServiceAccountKey,
    SignIn,
    Workload,
    read_key_file,
)
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn
from bonded.client.sources import complete
from bonded.client.tokens import AccessToken, forget_tokens

SOONER_MIN_S = 60
"""Less is what the request took, and what two clocks differ by."""
PLACES = {
    "application-default": "bonded.cli.application_default:application_default",
    "configure-netrc": "bonded.cli.configuring:configure_netrc",
    "configure-pip": "bonded.cli.configuring:configure_pip",
    "configure-twine": "bonded.cli.configuring:configure_twine",
    "configure-uv": "bonded.cli.configuring:configure_uv",
    "login": "bonded.cli.login:login",
}


@click.group(cls=Group, places=PLACES)
def auth() -> None:
    """Manage credentials for the registry."""


@auth.command("activate-service-account")
@click.argument("email", metavar="ACCOUNT", required=False)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    required=True,
    help="The service-account key, in Google's JSON format.",
)
@pass_session
def activate_service_account(session: Session, email: str | None, key_file: Path) -> None:
    """Sign in with a service-account key, and make its account the active one."""
    activate_key(session, read_key_file(key_file), email)


def activate_key(
    session: Session, key: ServiceAccountKey, email: str | None, *, activates: bool = True
) -> None:
    """Sign in with *key*, which must be that of *email* if that is given.

    Raises:
        ClientError: it is of somebody else, or the server does not take it.
    """
    if email not in {None, key.email}:
        raise Misconfigured(
            "The given account name does not match the account name in the key file.",
            hint="This argument can be omitted when using .json keys.",
        )
    # Tokens that an older key earned say nothing about this one.
    forget_tokens(session.directory, key.account)
    session.tokens_of(key).get_token()
    session.accounts.add(key)
    if not activates:
        return
    session.configuration.set(properties.ACCOUNT, key.email)
    session.say(f"Activated service account credentials for: [{key.email}]")
    if len(session.accounts.list_accounts(key.email)) > 1:
        # The address alone no longer says which key is meant.
        session.configuration.set(properties.SERVER, key.server)
        session.say(f"Updated property [core/server] to {key.server}, which issued this key.")
    server = session.find_server()
    if server and not session.is_for(server, key.server):
        session.say(
            f"WARNING: commands go to {server}, but this key is from {key.server}. "
            "To follow the key, run `bonded config unset core/server`."
        )


@auth.command("print-access-token")
@click.argument("email", metavar="ACCOUNT", required=False)
@click.option(
    "--lifetime",
    metavar="DURATION",
    help="How long it is good, such as 15m; a number alone means seconds.",
)
@click.option(
    "--repository",
    "repositories",
    metavar="REPOSITORY",
    multiple=True,
    help="Good for this repository only; a name, or projects/…/repositories/…. Again for more.",
)
@click.option("--location", help="Where repositories are that are given by name.")
@click.option("--read-only", is_flag=True, help="Good for reading only.")
@pass_session
def print_access_token(
    session: Session,
    email: str | None,
    *,
    lifetime: str | None,
    repositories: tuple[str, ...],
    location: str | None,
    read_only: bool,
) -> None:
    """Print an access token: the password that goes with user oauth2accesstoken.

    A token that is limited to some repositories, to reading or to a time is for
    builds that others see: what is not in it cannot be taken from it. A token of
    a chosen life makes nothing that outlives it, so no key, grant or invitation.
    """
    session.flags.account = email or session.flags.account
    life_s = None if lifetime is None else _life_of(lifetime)
    acting = session.impersonated
    # Only an account that is acted as can be given a longer life than one's own token has.
    tokens = session.impersonate(acting, life_s) if acting and life_s else session.tokens
    if life_s and not acting and tokens.get_token().expires_at < time.time() + life_s:
        # The one at hand would end too soon. A new one may not.
        tokens.forget()
    if repositories or read_only or life_s:
        from bonded.cli.artifacts.locating import locate_known  # noqa: PLC0415 - see list
        from bonded.client.impersonation import narrow  # noqa: PLC0415 - see list

        places = [locate_known(session, name, location) for name in repositories]
        named = [place.path.removeprefix("/v1/") for place in places]
        token = narrow(tokens, session.server, named, read_only=read_only, life_s=life_s)
    else:
        token = tokens.get_token()
    if session.flags.format:
        session.show({"token": token.secret})
    else:
        click.echo(token.secret)
    if life_s:
        _say_end(session, token, life_s)


def _life_of(lifetime: str) -> int:
    """Return how long a token is to be good, in seconds.

    Raises:
        Misconfigured: that is no duration, or none at all: a variable without a value must not be
            taken for a token without limits.
    """
    life_s = parse_duration(lifetime)
    if life_s == 0:
        raise Misconfigured(
            f"A token that is good for [{lifetime}] is good for nothing.",
            hint="Say with --lifetime how long, such as 15m.",
        )
    return life_s


def _say_end(session: Session, token: AccessToken, life_s: int) -> None:
    # As with gcloud a number alone means seconds, which not everybody has in mind.
    session.say(f"The token ends at {moment(token.expires_at)}.")
    if token.expires_at < time.time() + life_s - SOONER_MIN_S:
        session.say(
            "WARNING: That is sooner than asked, for it ends with the token of "
            f"[{session.tokens.account}] that it was made with. A service account's may live "
            "longer: act as one, with --impersonate-service-account=EMAIL."
        )


@auth.command("list")
@pass_session
def list_accounts(session: Session) -> None:
    """List the accounts that are signed in."""
    from bonded.cli.output import Column, field  # noqa: PLC0415 - print-access-token needs no tables

    email = session.find_account()
    active = session.choose(session.accounts.list_accounts(email)) if email else None
    accounts = [
        {
            "account": each.email,
            "server": each.server,
            "status": "ACTIVE" if each == active else "",
        }
        for each in session.accounts.list_accounts()
    ]
    if not accounts and not session.flags.format:
        session.say("No credentialed accounts.\n\nTo login, run:\n  $ bonded auth login `ACCOUNT`")
        return
    columns = (
        Column("ACTIVE", lambda item: "*" if item["status"] else ""),
        Column("ACCOUNT", field("account")),
        Column("SERVER", field("server")),
    )
    session.show_all(accounts, columns, "Credentialed Accounts")
    if not session.flags.format:
        session.say("\nTo set the active account, run:\n    $ bonded config set account `ACCOUNT`")


@auth.command("print-identity-token")
@click.argument("email", metavar="ACCOUNT", required=False)
@click.option("--audiences", metavar="AUDIENCE", help="Who will read it; service accounts' only.")
@click.option("--include-email", is_flag=True, help="With the service account's address in it.")
@pass_session
def print_identity_token(
    session: Session, email: str | None, *, audiences: str | None, include_email: bool
) -> None:
    """Print a token that says who you are, for programs that ask; it opens no repository.

    A service account proves itself with its key, and its address is in the token. Who acts as one
    with --impersonate-service-account needs roles/iam.serviceAccountOpenIdTokenCreator on it.
    """
    session.flags.account = email or session.flags.account
    credential = session.credential
    acting = session.impersonated
    if isinstance(credential, SignIn) and not acting:
        from bonded.client.signing_in import fetch_identity_token  # noqa: PLC0415 - see list

        click.echo(fetch_identity_token(complete(credential)))
        return
    account = acting or credential.email
    if isinstance(credential, Workload) and "@" not in account:
        raise Misconfigured(
            f"[{account}] is known by a token of its own issuer, and gets none from here.",
            hint="Act as a service account, with --impersonate-service-account=EMAIL.",
        )
    if not audiences:
        raise Misconfigured(
            f"An identity token of the service account [{account}] is for somebody.",
            hint="Say with --audiences who will read it.",
        )
    if isinstance(credential, ServiceAccountKey) and not acting:
        from bonded.client.identity_tokens import identity_token_of  # noqa: PLC0415 - see list

        click.echo(identity_token_of(credential, audiences))
        return
    tokens = session.impersonate(account)
    click.echo(tokens.get_identity_token(audiences, has_email=include_email))


@auth.command()
@click.argument("email", metavar="ACCOUNT", required=False)
@pass_session
def revoke(session: Session, email: str | None) -> None:
    """Sign an account out on this machine; a person's sign-in ends on the server too."""
    email = email or session.find_account()
    if email is None:
        raise NotSignedIn("No credentials available to revoke.")
    account, is_last = _find_stored(session, email)
    _end(session, account)
    forget_tokens(session.directory, account)
    session.accounts.remove(account)
    is_active = session.configuration.stored().get(properties.ACCOUNT.name) == email
    if is_active and is_last:
        session.configuration.unset(properties.ACCOUNT)
    click.echo(f"Revoked credentials:\n - {email}")


def _find_stored(session: Session, email: str) -> tuple[Account, bool]:
    """Return the stored account that is meant, and whether it is the only one of that address.

    Raises:
        NotSignedIn: there is none.
        Misconfigured: there are several.
    """
    stored = session.accounts.list_accounts(email)
    if not stored:
        raise NotSignedIn(
            f"No credentials found for account [{email}].",
            hint="`bonded auth list` shows the accounts that are signed in.",
        )
    account = stored[0] if len(stored) == 1 else session.choose(stored)
    if account is None:
        servers = ", ".join(each.server for each in stored)
        raise Misconfigured(
            f"Account [{email}] is signed in to several servers: {servers}.",
            hint="Say which with --server.",
        )
    return account, len(stored) == 1


def _end(session: Session, account: Account) -> None:
    """End what proves *account*, as far as that can be done from here."""
    try:
        credential = session.accounts.find(account)
    except ClientError as error:
        # What cannot be read can still be removed.
        session.say(f"WARNING: {error.message}")
        return
    if isinstance(credential, Workload):
        session.say(
            f"WARNING: [{account.email}] can sign in again wherever its proof is: to end that, "
            "run `bonded iam workload-identity-pools providers update PROVIDER --disabled`."
        )
    elif isinstance(credential, SignIn):
        from bonded.cli.signing_in import end  # noqa: PLC0415 - see list
        from bonded.client.system_keyring import forget_secret  # noqa: PLC0415

        end(session, credential)
        if not credential.refresh_token:
            forget_secret(account)
    else:
        session.say(
            f"WARNING: [{account.email}] appears to be a service account. Its key still works "
            "wherever else it is kept: to end that, run `bonded iam service-accounts keys delete`."
        )

"""`bonded iam service-accounts`: the identities of machines."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.policies import Parameters, PolicyResource, add_policy_commands
from bonded.cli.risks import ACCOUNT_DOMAIN, FORCE, ask_about_oneself
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment
from bonded.client.errors import Misconfigured

COLUMNS = (
    Column("DISPLAY NAME", field("displayName")),
    Column("EMAIL", field("email")),
    Column("DISABLED", lambda account: str(bool(account.get("disabled")))),
    Column("LAST_USED", field("lastAuthenticatedTime")),
)


@click.group(cls=Group, places={"keys": "bonded.cli.iam.keys:keys"})
def service_accounts() -> None:
    """Create and manage service accounts."""


@service_accounts.command()
@click.argument("account_id", metavar="NAME")
@click.option("--display-name", help="Name for people.")
@click.option("--description", help="What the account is for.")
@pass_session
def create(
    session: Session, account_id: str, display_name: str | None, description: str | None
) -> None:
    """Create a service account."""
    given = {"displayName": display_name, "description": description}
    account = session.api.post(
        f"/v1/projects/{segment(session.project)}/serviceAccounts",
        {
            "accountId": account_id,
            "serviceAccount": {name: value for name, value in given.items() if value is not None},
        },
    )
    session.say(f"Created service account [{account_id}].")
    session.say(f"Service account email: {account['email']}")
    if session.flags.format:
        session.show(account)


@service_accounts.command("list")
@pass_session
def list_accounts(session: Session) -> None:
    """List the service accounts of a project."""
    path = f"/v1/projects/{segment(session.project)}/serviceAccounts"
    session.show_all(session.api.list_all(path, "accounts"), COLUMNS)


@service_accounts.command()
@click.argument("email", metavar="SERVICE_ACCOUNT")
@pass_session
def describe(session: Session, email: str) -> None:
    """Show a service account."""
    session.show(session.api.get(account_path(session, email)))


@service_accounts.command()
@click.argument("email", metavar="SERVICE_ACCOUNT")
@FORCE
@pass_session
def delete(session: Session, email: str, *, force: bool) -> None:
    """Delete a service account and all its keys."""
    ask_about_oneself(session, email, force=force)
    if not force:
        session.confirm(f"You are about to delete service account [{email}]")
    session.api.delete(account_path(session, email))
    session.say(f"deleted service account [{email}]")


@service_accounts.command()
@click.argument("email", metavar="SERVICE_ACCOUNT")
@FORCE
@pass_session
def disable(session: Session, email: str, *, force: bool) -> None:
    """Disable a service account: its keys and tokens stop at once."""
    ask_about_oneself(session, email, force=force)
    session.api.post(f"{account_path(session, email)}:disable", {})
    session.say(f"Disabled service account [{email}].")


@service_accounts.command()
@click.argument("email", metavar="SERVICE_ACCOUNT")
@pass_session
def enable(session: Session, email: str) -> None:
    """Enable a service account again, with the keys that it has."""
    session.api.post(f"{account_path(session, email)}:enable", {})
    session.say(f"Enabled service account [{email}].")


@service_accounts.command()
@click.argument("email", metavar="SERVICE_ACCOUNT")
@click.option("--display-name", help="Name for people.")
@click.option("--description", help="What the account is for.")
@pass_session
def update(
    session: Session, email: str, *, display_name: str | None, description: str | None
) -> None:
    """Change what people read about a service account."""
    given = {"displayName": display_name, "description": description}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise Misconfigured("Nothing to change.", hint="Use --display-name or --description.")
    account = session.api.patch(
        account_path(session, email), {"serviceAccount": changes}, mask=tuple(changes)
    )
    session.say(f"Updated service account [{email}].")
    session.show(account)


def _locate(session: Session, given: Parameters) -> PolicyResource:
    email = given["email"]
    path = account_path(session, email)
    return PolicyResource("serviceAccount", email, path, is_read_by_post=True)


def _parameters() -> list[click.Parameter]:
    return [click.Argument(["email"], metavar="SERVICE_ACCOUNT")]


add_policy_commands(service_accounts, _parameters, _locate)


def account_path(session: Session, email: str) -> str:
    """Return the path of a service account: its address says which project owns it."""
    domain = email.partition("@")[2]
    owner = domain.removesuffix(ACCOUNT_DOMAIN) if domain.endswith(ACCOUNT_DOMAIN) else ""
    return f"/v1/projects/{segment(owner or session.project)}/serviceAccounts/{segment(email)}"

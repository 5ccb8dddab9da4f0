"""`bonded iam service-accounts`: the identities of machines."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment

ACCOUNT_DOMAIN = ".iam.gserviceaccount.com"
COLUMNS = (
    Column("DISPLAY NAME", field("displayName")),
    Column("EMAIL", field("email")),
    Column("DISABLED", lambda account: str(bool(account.get("disabled")))),
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
@pass_session
def delete(session: Session, email: str) -> None:
    """Delete a service account and all its keys."""
    session.confirm(f"You are about to delete service account [{email}]")
    session.api.delete(account_path(session, email))
    session.say(f"deleted service account [{email}]")


def account_path(session: Session, email: str) -> str:
    """Return the path of a service account: its address says which project owns it."""
    domain = email.partition("@")[2]
    owner = domain.removesuffix(ACCOUNT_DOMAIN) if domain.endswith(ACCOUNT_DOMAIN) else ""
    return f"/v1/projects/{segment(owner or session.project)}/serviceAccounts/{segment(email)}"

"""`bonded services`: the lines of gcloud's that enable an API, where nothing needs enabling."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.session import Session, pass_session
from bonded.client.errors import Misconfigured

SERVICES = {
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
}
COLUMNS = (Column("NAME", field("config.name")), Column("TITLE", field("config.title")))


@click.group(cls=Group)
def services() -> None:
    """Show the services of the registry, all of which are always on."""


@services.command()
@click.argument("names", metavar="SERVICE...", nargs=-1, required=True)
@click.option("--async", "is_async", is_flag=True, help="Accepted: there is nothing to wait for.")
@pass_session
def enable(session: Session, names: tuple[str, ...], *, is_async: bool) -> None:
    """Check that services exist: none needs enabling."""
    del is_async
    for name in names:
        if name not in SERVICES:
            raise Misconfigured(
                f"There is no service [{name}] here.",
                hint=f"A registry's services are {', '.join(SERVICES)}.",
            )
    session.say("Nothing needs enabling: every service of a Bonded registry is always on.")


@services.command("list")
@click.option("--enabled", is_flag=True, help="Accepted: all services are.")
@click.option("--available", is_flag=True, help="Accepted: all services are.")
@pass_session
def list_services(session: Session, *, enabled: bool, available: bool) -> None:
    """List the services of a registry."""
    del enabled, available
    found = [
        {"config": {"name": name, "title": title}, "state": "ENABLED"}
        for name, title in SERVICES.items()
    ]
    session.show_all(found, COLUMNS)

"""`bonded iam workload-identity-pools`: outside identities that may act here."""

from __future__ import annotations

from typing import Any

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, basename, field
from bonded.cli.risks import FORCE, ask_about_way_in
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment
from bonded.client.errors import Misconfigured

COLUMNS = (
    Column("NAME", basename("name")),
    Column("DISPLAY NAME", field("displayName")),
    Column("STATE", field("state")),
    Column("DISABLED", lambda pool: str(bool(pool.get("disabled")))),
)
LOCATION = click.option(
    "--location", default="global", show_default=True, help="Where pools are: nowhere else."
)
DISPLAY_NAME = click.option("--display-name", help="Name for people.")
DESCRIPTION = click.option("--description", help="What it is for.")
DISABLED = click.option(
    "--disabled/--no-disabled", default=None, help="Whether it lets nobody in for now."
)
PLACES = {
    "providers": "bonded.cli.iam.providers:providers",
    "create-cred-config": "bonded.cli.iam.cred_config:create_cred_config",
}


@click.group(cls=Group, places=PLACES)
def workload_identity_pools() -> None:
    """Let workloads act with an identity that they have elsewhere."""


@workload_identity_pools.command()
@click.argument("pool")
@LOCATION
@DISPLAY_NAME
@DESCRIPTION
@DISABLED
@pass_session
def create(session: Session, /, pool: str, location: str, **given: Any) -> None:
    """Create a pool."""
    operation = session.api.post(
        pools_path(session, location), described(given), workloadIdentityPoolId=pool
    )
    session.api.wait(operation)
    session.say(f"Created workload identity pool [{pool}].")


@workload_identity_pools.command("list")
@LOCATION
@pass_session
def list_pools(session: Session, location: str) -> None:
    """List the pools of a project."""
    found = session.api.list_all(pools_path(session, location), "workloadIdentityPools")
    session.show_all(found, COLUMNS)


@workload_identity_pools.command()
@click.argument("pool")
@LOCATION
@pass_session
def describe(session: Session, pool: str, location: str) -> None:
    """Show a pool."""
    session.show(session.api.get(pool_path(session, pool, location)))


@workload_identity_pools.command()
@click.argument("pool")
@LOCATION
@DISPLAY_NAME
@DESCRIPTION
@DISABLED
@FORCE
@pass_session
def update(session: Session, /, pool: str, location: str, *, force: bool, **given: Any) -> None:
    """Change a pool."""
    body, path = described(given), pool_path(session, pool, location)
    mask = something(tuple(body))
    if body.get("disabled"):
        ask_about_way_in(session, path, f"Workload identity pool [{pool}]", force=force)
    session.api.wait(session.api.patch(path, body, mask=mask))
    session.say(f"Updated workload identity pool [{pool}].")


@workload_identity_pools.command()
@click.argument("pool")
@LOCATION
@FORCE
@pass_session
def delete(session: Session, pool: str, location: str, *, force: bool) -> None:
    """Delete a pool, its providers, and what its identities were granted; there is no undelete."""
    path = pool_path(session, pool, location)
    ask_about_way_in(session, path, f"Workload identity pool [{pool}]", force=force)
    if not force:
        session.confirm(f"You are about to delete workload identity pool [{pool}]")
    session.api.wait(session.api.delete(path))
    session.say(f"Deleted workload identity pool [{pool}].")


def pools_path(session: Session, location: str) -> str:
    """Return the path of a project's pools. Raises Misconfigured for another place than Google's.

    Raises:
        Misconfigured: pools are nowhere but at `global`.
    """
    if location != "global":
        raise Misconfigured(
            f"There are no workload identity pools in [{location}].", hint="Use --location=global."
        )
    return f"/v1/projects/{segment(session.project)}/locations/global/workloadIdentityPools"


def pool_path(session: Session, pool: str, location: str) -> str:
    """Return the path of a pool."""
    return f"{pools_path(session, location)}/{segment(pool)}"


def described(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the line says of name, description and state, as the API has it."""
    names = {"display_name": "displayName", "description": "description", "disabled": "disabled"}
    return {names[name]: given[name] for name in names if given.get(name) is not None}


def something(mask: tuple[str, ...]) -> tuple[str, ...]:
    """Return *mask*, if the line changes anything.

    Raises:
        Misconfigured: it changes nothing.
    """
    if not mask:
        raise Misconfigured("Nothing to update.", hint="Say what is to change; see --help.")
    return mask

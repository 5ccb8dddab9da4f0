"""`bonded config configurations`: several sets of properties, one of them active."""

from __future__ import annotations

from typing import Any

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.session import Session, pass_session
from bonded.client.configurations import ACTIVE_VARIABLE
from bonded.client.properties import nest

COLUMNS = (
    Column("NAME", field("name")),
    Column("IS_ACTIVE", field("is_active")),
    Column("ACCOUNT", field("properties.core.account")),
    Column("PROJECT", field("properties.core.project")),
    Column("SERVER", field("properties.core.server")),
)


@click.group(cls=Group)
def configurations() -> None:
    """Manage named configurations."""


@configurations.command()
@click.argument("name")
@click.option("--activate/--no-activate", default=True, help="Whether to use it from now on.")
@pass_session
def create(session: Session, name: str, *, activate: bool) -> None:
    """Create an empty configuration and make it the active one."""
    session.configurations.create(name)
    session.say(f"Created [{name}].")
    if activate:
        _activate(session, name)
    else:
        session.say(
            "To use this configuration, activate it by running:\n"
            f"  $ bonded config configurations activate {name}"
        )


@configurations.command()
@click.argument("name")
@pass_session
def activate(session: Session, name: str) -> None:
    """Make a configuration the active one."""
    _activate(session, name)


@configurations.command("list")
@pass_session
def list_configurations(session: Session) -> None:
    """List all configurations."""
    names = session.configurations.list_names()
    session.show_all([_resource(session, name) for name in names], COLUMNS)


@configurations.command()
@click.argument("name")
@pass_session
def describe(session: Session, name: str) -> None:
    """Show a configuration and its properties."""
    session.show(_resource(session, name))


@configurations.command()
@click.argument("name")
@click.option("--new-name", metavar="NAME", required=True, help="What to call it from now on.")
@pass_session
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a configuration another name."""
    session.configurations.rename(name, new_name)
    session.say(f"Renamed [{name}] to be [{new_name}].")


@configurations.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_session
def delete(session: Session, names: tuple[str, ...]) -> None:
    """Delete configurations, none of which may be the active one."""
    for name in names:
        session.configurations.open(name)
    listed = "\n".join(f" - {name}" for name in names)
    session.confirm(f"The following configurations will be deleted:\n{listed}")
    for name in names:
        session.configurations.delete(name)
        session.say(f"Deleted [{name}].")


def _activate(session: Session, name: str) -> None:
    session.configurations.activate(name)
    session.say(f"Activated [{name}].")
    if session.configurations.active_name != name:
        session.say(f"WARNING: {ACTIVE_VARIABLE} is set and chooses another configuration.")


def _resource(session: Session, name: str) -> dict[str, Any]:
    """Return a configuration in gcloud's shape."""
    return {
        "name": name,
        "is_active": name == session.configurations.active_name,
        "properties": nest(session.configurations.open(name).stored()),
    }

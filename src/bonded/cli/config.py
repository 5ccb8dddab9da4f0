"""`bonded config`: the properties, set once instead of typed."""

from __future__ import annotations

import shlex

import click

from bonded.cli.grammar import Group
from bonded.cli.session import Session, pass_session
from bonded.client.properties import ACCOUNT, HOSTS, nest, parse_property, render

PLACES = {
    "config-helper": "bonded.cli.config_helper:config_helper",
    "configurations": "bonded.cli.configurations:configurations",
}


@click.group(cls=Group, places=PLACES)
def config() -> None:
    """View and change the properties of the command line."""


@config.command("set")
@click.argument("section_property", metavar="SECTION/PROPERTY")
@click.argument("value")
@pass_session
def set_property(session: Session, section_property: str, value: str) -> None:
    """Set a property."""
    known = parse_property(section_property)
    session.configuration.set(known, value)
    session.say(f"Updated property [{known.name}].")
    if known is ACCOUNT and not session.accounts.list_accounts(value):
        session.say(
            f"WARNING: [{value}] has no credentials here. Run `bonded auth login "
            f"{shlex.quote(value)}`, or for a service account "
            "`bonded auth activate-service-account --key-file=FILE`."
        )
    if known is HOSTS and session.configuration.server is None:
        session.say(
            "WARNING: Nothing says of which server these are names, so they count for none. "
            "Run `bonded config set core/server URL`."
        )


@config.command("get")
@click.argument("section_property", metavar="SECTION/PROPERTY")
@pass_session
def get_property(session: Session, section_property: str) -> None:
    """Print the value of a property."""
    value = session.configuration.find(parse_property(section_property))
    if value is None:
        session.say("(unset)")
    else:
        click.echo(value)


@config.command("unset")
@click.argument("section_property", metavar="SECTION/PROPERTY")
@pass_session
def unset_property(session: Session, section_property: str) -> None:
    """Unset a property."""
    known = parse_property(section_property)
    session.configuration.unset(known)
    session.say(f"Unset property [{known.name}].")


@config.command("list")
@pass_session
def list_properties(session: Session) -> None:
    """List the properties in force, from the file and from the environment."""
    values = session.configuration.in_force()
    if session.flags.format:
        session.show(nest(values))
        return
    if values:
        click.echo(render(values))
    session.say(f"Your active configuration is: [{session.configuration.name}]")


# The older gcloud's name of the same command, which google-auth and many scripts still use.
config.add_command(get_property, "get-value")

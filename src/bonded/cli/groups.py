"""`bonded groups`: principals under one address, for policies to name as `group:ADDRESS`."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.grants import warn_of_nobody
from bonded.cli.output import Column, field
from bonded.cli.risks import FORCE, keeping_access
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment

COLUMNS = (Column("EMAIL", field("email")), Column("DISPLAY NAME", field("displayName")))
MEMBER_COLUMNS = (Column("MEMBER", field("member")), Column("ROLE", field("role")))
MEMBER = click.option(
    "--member", required=True, help="Who: user:EMAIL, serviceAccount:EMAIL or group:EMAIL."
)


@click.group(cls=Group)
def groups() -> None:
    """Create and manage groups."""


@groups.command()
@click.argument("email")
@click.option("--display-name", help="Name for people.")
@click.option("--description", help="What the group is for.")
@pass_session
def create(session: Session, email: str, display_name: str | None, description: str | None) -> None:
    """Create a group; you own it."""
    given = {"email": email, "displayName": display_name, "description": description}
    body = {key: value for key, value in given.items() if value is not None}
    group = session.api.post("/v1/groups", body)
    session.say(f"Created group [{email}].")
    if session.flags.format:
        session.show(group)


@groups.command("list")
@pass_session
def list_groups(session: Session) -> None:
    """List the groups."""
    session.show_all(session.api.list_all("/v1/groups", "groups"), COLUMNS)


@groups.command()
@click.argument("email")
@pass_session
def describe(session: Session, email: str) -> None:
    """Show a group."""
    session.show(session.api.get(_path(email)))


@groups.command()
@click.argument("email")
@FORCE
@pass_session
def delete(session: Session, email: str, *, force: bool) -> None:
    """Delete a group; what it granted ends at once."""
    if not force:
        session.confirm(f"You are about to delete group [{email}], and with it what it grants.")
    _delete(session, _path(email), f"group [{email}] or make it again", force=force)
    session.say(f"Deleted group [{email}].")


@groups.command()
@click.argument("email")
@pass_session
def list_members(session: Session, email: str) -> None:
    """List who is in a group."""
    session.show_all(session.api.list_all(f"{_path(email)}/members", "members"), MEMBER_COLUMNS)


@groups.command()
@click.argument("email")
@MEMBER
@click.option(
    "--role",
    type=click.Choice(["member", "owner"], case_sensitive=False),
    default="member",
    help="An owner says who else is in the group.",
)
@FORCE
@pass_session
def add_member(session: Session, email: str, member: str, role: str, *, force: bool) -> None:
    """Put somebody into a group, or change what they are there."""
    body = {"member": member, "role": role.upper()}
    keeping_access(
        session,
        lambda query: session.api.post(f"{_path(email)}/members", body, **query),
        f"You are about to lose the right to say who is in group [{email}]: you would be a member "
        "who does not own it, and could not undo this.",
        force=force,
    )
    session.say(f"Added [{member}] to group [{email}].")
    warn_of_nobody(session, member)


@groups.command()
@click.argument("email")
@MEMBER
@FORCE
@pass_session
def remove_member(session: Session, email: str, member: str, *, force: bool) -> None:
    """Take somebody out of a group."""
    path = f"{_path(email)}/members/{segment(member)}"
    _delete(session, path, f"who is in group [{email}]", force=force)
    session.say(f"Removed [{member}] from group [{email}].")


def _delete(session: Session, path: str, what: str, *, force: bool) -> None:
    risk = (
        f"You are about to lose the right to change {what}: you could not undo this. What the "
        "group grants would go with it."
    )
    keeping_access(
        session,
        lambda query: session.api.delete(path, **query),
        risk,
        force=force,
    )


def _path(email: str) -> str:
    return f"/v1/groups/{segment(email)}"

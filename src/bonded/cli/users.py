"""`bonded users`: people, and where they are signed in."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field, local_time
from bonded.cli.risks import FORCE, ask_about_oneself
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment

COLUMNS = (
    Column("ADDRESS", field("address")),
    Column("NAME", field("displayName")),
    Column("SOURCE", field("source")),
    Column("DISABLED", lambda user: str(bool(user.get("disabled")))),
)
SESSION_COLUMNS = (
    Column("SESSION", lambda session: str(session["name"]).rpartition("/")[2]),
    Column("CLIENT", field("client")),
    Column("FROM", field("clientAddress")),
    Column("CREATED", local_time("createTime")),
    Column("LAST_USED", local_time("lastUseTime")),
)


@click.group(cls=Group)
def users() -> None:
    """Manage people and their sign-ins."""


@users.command()
@click.argument("address")
@click.option("--display-name", help="Name for people.")
@pass_session
def create(session: Session, address: str, display_name: str | None) -> None:
    """Create a user, and print the link with which they set their password."""
    user = session.api.post("/v1/users", {"address": address, "displayName": display_name or ""})
    session.say(f"Created user [{user['address']}]. The link is good once; hand it to them:")
    click.echo(user["invitation"]["uri"])


@users.command()
@click.argument("address")
@pass_session
def invite(session: Session, address: str) -> None:
    """Print a new link with which a user sets a new password; earlier ones stop."""
    click.echo(session.api.post(f"{_path(address)}:invite", {})["uri"])


@users.command("list")
@pass_session
def list_users(session: Session) -> None:
    """List the users."""
    session.show_all(session.api.list_all("/v1/users", "users"), COLUMNS)


@users.command()
@click.argument("address")
@pass_session
def describe(session: Session, address: str) -> None:
    """Show a user."""
    session.show(session.api.get(_path(address)))


@users.command()
@click.argument("address")
@FORCE
@pass_session
def disable(session: Session, address: str, *, force: bool) -> None:
    """Let nobody sign in as a user; their tokens stop at once."""
    ask_about_oneself(session, address, force=force)
    session.api.post(f"{_path(address)}:disable", {})
    session.say(f"Disabled user [{address}].")


@users.command()
@click.argument("address")
@pass_session
def enable(session: Session, address: str) -> None:
    """Let a user sign in again."""
    session.api.post(f"{_path(address)}:enable", {})
    session.say(f"Enabled user [{address}].")


@users.command()
@click.argument("address")
@FORCE
@pass_session
def delete(session: Session, address: str, *, force: bool) -> None:
    """Delete a user with their sign-ins and grants."""
    ask_about_oneself(session, address, force=force)
    if not force:
        session.confirm(f"You are about to delete user [{address}]")
    session.api.delete(_path(address))
    session.say(f"Deleted user [{address}].")


@users.command("remove-second-factor")
@click.argument("address")
@pass_session
def remove_second_factor(session: Session, address: str) -> None:
    """Take away a second factor whose phone and recovery codes are lost."""
    session.confirm(f"Only the password will protect [{address}]")
    session.api.post(f"{_path(address)}:forgetSecondFactor", {})
    session.say(f"Removed the second factor of [{address}].")


@users.group(cls=Group)
def sessions() -> None:
    """Manage where people are signed in."""


@sessions.command("list")
@click.argument("address")
@pass_session
def list_sessions(session: Session, address: str) -> None:
    """List a user's sign-ins; `me` for your own."""
    session.show_all(
        session.api.list_all(f"{_path(address)}/sessions", "sessions"), SESSION_COLUMNS
    )


@sessions.command()
@click.argument("address")
@click.argument("session_id", metavar="SESSION")
@pass_session
def revoke(session: Session, address: str, session_id: str) -> None:
    """End a sign-in of a user, or all of them (`all`); its tokens stop at once."""
    name = "-" if session_id == "all" else session_id
    session.api.delete(f"{_path(address)}/sessions/{segment(name)}")
    session.say(f"Revoked session [{session_id}] of [{address}].")


def _path(address: str) -> str:
    return f"/v1/users/{segment(address)}"

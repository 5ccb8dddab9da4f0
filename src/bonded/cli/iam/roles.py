"""`bonded iam roles`: predefined roles, and those that you define."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.risks import FORCE, keeping_access
from bonded.cli.session import Session, pass_session
from bonded.client.api import Message, segment
from bonded.client.errors import Misconfigured

COLUMNS = (Column("NAME", field("name")), Column("TITLE", field("title")))
ORGANIZATION = click.option(
    "--organization", metavar="ORGANIZATION", help="The server's roles: bonded."
)

_RISK = (
    "You are about to lose the right to change role [{}]: it is what gives you that right, so you "
    "could not undo this."
)


@click.group(cls=Group)
def roles() -> None:
    """Show roles, and define your own."""


@roles.command()
@click.argument("role_id")
@ORGANIZATION
@click.option("--title", help="Name for people.")
@click.option("--description", help="What the role is for.")
@click.option("--stage", help="ALPHA, BETA, GA, DEPRECATED or DISABLED.")
@click.option("--permissions", metavar="PERMISSION,…", help="What the role holds.")
@pass_session
def create(
    session: Session, /, role_id: str, organization: str | None, **given: str | None
) -> None:
    """Define a role on a project, or with --organization on the server."""
    parent = _parent(session, organization)
    body = {"roleId": role_id, "role": _fields(given)}
    role = session.api.post(f"/v1/{parent}/roles", body)
    session.say(f"Created role [{role_id}].")
    session.show(role)


@roles.command()
@click.argument("role_id")
@ORGANIZATION
@click.option("--title", help="Name for people.")
@click.option("--description", help="What the role is for.")
@click.option("--stage", help="ALPHA, BETA, GA, DEPRECATED or DISABLED.")
@click.option("--permissions", metavar="PERMISSION,…", help="What the role holds, all of it.")
@click.option("--add-permissions", metavar="PERMISSION,…", help="What it is to hold besides.")
@click.option("--remove-permissions", metavar="PERMISSION,…", help="What it is to hold no more.")
@FORCE
@pass_session
def update(
    session: Session,
    /,
    role_id: str,
    organization: str | None,
    add_permissions: str | None,
    remove_permissions: str | None,
    *,
    force: bool,
    **given: str | None,
) -> None:
    """Change a role; it counts at once wherever it is bound."""
    path = f"/v1/{_parent(session, organization)}/roles/{segment(role_id)}"
    fields = _fields(given)
    etag = {}
    if add_permissions or remove_permissions:
        role = session.api.get(path)
        held = set(role.get("includedPermissions", ())) | set(_listed(add_permissions))
        fields["includedPermissions"] = sorted(held - set(_listed(remove_permissions)))
        etag = {"etag": role["etag"]}
    if not fields:
        raise Misconfigured("Nothing is to be changed.", hint="Say what, such as --title=TITLE.")
    changed = keeping_access(
        session,
        lambda query: session.api.patch(path, fields | etag, mask=tuple(fields), **query),
        _RISK.format(role_id),
        force=force,
    )
    session.show(changed)


@roles.command("list")
@ORGANIZATION
@click.option("--show-deleted", is_flag=True, help="Those that are deleted too.")
@pass_session
def list_roles(session: Session, organization: str | None, *, show_deleted: bool) -> None:
    """List predefined roles; with --project or --organization, those defined there."""
    path = "/v1/roles"
    if organization or session.flags.project:
        path = f"/v1/{_parent(session, organization)}/roles"
    query = {"showDeleted": "true"} if show_deleted else {}
    session.show_all(session.api.list_all(path, "roles", **query), COLUMNS)


@roles.command()
@click.argument("role")
@ORGANIZATION
@pass_session
def describe(session: Session, role: str, organization: str | None) -> None:
    """Show a role: roles/NAME, or one that is defined on a project or the server."""
    session.show(session.api.get(_path(session, role, organization)))


@roles.command()
@click.argument("role")
@ORGANIZATION
@FORCE
@pass_session
def delete(session: Session, role: str, organization: str | None, *, force: bool) -> None:
    """Delete a role: its bindings grant nothing until it is undeleted."""
    path = _path(session, role, organization)
    deleted = keeping_access(
        session,
        lambda query: session.api.delete(path, **query),
        _RISK.format(role),
        force=force,
    )
    session.show(deleted)


@roles.command()
@click.argument("role")
@ORGANIZATION
@pass_session
def undelete(session: Session, role: str, organization: str | None) -> None:
    """Bring a deleted role back."""
    session.show(session.api.post(f"{_path(session, role, organization)}:undelete", {}))


def _parent(session: Session, organization: str | None) -> str:
    if organization:
        return f"organizations/{segment(organization)}"
    return f"projects/{segment(session.project)}"


def _path(session: Session, role: str, organization: str | None) -> str:
    if role.startswith(("roles/", "projects/", "organizations/")):
        return "/v1/" + "/".join(segment(part) for part in role.split("/"))
    return f"/v1/{_parent(session, organization)}/roles/{segment(role)}"


def _fields(given: dict[str, str | None]) -> Message:
    fields: Message = {key: value for key, value in given.items() if value is not None}
    if "permissions" in fields:
        fields["includedPermissions"] = _listed(fields.pop("permissions"))
    return fields


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]

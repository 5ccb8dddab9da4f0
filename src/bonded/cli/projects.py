"""`bonded projects`: the tenants that own repositories and service accounts."""

from __future__ import annotations

import click

from bonded.cli.grammar import Group
from bonded.cli.output import Column, field
from bonded.cli.policies import Parameters, PolicyResource, add_policy_commands
from bonded.cli.risks import FORCE, ask_about_home
from bonded.cli.session import Session, pass_session
from bonded.client.api import segment
from bonded.client.errors import Refused

COLUMNS = (
    Column("PROJECT_ID", field("projectId")),
    Column("NAME", field("name")),
    Column("PROJECT_NUMBER", field("projectNumber")),
)
_BY_NAME = (
    "Listing takes a role on the server. Name the project that you were told: "
    "`bonded config set project PROJECT_ID`, or --project on every line."
)


@click.group(cls=Group)
def projects() -> None:
    """Create and manage projects."""


@projects.command()
@click.argument("project_id")
@click.option("--name", help="Name for people; the ID by default.")
@pass_session
def create(session: Session, project_id: str, name: str | None) -> None:
    """Create a project."""
    body = {"projectId": project_id, "name": name or project_id}
    operation = session.api.post("/v1/projects", body)
    session.say(f"Create in progress for [{session.server}{_path(project_id)}].")
    project = session.finish(operation, "finish")
    if session.flags.format:
        session.show(project)


@projects.command("list")
@pass_session
def list_projects(session: Session) -> None:
    """List the projects that the account may see."""
    try:
        found = list(session.api.list_all("/v1/projects", "projects"))
    except Refused as refusal:
        if refusal.status == "PERMISSION_DENIED":
            refusal.hint = _BY_NAME
        raise
    session.show_all(found, COLUMNS)


@projects.command()
@click.argument("project_id")
@pass_session
def describe(session: Session, project_id: str) -> None:
    """Show a project."""
    session.show(session.api.get(_path(project_id)))


@projects.command()
@click.argument("project_id")
@FORCE
@pass_session
def delete(session: Session, project_id: str, *, force: bool) -> None:
    """Delete a project that has no repositories."""
    ask_about_home(session, project_id, force=force)
    if not force:
        session.confirm("Your project will be deleted.")
    session.api.delete(_path(project_id))
    session.say(f"Deleted [{session.server}{_path(project_id)}].")


def _path(project_id: str) -> str:
    return f"/v1/projects/{segment(project_id)}"


def _locate(_: Session, given: Parameters) -> PolicyResource:
    name = given["project_id"]
    return PolicyResource("project", name, _path(name), is_read_by_post=True)


add_policy_commands(projects, lambda: [click.Argument(["project_id"])], _locate)

"""`bonded artifacts trusted-publishers`: who may upload with the token of their own CI system."""

from __future__ import annotations

from typing import Any

import click

from bonded.cli.artifacts.locating import RepositoryPlace, locate
from bonded.cli.grammar import Group
from bonded.cli.output import Column, basename, field
from bonded.cli.session import Session, missing, pass_session
from bonded.client import properties
from bonded.client.api import segment
from bonded.client.errors import Misconfigured

COLUMNS = (
    Column("NAME", basename("name")),
    Column("PROVIDER", field("provider")),
    Column("CLAIMS", field("claims")),
    Column("PACKAGES", field("packages")),
)
# The claims that say what --source does, for each provider.
SOURCES = {
    "github": ("repository",),
    "gitlab": ("project_path",),
    "oidc": ("sub",),
    "buildkite": ("organization_slug", "pipeline_slug"),
    "activestate": ("organization", "project"),
}
REPOSITORY = click.option("--repository", metavar="REPOSITORY", help="Where they may upload.")
LOCATION = click.option("--location", metavar="LOCATION", help="The repository's location.")


@click.group(cls=Group)
def trusted_publishers() -> None:
    """Let CI systems publish with their own identity, so that nothing secret is stored there."""


@trusted_publishers.command()
@REPOSITORY
@LOCATION
@click.option(
    "--provider",
    type=click.Choice(["github", "gitlab", "buildkite", "activestate", "oidc"]),
    required=True,
    help="Whose tokens are believed.",
)
@click.option("--issuer-uri", help="The address of an issuer of your own, such as your GitLab's.")
@click.option(
    "--source",
    metavar="OWNER/NAME",
    help="GitHub's repository, GitLab's project, Buildkite's or ActiveState's "
    "ORGANIZATION/PIPELINE; of any other issuer, the subject (sub).",
)
@click.option("--workflow", help="File of the workflow: publish.yml, .gitlab-ci.yml.")
@click.option("--environment", help="The environment that the job must run in.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=TEXT", help="Another condition.")
@click.option("--packages", help="The only packages to upload, between commas; new ones too.")
@pass_session
def create(
    session: Session,
    /,
    repository: str | None,
    location: str | None,
    provider: str,
    *,
    issuer_uri: str | None,
    packages: str | None,
    **given: Any,
) -> None:
    """Trust a workflow, pipeline or account to upload."""
    body: dict[str, object] = {"provider": provider, "claims": _claims(provider, **given)}
    if issuer_uri:
        body["issuerUri"] = issuer_uri
    if packages:
        body["packages"] = [one.strip() for one in packages.split(",") if one.strip()]
    place = _place(session, repository, location)
    publisher = session.api.post(f"{place.path}/trustedPublishers", body)
    name = str(publisher["name"]).rpartition("/")[2]
    session.say(f"Created trusted publisher [{name}] of repository [{place.repository}].")
    if session.flags.format:
        session.show(publisher)


@trusted_publishers.command("list")
@REPOSITORY
@LOCATION
@pass_session
def list_publishers(session: Session, repository: str | None, location: str | None) -> None:
    """List the trusted publishers of a repository."""
    place = _place(session, repository, location)
    found = session.api.list_all(f"{place.path}/trustedPublishers", "trustedPublishers")
    session.show_all(found, COLUMNS)


@trusted_publishers.command()
@click.argument("publisher")
@REPOSITORY
@LOCATION
@pass_session
def describe(
    session: Session, publisher: str, repository: str | None, location: str | None
) -> None:
    """Show a trusted publisher, and what it was held to at its first use."""
    place = _place(session, repository, location)
    session.show(session.api.get(f"{place.path}/trustedPublishers/{segment(publisher)}"))


@trusted_publishers.command()
@click.argument("publisher")
@REPOSITORY
@LOCATION
@pass_session
def delete(session: Session, publisher: str, repository: str | None, location: str | None) -> None:
    """Trust a publisher no more: tokens that it has stop at once."""
    session.confirm(f"You are about to delete trusted publisher [{publisher}]")
    place = _place(session, repository, location)
    session.api.delete(f"{place.path}/trustedPublishers/{segment(publisher)}")
    session.say(f"Deleted trusted publisher [{publisher}].")


def _claims(
    provider: str,
    *,
    source: str | None,
    workflow: str | None,
    environment: str | None,
    claims: tuple[str, ...],
) -> dict[str, str]:
    """Return the conditions that the line says."""
    said = _source(provider, source)
    if workflow:
        said["workflow"] = workflow
    if environment:
        said["environment"] = environment
    for claim in claims:
        name, equals, text = claim.partition("=")
        if not equals or not name:
            raise Misconfigured(f"[{claim}] is not a condition.", hint="Write --claim NAME=TEXT.")
        said[name] = text
    return said


def _source(provider: str, source: str | None) -> dict[str, str]:
    if not source:
        return {}
    claims = SOURCES[provider]
    parts = source.split("/", 1) if len(claims) > 1 else [source]
    if len(parts) != len(claims):
        raise Misconfigured(f"[{source}] is no source.", hint="Write ORGANIZATION/NAME.")
    return dict(zip(claims, parts, strict=True))


def _place(session: Session, repository: str | None, location: str | None) -> RepositoryPlace:
    chosen = repository or session.configuration.find(properties.REPOSITORY)
    if not chosen:
        raise missing("repository", properties.REPOSITORY)
    return locate(session, chosen, location)

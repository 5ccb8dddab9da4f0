"""`bonded artifacts repositories`: create, look at, change and delete repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bonded.cli.artifacts import locating, upstreams
from bonded.cli.artifacts.hosts import find_hurdle
from bonded.cli.artifacts.locating import (
    RepositoryPlace,
    get_repository,
    locate,
    location_path,
)
from bonded.cli.artifacts.losses import losses_of
from bonded.cli.grammar import Group
from bonded.cli.output import Column, basename, field, local_time
from bonded.cli.policies import Parameters, PolicyResource, add_policy_commands
from bonded.cli.session import Session, pass_session
from bonded.client import properties
from bonded.client.api import Message
from bonded.client.errors import Misconfigured, Refused

BYTES_PER_MB = 1024 * 1024


class Labels(click.ParamType[dict[str, str]]):
    """`key=value,key=value`."""

    name = "labels"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """Return the labels that *value* lists."""
        labels: dict[str, str] = {}
        for item in filter(None, value.split(",")):
            key, equals, text = item.partition("=")
            if not equals or not key:
                self.fail(f"Bad syntax for dict arg: [{item}]. Write KEY=VALUE.", param, ctx)
            labels[key] = text
        return labels


_ONE_BY_ONE = """\
Listing takes a role on the project. With one on a repository alone, name that repository, and its
location with --location if it is in another than the server's first:
  $ bonded artifacts repositories describe REPOSITORY
  $ bonded artifacts packages list --repository=REPOSITORY
  $ bonded artifacts print-settings python --repository=REPOSITORY
or ask an administrator for the role roles/artifactregistry.reader on the project."""
LOCATION = click.option("--location", metavar="LOCATION", help="The repository's location.")


PLACES = {
    "map": "bonded.cli.artifacts.mapping:map_urls",
    "prefetch": "bonded.cli.artifacts.caches:prefetch",
    "refresh": "bonded.cli.artifacts.caches:refresh",
}


@click.group(cls=Group, places=PLACES)
def repositories() -> None:
    """Manage repositories."""


@repositories.command()
@click.argument("repository")
@LOCATION
@click.option(
    "--repository-format",
    type=click.Choice(["python"], case_sensitive=False),
    required=True,
    help="What the repository holds.",
)
@click.option(
    "--mode",
    type=click.Choice(upstreams.MODES),
    default="standard-repository",
    help="Where the repository gets its packages from.",
)
@upstreams.creation_options
@click.option("--description", help="What the repository is for.")
@click.option("--labels", type=Labels(), metavar="KEY=VALUE,...", help="Labels to set.")
@click.option("--async", "is_async", is_flag=True, help="Do not wait for the operation.")
@pass_session
def create(
    session: Session,
    /,
    *,
    repository: str,
    location: str | None,
    repository_format: str,
    mode: str,
    description: str | None,
    labels: dict[str, str] | None,
    is_async: bool,
    **upstream: Any,
) -> None:
    """Create a repository."""
    place = locate(session, repository, location)
    body: Message = {
        "format": repository_format.upper(),
        "mode": mode.upper().replace("-", "_"),
        "description": description or "",
        "labels": labels or {},
        **upstreams.new_config(mode, place, upstream),
    }
    parent = f"{location_path(place.project, place.location)}/repositories"
    operation = session.api.post(parent, body, repositoryId=place.repository)
    session.say(f"Create request issued for: [{place.repository}]")
    if is_async:
        session.show_issued(operation)
        return
    made = session.finish(operation)
    session.say(f"Created repository [{place.repository}].")
    _say_hurdle(session, place, made)
    if session.flags.format:
        session.show(session.api.get(place.path))


@repositories.command("list")
@click.option("--location", metavar="LOCATION", help="One location; `all` by default.")
@pass_session
def list_repositories(session: Session, location: str | None) -> None:
    """List repositories."""
    location = location or session.configuration.find(properties.LOCATION) or "all"
    where = "across all locations" if location == "all" else f"location {location}"
    session.say(f"Listing items under project {session.project}, {where}.\n")
    try:
        found = list(locating.list_repositories(session, session.project, location))
    except Refused as refusal:
        if refusal.status == "PERMISSION_DENIED":
            refusal.hint = _ONE_BY_ONE
        raise
    session.show_all(found, COLUMNS, "ARTIFACT_REGISTRY")


@repositories.command()
@click.argument("repository")
@LOCATION
@pass_session
def describe(session: Session, repository: str, location: str | None) -> None:
    """Show a repository."""
    place = locate(session, repository, location)
    found = get_repository(session, place)
    session.say(f"Encryption: {_encryption(found)}")
    if "registryUri" not in found:
        session.say(f"Registry URL: {session.server}/{place.project}/{place.repository}")
    session.say(f"Repository Size: {_megabytes(found)}MB")
    _say_hurdle(session, place, found)
    session.show(found)


@repositories.command()
@click.argument("repository")
@LOCATION
@upstreams.change_options
@click.option("--description", help="What the repository is for.")
@click.option("--update-labels", type=Labels(), metavar="KEY=VALUE,...", help="Labels to set.")
@click.option("--remove-labels", metavar="KEY,...", help="Labels to remove.")
@click.option("--clear-labels", is_flag=True, help="Remove all labels before setting any.")
@pass_session
def update(
    session: Session,
    /,
    *,
    repository: str,
    location: str | None,
    description: str | None,
    update_labels: dict[str, str] | None,
    remove_labels: str | None,
    clear_labels: bool,
    **upstream: Any,
) -> None:
    """Change a repository's description, labels or upstreams."""
    if clear_labels and remove_labels:
        raise click.UsageError("At most one of --clear-labels | --remove-labels can be specified.")
    body: Message = {}
    if description is not None:
        body["description"] = description
    place = locate(session, repository, location)
    if any(value is not None for value in upstream.values()):
        now = get_repository(session, place)
        config = now.get(upstreams.REMOTE) or now.get(upstreams.VIRTUAL) or {}
        body |= upstreams.changed_config(str(now.get("mode")), place, config, upstream)
    if update_labels or remove_labels or clear_labels:
        labels = {} if clear_labels else dict(get_repository(session, place).get("labels", {}))
        for key in (remove_labels or "").split(","):
            labels.pop(key, None)
        body["labels"] = labels | (update_labels or {})
    if not body:
        raise Misconfigured(
            "Nothing to update.",
            hint="Give --description, --update-labels, --remove-labels, --clear-labels or what "
            "the upstreams are to be.",
        )
    updated = session.api.patch(place.path, body, mask=tuple(sorted(body)))
    session.say(f"Updated repository [{place.repository}].")
    session.show(updated)


@repositories.command()
@click.argument("repository")
@LOCATION
@click.option("--async", "is_async", is_flag=True, help="Do not wait for the operation.")
@pass_session
def delete(session: Session, repository: str, location: str | None, *, is_async: bool) -> None:
    """Delete a repository with everything in it."""
    place = locate(session, repository, location)
    if not session.flags.quiet:
        lost = losses_of(session, place)
        session.confirm(f"You are about to delete repository [{place.repository}]. {lost}")
    operation = session.api.delete(place.path)
    session.say(f"Delete request issued for: [{place.repository}]")
    if is_async:
        session.show_issued(operation)
        return
    session.finish(operation)
    session.say(f"Deleted repository [{place.repository}].")


def _say_hurdle(session: Session, place: RepositoryPlace, found: Mapping[str, Any]) -> None:
    if hurdle := find_hurdle(session.server, place, found):
        session.say(hurdle)


def _megabytes(repository: Mapping[str, Any]) -> str:
    return f"{int(repository.get('sizeBytes', 0)) / BYTES_PER_MB:.3f}"


def _encryption(repository: Mapping[str, Any]) -> str:
    """Return who encrypts: not Bonded, unless a key is named; the storage beneath may."""
    return "Customer-managed key" if repository.get("kmsKeyName") else "Storage default"


def _location_of(repository: Mapping[str, Any]) -> str:
    return str(repository["name"]).split("/")[3]


COLUMNS = (
    Column("REPOSITORY", basename("name")),
    Column("FORMAT", field("format")),
    Column("MODE", field("mode")),
    Column("DESCRIPTION", field("description")),
    Column("LOCATION", _location_of),
    Column("LABELS", field("labels")),
    Column("ENCRYPTION", _encryption),
    Column("CREATE_TIME", local_time("createTime")),
    Column("UPDATE_TIME", local_time("updateTime")),
    Column("SIZE (MB)", _megabytes),
)


def _policy_resource(session: Session, given: Parameters) -> PolicyResource:
    place = locate(session, given["repository"], given["location"])
    return PolicyResource("repository", place.repository, place.path, is_read_by_post=False)


def _policy_parameters() -> list[click.Parameter]:
    return [
        click.Argument(["repository"]),
        click.Option(["--location"], metavar="LOCATION", help="The repository's location."),
    ]


add_policy_commands(repositories, _policy_parameters, _policy_resource)

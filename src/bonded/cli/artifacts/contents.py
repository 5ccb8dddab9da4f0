"""`bonded artifacts packages`, `versions` and `files`: what is in a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import click

from bonded.cli.artifacts.locating import RepositoryPlace, locate
from bonded.cli.grammar import Group
from bonded.cli.output import Column, basename, field, local_time
from bonded.cli.session import Session, missing, pass_session
from bonded.client import properties
from bonded.client.api import segment

BYTES_PER_MB = 1024 * 1024
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _place_options(command: _Command) -> _Command:
    for option in (
        click.option("--location", metavar="LOCATION", help="The repository's location."),
        click.option("--repository", metavar="REPOSITORY", help="The repository."),
    ):
        command = option(command)
    return command


_PACKAGE = click.option("--package", required=True, metavar="PACKAGE", help="The package.")


@click.group(cls=Group)
def packages() -> None:
    """Look at the packages of a repository."""


@click.group(cls=Group)
def versions() -> None:
    """Look at the versions of a package."""


@click.group(cls=Group)
def files() -> None:
    """Look at the files of a repository."""


@packages.command("list")
@_place_options
@pass_session
def list_packages(session: Session, repository: str | None, location: str | None) -> None:
    """List the packages of a repository: of a remote one, what it has cached."""
    place = _place(session, repository, location)
    _say_where(session, place)
    found = session.api.list_all(f"{place.path}/packages", "packages")
    session.show_all(found, _PACKAGES)


@packages.command("describe")
@click.argument("package")
@_place_options
@pass_session
def describe_package(
    session: Session, package: str, repository: str | None, location: str | None
) -> None:
    """Show a package."""
    place = _place(session, repository, location)
    session.show(session.api.get(f"{place.path}/packages/{segment(package)}"))


@packages.command("explain")
@click.argument("package")
@_place_options
@pass_session
def explain_package(
    session: Session, package: str, repository: str | None, location: str | None
) -> None:
    """Say which upstream a package comes from, which others have it, and why they are hidden.

    Every upstream that the name is not kept from by a reservation is asked, remote ones too.
    """
    place = _place(session, repository, location)
    found = session.api.get(f"{place.path}/packages/{segment(package)}:explain")
    session.say(f"{found['summary']}\n")
    if session.flags.format:
        session.show(found)
        return
    session.show_all(iter(found.get("upstreams", [])), _UPSTREAMS)


@versions.command("list")
@_PACKAGE
@_place_options
@pass_session
def list_versions(
    session: Session, package: str, repository: str | None, location: str | None
) -> None:
    """List the versions of a package."""
    place = _place(session, repository, location)
    _say_where(session, place, f", package {package}")
    path = f"{place.path}/packages/{segment(package)}/versions"
    session.show_all(session.api.list_all(path, "versions"), _VERSIONS)


@versions.command("describe")
@click.argument("version")
@_PACKAGE
@_place_options
@pass_session
def describe_version(
    session: Session, version: str, package: str, repository: str | None, location: str | None
) -> None:
    """Show a version of a package."""
    place = _place(session, repository, location)
    path = f"{place.path}/packages/{segment(package)}/versions/{segment(version)}"
    session.show(session.api.get(path))


@files.command("list")
@click.option("--package", metavar="PACKAGE", help="Only the files of one package.")
@click.option("--version", metavar="VERSION", help="Only the files of one version of it.")
@_place_options
@pass_session
def list_files(
    session: Session,
    package: str | None,
    version: str | None,
    repository: str | None,
    location: str | None,
) -> None:
    """List the files of a repository: of a remote one, what it has cached."""
    if version and not package:
        raise click.UsageError("--version needs --package.")
    place = _place(session, repository, location)
    _say_where(session, place)
    parameters = {}
    if package:
        owner = f"{place.path.removeprefix('/v1/')}/packages/{package}"
        owner += f"/versions/{version}" if version else ""
        parameters["filter"] = f'owner="{owner}"'
    found = session.api.list_all(f"{place.path}/files", "files", **parameters)
    session.show_all(found, _FILES)


@files.command("describe")
@click.argument("file")
@_place_options
@pass_session
def describe_file(
    session: Session, file: str, repository: str | None, location: str | None
) -> None:
    """Show a file, named PACKAGE/FILENAME."""
    place = _place(session, repository, location)
    session.show(session.api.get(f"{place.path}/files/{segment(unquote(file))}"))


def _place(session: Session, repository: str | None, location: str | None) -> RepositoryPlace:
    repository = repository or session.configuration.find(properties.REPOSITORY)
    if repository is None:
        raise missing("repository", properties.REPOSITORY)
    return locate(session, repository, location)


def _say_where(session: Session, place: RepositoryPlace, more: str = "") -> None:
    session.say(
        f"Listing items under project {place.project}, location {place.location}, "
        f"repository {place.repository}{more}.\n"
    )


def _filename(resource: Mapping[str, Any]) -> str:
    return unquote(str(resource["name"]).partition("/files/")[2])


def _megabytes(resource: Mapping[str, Any]) -> str:
    return f"{int(resource.get('sizeBytes', 0)) / BYTES_PER_MB:.3f}"


def _versions(resource: Mapping[str, Any]) -> str:
    known = resource.get("versions", [])
    return f"{len(known)}, last {known[-1]}" if known else ""


_TIMES = (
    Column("CREATE_TIME", local_time("createTime")),
    Column("UPDATE_TIME", local_time("updateTime")),
)
_ANNOTATIONS = Column("ANNOTATIONS", field("annotations"))
_PACKAGES = (Column("PACKAGE", basename("name")), *_TIMES, _ANNOTATIONS)
_VERSIONS = (
    Column("VERSION", basename("name")),
    Column("DESCRIPTION", field("description")),
    *_TIMES,
    Column("SIZE", field("metadata.imageSizeBytes")),
    _ANNOTATIONS,
)
_FILES = (
    Column("FILE", _filename),
    *_TIMES,
    Column("SIZE (MB)", _megabytes),
    Column("OWNER", basename("owner")),
    _ANNOTATIONS,
)
_UPSTREAMS = (
    Column("UPSTREAM", field("id")),
    Column("PRIORITY", field("priority")),
    Column("STANDING", field("standing")),
    Column("VERSIONS", _versions),
    Column("REASON", field("reason")),
)

"""`bonded artifacts packages`, `versions` and `files`: what is in a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import click
from packaging.version import InvalidVersion, Version

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


_DELETED = click.option(
    "--show-deleted", is_flag=True, help="Also what was deleted and can be restored."
)


def _places(kind: str, *verbs: str) -> dict[str, str]:
    return {verb: f"bonded.cli.artifacts.curating:{verb}_{kind}" for verb in verbs}


@click.group(cls=Group, places=_places("package", "delete", "undelete"))
def packages() -> None:
    """Look at the packages of a repository, delete and restore them."""


@click.group(cls=Group, places=_places("version", "delete", "undelete", "unyank", "yank"))
def versions() -> None:
    """Look at the versions of a package; delete, restore and yank them."""


@click.group(cls=Group, places=_places("file", "delete", "undelete", "unyank", "yank"))
def files() -> None:
    """Look at the files of a repository; delete, restore and yank them."""


@packages.command("list")
@_DELETED
@_place_options
@pass_session
def list_packages(
    session: Session, *, repository: str | None, location: str | None, show_deleted: bool
) -> None:
    """List the packages of a repository: of a remote one, what it has cached."""
    place = place_of(session, repository, location)
    _say_where(session, place)
    found = session.api.list_all(f"{place.path}/packages", "packages", **_query(show_deleted))
    session.show_all(found, _columns(_PACKAGES, show_deleted))


@packages.command("describe")
@click.argument("package")
@_place_options
@pass_session
def describe_package(
    session: Session, package: str, repository: str | None, location: str | None
) -> None:
    """Show a package."""
    place = place_of(session, repository, location)
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
    place = place_of(session, repository, location)
    found = session.api.get(f"{place.path}/packages/{segment(package)}:explain")
    session.say(f"{found['summary']}\n")
    if session.flags.format:
        session.show(found)
        return
    session.show_all(iter(found.get("upstreams", [])), _UPSTREAMS)


@versions.command("list")
@_PACKAGE
@_DELETED
@_place_options
@pass_session
def list_versions(
    session: Session,
    *,
    package: str,
    repository: str | None,
    location: str | None,
    show_deleted: bool,
) -> None:
    """List the versions of a package."""
    place = place_of(session, repository, location)
    _say_where(session, place, f", package {package}")
    path = f"{place.path}/packages/{segment(package)}/versions"
    found = session.api.list_all(path, "versions", **_query(show_deleted))
    session.show_all(found, _columns(_VERSIONS, show_deleted))


@versions.command("describe")
@click.argument("version")
@_PACKAGE
@_place_options
@pass_session
def describe_version(
    session: Session, version: str, package: str, repository: str | None, location: str | None
) -> None:
    """Show a version of a package."""
    place = place_of(session, repository, location)
    path = f"{place.path}/packages/{segment(package)}/versions/{segment(version)}"
    session.show(session.api.get(path))


@files.command("list")
@click.option("--package", metavar="PACKAGE", help="Only the files of one package.")
@click.option("--version", metavar="VERSION", help="Only the files of one version of it.")
@_DELETED
@_place_options
@pass_session
def list_files(
    session: Session,
    *,
    package: str | None,
    version: str | None,
    repository: str | None,
    location: str | None,
    show_deleted: bool,
) -> None:
    """List the files of a repository: of a remote one, what it has cached."""
    if version and not package:
        raise click.UsageError("--version needs --package.")
    place = place_of(session, repository, location)
    _say_where(session, place)
    parameters = _query(show_deleted)
    if package:
        owner = f"{place.path.removeprefix('/v1/')}/packages/{package}"
        owner += f"/versions/{version}" if version else ""
        parameters["filter"] = f'owner="{owner}"'
    found = session.api.list_all(f"{place.path}/files", "files", **parameters)
    session.show_all(found, _columns(_FILES, show_deleted))


@files.command("describe")
@click.argument("file")
@_place_options
@pass_session
def describe_file(
    session: Session, file: str, repository: str | None, location: str | None
) -> None:
    """Show a file, named PACKAGE/FILENAME."""
    place = place_of(session, repository, location)
    session.show(session.api.get(f"{place.path}/files/{segment(unquote(file))}"))


def place_of(session: Session, repository: str | None, location: str | None) -> RepositoryPlace:
    """Return the repository that the line means, or the properties do.

    Raises:
        Misconfigured: nothing says which.
    """
    repository = repository or session.configuration.find(properties.REPOSITORY)
    if repository is None:
        raise missing("repository", properties.REPOSITORY)
    return locate(session, repository, location)


def _say_where(session: Session, place: RepositoryPlace, more: str = "") -> None:
    session.say(
        f"Listing items under project {place.project}, location {place.location}, "
        f"repository {place.repository}{more}.\n"
    )


def _query(show_deleted: bool) -> dict[str, str]:  # noqa: FBT001 - the flag itself
    return {"showDeleted": "true"} if show_deleted else {}


def _columns(columns: tuple[Column, ...], show_deleted: bool) -> tuple[Column, ...]:  # noqa: FBT001
    return (*columns, *_LOST) if show_deleted else columns


def _filename(resource: Mapping[str, Any]) -> str:
    return unquote(str(resource["name"]).partition("/files/")[2])


def _megabytes(resource: Mapping[str, Any]) -> str:
    return f"{int(resource.get('sizeBytes', 0)) / BYTES_PER_MB:.3f}"


def _versions(resource: Mapping[str, Any]) -> str:
    known = resource.get("versions", [])
    return f"{len(known)}, last {max(known, key=_order)}" if known else ""


def _order(version: str) -> tuple[bool, Version]:
    # As installers have it (PEP 440); what is none comes before all that are.
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, Version("0")


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
_LOST = (
    Column("DELETE_TIME", local_time("deleteTime")),
    Column("RESTORABLE_UNTIL", local_time("purgeTime")),
)
_UPSTREAMS = (
    Column("UPSTREAM", field("id")),
    Column("PRIORITY", field("priority")),
    Column("STANDING", field("standing")),
    Column("VERSIONS", _versions),
    Column("REASON", field("reason")),
)

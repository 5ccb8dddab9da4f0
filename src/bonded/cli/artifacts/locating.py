"""Which repository a line means: a flag, a full name, a property or the server's default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bonded.cli.session import Session
from bonded.client.api import Message, segment
from bonded.client.errors import ClientError, Refused

NAMED_MAX = 10
"""More names than these are no help to whoever has mistyped one."""
_FULL_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/repositories/([^/]+)")


@dataclass(frozen=True, slots=True)
class RepositoryPlace:
    """A repository's three identifiers."""

    project: str
    location: str
    repository: str

    @property
    def path(self) -> str:
        """The path of the resource in the API."""
        return (
            f"{location_path(self.project, self.location)}/repositories/{segment(self.repository)}"
        )


def locate(session: Session, repository: str, location: str | None) -> RepositoryPlace:
    """Return the repository that the line means; a full name needs nothing else."""
    if match := _FULL_NAME.fullmatch(repository):
        return RepositoryPlace(*match.groups())
    return RepositoryPlace(session.project, session.location(location), repository)


def get_repository(session: Session, place: RepositoryPlace) -> Message:
    """Return the repository at *place*.

    Raises:
        ClientError: it cannot be had; of one that is not there, the hint names the likely ones.
    """
    try:
        return session.api.get(place.path)
    except Refused as refusal:
        if refusal.status == "NOT_FOUND":
            refusal.hint = refusal.hint or _guess(session, place)
        raise


def list_repositories(session: Session, project: str, location: str) -> Iterator[Message]:
    """Yield the repositories of one location, or of `all`.

    Raises:
        ClientError: they cannot be listed.
    """
    if location == "all":
        found = session.api.list_all(location_path(project, "")[:-1], "locations")
        locations = [str(item["locationId"]) for item in found]
    else:
        locations = [location]
    for name in locations:
        path = f"{location_path(project, name)}/repositories"
        yield from session.api.list_all(path, "repositories")


def _guess(session: Session, place: RepositoryPlace) -> str:
    """Return which repository may have been meant, of those that the account may list."""
    try:
        names = [str(one["name"]) for one in list_repositories(session, place.project, "all")]
    except ClientError:
        # Whoever may not list them is told what they were told before.
        return ""
    return _nearest(place, [(name.split("/")[3], name.rpartition("/")[2]) for name in names])


def _nearest(place: RepositoryPlace, pairs: Sequence[tuple[str, str]]) -> str:
    """Return a sentence about those of *pairs*, locations and repositories, that are like *place*.

    The same name elsewhere comes before another name here.
    """
    if not pairs:
        return f"There are no repositories in project [{place.project}]."
    here = [repository for location, repository in pairs if location == place.location]
    elsewhere = [location for location, repository in pairs if repository == place.repository]
    if elsewhere:
        return f"There is one in location [{elsewhere[0]}]: say --location={elsewhere[0]}."
    if near := get_close_matches(place.repository, here, n=1):
        return f"Did you mean [{near[0]}]?"
    if here:
        listed = ", ".join(here[:NAMED_MAX]) + (", …" if len(here) > NAMED_MAX else "")
        return f"In location [{place.location}] there are: {listed}."
    used = list(dict.fromkeys(location for location, _ in pairs))
    near = get_close_matches(place.location, used, n=1)
    guess = f"Did you mean [{near[0]}]?" if near else f"There are: {', '.join(used)}."
    return f"There is nothing in location [{place.location}]. {guess}"


def location_path(project: str, location: str) -> str:
    """Return the path of a location in the API."""
    return f"/v1/projects/{segment(project)}/locations/{segment(location)}"

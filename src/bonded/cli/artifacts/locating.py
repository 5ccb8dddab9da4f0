"""Which repository a line means: a flag, a full name, a property or the server's default."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bonded.cli.session import Session
from bonded.client.api import Message, segment
from bonded.client.errors import Refused

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


def locate_known(session: Session, repository: str, location: str | None) -> RepositoryPlace:
    """Return the repository that the line means, if it is there or nobody may know.

    Raises:
        Refused: it is not there.
    """
    place = locate(session, repository, location)
    try:
        get_repository(session, place)
    except Refused as refusal:
        if refusal.status != "PERMISSION_DENIED":
            raise
    return place


def get_repository(session: Session, place: RepositoryPlace) -> Message:
    """Return the repository at *place*.

    Raises:
        ClientError: it cannot be had; whoever may not read it is told whom to ask for what.
    """
    try:
        return session.api.get(place.path)
    except Refused as refusal:
        if refusal.status == "PERMISSION_DENIED":
            refusal.hint = refusal.hint or _plea(session, place)
        raise


def _plea(session: Session, place: RepositoryPlace) -> str:
    """Return what somebody without a role on the repository can do."""
    # The name that is acted as, as policies spell it.
    email = session.impersonated or session.credential.email
    kind = "serviceAccount:" if email.endswith(".gserviceaccount.com") else "user:"
    member = email if email.startswith("principal:") else f"{kind}{email}"
    return (
        "If the name is right, ask an administrator to run `bonded artifacts repositories "
        f"add-iam-policy-binding {place.repository} --location={place.location} "
        f"--project={place.project} --role=roles/artifactregistry.reader --member={member}`."
    )


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


def guess_repository(session: Session, place: RepositoryPlace) -> str:
    """Return which repository may have been meant, of those that the account may list.

    "" if it is the one at *place*, which is there.

    Raises:
        ClientError: they cannot be listed.
    """
    names = [str(one["name"]) for one in list_repositories(session, place.project, "all")]
    pairs = [(name.split("/")[3], name.rpartition("/")[2]) for name in names]
    if (place.location, place.repository) in pairs:
        return ""
    return _nearest(place, pairs)


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

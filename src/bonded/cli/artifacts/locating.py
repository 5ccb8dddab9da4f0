"""Which repository a line means: a flag, a full name, a property or the server's default."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bonded.cli.session import Session
from bonded.client.api import segment

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


def location_path(project: str, location: str) -> str:
    """Return the path of a location in the API."""
    return f"/v1/projects/{segment(project)}/locations/{segment(location)}"

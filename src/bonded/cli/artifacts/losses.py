"""What goes with a repository that is deleted, as the prompt says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bonded.cli.artifacts.locating import RepositoryPlace, get_repository
from bonded.cli.session import Session
from bonded.client.errors import Refused

COUNTED_MAX = 1000
"""One page of a list: to ask for more would take longer than to answer the prompt."""
BYTES_PER_MB = 1024 * 1024


def losses_of(session: Session, place: RepositoryPlace) -> str:
    """Return what the repository at *place* holds, in a sentence.

    Raises:
        ClientError: it cannot be had.
    """
    found = get_repository(session, place)
    if found.get("mode") == "VIRTUAL_REPOSITORY":
        return "It holds no packages itself: those of its upstreams stay."
    try:
        packages = _count(session, place, "packages")
        files = _count(session, place, "files")
    except Refused:
        # Some may delete what they may not list.
        packages = files = ""
    size = f"{int(found.get('sizeBytes', 0)) / BYTES_PER_MB:.3f} MB"
    held = f"{packages}, {files}, {size}" if packages else size
    if found.get("mode") == "REMOTE_REPOSITORY":
        return f"With it goes what it has cached: {held}."
    return f"With it goes what was published to it: {held}."


def _count(session: Session, place: RepositoryPlace, field: str) -> str:
    page: Mapping[str, Any] = session.api.get(f"{place.path}/{field}", pageSize=str(COUNTED_MAX))
    count = len(page.get(field, ()))
    more = "more than " if page.get("nextPageToken") else ""
    return f"{more}{count} {field if count != 1 else field[:-1]}"

"""How repositories may stand upon one another: no circle, not too deep, not too wide."""

from __future__ import annotations

from dataclasses import dataclass

from bonded.server.core.errors import Rejected
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import Mode, VirtualConfig, upstreams_of
from bonded.server.metadata.store import RepositoryRecord, RepositoryTable

LEVELS_MAX = 4
"""Of repositories above each other: a request may have to look at all that is below."""
REACHED_MAX = 100
"""Repositories below one, each counted as often as there are ways to it."""


async def check_upstreams(repositories: RepositoryTable, record: RepositoryRecord) -> None:
    """Look whether the upstreams of *record* may be that; for whoever has called `hold_all`.

    Raises:
        Rejected: one is not there, is the upstream of itself, is not of a mode that fits, or
            names are reserved for one that is not among them.
    """
    # By breadth, with the way to each: the sentence shows the shortest cycle.
    ways: list[tuple[RepositoryName, ...]] = [
        (upstream,) for upstream in upstreams_of(record.config)
    ]
    seen: set[RepositoryName] = set()
    for way in ways:
        name = way[-1]
        if name == record.name:
            circle = " → ".join(one.repository for one in (record.name, *way))
            raise Rejected(f"{record.name} would be its own upstream: {circle}")
        if name in seen:
            continue
        seen.add(name)
        found = await repositories.find(name)
        if found is None:
            raise Rejected(
                f"The upstream {name} does not exist", hint="Create it first, or name another."
            )
        if record.mode is Mode.REMOTE and found.mode is not Mode.STANDARD:
            raise Rejected(
                f"{name} is a {found.mode.noun} repository, and cannot be a remote one's upstream",
                hint="Name a standard repository, or make a virtual repository over it.",
            )
        ways.extend((*way, upstream) for upstream in upstreams_of(found.config))
    await _check_reach(repositories, record)
    if isinstance(record.config, VirtualConfig):
        record.config.check_reservations()


@dataclass(frozen=True, slots=True)
class _Reach:
    levels: int
    repositories: int


async def _check_reach(repositories: RepositoryTable, record: RepositoryRecord) -> None:
    """Bound what a request to *record*, or to whatever stands upon it, may have to look at."""
    known: dict[RepositoryName, _Reach] = {}

    async def reach_of(name: RepositoryName) -> _Reach:
        if name not in known:
            found = record if name == record.name else await repositories.find(name)
            below = upstreams_of(found.config) if found is not None else ()
            reaches = [await reach_of(one) for one in below]
            levels = 1 + max((one.levels for one in reaches), default=0)
            known[name] = _Reach(levels, len(below) + sum(one.repositories for one in reaches))
        return known[name]

    above = [record.name]
    for name in above:
        reach = await reach_of(name)
        if reach.levels > LEVELS_MAX:
            raise Rejected(
                f"{name} would stand upon {reach.levels - 1} levels of upstreams, and "
                f"{LEVELS_MAX - 1} are the most",
                hint="Name the upstreams of an upstream in its place.",
            )
        if reach.repositories > REACHED_MAX:
            raise Rejected(
                f"{name} would reach {reach.repositories} repositories through its upstreams, and "
                f"{REACHED_MAX} are the most; one that is reached in two ways counts twice",
                hint="Name fewer, or none that another upstream has already.",
            )
        above += [one for one in await repositories.list_dependents(name) if one not in above]

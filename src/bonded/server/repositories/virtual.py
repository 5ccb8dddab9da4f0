"""An ordered view: the first upstream that has a package owns all of it.

Pages are not merged across upstreams, except for packages that are set up so by name.
Merging would let a public index add a file to a private package, which is the
dependency-confusion attack. And an upstream that is down is not an upstream that lacks
the package: only known absence moves on, an outage stops.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
from collections import OrderedDict
from collections.abc import Hashable
from copy import copy
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from bonded.server.core.errors import NotFound, Reserved, Unavailable
from bonded.server.core.files import Package
from bonded.server.core.merging import merge
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import Reservation, UpstreamPolicy, VirtualConfig
from bonded.server.repositories.protocol import Repository, StoredFile

REMEMBERED_MAX = 8192
"""Names of which it is kept in the process who may answer, and who has them as of which serial."""
MERGED_MAX = 256
"""Packages put together of several upstreams, kept likewise."""


class Opener(Protocol):
    """Where a virtual repository finds its upstreams."""

    async def version(self) -> Hashable:
        """Return what differs whenever `open` may return something else."""
        ...

    async def open(self, name: RepositoryName) -> Repository:
        """Return a repository. Raises NotFound if there is none of this name."""
        ...


class Presence(enum.Enum):
    """What an upstream says of a package."""

    PRESENT = enum.auto()
    ABSENT = enum.auto()
    RESERVED = enum.auto()
    """Absent, and nobody behind it may answer either: by its own reservations, or because it had
    the package until every file was deleted."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream, open; what it raises when it is down says which one it is."""

    policy: UpstreamPolicy
    repository: Repository

    async def version(self, name: PackageName | None) -> Hashable:
        """See `Repository`."""
        try:
            return await self.repository.version(name)
        except Unavailable as error:
            raise self._named(error) from error

    async def list_packages(self) -> tuple[PackageName, ...]:
        """See `Repository`."""
        try:
            return await self.repository.list_packages()
        except Unavailable as error:
            raise self._named(error) from error

    async def list_reserved(self) -> frozenset[PackageName]:
        """See `Repository`."""
        try:
            return await self.repository.list_reserved()
        except Unavailable as error:
            raise self._named(error) from error

    async def get_package(self, name: PackageName) -> Package:
        """See `Repository`."""
        try:
            return await self.repository.get_package(name)
        except Unavailable as error:
            raise self._named(error) from error

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """See `Repository`."""
        try:
            return await self.repository.open_file(name, filename)
        except Unavailable as error:
            raise self._named(error) from error

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """See `Repository`."""
        try:
            return await self.repository.open_core_metadata(name, filename)
        except Unavailable as error:
            raise self._named(error) from error

    def _named(self, error: Unavailable) -> Unavailable:
        # A copy: the same error may be told to others, who came another way.
        named = copy(error)
        named.message = f"Upstream {self.policy.id} is unavailable: {error.message}"
        return named


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of a name, so that a request costs the same however many are reserved."""

    candidates: tuple[UpstreamPolicy, ...]
    """Who may answer, in the order in which they are asked: as long as the configuration stands."""
    is_merged: bool
    reservation: Reservation | None
    answers: dict[str, tuple[Hashable, Presence]] = field(default_factory=dict)
    """By the id of an upstream: what it said of the name, good as long as its serial stands."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers for a package."""

    known: _Known
    asked: tuple[tuple[str, Hashable], ...]
    """The id and serial of each upstream that was asked: the same, as long as nothing changes."""
    holders: tuple[Upstream, ...]
    """The owner; of a package that is merged, everybody who has it, in order. Or who has it not
    and keeps everybody behind from answering: asked for it, that one says why."""


class VirtualRepository:
    """Answers from its upstreams; see `Repository`."""

    def __init__(self, name: RepositoryName, config: VirtualConfig, opener: Opener) -> None:
        self.name = name
        self.config = config
        self._opener = opener
        self._upstreams: dict[str, tuple[Hashable, Upstream]] = {}
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._merged: OrderedDict[str, tuple[Hashable, Package, dict[str, int]]] = OrderedDict()

    async def version(self, name: PackageName | None) -> Hashable:
        """Return what differs whenever the answers about *name* (or the list) may.

        It holds the serials of the upstreams up to the owner, and no more: an upstream behind
        the owner is not even asked, for the public index is not to learn of private names.
        """
        if name is not None:
            return self.config, (await self._decide(name)).asked
        opened = await self._opener.version()
        upstreams = [await self._open(policy, opened) for policy in self.config.ordered]
        serials = [(one.policy.id, await one.version(None)) for one in upstreams]
        return self.config, tuple(serials)

    async def list_packages(self) -> tuple[PackageName, ...]:
        """Return every package that an upstream lists and may answer for, in order."""
        lists, _ = await self._survey()
        # Stable: of several spellings, the first upstream's comes first.
        return tuple(next(same) for _, same in groupby(heapq.merge(*lists)))

    async def list_reserved(self) -> frozenset[PackageName]:
        """Return the names that an upstream had once, and nobody before it has.

        What is reserved by a pattern is not among them: see `list_configs`.
        """
        return (await self._survey())[1]

    async def _survey(self) -> tuple[list[list[PackageName]], frozenset[PackageName]]:
        """Return what each upstream lists and may answer for, and the names that are nobody's."""
        lists: list[list[PackageName]] = []
        listed: set[PackageName] = set()
        closed: set[PackageName] = set()
        reserving: list[VirtualConfig] = []
        for policy in self.config.ordered:
            upstream = await self.open_upstream(policy)
            theirs = [
                [
                    name
                    for name in names
                    if policy in self.config.candidates(name)
                    and name not in closed
                    and not any(before.find_reservation(name) for before in reserving)
                ]
                for names in (await upstream.list_packages(), await upstream.list_reserved())
            ]
            lists.append(theirs[0])
            listed.update(theirs[0])
            closed |= set(theirs[1]) - listed
            if isinstance(upstream.repository, VirtualRepository):
                reserving += await upstream.repository.list_configs()
        return lists, frozenset(closed)

    async def list_configs(self) -> list[VirtualConfig]:
        """Return how this repository is set up, and every virtual one behind it.

        A name that one of them reserves is nobody's who is asked after this repository.
        """
        configs = [self.config]
        for policy in self.config.policies:
            upstream = (await self.open_upstream(policy)).repository
            if isinstance(upstream, VirtualRepository):
                configs += await upstream.list_configs()
        return configs

    async def get_package(self, name: PackageName) -> Package:
        """Return the owner's package."""
        decision = await self._decide(name)
        if not decision.known.is_merged:
            return await self._owner(decision, name).get_package(name)
        package, _ = await self._merge(decision, name)
        return package

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """Open one file of the owner's package, whoever else has a file of this name."""
        return await (await self._holder(name, filename)).open_file(name, filename)

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """Open the core metadata of one file of the owner's package."""
        return await (await self._holder(name, filename)).open_core_metadata(name, filename)

    async def find_owner(self, name: PackageName) -> Upstream:
        """Return the first upstream that has a package.

        Raises:
            NotFound: nobody has it.
            Unavailable: somebody cannot tell.
        """
        return self._owner(await self._decide(name), name)

    async def open_upstream(self, policy: UpstreamPolicy) -> Upstream:
        """Open an upstream. Raises Unavailable if it is not there."""
        return await self._open(policy, await self._opener.version())

    async def _open(self, policy: UpstreamPolicy, opened: Hashable) -> Upstream:
        """Open an upstream as of *opened*, read before: what is kept is never older than it says.

        Raises:
            Unavailable: it is not there.
        """
        kept = self._upstreams.get(policy.id)
        if kept is not None and kept[0] == opened:
            return kept[1]
        try:
            upstream = Upstream(policy, await self._opener.open(policy.repository))
        except NotFound as error:
            # That it has no packages would be a guess, and the next upstream would answer.
            raise Unavailable(f"Upstream {policy.id} is gone: {error.message}") from error
        self._upstreams[policy.id] = (opened, upstream)
        return upstream

    async def _ask(
        self, upstream: Upstream, name: PackageName, known: _Known
    ) -> tuple[Hashable, Presence]:
        """Return an upstream's serial, and whether it has the package as of then or later.

        Raises:
            Unavailable: that cannot be known now.
        """
        try:
            # Read before the package, so that what is remembered is never older than it says.
            serial = await upstream.version(name)
        except NotFound:
            return None, Presence.ABSENT
        answer = known.answers.get(upstream.policy.id)
        if answer is not None and answer[0] == serial:
            return answer
        try:
            await upstream.get_package(name)
            presence = Presence.PRESENT
        except Reserved:
            presence = Presence.RESERVED
        except NotFound:
            presence = Presence.ABSENT
        known.answers[upstream.policy.id] = (serial, presence)
        return serial, presence

    def _recall(self, name: PackageName) -> _Known:
        known = self._known.get(name.normalized)
        if known is not None:
            self._known.move_to_end(name.normalized)
            return known
        config = self.config
        known = _Known(
            config.candidates(name), config.is_merged(name), config.find_reservation(name)
        )
        self._known[name.normalized] = known
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return known

    async def _decide(self, name: PackageName) -> Decision:
        asked = []
        holders: list[Upstream] = []
        known = self._recall(name)
        opened = await self._opener.version()
        for policy in known.candidates:
            upstream = await self._open(policy, opened)
            serial, presence = await self._ask(upstream, name, known)
            asked.append((policy.id, serial))
            if presence is Presence.PRESENT:
                holders.append(upstream)
            if presence is Presence.RESERVED:
                holders = holders or [upstream]
                break
            if holders and not known.is_merged:
                break
        return Decision(known, tuple(asked), tuple(holders))

    def _owner(self, decision: Decision, name: PackageName) -> Upstream:
        if decision.holders:
            return decision.holders[0]
        reservation = decision.known.reservation
        if reservation is not None:
            raise Reserved(
                f"No package {name} in {self.name}: {reservation.pattern} is reserved for its "
                f"upstream {reservation.upstream}, which has none of this name"
            )
        raise NotFound(f"No package {name} in {self.name}")

    async def _holder(self, name: PackageName, filename: str) -> Upstream:
        decision = await self._decide(name)
        if not decision.known.is_merged:
            return self._owner(decision, name)
        _, indexes = await self._merge(decision, name)
        if filename not in indexes:
            raise NotFound(f"No file {filename} of {name} in {self.name}")
        return decision.holders[indexes[filename]]

    async def _merge(self, decision: Decision, name: PackageName) -> tuple[Package, dict[str, int]]:
        """Return the package, and by filename which of the holders has the file."""
        self._owner(decision, name)
        # Not the holders themselves: set up anew, they are others, and those before must go.
        key = (decision.asked, tuple(holder.policy for holder in decision.holders))
        kept = self._merged.get(name.normalized)
        if kept is not None and kept[0] == key:
            return kept[1:]
        packages = [await holder.get_package(name) for holder in decision.holders]
        # Aside: some seconds for as many files as there may be.
        package, indexes = await asyncio.to_thread(merge, packages)
        self._merged[name.normalized] = (key, package, indexes)
        self._merged.move_to_end(name.normalized)
        if len(self._merged) > MERGED_MAX:
            self._merged.popitem(last=False)
        return package, indexes

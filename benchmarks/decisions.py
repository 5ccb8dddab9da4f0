"""What an access decision costs where much has been granted, against where little has.

Run it: `python benchmarks/decisions.py`. Two SQLite databases, asked in turns as a request asks:
access serial, policies by serial, decision; about one repository, about many in turn, and about
names that nobody has asked for before and that no repository has. Figures are processor time,
which other load disturbs least. The exit status is 1 when the goal is missed.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bonded.server.core.conditions import Condition
from bonded.server.core.iam import ORGANIZATION, Binding, Permission, Policy, Principal
from bonded.server.core.names import RepositoryName
from bonded.server.identity.conditions import Circumstances, holds
from bonded.server.identity.groups import GroupBook
from bonded.server.identity.policies import PolicyBook
from bonded.server.metadata.groups import Group, Membership
from bonded.server.metadata.sql.store import SqlMetadataStore, open_sqlite
from bonded.server.metadata.store import ACCESS

ROUNDS = 9
WARM = 5_000
"""Decisions of a round, of which the mean is taken."""
MANY = 500
"""Repositories that are asked for in turn."""
GOAL = 1.25
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA = Principal("user:ada@example.com")
READER = "roles/artifactregistry.reader"
DOWNLOAD, UPLOAD = Permission.REPOSITORY_DOWNLOAD, Permission.REPOSITORY_UPLOAD
HERE = RepositoryName("my-project", "local", "python")
POLICY_BINDINGS = 1_250
"""In one policy, which may hold 1,500; what does not fit on the server, the project and the
repository hangs on other repositories."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much has been granted. Ada is in the deepest group of every chain of *levels*."""

    bindings: int
    groups: int
    levels: int

    def __str__(self) -> str:
        """The size in words."""
        return f"bindings: {self.bindings:,}, groups: {self.groups:,}, levels: {self.levels}"


SMALL, LARGE = Size(10, 1, 1), Size(10_000, 1_000, 10)


def address(chain: int, level: int) -> str:
    """Return the address of a group; level 0 is the outermost."""
    return f"chain{chain}-level{level}@example.com"


@dataclass(slots=True)
class Subject:
    """A store that has been filled, and what a server keeps in memory before it."""

    metadata: SqlMetadataStore
    policies: PolicyBook
    groups: GroupBook
    ada: Principal = ADA
    asked: int = 0
    """Names of no repository that were asked for."""

    async def identify(self) -> None:
        """Find the groups that Ada is in, as is done once for a credential and serial."""
        self.ada = replace(ADA, groups=await self.groups.groups_of(ADA))

    async def decide(self, permission: Permission, where: RepositoryName = HERE) -> bool:
        """Decide as a request has it decided."""
        (serial,) = await self.metadata.serials.read(ACCESS)
        grants = await self.policies.grants_on(where, serial)
        return grants.decide(self.ada, permission).is_allowed

    async def warm_us(self, permission: Permission, *, is_allowed: bool) -> float:
        """Return what a decision costs while nothing changes."""
        assert await self.decide(permission) is is_allowed
        started = time.process_time()
        for _ in range(WARM):
            await self.decide(permission)
        return (time.process_time() - started) / WARM * 1e6

    async def unknown_us(self) -> float:
        """Return what a decision costs about a name that is asked for the first time."""
        places = [
            replace(HERE, repository=f"unknown-{number}")
            for number in range(self.asked, self.asked + MANY)
        ]
        self.asked += MANY
        started = time.process_time()
        for place in places:
            await self.decide(UPLOAD, place)
        return (time.process_time() - started) / MANY * 1e6

    async def many_us(self) -> float:
        """Return what a decision costs about one of many repositories that were asked for."""
        places = [replace(HERE, repository=f"one-{number}") for number in range(MANY)]
        for place in places:
            await self.decide(UPLOAD, place)
        started = time.process_time()
        for _ in range(WARM // MANY):
            for place in places:
                await self.decide(UPLOAD, place)
        return (time.process_time() - started) / WARM * 1e6

    async def first_us(self) -> float:
        """Return what the first decision costs after somebody has joined a group."""
        async with self.metadata.transaction() as tx:
            await tx.groups.put_member(
                address(0, 0), Membership("user:bob@example.com", is_owner=False)
            )
        started = time.process_time()
        await self.identify()
        is_allowed = await self.decide(DOWNLOAD)
        assert is_allowed
        return (time.process_time() - started) * 1e6


async def fill(path: Path, size: Size) -> Subject:
    """Make a store of that size; only the outermost group of one chain may download."""
    metadata = await open_sqlite(path)
    async with metadata.transaction() as tx:
        for chain in range(size.groups // size.levels):
            for level in range(size.levels):
                await tx.groups.add(Group(address(chain, level), "", "", NOW))
                deeper = level + 1 < size.levels
                member = f"group:{address(chain, level + 1)}" if deeper else ADA.member
                await tx.groups.put_member(
                    address(chain, level), Membership(member, is_owner=False)
                )
        for policy in policies_of(size):
            await tx.policies.set(policy)
    subject = Subject(metadata, PolicyBook(metadata), GroupBook(metadata))
    await subject.identify()
    assert len(subject.ada.groups) == size.groups
    return subject


def policies_of(size: Size) -> Iterable[Policy]:
    """Yield the policies: the server's, the project's, the repository's, and those of others."""
    bindings = [Binding(READER, (f"group:{address(0, 0)}",))]
    bindings += [
        Binding(READER, (f"user:u{number}@example.com",)) for number in range(size.bindings - 1)
    ]
    resources = [str(HERE), f"projects/{HERE.project}", ORGANIZATION]
    # Little is spread over as many policies as much is: their number is not what is compared.
    at_once = min(POLICY_BINDINGS, math.ceil(len(bindings) / len(resources)))
    for start in range(0, len(bindings), at_once):
        others = str(replace(HERE, repository=f"other-{start}"))
        resource = resources.pop(0) if resources else others
        yield Policy(resource, tuple(bindings[start : start + at_once]))


async def measure(directory: Path) -> bool:
    """Print the table; say whether the goal is met."""
    subjects = {size: await fill(directory / f"{size.groups}.db", size) for size in (SMALL, LARGE)}
    samples: dict[tuple[str, Size], list[float]] = {}
    try:
        for _ in range(ROUNDS):
            for size, subject in subjects.items():
                allowed = await subject.warm_us(DOWNLOAD, is_allowed=True)
                denied = await subject.warm_us(UPLOAD, is_allowed=False)
                took = {"warm, allowed": allowed, "warm, denied": denied}
                took["many, denied"] = await subject.many_us()
                took["unknown"] = await subject.unknown_us()
                took["first"] = await subject.first_us()
                for what, us in took.items():
                    samples.setdefault((what, size), []).append(us)
    finally:
        for subject in subjects.values():
            await subject.metadata.close()
    is_met = True
    for what in dict.fromkeys(what for what, _ in samples):
        for size in (SMALL, LARGE):
            taken = samples[what, size]
            spread = f"({min(taken):,.2f} to {max(taken):,.2f})"
            print(f"{what:14} {size!s:42} {median(taken):10,.2f} µs {spread}")
        ratio = median(samples[what, LARGE]) / median(samples[what, SMALL])
        if what == "first":
            print(f"{what:14} ratio {ratio:.2f}")
        else:
            verdict = "met" if ratio <= GOAL else "MISSED"
            is_met = is_met and ratio <= GOAL
            print(f"{what:14} ratio {ratio:.2f} (goal ≤ {GOAL}: {verdict})")
    return is_met


def condition_us() -> float:
    """Return what one condition costs, where the answer needs it."""
    condition = Condition("until", 'request.time < timestamp("2999-01-01T00:00:00Z")')
    circumstances = Circumstances(str(HERE), NOW)
    holds(condition, circumstances)
    started = time.process_time()
    for _ in range(WARM):
        holds(condition, circumstances)
    return (time.process_time() - started) / WARM * 1e6


def main() -> int:
    """Measure both; the exit status is 1 when the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        is_met = asyncio.run(measure(Path(directory)))
    print(f"one condition, where the answer needs it: {condition_us():.2f} µs")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())

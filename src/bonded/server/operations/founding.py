"""The first start: a project, its repositories, and an administrator who owns the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from bonded.server.core.audit import SYSTEM, Act, Kind, acting, note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Rejected
from bonded.server.core.iam import ORGANIZATION, Binding, Policy
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import (
    PublicIndex,
    RemoteConfig,
    RepositoryConfig,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.store import MetadataStore, Project, RepositoryRecord
from bonded.server.operations.accounts import Accounts

ADMIN = "bonded-admin"
FOUND = "bonded.v1.Server.Found"
PUBLIC = "pypi"
"""The remote repository of the public index."""
EVERYTHING = "all"
"""The virtual repository that installers read: the team's packages before the public ones."""


class Founding:
    """Makes an empty server usable, once."""

    def __init__(self, metadata: MetadataStore, accounts: Accounts, clock: Clock) -> None:
        self._metadata = metadata
        self._accounts = accounts
        self._clock = clock

    async def found(self, repository: RepositoryName, keep_key_file: Callable[[str], None]) -> bool:
        """Found the server unless somebody owns it already; say whether this was the first start.

        Nobody else is asked for anything: a server begins without a network too.

        Raises:
            Rejected: *repository* has the name of another one that is to be made.
            OSError: the administrator's key file cannot be written.
        """
        async with self._metadata.read() as tx:
            if await tx.policies.find(ORGANIZATION) is not None:
                return False
        if repository.repository in (PUBLIC, EVERYTHING):
            raise Rejected(
                f"The first repository cannot be called {repository.repository}",
                hint=f"The first start makes {PUBLIC} and {EVERYTHING} besides it.",
            )
        admin = self._accounts.draft(repository.project, ADMIN, "Administrator", "Owns the server")
        issued = await self._accounts.draft_key(admin)
        # The file first: a crash before the commit leaves a key that opens nothing,
        # and the next start begins again; the other way round nobody could get in.
        keep_key_file(issued.key_file)
        now = self._clock()
        number = secrets.randbelow(900_000_000_000) + 100_000_000_000
        with acting(Act(now, Kind.ACT, FOUND, ORGANIZATION, SYSTEM)):
            note(owner=f"serviceAccount:{admin.email}", repository=str(repository))
            async with self._metadata.transaction() as tx:
                await tx.projects.add(Project(repository.project, number, repository.project, now))
                for record in _records(repository, now):
                    await tx.repositories.add(record)
                await tx.accounts.add(admin)
                await tx.accounts.add_key(issued.key)
                owner = Binding("roles/owner", (f"serviceAccount:{admin.email}",))
                await tx.policies.set(Policy(ORGANIZATION, (owner,)))
        return True


def _records(own: RepositoryName, now: datetime) -> Iterator[RepositoryRecord]:
    public = replace(own, repository=PUBLIC)
    both = VirtualConfig.of(
        (UpstreamPolicy(own.repository, own, 100), UpstreamPolicy(PUBLIC, public, 50))
    )
    made: tuple[tuple[RepositoryName, str, RepositoryConfig], ...] = (
        (own, "The team's own packages", None),
        (public, "The public index, cached", RemoteConfig(source=PublicIndex())),
        (replace(own, repository=EVERYTHING), "The team's packages, then the public ones", both),
    )
    for name, description, config in made:
        yield RepositoryRecord(name, description, {}, now, now, config=config)

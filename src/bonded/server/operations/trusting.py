"""Administering trusted publishers: who may upload with a token of their own CI system."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.federation import Publisher
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.recipes import RECIPES, anchor_of, parse_claims
from bonded.server.metadata.store import MetadataStore

PACKAGES_MAX = 50
"""Of one publisher: they travel in the token that it is given."""
SAME_ANCHOR_MAX = 100
"""Publishers that one token of the issuer may fit: each is looked at when it is exchanged."""


class Trusting:
    """Creates, shows and deletes trusted publishers. *check* refuses an issuer's address."""

    def __init__(self, metadata: MetadataStore, clock: Clock, check: Callable[[str], None]) -> None:
        self._metadata = metadata
        self._clock = clock
        self._check = check

    async def create(
        self, repository: RepositoryName, kind: str, issuer: str, claims: Any, packages: Any
    ) -> Publisher:
        """Create a publisher; its packages need not exist yet.

        Raises:
            Rejected: something is malformed or missing.
            NotFound: the repository does not exist.
        """
        if not isinstance(claims, dict):
            raise Rejected("claims must be an object")
        parsed = parse_claims(kind, claims)
        issuer = issuer or RECIPES[kind].issuer
        self._check(issuer)
        publisher = Publisher(
            id=secrets.token_hex(8),
            repository=repository,
            kind=kind,
            issuer=issuer,
            anchor=anchor_of(kind, parsed),
            claims=parsed,
            created_at=self._clock(),
            packages=_packages(packages),
        )
        async with self._metadata.transaction() as tx:
            await tx.publishers.add(publisher)
            same = await tx.publishers.find_matching(
                issuer, [publisher.anchor], SAME_ANCHOR_MAX + 1
            )
            if len(same) > SAME_ANCHOR_MAX:
                raise Rejected(
                    f"{SAME_ANCHOR_MAX} publishers are {publisher.anchor} already",
                    hint="Give one of them more packages instead.",
                )
        return publisher

    async def get(self, repository: RepositoryName, publisher: str) -> Publisher:
        """Return a publisher of a repository. Raises NotFound."""
        async with self._metadata.read() as tx:
            found = await tx.publishers.find(publisher)
        if found is None or found.repository != repository:
            raise NotFound(f"Trusted publisher {publisher[:80]} of {repository} does not exist")
        return found

    async def list(
        self, repository: RepositoryName, after: str, limit: int
    ) -> tuple[Publisher, ...]:
        """Return up to *limit* publishers of a repository, from after *after*. Raises NotFound."""
        async with self._metadata.read() as tx:
            if await tx.repositories.find(repository) is None:
                raise NotFound(f"Repository {repository} does not exist")
            return await tx.publishers.list(repository, after, limit)

    async def delete(self, repository: RepositoryName, publisher: str) -> None:
        """Delete a publisher; its tokens stop at once. Raises NotFound."""
        async with self._metadata.transaction() as tx:
            await tx.publishers.remove(repository, publisher)


def _packages(value: object) -> tuple[str, ...]:
    listed = value or []
    if (
        not isinstance(listed, list)
        or len(listed) > PACKAGES_MAX
        or not all(isinstance(one, str) for one in listed)
    ):
        raise Rejected(f"packages must be a list of at most {PACKAGES_MAX} names")
    return tuple(dict.fromkeys(PackageName.parse(one).normalized for one in listed))

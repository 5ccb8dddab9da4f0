"""Which of this server's groups a principal is in, however deep."""

from __future__ import annotations

from collections.abc import Mapping

from bonded.server.core.iam import Principal
from bonded.server.metadata.store import MetadataStore


class GroupBook:
    """Expands memberships. Who asks keeps the answer with the access serial."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def groups_of(self, principal: Principal) -> frozenset[str]:
        """Return the groups as policies name them, `group:ADDRESS`."""
        return frozenset(await self.ways_to(principal))

    async def ways_to(self, principal: Principal) -> Mapping[str, str]:
        """Return each group with the member through which the principal is in it."""
        async with self._metadata.read() as tx:
            found, _ = await tx.groups.find_around({principal.member, *principal.also})
        return found

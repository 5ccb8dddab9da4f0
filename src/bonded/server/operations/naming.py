"""Whom policies and groups may name, and under which address a group may be made: one rule."""

from __future__ import annotations

from bonded.server.core.errors import Conflict, Rejected
from bonded.server.metadata.store import Transaction


class Naming:
    """Tells what this server has under a name from what an identity provider has.

    *outside_domain* is that of the groups which the provider names, "" if it names none. Of them
    nothing is known here until somebody signs in; and policies name both alike, so a group that
    is made here under such an address would have what was granted to the provider's.
    """

    def __init__(self, outside_domain: str = "") -> None:
        self._outside = f"@{outside_domain}" if outside_domain else ""

    def _is_outside(self, group: str) -> bool:
        return bool(self._outside) and group.endswith(self._outside)

    async def require(self, tx: Transaction, member: str) -> None:
        """Refuse a member who is not there, for whoever has the lock on access.

        Users may be named before they come.

        Raises:
            Rejected: it is a service account or group, and does not exist.
        """
        if not await self._is_there(tx, member):
            raise Rejected(
                f"{member} does not exist",
                hint="Create it first: what it is given would wait for whoever gets the name.",
            )

    async def _is_there(self, tx: Transaction, member: str) -> bool:
        kind, _, address = member.partition(":")
        if kind == "serviceAccount":
            return await tx.accounts.find(address) is not None
        if kind == "group":
            return self._is_outside(address) or await tx.groups.find(address) is not None
        return True

    async def require_free(self, tx: Transaction, address: str) -> None:
        """Refuse to make a group which would have what others were given, under the same lock.

        Raises:
            Rejected: the address is of the identity provider's groups.
            Conflict: a policy or a group names it already.
        """
        if self._is_outside(address):
            raise Rejected(
                f"{address} is of the domain of the identity provider's groups",
                hint="Choose an address of another domain; oidc_groups_domain says the provider's.",
            )
        member = f"group:{address}"
        # It was the provider's, before another domain was configured, or none.
        around, _ = await tx.groups.find_around({member})
        if around or await tx.policies.is_named(member):
            raise Conflict(
                f"{member} is named by a policy or a group already, though it does not exist here",
                hint="Choose another address, or have it taken out of them first.",
            )

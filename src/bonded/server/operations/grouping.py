"""Groups: who is in them, and who may say so."""

from __future__ import annotations

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Conflict, NotFound, Rejected
from bonded.server.core.iam import spell_member
from bonded.server.core.members import parse_member
from bonded.server.metadata.groups import LEVELS_MAX, Group, Membership
from bonded.server.metadata.store import MetadataStore, Transaction
from bonded.server.operations.naming import Naming
from bonded.server.operations.owning import Guard, Owners

MEMBERS_MAX = 10_000
"""Of one group itself."""
_KINDS = ("user:", "serviceAccount:", "group:")


class Groups:
    """Creates, shows, fills and deletes groups."""

    def __init__(
        self, metadata: MetadataStore, clock: Clock, owners: Owners, naming: Naming
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._owners = owners
        self._naming = naming

    async def create(self, address: str, name: str, description: str, owner: str) -> Group:
        """Create a group that *owner* owns.

        Raises:
            Rejected: the address is malformed, or of the identity provider's groups.
            Conflict: the address is taken, or named by a policy or a group already.
        """
        named = parse_member(f"group:{address}").removeprefix("group:")
        group = Group(named, name, description, self._clock())
        note(f"groups/{named}")
        async with self._metadata.transaction() as tx:
            await tx.groups.add(group)
            await self._naming.require_free(tx, named)
            if owner.startswith(_KINDS):
                await tx.groups.put_member(named, Membership(owner, is_owner=True))
        return group

    async def get(self, address: str) -> Group:
        """Return a group. Raises NotFound."""
        async with self._metadata.read() as tx:
            return await _find(tx, address)

    async def list(self, after: str, limit: int) -> tuple[Group, ...]:
        """Return up to *limit* groups in order of address, from after *after*."""
        async with self._metadata.read() as tx:
            return await tx.groups.list(after, limit)

    async def delete(self, address: str, guard: Guard | None = None) -> None:
        """Delete a group, and take it out of every policy and group. *guard* has the last word.

        Raises:
            NotFound: it does not exist.
            Lockout: the server's last owner is in it.
        """
        async with self._metadata.transaction() as tx, self._owners.kept(tx, f"group:{address}"):
            # Or a group made later under this address would inherit the grants.
            await tx.policies.forget_members(lambda member: member == f"group:{address}")
            await tx.groups.remove(address)
            if guard is not None:
                await guard(tx)

    async def list_members(self, address: str, after: str, limit: int) -> tuple[Membership, ...]:
        """Return up to *limit* members, in order, from after *after*. Raises NotFound."""
        async with self._metadata.read() as tx:
            await _find(tx, address)
            return await tx.groups.list_members(address, after, limit)

    async def put_member(
        self, address: str, member: str, *, is_owner: bool, guard: Guard | None = None
    ) -> Membership:
        """Add a member, or change what they are. *guard* has the last word.

        Raises:
            NotFound: the group does not exist.
            Rejected: the member is malformed, does not exist, or cannot be in a group.
            Conflict: groups would be in each other, too deep, or too many would be in this one.
        """
        named = parse_member(member)
        if not named.startswith(_KINDS):
            raise Rejected(
                f"{named} cannot be a member of a group",
                hint="Use user:ADDRESS, serviceAccount:ADDRESS or group:ADDRESS.",
            )
        membership = Membership(named, is_owner=is_owner)
        note(member=named, isOwner=is_owner)
        async with self._metadata.transaction() as tx:
            # Takes the lock on access: what is asked after it stays true until the commit.
            await tx.policies.hold()
            await _find(tx, address)
            await self._naming.require(tx, named)
            if named.startswith("group:"):
                await _check_nesting(tx, f"group:{address}", named)
            await tx.groups.put_member(address, membership)
            if await tx.groups.count_members(address) > MEMBERS_MAX:
                raise Conflict(
                    f"Group {address} has {MEMBERS_MAX} members already",
                    hint="Put some of them into a group of their own, and that into this one.",
                )
            if guard is not None:
                await guard(tx)
        return membership

    async def remove_member(self, address: str, member: str, guard: Guard | None = None) -> None:
        """Remove a member; what they had through the group ends at once.

        *guard* has the last word. Members whom only an older server took can be removed, too.

        Raises:
            NotFound: they are not in the group, or there is none.
            Rejected: nobody was ever called so.
            Lockout: they are the server's last owner, or have it among them.
        """
        note(member=member)
        async with self._metadata.transaction() as tx, self._owners.kept(tx, f"group:{address}"):
            await tx.groups.remove_member(address, spell_member(member))
            if guard is not None:
                await guard(tx)


async def _find(tx: Transaction, address: str) -> Group:
    group = await tx.groups.find(address)
    if group is None:
        raise NotFound(f"Group {address} does not exist")
    return group


async def _check_nesting(tx: Transaction, outer: str, inner: str) -> None:
    within, below = await tx.groups.find_within(inner)
    if outer == inner or outer in within:
        raise Conflict(f"{inner} cannot be in {outer}, which is in it")
    _, above = await tx.groups.find_around([outer])
    levels = below + above + 2
    if levels > LEVELS_MAX:
        raise Conflict(
            f"Groups may be in groups up to {LEVELS_MAX} levels deep; this would make {levels}"
        )

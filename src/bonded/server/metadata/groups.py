"""Groups and custom roles, as the metadata store keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bonded.server.core.roles import Role

LEVELS_MAX = 10
"""Groups within groups, on the longest way from a member to the outermost."""


@dataclass(frozen=True, slots=True)
class Group:
    """Principals under one address, which policies name as `group:ADDRESS`."""

    address: str
    display_name: str
    description: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """One member of a group; owners may change who its members are."""

    member: str
    is_owner: bool = False


class GroupTable(Protocol):
    """Groups and who is in them."""

    async def add(self, group: Group) -> None: ...
    async def find(self, address: str) -> Group | None: ...
    async def list(self, after: str, limit: int) -> tuple[Group, ...]: ...
    async def remove(self, address: str) -> None: ...
    async def put_member(self, address: str, membership: Membership) -> None: ...
    async def remove_member(self, address: str, member: str) -> None: ...
    async def count_members(self, address: str) -> int: ...
    async def list_members(
        self, address: str, after: str, limit: int
    ) -> tuple[Membership, ...]: ...
    async def list_owners(self, address: str) -> tuple[str, ...]: ...
    async def list_provable(
        self, groups: Collection[str], now: datetime, after: str, limit: int
    ) -> tuple[str, ...]: ...
    async def find_around(self, members: Collection[str]) -> tuple[Mapping[str, str], int]: ...
    async def find_within(self, group: str) -> tuple[frozenset[str], int]: ...


class RoleTable(Protocol):
    """Roles that administrators define, by their full names."""

    async def add(self, role: Role) -> Role: ...
    async def find(self, name: str) -> Role | None: ...
    async def find_all(self, names: Collection[str]) -> tuple[Role, ...]: ...
    async def list(self, parent: str, after: str, limit: int) -> tuple[Role, ...]: ...
    async def update(self, role: Role) -> Role: ...


class GroupsAndRoles(Protocol):
    """Those tables of a transaction that are described here."""

    @property
    def groups(self) -> GroupTable: ...
    @property
    def roles(self) -> RoleTable: ...

"""Groups, their members, and custom roles, as rows.

Every change advances the access serial, and does so first: the serial's row is
the lock under which changes of access follow one another (see access.py).
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from bonded.server.core.errors import Aborted, Conflict, NotFound
from bonded.server.core.roles import Role
from bonded.server.metadata.groups import LEVELS_MAX, Group, Membership
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.projects import SqlProjects
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import ACCESS

_groups = schema.groups
_members = schema.group_members
_roles = schema.roles
_accounts = schema.accounts
_keys = schema.keys
_users = schema.users


class SqlGroups:
    """Groups and who is in them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, group: Group) -> None:
        """Add *group*. Raises Conflict if its address is taken."""
        await advance(self._connection, ACCESS)
        values = {
            "address": group.address,
            "display_name": group.display_name,
            "description": group.description,
            "created_at": group.created_at,
        }
        try:
            await self._connection.execute(insert(_groups).values(**values))
        except IntegrityError as error:
            raise Conflict(f"Group {group.address} already exists") from error

    async def find(self, address: str) -> Group | None:
        """Return the group, or None."""
        query = select(_groups).where(_groups.c.address == address)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _group(row)

    async def list(self, after: str, limit: int) -> tuple[Group, ...]:
        """Return up to *limit* groups in order of address, from after *after*."""
        query = select(_groups).where(_groups.c.address > after).order_by(_groups.c.address)
        return tuple(_group(row) for row in await self._connection.execute(query.limit(limit)))

    async def remove(self, address: str) -> None:
        """Remove the group and who is in it. Raises NotFound."""
        await advance(self._connection, ACCESS)
        gone = await self._connection.execute(delete(_groups).where(_groups.c.address == address))
        if not gone.rowcount:
            raise NotFound(f"Group {address} does not exist")

    async def put_member(self, address: str, membership: Membership) -> None:
        """Add a member, or change what they are."""
        await advance(self._connection, ACCESS)
        is_it = (_members.c.group == address, _members.c.member == membership.member)
        changed = await self._connection.execute(
            update(_members).where(*is_it).values(is_owner=membership.is_owner)
        )
        if not changed.rowcount:
            await self._connection.execute(
                insert(_members).values(
                    group=address, member=membership.member, is_owner=membership.is_owner
                )
            )

    async def remove_member(self, address: str, member: str) -> None:
        """Remove a member. Raises NotFound."""
        await advance(self._connection, ACCESS)
        gone = await self._connection.execute(
            delete(_members).where(_members.c.group == address, _members.c.member == member)
        )
        if not gone.rowcount:
            raise NotFound(f"{member} is not a member of group {address}")

    async def count_members(self, address: str) -> int:
        """Return how many members the group itself has."""
        query = select(func.count()).select_from(_members).where(_members.c.group == address)
        count: int = (await self._connection.execute(query)).scalar_one()
        return count

    async def list_members(self, address: str, after: str, limit: int) -> tuple[Membership, ...]:
        """Return up to *limit* members of the group itself, in order, from after *after*."""
        query = select(_members.c.member, _members.c.is_owner).where(
            _members.c.group == address, _members.c.member > after
        )
        rows = await self._connection.execute(query.order_by(_members.c.member).limit(limit))
        return tuple(Membership(row.member, row.is_owner) for row in rows)

    async def list_owners(self, address: str) -> tuple[str, ...]:
        """Return the group's owners."""
        query = select(_members.c.member).where(_members.c.group == address, _members.c.is_owner)
        return tuple(row.member for row in await self._connection.execute(query))

    async def list_provable(
        self, groups: Collection[str], now: datetime, after: str, limit: int
    ) -> tuple[str, ...]:
        """Return up to *limit* members of *groups*, however deep, who can prove who they are.

        Accounts that are enabled and have a key that is good *now*; users who are enabled and
        have a password, or whom some provider has named. In order, from after *after*.
        """
        found = frontier = {group.removeprefix("group:") for group in groups}
        while frontier:
            inner = select(_members.c.member).where(
                _members.c.group.in_(frontier), _members.c.member.startswith("group:")
            )
            rows = await self._connection.execute(inner)
            frontier = {row.member.removeprefix("group:") for row in rows} - found
            found = found | frontier
        query = select(_members.c.member).where(
            _members.c.group.in_(found),
            _members.c.member > after,
            or_(_is_provable_account(now), _is_provable_user()),
        )
        query = query.distinct().order_by(_members.c.member).limit(limit)
        return tuple(row.member for row in await self._connection.execute(query))

    async def find_around(self, members: Collection[str]) -> tuple[dict[str, str], int]:
        """Return the groups that *members* are in, however deep, and how many levels that are.

        Groups are named as members, `group:ADDRESS`; each with the member that it was found by.
        """
        found: dict[str, str] = {}
        frontier = set(members)
        for level in range(LEVELS_MAX + 1):
            query = select(_members.c.group, _members.c.member).where(
                _members.c.member.in_(frontier)
            )
            rows = (await self._connection.execute(query.order_by(_members.c.member))).all()
            if not rows:
                return found, level
            for row in rows:
                found.setdefault(f"group:{row.group}", row.member)
            # Whoever was met before is met again, so that the longest way is counted.
            frontier = {f"group:{row.group}" for row in rows}
        return found, LEVELS_MAX + 1

    async def find_within(self, group: str) -> tuple[frozenset[str], int]:
        """Return the groups within *group*, however deep, and how many levels that are."""
        found: set[str] = set()
        frontier = {group.removeprefix("group:")}
        for level in range(LEVELS_MAX + 1):
            query = select(_members.c.member).where(
                _members.c.group.in_(frontier), _members.c.member.startswith("group:")
            )
            rows = (await self._connection.execute(query)).all()
            if not rows:
                return frozenset(found), level
            found |= {row.member for row in rows}
            frontier = {row.member.removeprefix("group:") for row in rows}
        return frozenset(found), LEVELS_MAX + 1


class SqlRoles:
    """Roles that administrators define."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, role: Role) -> Role:
        """Add *role*; return it with its etag. Raises Conflict, NotFound without its project."""
        revision = await advance(self._connection, ACCESS)
        parent = role.name.partition("/roles/")[0]
        project = parent.removeprefix("projects/") if parent.startswith("projects/") else None
        if project is not None:
            await SqlProjects(self._connection).hold(project)
        values = _columns_of(role) | {"revision": revision, "project": project}
        try:
            await self._connection.execute(insert(_roles).values(name=role.name, **values))
        except IntegrityError as error:
            raise Conflict(
                f"Role {role.name} already exists", hint="A deleted one can be undeleted."
            ) from error
        return _stamped(role, revision)

    async def find(self, name: str) -> Role | None:
        """Return the role, even a deleted one, or None."""
        found = await self.find_all([name])
        return found[0] if found else None

    async def find_all(self, names: Collection[str]) -> tuple[Role, ...]:
        """Return those of the roles that exist, even deleted ones."""
        query = select(_roles).where(_roles.c.name.in_(list(names)))
        return tuple(_role(row) for row in await self._connection.execute(query))

    async def list(self, parent: str, after: str, limit: int) -> tuple[Role, ...]:
        """Return up to *limit* roles of *parent* in order of name, from after *after*."""
        query = select(_roles).where(
            _roles.c.name.startswith(f"{parent}/roles/", autoescape=True), _roles.c.name > after
        )
        rows = await self._connection.execute(query.order_by(_roles.c.name).limit(limit))
        return tuple(_role(row) for row in rows)

    async def update(self, role: Role) -> Role:
        """Change everything but the name; return the role with its new etag.

        Raises:
            Aborted: *role* carries an etag, and the role has changed since.
        """
        revision = await advance(self._connection, ACCESS)
        current = await self.find(role.name)
        if role.etag and current is not None and role.etag != current.etag:
            raise Aborted(
                "There were concurrent changes of the role",
                hint="Read it again, repeat the change, and write it with the new etag.",
            )
        await self._connection.execute(
            update(_roles)
            .where(_roles.c.name == role.name)
            .values(revision=revision, **_columns_of(role))
        )
        return _stamped(role, revision)


def _is_provable_account(now: datetime) -> ColumnElement[bool]:
    return (
        select(_keys.c.id)
        .join(_accounts, _accounts.c.email == _keys.c.email)
        .where(
            _is_kind("serviceAccount:"),
            _keys.c.email == _address_behind("serviceAccount:"),
            ~_accounts.c.is_disabled,
            ~_keys.c.is_disabled,
            or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > now),
        )
        .correlate(_members)
        .exists()
    )


def _is_provable_user() -> ColumnElement[bool]:
    return (
        select(_users.c.address)
        .where(
            _is_kind("user:"),
            _users.c.address == _address_behind("user:"),
            ~_users.c.is_disabled,
            or_(_users.c.password_hash != "", _users.c.subject != ""),
        )
        .correlate(_members)
        .exists()
    )


def _is_kind(kind: str) -> ColumnElement[bool]:
    return _members.c.member.startswith(kind)


def _address_behind(kind: str) -> ColumnElement[str]:
    # Cut from the member rather than put before the address, whose index finds it so.
    return func.substr(_members.c.member, len(kind) + 1)


def _group(row: Row[tuple[object, ...]]) -> Group:
    return Group(row.address, row.display_name, row.description, row.created_at)


def _columns_of(role: Role) -> dict[str, object]:
    return {
        "title": role.title,
        "description": role.description,
        "stage": role.stage,
        "permissions": list(role.permissions),
        "is_deleted": role.is_deleted,
    }


def _role(row: Row[tuple[object, ...]]) -> Role:
    return Role(
        name=row.name,
        title=row.title,
        description=row.description,
        stage=row.stage,
        permissions=tuple(row.permissions),
        is_deleted=row.is_deleted,
        etag=_etag(row.revision),
    )


def _stamped(role: Role, revision: int) -> Role:
    return Role(
        role.name,
        role.title,
        role.description,
        role.stage,
        role.permissions,
        role.is_deleted,
        _etag(revision),
    )


def _etag(revision: int) -> str:
    return base64.b64encode(revision.to_bytes(8, "big")).decode()

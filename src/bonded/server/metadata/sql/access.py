"""Policies, service accounts and their keys, as rows.

Every change advances the access serial, and does so first: the serial's row is
the lock under which changes of access follow one another, here and in projects.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Row, Text, bindparam, cast, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Aborted, Conflict, NotFound
from bonded.server.core.iam import NEVER_SET, Binding, Policy
from bonded.server.metadata.sql import schema
from bonded.server.metadata.sql.connections import Connection
from bonded.server.metadata.sql.prepared import Prepared
from bonded.server.metadata.sql.projects import SqlProjects
from bonded.server.metadata.sql.serials import advance
from bonded.server.metadata.store import ACCESS, AccountKey, ServiceAccount

_policies = schema.policies
_in_groups = schema.group_members
_accounts = schema.accounts
_keys = schema.keys


# Asked for every resource that is new to a replica, whether it exists or not.
_LINEAGE = ("itself", "above", "root")
_ETAGS = Prepared(
    select(_policies.c.resource, _policies.c.revision).where(
        _policies.c.resource.in_([bindparam(name) for name in _LINEAGE])
    )
)

# Replicas write at their own times: the latest use stays. Nor is one of an account that had
# the address before.
_NOTE_ACCOUNT = (
    update(_accounts)
    .where(_accounts.c.email == bindparam("named"), _accounts.c.created_at <= bindparam("at"))
    .where((_accounts.c.used_at.is_(None)) | (_accounts.c.used_at < bindparam("at")))
    .values(used_at=bindparam("at"))
)
_NOTE_KEY = (
    update(_keys)
    .where(_keys.c.id == bindparam("named"))
    .where((_keys.c.used_at.is_(None)) | (_keys.c.used_at < bindparam("at")))
    .values(used_at=bindparam("at"))
)


class SqlPolicies:
    """Policies, by the full name of the resource they hang on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, resource: str) -> Policy | None:
        """Return the policy, or None if none was ever set."""
        found = await self.find_all([resource])
        return found[0] if found else None

    async def find_all(self, resources: Sequence[str]) -> tuple[Policy, ...]:
        """Return the policies that hang on any of *resources*."""
        query = select(_policies).where(_policies.c.resource.in_(resources))
        return tuple(_policy(row) for row in await self._connection.execute(query))

    async def find_etags(self, resources: Sequence[str]) -> Mapping[str, str]:
        """Return the etags of the policies on a resource and above it, by what they hang on.

        An etag names one state of one policy for ever, so whoever knows it need not read that.
        """
        named = dict(zip(_LINEAGE[: len(resources)], resources, strict=True))
        rows = await self._connection.run(_ETAGS, dict.fromkeys(_LINEAGE, "") | named)
        return {row.resource: _etag(row.revision) for row in rows.all()}

    async def hold(self) -> None:
        """Let nobody else change who may do what until the commit."""
        await advance(self._connection, ACCESS)

    async def set(self, policy: Policy) -> Policy:
        """Replace the policy of a resource; return it with its new etag.

        Raises:
            Aborted: *policy* carries an etag, and the policy has changed since.
        """
        # First of all, because it locks: what is read below cannot change until the commit.
        revision = await advance(self._connection, ACCESS)
        current = await self.find(policy.resource)
        # Without a policy too: one of a resource that was made anew would come back unnoticed.
        if policy.etag and policy.etag != (current.etag if current else NEVER_SET):
            raise Aborted(
                "There were concurrent policy changes",
                hint="Read the policy again, repeat the change, and write it with the new etag.",
            )
        values = {
            "revision": revision,
            "bindings": [_stored(binding) for binding in policy.bindings],
        }
        if current is None:
            statement = insert(_policies).values(resource=policy.resource, **values)
            await self._connection.execute(statement)
        else:
            await self._connection.execute(
                update(_policies).where(_policies.c.resource == policy.resource).values(**values)
            )
        return Policy(policy.resource, policy.bindings, _etag(revision))

    async def is_named(self, member: str) -> bool:
        """Say whether any policy names *member*."""
        # Bindings are kept as JSON text, in which a quoted string is found as it was written.
        written = json.dumps(member)
        names_it = cast(_policies.c.bindings, Text).contains(written, autoescape=True)
        query = select(_policies.c.resource).where(names_it).limit(1)
        return (await self._connection.execute(query)).one_or_none() is not None

    async def forget_members(self, is_gone: Callable[[str], bool]) -> None:
        """Take the members that *is_gone* names out of every policy and every group."""
        revision = await advance(self._connection, ACCESS)
        rows = (await self._connection.execute(select(_policies).with_for_update())).all()
        for row in rows:
            left = [
                [role, [one for one in those if not is_gone(one)], *condition]
                for role, those, *condition in row.bindings
            ]
            if left != row.bindings:
                await self._connection.execute(
                    update(_policies)
                    .where(_policies.c.resource == row.resource)
                    .values(revision=revision, bindings=[one for one in left if one[1]])
                )

        await self._forget_in_groups(is_gone)

    async def _forget_in_groups(self, is_gone: Callable[[str], bool]) -> None:
        rows = await self._connection.execute(select(_in_groups.c.member).distinct())
        gone = [row.member for row in rows.all() if is_gone(row.member)]
        if gone:
            await self._connection.execute(delete(_in_groups).where(_in_groups.c.member.in_(gone)))

    async def remove(self, resource: str) -> None:
        """Forget the policy of a resource that is gone."""
        await advance(self._connection, ACCESS)
        await self._connection.execute(delete(_policies).where(_policies.c.resource == resource))

    async def remove_below(self, resource: str) -> None:
        """Forget the policies of everything below a resource that is gone."""
        await advance(self._connection, ACCESS)
        below = _policies.c.resource.startswith(f"{resource}/", autoescape=True)
        await self._connection.execute(delete(_policies).where(below))


def _policy(row: Row[tuple[object, ...]]) -> Policy:
    bindings = tuple(
        Binding(role, tuple(members), *(Condition(*parts) for parts in condition))
        for role, members, *condition in row.bindings
    )
    return Policy(row.resource, bindings, _etag(row.revision))


def _stored(binding: Binding) -> list[object]:
    """Return role, members and, if there is one, the parts of the condition."""
    condition = binding.condition
    if condition is None:
        return [binding.role, list(binding.members)]
    parts = [condition.title, condition.expression, condition.description]
    return [binding.role, list(binding.members), parts]


def _etag(revision: int) -> str:
    return base64.b64encode(revision.to_bytes(8, "big")).decode()


class SqlAccounts:
    """Service accounts and their keys."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, account: ServiceAccount) -> None:
        """Add *account*. Raises Conflict if its address is taken, NotFound without its project."""
        await advance(self._connection, ACCESS)
        await SqlProjects(self._connection).hold(account.project)
        try:
            await self._connection.execute(
                insert(_accounts).values(
                    email=account.email,
                    project=account.project,
                    unique_id=account.unique_id,
                    display_name=account.display_name,
                    description=account.description,
                    created_at=account.created_at,
                    is_disabled=account.is_disabled,
                )
            )
        except IntegrityError as error:
            raise Conflict(f"Service account {account.email} already exists") from error

    async def find(self, email: str) -> ServiceAccount | None:
        """Return the account, or None."""
        rows = await self._connection.execute(select(_accounts).where(_accounts.c.email == email))
        row = rows.one_or_none()
        return None if row is None else _account(row)

    async def list(self, project: str, after: str, limit: int) -> tuple[ServiceAccount, ...]:
        """Return up to *limit* accounts of a project in order of address, from after *after*."""
        query = (
            select(_accounts)
            .where(_accounts.c.project == project, _accounts.c.email > after)
            .order_by(_accounts.c.email)
            .limit(limit)
        )
        return tuple(_account(row) for row in await self._connection.execute(query))

    async def hold(self, email: str) -> ServiceAccount:
        """Return an account that stays as it is until the transaction ends. Raises NotFound."""
        await advance(self._connection, ACCESS)
        found = await self.find(email)
        if found is None:
            raise NotFound(f"Service account {email} does not exist")
        return found

    async def update(self, account: ServiceAccount) -> None:
        """Replace what can change of an account that is held."""
        await advance(self._connection, ACCESS)
        await self._connection.execute(
            update(_accounts)
            .where(_accounts.c.email == account.email)
            .values(
                display_name=account.display_name,
                description=account.description,
                is_disabled=account.is_disabled,
            )
        )

    async def remove(self, email: str) -> None:
        """Remove the account and its keys. Raises NotFound."""
        await advance(self._connection, ACCESS)
        removed = await self._connection.execute(
            delete(_accounts).where(_accounts.c.email == email)
        )
        if not removed.rowcount:
            raise NotFound(f"Service account {email} does not exist")

    async def add_key(self, key: AccountKey) -> None:
        """Add the public half of a key pair. Raises NotFound without its account."""
        await advance(self._connection, ACCESS)
        try:
            await self._connection.execute(
                insert(_keys).values(
                    id=key.id,
                    email=key.email,
                    public_key_pem=key.public_key_pem,
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                    is_disabled=key.is_disabled,
                    is_uploaded=key.is_uploaded,
                )
            )
        except IntegrityError as error:
            raise NotFound(f"Service account {key.email} does not exist") from error

    async def find_key(self, key_id: str) -> AccountKey | None:
        """Return the key, or None."""
        rows = await self._connection.execute(select(_keys).where(_keys.c.id == key_id))
        row = rows.one_or_none()
        return None if row is None else _key(row)

    async def list_keys(self, email: str) -> tuple[AccountKey, ...]:
        """Return the account's keys, oldest first."""
        query = select(_keys).where(_keys.c.email == email)
        rows = await self._connection.execute(query.order_by(_keys.c.created_at, _keys.c.id))
        return tuple(_key(row) for row in rows)

    async def disable_key(self, email: str, key_id: str, *, is_disabled: bool) -> None:
        """Disable one key, or enable it again. Raises NotFound."""
        await advance(self._connection, ACCESS)
        changed = await self._connection.execute(
            update(_keys)
            .where(_keys.c.email == email, _keys.c.id == key_id)
            .values(is_disabled=is_disabled)
        )
        if not changed.rowcount:
            raise NotFound(f"Key {key_id} of {email} does not exist")

    async def remove_key(self, email: str, key_id: str) -> None:
        """Remove one key. Raises NotFound."""
        await advance(self._connection, ACCESS)
        removed = await self._connection.execute(
            delete(_keys).where(_keys.c.email == email, _keys.c.id == key_id)
        )
        if not removed.rowcount:
            raise NotFound(f"Key {key_id} of {email} does not exist")

    async def note_uses(
        self, accounts: Mapping[str, datetime], keys: Mapping[str, datetime]
    ) -> None:
        """Note when accounts and keys were last used. Decides nothing, so no serial moves."""
        # In order, or two replicas could wait for each other's rows.
        for email, at in sorted(accounts.items()):
            await self._connection.execute(_NOTE_ACCOUNT, {"named": email, "at": at})
        for key_id, at in sorted(keys.items()):
            await self._connection.execute(_NOTE_KEY, {"named": key_id, "at": at})


def _account(row: Row[tuple[object, ...]]) -> ServiceAccount:
    return ServiceAccount(
        email=row.email,
        project=row.project,
        unique_id=row.unique_id,
        display_name=row.display_name,
        description=row.description,
        created_at=row.created_at,
        is_disabled=row.is_disabled,
        used_at=row.used_at,
    )


def _key(row: Row[tuple[object, ...]]) -> AccountKey:
    return AccountKey(
        id=row.id,
        email=row.email,
        public_key_pem=row.public_key_pem,
        created_at=row.created_at,
        expires_at=row.expires_at,
        is_disabled=row.is_disabled,
        is_uploaded=row.is_uploaded,
        used_at=row.used_at,
    )

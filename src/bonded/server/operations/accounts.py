"""Service accounts and their keys."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.names import account_email, parse_account_id
from bonded.server.metadata.store import AccountKey, MetadataStore, ServiceAccount
from bonded.server.operations.granting import keep_owner

KEYS_MAX = 10
"""Keys of one account, as Google has it."""


class KeyPair(Protocol):
    """A fresh key pair; the private half leaves in the key file and is not kept."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def public_key_pem(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, repr=False)
class IssuedKey:
    """A new key, and the only copy of its key file."""

    key: AccountKey
    key_file: str


class Accounts:
    """Creates, shows and deletes service accounts and keys.

    *make_pair* makes a key pair (slow: it runs in a thread), *write_key_file*
    the text of the file that its owner keeps.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        make_key: Callable[[ServiceAccount], tuple[KeyPair, str]],
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._make_key = make_key

    def draft(self, project: str, account_id: str, name: str, description: str) -> ServiceAccount:
        """Return a new account that is not stored yet. Raises Rejected for a malformed id."""
        return ServiceAccount(
            email=account_email(parse_account_id(account_id), project),
            project=project,
            # Google's are 21 digits starting with 1.
            unique_id=f"1{secrets.randbelow(10**20):020d}",
            display_name=name,
            description=description,
            created_at=self._clock(),
        )

    async def draft_key(self, account: ServiceAccount) -> IssuedKey:
        """Return a new key of *account* that is not stored yet."""
        pair, text = await asyncio.to_thread(self._make_key, account)
        key = AccountKey(pair.id, account.email, pair.public_key_pem, self._clock())
        return IssuedKey(key, text)

    async def create(
        self, project: str, account_id: str, name: str, description: str
    ) -> ServiceAccount:
        """Create an account. Raises Rejected, NotFound without the project, Conflict."""
        account = self.draft(project, account_id, name, description)
        note(f"projects/{project}/serviceAccounts/{account.email}")
        async with self._metadata.transaction() as tx:
            if await tx.projects.find(project) is None:
                raise NotFound(f"Project {project} does not exist")
            await tx.accounts.add(account)
        return account

    async def get(self, project: str, account: str) -> ServiceAccount:
        """Return an account by its address. Raises NotFound."""
        async with self._metadata.read() as tx:
            found = await tx.accounts.find(account)
        if found is None or project not in ("-", found.project):
            raise NotFound(f"Service account {account} does not exist")
        return found

    async def list(self, project: str, after: str, limit: int) -> tuple[ServiceAccount, ...]:
        """Return up to *limit* accounts in order of address, from after *after*."""
        async with self._metadata.read() as tx:
            if await tx.projects.find(project) is None:
                raise NotFound(f"Project {project} does not exist")
            return await tx.accounts.list(project, after, limit)

    async def delete(self, project: str, account: str) -> None:
        """Delete an account with its keys; its tokens stop at once.

        Raises:
            NotFound: it does not exist.
            Conflict: it is the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx:
            await tx.accounts.remove(found.email)
            # Or an account made later under the same address would inherit its grants.
            await tx.policies.forget_members(f"serviceAccount:{found.email}".__eq__)
            await keep_owner(tx)

    async def create_key(self, project: str, account: str) -> IssuedKey:
        """Make a key. Raises NotFound, and Rejected when the account has as many as it may."""
        found = await self.get(project, account)
        issued = await self.draft_key(found)
        note(f"projects/{found.project}/serviceAccounts/{found.email}/keys/{issued.key.id}")
        async with self._metadata.transaction() as tx:
            if len(await tx.accounts.list_keys(found.email)) >= KEYS_MAX:
                raise Rejected(
                    f"{found.email} has {KEYS_MAX} keys already", hint="Delete one of them first."
                )
            await tx.accounts.add_key(issued.key)
        return issued

    async def list_keys(self, project: str, account: str) -> tuple[AccountKey, ...]:
        """Return the keys of an account, oldest first. Raises NotFound."""
        found = await self.get(project, account)
        async with self._metadata.read() as tx:
            return await tx.accounts.list_keys(found.email)

    async def delete_key(self, project: str, account: str, key_id: str) -> None:
        """Delete a key; its tokens stop at once.

        Raises:
            NotFound: it does not exist.
            Conflict: it is the last key of the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx:
            await tx.accounts.remove_key(found.email, key_id)
            if not await tx.accounts.list_keys(found.email):
                # Without a key it cannot sign in: the same as if it had lost its role.
                await keep_owner(tx, besides=f"serviceAccount:{found.email}")

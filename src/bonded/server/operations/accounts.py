"""Service accounts and their keys."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.names import account_email, parse_account_id
from bonded.server.metadata.store import AccountKey, MetadataStore, ServiceAccount, Transaction
from bonded.server.operations.owning import Owners

KEYS_MAX = 10
"""Keys of one account, as Google has it."""
UNIVERSE_DOMAIN = "googleapis.com"
"""Google's own, which gcloud asks for."""
DOMAIN_LENGTH_MAX = 253
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


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


MakeKey = Callable[[ServiceAccount, str], tuple[KeyPair, str]]
"""Makes a key pair for an account and a universe domain (slow: it runs in a thread), and writes
the key file that its owner keeps."""


class Accounts:
    """Creates, shows, changes and deletes service accounts and keys.

    A new key lives no longer than *key_life_max*; None lets keys live for ever.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        owners: Owners,
        make_key: MakeKey,
        key_life_max: timedelta | None = None,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._owners = owners
        self._make_key = make_key
        self._key_life_max = key_life_max

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

    async def draft_key(
        self,
        account: ServiceAccount,
        expires_at: datetime | None = None,
        universe_domain: str = UNIVERSE_DOMAIN,
    ) -> IssuedKey:
        """Return a new key of *account* that is not stored yet. Raises Rejected."""
        now = self._clock()
        expires_at = self._checked_end(expires_at, now)
        pair, text = await asyncio.to_thread(
            self._make_key, account, parse_universe_domain(universe_domain)
        )
        return IssuedKey(
            AccountKey(pair.id, account.email, pair.public_key_pem, now, expires_at), text
        )

    def _checked_end(self, expires_at: datetime | None, now: datetime) -> datetime | None:
        longest = None if self._key_life_max is None else now + self._key_life_max
        if expires_at is None:
            return longest
        if expires_at <= now:
            raise Rejected("The key would have expired already")
        if longest is not None and expires_at > longest:
            raise Rejected(
                f"A key may live for {self._key_life_max} at most (key_life_max_s)",
                hint=f"Choose an end before {longest:%Y-%m-%dT%H:%M:%SZ}.",
            )
        return expires_at

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

    async def update(
        self, project: str, account: str, *, name: str | None, description: str | None
    ) -> ServiceAccount:
        """Change what people read about an account; None leaves it. Raises NotFound."""
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx:
            return await _change(
                tx,
                found.email,
                lambda one: replace(
                    one,
                    display_name=one.display_name if name is None else name,
                    description=one.description if description is None else description,
                ),
            )

    async def disable(self, project: str, account: str, *, is_disabled: bool) -> None:
        """Disable an account: its keys and tokens stop at once. Or enable it again.

        Raises:
            NotFound: it does not exist.
            Lockout: it is the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx, self._kept(tx, found, takes=is_disabled):
            await _change(tx, found.email, lambda one: replace(one, is_disabled=is_disabled))

    async def delete(self, project: str, account: str) -> None:
        """Delete an account with its keys; its tokens stop at once.

        Raises:
            NotFound: it does not exist.
            Lockout: it is the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx, self._kept(tx, found):
            await tx.accounts.remove(found.email)
            # Or an account made later under the same address would inherit its grants,
            # and those who were let in to it.
            await tx.policies.remove(f"projects/{found.project}/serviceAccounts/{found.email}")
            await tx.policies.forget_members(f"serviceAccount:{found.email}".__eq__)

    def _kept(
        self, tx: Transaction, account: ServiceAccount, *, takes: bool = True
    ) -> AbstractAsyncContextManager[None]:
        if not takes:
            return nullcontext()
        return self._owners.kept(tx, f"serviceAccount:{account.email}")

    async def create_key(
        self,
        project: str,
        account: str,
        *,
        expires_at: datetime | None = None,
        universe_domain: str = UNIVERSE_DOMAIN,
    ) -> IssuedKey:
        """Make a key.

        Raises:
            NotFound: the account does not exist.
            Rejected: the account has as many keys as it may, or this one cannot be.
        """
        found = await self.get(project, account)
        issued = await self.draft_key(found, expires_at, universe_domain)
        await self._add_key(found, issued.key)
        return issued

    async def upload_key(
        self, project: str, account: str, public_key_pem: str, expires_at: datetime | None
    ) -> AccountKey:
        """Keep the public half of a key pair that its owner has made. Raises as create_key."""
        found = await self.get(project, account)
        now = self._clock()
        # An id of our own: were it made from the key, anybody could occupy somebody else's.
        key = AccountKey(
            id=secrets.token_hex(20),
            email=found.email,
            public_key_pem=public_key_pem,
            created_at=now,
            expires_at=self._checked_end(expires_at, now),
            is_uploaded=True,
        )
        await self._add_key(found, key)
        return key

    async def _add_key(self, account: ServiceAccount, key: AccountKey) -> None:
        note(f"projects/{account.project}/serviceAccounts/{key.email}/keys/{key.id}")
        async with self._metadata.transaction() as tx:
            # Adding takes the lock, so that two keys added at once are both counted.
            await tx.accounts.add_key(key)
            now = await tx.accounts.find(key.email)
            # Making a key takes a while, in which another account may have got the address.
            if now is None or now.unique_id != account.unique_id:
                raise NotFound(f"Service account {key.email} does not exist any more")
            if len(await tx.accounts.list_keys(key.email)) > KEYS_MAX:
                raise Rejected(
                    f"{key.email} has {KEYS_MAX} keys already", hint="Delete one of them first."
                )

    async def get_key(self, project: str, account: str, key_id: str) -> AccountKey:
        """Return a key of an account. Raises NotFound."""
        found = await self.get(project, account)
        async with self._metadata.read() as tx:
            key = await tx.accounts.find_key(key_id)
        if key is None or key.email != found.email:
            raise NotFound(f"Key {key_id[:80]} of {found.email} does not exist")
        return key

    async def list_keys(self, project: str, account: str) -> tuple[AccountKey, ...]:
        """Return the keys of an account, oldest first. Raises NotFound."""
        found = await self.get(project, account)
        async with self._metadata.read() as tx:
            return await tx.accounts.list_keys(found.email)

    async def disable_key(
        self, project: str, account: str, key_id: str, *, is_disabled: bool
    ) -> None:
        """Disable a key: its tokens stop at once. Or enable it again.

        Raises:
            NotFound: it does not exist.
            Lockout: it is the last key of the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx, self._kept(tx, found, takes=is_disabled):
            await tx.accounts.disable_key(found.email, key_id, is_disabled=is_disabled)

    async def delete_key(self, project: str, account: str, key_id: str) -> None:
        """Delete a key; its tokens stop at once.

        Raises:
            NotFound: it does not exist.
            Lockout: it is the last key of the server's last owner.
        """
        found = await self.get(project, account)
        async with self._metadata.transaction() as tx, self._kept(tx, found):
            await tx.accounts.remove_key(found.email, key_id)


async def _change(
    tx: Transaction, email: str, change: Callable[[ServiceAccount], ServiceAccount]
) -> ServiceAccount:
    found = await tx.accounts.hold(email)
    changed = change(found)
    await tx.accounts.update(changed)
    return changed


def parse_universe_domain(text: str) -> str:
    """Return *text* if it may be a universe domain.

    Google's own has its libraries ask this server for tokens; any other has
    them sign a token by themselves, without asking anybody (gar.md §5.3).

    Raises:
        Rejected: it is no domain name.
    """
    if len(text) > DOMAIN_LENGTH_MAX or not _DOMAIN.fullmatch(text):
        raise Rejected(
            f"{text[:80]!r} is not a domain name", hint="Use one such as packages.example.com."
        )
    return text

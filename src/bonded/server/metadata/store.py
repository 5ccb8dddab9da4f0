"""What the layers above need of a metadata store, split by who needs it.

Every mutation advances the serial of what it changes, in the same transaction.
Whoever keeps something derived (a page, a decision) keeps the serial with it,
and asks `Serials` whether it is still the latest: one point query.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from bonded.server.core.audit import Entry, Sealed
from bonded.server.core.digests import Sha256
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName, Publisher
from bonded.server.core.files import File, Package, PackageSummary, Status
from bonded.server.core.iam import Policy
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import Mode, RepositoryConfig, mode_of
from bonded.server.metadata.caches import CacheTable
from bonded.server.metadata.groups import GroupsAndRoles
from bonded.server.metadata.lifecycle import LifecycleTable
from bonded.server.metadata.people import SessionTable, SignInTable, UserTable

ACCESS = "access"
"""The scope of everything that decides who may: policies, accounts, keys."""
SIGNING_KEYS = "signing-keys"
"""The scope of the server's own keys; its row is the lock under which they change."""

REPOSITORIES = "repositories"
"""The scope of which repositories there are, and how they are set up."""


def listing_scope(repository: RepositoryName) -> str:
    """Return the scope that changes when a package appears, disappears or changes status."""
    return f"{repository}/packages"


def package_scope(repository: RepositoryName, name: PackageName) -> str:
    """Return the scope that changes with anything about one package."""
    return f"{repository}/packages/{name.normalized}"


@dataclass(frozen=True, slots=True)
class Project:
    """The tenant that owns repositories and service accounts."""

    id: str
    number: int
    name: str
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository as the control plane shows it."""

    name: RepositoryName
    description: str
    labels: dict[str, str]
    created_at: datetime
    updated_at: datetime
    size_bytes: int = 0
    config: RepositoryConfig = None

    @property
    def mode(self) -> Mode:
        """Where the repository gets its packages from."""
        return mode_of(self.config)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An identity for a machine, owned by a project."""

    email: str
    project: str
    unique_id: str
    display_name: str
    description: str
    created_at: datetime
    is_disabled: bool = False
    used_at: datetime | None = None
    """When a credential of it was last accepted, give or take a minute."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """The public half of a service account's key pair; the private half is never kept."""

    id: str
    email: str
    public_key_pem: str
    created_at: datetime
    expires_at: datetime | None = None
    is_disabled: bool = False
    is_uploaded: bool = False
    """Whether its owner made the pair and uploaded the public half."""
    used_at: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Say whether it is neither disabled nor expired. Its account may still be disabled."""
        return not self.is_disabled and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, repr=False)
class SealedKey:
    """One of the server's own signing keys, readable only to who has the sealing key."""

    id: str
    sealed: str
    created_at: datetime
    starts_at: datetime
    """From when it signs, until another one does."""


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """An entry of the audit log by its place in the chain."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the beginning of the chain was cut off: the last entry that went, and how many."""

    number: int
    hash: str
    count: int
    until: datetime
    """When the youngest of them had happened."""


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry of the audit log as it is kept, with the columns by which it is found."""

    sealed: Sealed
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """Which entries of the audit log to look at, and in which order: by time, then by number."""

    equal: Mapping[str, str] = field(default_factory=dict)
    """Column → value, in the spelling of the columns; few enough for one index."""
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, int] | None = None
    """Time and number of the entry from after which to go on, in the order of the search."""
    is_newest_first: bool = False


class Serials(Protocol):
    """Whether what was derived is still the latest. On the path of every request."""

    async def read(self, *scopes: str) -> tuple[int, ...]:
        """Return the serial of each scope, in order; 0 for one that never changed."""
        ...


class ProjectTable(Protocol):
    """Projects."""

    async def add(self, project: Project) -> None: ...
    async def find(self, project: str) -> Project | None: ...
    async def find_numbered(self, number: int) -> Project | None: ...
    async def hold(self, project: str) -> None: ...
    async def list(self, after: str, limit: int) -> tuple[Project, ...]: ...
    async def remove(self, project: str) -> None: ...
    async def is_empty(self, project: str) -> bool: ...


class RepositoryTable(Protocol):
    """Repositories, without what is in them."""

    async def add(self, record: RepositoryRecord) -> None: ...
    async def find(self, name: RepositoryName) -> RepositoryRecord | None: ...
    async def list(
        self, project: str, location: str | None, after: str, limit: int
    ) -> tuple[RepositoryRecord, ...]: ...
    async def hold(self, name: RepositoryName) -> None: ...
    async def list_locations(self, project: str) -> tuple[str, ...]: ...
    async def hold_all(self) -> None: ...
    async def list_dependents(self, name: RepositoryName) -> tuple[RepositoryName, ...]: ...
    async def update(self, record: RepositoryRecord) -> None: ...
    async def remove(self, name: RepositoryName) -> None: ...


class FileTable(Protocol):
    """Packages and their files."""

    async def list_packages(self, repository: RepositoryName) -> tuple[PackageName, ...]: ...
    async def find_package(
        self, repository: RepositoryName, name: PackageName, version: str = ""
    ) -> Package | None: ...
    async def find_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> tuple[File | None, Status | None]: ...
    async def find_core_metadata(self, digest: Sha256) -> bytes | None: ...
    async def restore_core_metadata(
        self, repository: RepositoryName, name: PackageName, digest: Sha256, data: bytes
    ) -> None: ...
    async def add(
        self, repository: RepositoryName, name: PackageName, file: File, core_metadata: bytes
    ) -> File: ...


class ListingTable(Protocol):
    """What the control plane lists of packages."""

    async def describe_packages(
        self, repository: RepositoryName, names: Sequence[PackageName]
    ) -> tuple[PackageSummary, ...]: ...


class PolicyTable(Protocol):
    """Policies, by the full name of the resource they hang on."""

    async def find(self, resource: str) -> Policy | None: ...
    async def find_all(self, resources: Sequence[str]) -> tuple[Policy, ...]: ...
    async def find_etags(self, resources: Sequence[str]) -> Mapping[str, str]: ...
    async def hold(self) -> None: ...
    async def set(self, policy: Policy) -> Policy: ...
    async def is_named(self, member: str) -> bool: ...
    async def forget_members(self, is_gone: Callable[[str], bool]) -> None: ...
    async def remove(self, resource: str) -> None: ...
    async def remove_below(self, resource: str) -> None: ...


class AccountTable(Protocol):
    """Service accounts and their keys."""

    async def add(self, account: ServiceAccount) -> None: ...
    async def find(self, email: str) -> ServiceAccount | None: ...
    async def list(self, project: str, after: str, limit: int) -> tuple[ServiceAccount, ...]: ...
    async def hold(self, email: str) -> ServiceAccount: ...
    async def update(self, account: ServiceAccount) -> None: ...
    async def remove(self, email: str) -> None: ...
    async def add_key(self, key: AccountKey) -> None: ...
    async def find_key(self, key_id: str) -> AccountKey | None: ...
    async def list_keys(self, email: str) -> tuple[AccountKey, ...]: ...
    async def disable_key(self, email: str, key_id: str, *, is_disabled: bool) -> None: ...
    async def remove_key(self, email: str, key_id: str) -> None: ...
    async def note_uses(
        self, accounts: Mapping[str, datetime], keys: Mapping[str, datetime]
    ) -> None: ...


class TokenTable(Protocol):
    """What signs tokens, and which tokens were revoked before their time."""

    async def hold_signing_keys(self) -> None: ...
    async def add_signing_key(self, key: SealedKey) -> None: ...
    async def list_signing_keys(self) -> tuple[SealedKey, ...]: ...
    async def remove_signing_key(self, key_id: str) -> None: ...
    async def revoke(self, token_id: str, expires_at: datetime, now: datetime) -> None: ...
    async def is_revoked(self, token_id: str) -> bool: ...


class PoolTable(Protocol):
    """Workload identity pools and their providers, named by their project's id."""

    async def add(self, pool: Pool) -> None: ...
    async def find(self, name: PoolName) -> Pool | None: ...
    async def list(self, project: str, after: str, limit: int) -> tuple[Pool, ...]: ...
    async def update(self, name: PoolName, pool: Pool) -> None: ...
    async def remove(self, name: PoolName) -> None: ...
    async def add_provider(self, name: ProviderName, provider: Provider) -> None: ...
    async def find_provider(self, name: ProviderName) -> Provider | None: ...
    async def list_providers(
        self, pool: PoolName, after: str, limit: int
    ) -> tuple[Provider, ...]: ...
    async def update_provider(self, name: ProviderName, provider: Provider) -> None: ...
    async def remove_provider(self, name: ProviderName) -> None: ...


class PublisherTable(Protocol):
    """Trusted publishers, and the assertions that were exchanged already."""

    async def add(self, publisher: Publisher) -> None: ...
    async def find(self, publisher: str) -> Publisher | None: ...
    async def find_matching(
        self, issuer: str, anchors: Collection[str], limit: int
    ) -> tuple[Publisher, ...]: ...
    async def has_issuer(self, issuer: str) -> bool: ...
    async def list(
        self, repository: RepositoryName, after: str, limit: int
    ) -> tuple[Publisher, ...]: ...
    async def remove(self, repository: RepositoryName, publisher: str) -> None: ...
    async def pin(self, publisher: str, pins: Mapping[str, str]) -> None: ...
    async def spend(self, assertion: str, expires_at: datetime, now: datetime) -> None: ...


class AuditTable(Protocol):
    """The audit log. What a transaction does leaves its entry by itself: see core/audit.py."""

    async def is_waiting(self) -> bool: ...
    async def append(
        self, entries: Sequence[Entry], at_most: int, now: datetime
    ) -> tuple[Sealed, ...]: ...
    async def end(self) -> ChainEnd: ...
    async def list(self, search: Search, limit: int) -> tuple[Sealed, ...]: ...
    async def find_last(self, method: str) -> Sealed | None: ...
    async def read_chain(self, after: int, limit: int) -> tuple[LoggedEntry, ...]: ...
    async def cut(self, before: datetime, limit: int) -> Cut | None: ...


class Transaction(GroupsAndRoles, Protocol):
    """All tables, seen and changed as one: commits when its block ends, unless by an error."""

    @property
    def projects(self) -> ProjectTable: ...
    @property
    def repositories(self) -> RepositoryTable: ...
    @property
    def files(self) -> FileTable: ...
    @property
    def lifecycle(self) -> LifecycleTable: ...
    @property
    def caches(self) -> CacheTable: ...
    @property
    def listings(self) -> ListingTable: ...
    @property
    def policies(self) -> PolicyTable: ...
    @property
    def accounts(self) -> AccountTable: ...
    @property
    def tokens(self) -> TokenTable: ...
    @property
    def users(self) -> UserTable: ...
    @property
    def sessions(self) -> SessionTable: ...
    @property
    def sign_ins(self) -> SignInTable: ...
    @property
    def pools(self) -> PoolTable: ...
    @property
    def publishers(self) -> PublisherTable: ...
    @property
    def audit(self) -> AuditTable: ...


class MetadataStore(Protocol):
    """Opens transactions, and answers for serials."""

    @property
    def serials(self) -> Serials:
        """Whether what was derived is still the latest."""
        ...

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a snapshot to read from."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction to change things in. Durable when its block has ended.

        Within `acting`, it leaves an entry for the audit log, or is not committed.

        Raises:
            OutOfSpace: the database cannot grow; nothing was changed.
            Unavailable: the database does not answer; nothing is known to have changed.
        """
        ...

    async def check(self) -> None:
        """Raise Unavailable unless the database answers."""
        ...

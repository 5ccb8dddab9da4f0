"""THE WIRING: the only place that names concrete classes. Reads as the table of contents."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bonded.server import settings as configuration
from bonded.server.app_people import FAILED_TOKENS, open_naming, open_standings, wire_people
from bonded.server.archives import Limits
from bonded.server.blobs.directory import DirectoryBlobStore
from bonded.server.blobs.objects import ObjectBlobStore, open_store
from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache
from bonded.server.core.clock import Clock, system_clock
from bonded.server.core.errors import Unavailable
from bonded.server.core.names import RepositoryName
from bonded.server.identity import keys
from bonded.server.identity.assertions import AssertionVerifier
from bonded.server.identity.authentication import Authenticator
from bonded.server.identity.conditions import check_conditions
from bonded.server.identity.documents import Documents
from bonded.server.identity.explaining import Explaining
from bonded.server.identity.groups import GroupBook
from bonded.server.identity.origins import AccountOrigins, Origins
from bonded.server.identity.policies import PolicyBook
from bonded.server.identity.publishers import TrustedPublishing
from bonded.server.identity.sealing import load_sealer
from bonded.server.identity.seals import Seals
from bonded.server.identity.secret_files import write_secret
from bonded.server.identity.sessions import Sessions
from bonded.server.identity.signing import Schedule, SigningKeys
from bonded.server.identity.status import Tokens
from bonded.server.identity.throttle import Budget
from bonded.server.identity.tokens import IdTokenIssuer, TokenIssuer
from bonded.server.identity.uses import Uses
from bonded.server.identity.workloads import (
    Issuers,
    Workloads,
    check_issuer,
    check_provider,
)
from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from bonded.server.metadata.store import ServiceAccount
from bonded.server.operations.accounts import Accounts
from bonded.server.operations.administering import Administration
from bonded.server.operations.auditing import AuditLog, Retention
from bonded.server.operations.browsing import Browsing
from bonded.server.operations.caching import Caching
from bonded.server.operations.collecting import Collector
from bonded.server.operations.curating import Curating
from bonded.server.operations.defining import Roles
from bonded.server.operations.federating import Federation
from bonded.server.operations.founding import EVERYTHING, Founding
from bonded.server.operations.granting import Granting
from bonded.server.operations.grouping import Groups
from bonded.server.operations.owning import Owners
from bonded.server.operations.publishing import Publisher
from bonded.server.operations.recording import Trail, ship_to
from bonded.server.operations.trusting import Trusting
from bonded.server.pages.store import Pages
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.remotes import Remotes
from bonded.server.repositories.standard import StandardRepository
from bonded.server.settings import Settings, SettingsError
from bonded.server.upstream.addresses import PrivateHosts, public_socket
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.clients import Clients
from bonded.server.upstream.secrets import Secrets
from bonded.server.web.access import Access
from bonded.server.web.access_log import AccessLog
from bonded.server.web.addresses import Addresses
from bonded.server.web.application import Application, Patience
from bonded.server.web.audited import Audited
from bonded.server.web.files import FilesApi
from bonded.server.web.health import Health
from bonded.server.web.networks import Failures, Networks
from bonded.server.web.oauth.discovery import Discovery
from bonded.server.web.oauth.exchange import TokenExchange
from bonded.server.web.oauth.publishing import PublishingTokens
from bonded.server.web.oauth.status import TokenStatus
from bonded.server.web.routes import route_table
from bonded.server.web.routing import RouteTable
from bonded.server.web.simple import SimpleApi
from bonded.server.web.uploads import UploadApi
from bonded.server.web.v1.accounts import AccountsApi
from bonded.server.web.v1.caches import CachesApi
from bonded.server.web.v1.credentials import CredentialsApi
from bonded.server.web.v1.curation import CurationApi
from bonded.server.web.v1.entries import EntriesApi
from bonded.server.web.v1.groups import GroupsApi
from bonded.server.web.v1.packages import PackagesApi
from bonded.server.web.v1.policies import PoliciesApi
from bonded.server.web.v1.pools import PoolsApi
from bonded.server.web.v1.projects import ProjectsApi
from bonded.server.web.v1.publishers import PublishersApi
from bonded.server.web.v1.repositories import RepositoriesApi
from bonded.server.web.v1.roles import RolesApi

ADMIN_KEY = "admin-key.json"
DATABASE = "bonded.sqlite3"
SECRETS = "secrets"
LOCK = "lock"
DRAIN_MAX_S = 5.0
"""How long a refused request is read at most, whatever the patience with others."""

_log = logging.getLogger("bonded.server")


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that is ready to answer."""

    application: Application
    routes: RouteTable
    metadata: SqlMetadataStore
    blobs: BlobStore
    catalog: Catalog
    signing_keys: SigningKeys
    uses: Uses
    documents: Documents
    collector: Collector
    trail: Trail
    retention: Retention
    issuers: Documents
    remotes: Remotes
    lock: int
    """Descriptor of the lock on the data directory."""
    is_first_start: bool
    installs_from: str
    """The first project's repository for installers: one that older servers may not have."""

    async def close(self) -> None:
        """Write down what happened last; let go of the database and of the data directory."""
        try:
            await self.remotes.close()
            await self.trail.flush()
        except Unavailable as error:
            _log.error("The end of the audit log is lost: %s", error)
        finally:
            await self.issuers.close()
            await self.documents.close()
            await self.metadata.close()
            self.blobs.close()
            os.close(self.lock)


def _lock(data_dir: Path) -> int:
    # A second server would clear the first one's stage, and collect behind its back.
    descriptor = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Unavailable(
            f"Another server uses {data_dir.resolve()}",
            hint="Stop it, or give this one a --data-dir of its own.",
        ) from None
    return descriptor


async def build(settings: Settings, clock: Clock = system_clock) -> Registry:
    """Open the stores, found the server if nobody owns it, and lay the layers over each other.

    Raises:
        BondedError: a store cannot be opened.
        OSError: the data directory cannot be written.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as undo:
        lock = _lock(settings.data_dir)
        undo.callback(os.close, lock)
        metadata = await _open_metadata(settings)
        undo.push_async_callback(metadata.close)
        registry = await _assemble(settings, clock, lock, metadata)
        undo.pop_all()
    return registry


async def _assemble(
    settings: Settings, clock: Clock, lock: int, metadata: SqlMetadataStore
) -> Registry:
    blobs = _open_blobs(settings)

    sealer = load_sealer(settings.sealing_key_path)
    token_life_max = timedelta(seconds=settings.token_life_max_s)
    schedule = Schedule(
        timedelta(seconds=settings.signing_key_period_s), token_life_max=token_life_max
    )
    signing_keys = SigningKeys(metadata, sealer, clock, schedule)
    await signing_keys.refresh()
    tokens = TokenIssuer(signing_keys, clock, timedelta(seconds=settings.token_life_s))
    assertions = AssertionVerifier(metadata, clock, f"{settings.url}/token")
    of_accounts = AccountOrigins(metadata, clock)
    workload_issuers = Documents(guard=None if settings.private_issuers else public_socket)
    issuers = Issuers(workload_issuers, clock)
    workloads = Workloads(metadata, issuers, tokens, clock)
    audience = settings.trusted_publishing_audience or urlsplit(settings.url).netloc
    publishing = TrustedPublishing(metadata, issuers, tokens, clock, audience)
    sessions = Sessions(metadata, tokens, clock, timedelta(seconds=settings.sign_in_life_s))
    origins = Origins(
        metadata,
        {
            "key": of_accounts.check_key,
            "account": of_accounts.check_account,
            "provider": workloads.check_provider,
            "publisher": publishing.check_publishers,
            "session": sessions.check,
        },
    )
    lending = Tokens(metadata, tokens, origins, clock, token_life_max)
    uses, group_book = Uses(metadata), GroupBook(metadata)
    id_tokens = IdTokenIssuer(signing_keys, clock, settings.url)
    authenticator = Authenticator(
        *(tokens, id_tokens, assertions, origins, of_accounts),
        uses=uses,
        groups=group_book,
        clock=clock,
    )
    addresses = _addresses(settings)
    policy_book = PolicyBook(metadata)
    access = Access(metadata.serials, authenticator, policy_book, addresses, clock)
    trail = Trail(
        metadata,
        clock,
        ship_to(settings.audit_stream) if settings.audit_stream else None,
        has_downloads=settings.audit_downloads,
    )
    audit_keep = timedelta(days=settings.audit_keep_days)
    standings = open_standings(settings, clock)
    owners = Owners(standings.can_sign_in, clock)
    naming = open_naming(settings)
    accounts = Accounts(
        metadata,
        clock,
        owners,
        partial(_make_key, settings.url),
        timedelta(seconds=settings.key_life_max_s) if settings.key_life_max_s else None,
    )
    core_metadata = ByteCache(settings.core_metadata_cache_bytes)
    remotes = _remotes(
        *(settings, metadata, blobs, core_metadata, clock),
        forget_removed=lambda: catalog.forget_removed(),  # noqa: PLW0108 - it is made below
    )
    administration = Administration(metadata, clock, owners, remotes.probe)
    publisher = Publisher(
        metadata,
        blobs,
        clock,
        file_size_max_bytes=settings.file_size_max_bytes,
        archive_limits=Limits(unpacked_bytes_max=settings.unpacked_size_max_bytes),
    )
    first = RepositoryName.parse(
        settings.first_project, settings.default_location, settings.first_repository
    )
    is_first_start = await Founding(metadata, accounts, clock).found(
        first, partial(write_secret, settings.data_dir / ADMIN_KEY)
    )
    async with metadata.read() as tx:
        everything = await tx.repositories.find(replace(first, repository=EVERYTHING))

    documents = Documents()
    networks = Networks(addresses)
    failures = Failures(networks, Budget(clock, *FAILED_TOKENS))
    people = wire_people(
        settings,
        clock,
        metadata=metadata,
        owners=owners,
        sealer=sealer,
        id_tokens=id_tokens,
        authenticator=authenticator,
        sessions=sessions,
        documents=documents,
        networks=networks,
        failures=failures,
    )
    catalog = Catalog(
        metadata,
        lambda name: StandardRepository(name, metadata, blobs, core_metadata),
        remotes.make,
    )
    repositories = RepositoriesApi(
        administration,
        access,
        settings.default_location,
        urlsplit(settings.url).netloc,
        remotes.index_url,
    )
    curating = Curating(metadata, clock, timedelta(days=settings.undelete_days))
    routes = route_table(
        health=Health(metadata, blobs),
        simple=SimpleApi(catalog, Pages(settings.page_cache_bytes)),
        files=FilesApi(catalog),
        uploads=UploadApi(catalog, publisher, access),
        status=TokenStatus(
            lending,
            access,
            failures,
            token_life_max,
        ),
        discovery=Discovery(settings.url, signing_keys, settings.default_location),
        exchange=TokenExchange(workloads, failures),
        publishing=PublishingTokens(publishing, failures),
        projects=ProjectsApi(administration),
        repositories=repositories,
        packages=PackagesApi(Browsing(metadata), curating, catalog, repositories.host_of, access),
        curation=CurationApi(curating),
        caches=CachesApi(Caching(metadata), catalog),
        policies=PoliciesApi(
            Granting(metadata, check_conditions, owners, naming),
            access,
            Explaining(metadata, policy_book, group_book, standings, clock),
        ),
        roles=RolesApi(Roles(metadata), access),
        groups=GroupsApi(Groups(metadata, clock, owners, naming), access),
        entries=EntriesApi(AuditLog(metadata, trail, audit_keep), access, Seals(sealer, clock)),
        accounts=AccountsApi(accounts),
        pools=PoolsApi(
            Federation(
                metadata,
                clock,
                partial(check_provider, is_private_allowed=settings.private_issuers),
            )
        ),
        credentials=CredentialsApi(
            accounts, tokens, id_tokens, lending, life_max=token_life_max, clock=clock
        ),
        publishers=PublishersApi(
            Trusting(
                metadata,
                clock,
                partial(check_issuer, is_private_allowed=settings.private_issuers),
            )
        ),
        **people,
    )
    access_log = AccessLog(addresses) if settings.access_log else None
    audited = Audited(trail, addresses)
    patience = Patience(
        wait_s=settings.body_wait_s,
        grace_s=settings.body_grace_s,
        rate_min_bytes_s=settings.body_rate_min_bytes_s,
        drain_s=min(DRAIN_MAX_S, settings.body_wait_s),
    )
    application = Application(
        routes, access, audited, settings.default_location, patience, access_log=access_log
    )
    collector = Collector(metadata, blobs, clock, timedelta(seconds=settings.orphan_grace_s))
    return Registry(
        application,
        routes,
        metadata,
        blobs,
        catalog,
        signing_keys,
        uses,
        documents,
        collector,
        trail,
        Retention(metadata, trail, audit_keep),
        workload_issuers,
        remotes,
        lock,
        is_first_start,
        first.repository if everything is None else EVERYTHING,
    )


def _remotes(
    settings: Settings,
    metadata: SqlMetadataStore,
    blobs: BlobStore,
    core_metadata: ByteCache,
    clock: Clock,
    *,
    forget_removed: Callable[[], Awaitable[None]],
) -> Remotes:
    kept_in = Path(settings.secrets_dir or settings.data_dir / SECRETS)
    bounds = Bounds(
        connect_timeout_s=settings.upstream_connect_timeout_s,
        page_timeout_s=settings.upstream_page_timeout_s,
        silence_timeout_s=settings.upstream_silence_timeout_s,
        page_size_max_bytes=settings.upstream_page_size_max_bytes,
        connections_max=settings.upstream_connections_max,
        large_pages_max=settings.upstream_large_pages_max,
    )

    secrets = Secrets(kept_in, configuration.secret_variables())
    clients = Clients(
        *(secrets, clock, bounds),
        public_index_url=settings.public_index_url,
        private_hosts=_private_hosts(settings),
    )
    return Remotes(
        *(metadata, blobs, core_metadata, clock, clients),
        file_size_max_bytes=settings.file_size_max_bytes,
        archive_limits=Limits(),
        forget_removed=forget_removed,
    )


def _private_hosts(settings: Settings) -> PrivateHosts:
    try:
        return PrivateHosts.parse(settings.upstream_private_hosts)
    except ValueError as error:
        raise SettingsError(f"upstream_private_hosts: {error}.") from error


def _addresses(settings: Settings) -> Addresses:
    try:
        return Addresses(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"trusted_proxies: {error}.") from error


async def _open_metadata(settings: Settings) -> SqlMetadataStore:
    if settings.database_url:
        return await open_postgresql(settings.database_url)
    return await open_sqlite(settings.data_dir / DATABASE)


def _open_blobs(settings: Settings) -> BlobStore:
    if settings.blobs_url:
        return ObjectBlobStore(open_store(settings.blobs_url), settings.data_dir / "staging")
    return DirectoryBlobStore(settings.data_dir, cache_bytes=settings.blob_cache_bytes)


def _make_key(
    server_url: str, account: ServiceAccount, universe_domain: str
) -> tuple[keys.KeyPair, str]:
    pair = keys.make_key_pair()
    text = keys.key_file(
        project=account.project,
        email=account.email,
        unique_id=account.unique_id,
        pair=pair,
        server_url=server_url,
        universe_domain=universe_domain,
    )
    return pair, text

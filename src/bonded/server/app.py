"""THE WIRING: the only place that names concrete classes. Reads as the table of contents."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server as HttpServer

from bonded.server import settings as configuration
from bonded.server.archives import Limits
from bonded.server.blobs.directory import DirectoryBlobStore
from bonded.server.blobs.objects import ObjectBlobStore, open_store
from bonded.server.blobs.store import BlobStore
from bonded.server.core.caches import ByteCache
from bonded.server.core.clock import Clock, system_clock
from bonded.server.core.errors import BondedError, Unavailable
from bonded.server.core.names import RepositoryName
from bonded.server.identity import keys
from bonded.server.identity.assertions import AssertionVerifier
from bonded.server.identity.authentication import Authenticator
from bonded.server.identity.documents import Documents
from bonded.server.identity.origins import AccountOrigins, Origins
from bonded.server.identity.policies import PolicyBook
from bonded.server.identity.private_files import write_private
from bonded.server.identity.sealing import load_sealer
from bonded.server.identity.signing import Schedule, SigningKeys
from bonded.server.identity.tokens import IdTokenIssuer, TokenIssuer
from bonded.server.identity.workloads import Issuers, Workloads, check_provider
from bonded.server.metadata.sql.store import SqlMetadataStore, open_postgresql, open_sqlite
from bonded.server.metadata.store import ServiceAccount
from bonded.server.operations.accounts import Accounts
from bonded.server.operations.administering import Administration
from bonded.server.operations.collecting import Collector
from bonded.server.operations.federating import Federation
from bonded.server.operations.founding import Founding
from bonded.server.operations.granting import Granting
from bonded.server.operations.publishing import Publisher
from bonded.server.operations.recording import Trail, ship_to
from bonded.server.pages.store import Pages
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.remotes import Remotes
from bonded.server.repositories.standard import StandardRepository
from bonded.server.settings import Settings, SettingsError
from bonded.server.upstream.addresses import refusal
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.clients import Clients
from bonded.server.upstream.secrets import Secrets
from bonded.server.web.access import Access
from bonded.server.web.addresses import Addresses
from bonded.server.web.application import Application, Patience
from bonded.server.web.audited import Audited
from bonded.server.web.files import FilesApi
from bonded.server.web.health import Health
from bonded.server.web.oauth.discovery import Discovery
from bonded.server.web.oauth.exchange import TokenExchange
from bonded.server.web.oauth.token import TokenEndpoint
from bonded.server.web.routes import route_table
from bonded.server.web.routing import RouteTable
from bonded.server.web.simple import SimpleApi
from bonded.server.web.uploads import UploadApi
from bonded.server.web.v1.accounts import AccountsApi
from bonded.server.web.v1.credentials import CredentialsApi
from bonded.server.web.v1.policies import PoliciesApi
from bonded.server.web.v1.pools import PoolsApi
from bonded.server.web.v1.projects import ProjectsApi
from bonded.server.web.v1.repositories import RepositoriesApi

ADMIN_KEY = "admin-key.json"
DATABASE = "bonded.sqlite3"
SECRETS = "secrets"
LOCK = "lock"
CONNECTIONS_WAITING_MAX = 1024
REQUESTS_AT_ONCE_MAX = 16_384
"""Beyond, connections wait; far above what clients that trickle can hold for a minute."""
STOP_MAX_S = 5
"""How long requests that are under way may take when the server is told to stop."""

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
    collector: Collector
    trail: Trail
    issuers: Documents
    remotes: Remotes
    lock: int
    """Descriptor of the lock on the data directory."""
    is_first_start: bool

    async def close(self) -> None:
        """Write down what happened last; let go of the database and of the data directory."""
        try:
            await self.remotes.close()
            await self.trail.flush()
        except Unavailable as error:
            _log.error("The end of the audit log is lost: %s", error)
        finally:
            await self.issuers.close()
            await self.metadata.close()
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
    schedule = Schedule(
        timedelta(seconds=settings.signing_key_period_s),
        token_life_max=timedelta(seconds=settings.token_life_max_s),
    )
    signing_keys = SigningKeys(metadata, sealer, clock, schedule)
    await signing_keys.refresh()
    tokens = TokenIssuer(signing_keys, clock, timedelta(seconds=settings.token_life_s))
    assertions = AssertionVerifier(metadata, clock, f"{settings.url}/token")
    of_accounts = AccountOrigins(metadata, clock)
    workload_issuers = Documents(refusal=None if settings.private_issuers else refusal)
    workloads = Workloads(metadata, Issuers(workload_issuers, clock), tokens, clock)
    origins = Origins(
        metadata,
        {
            "key": of_accounts.check_key,
            "account": of_accounts.check_account,
            "provider": workloads.check_provider,
        },
    )
    authenticator = Authenticator(tokens, assertions, origins, of_accounts, clock)
    access = Access(metadata.serials, authenticator, PolicyBook(metadata))
    trail = Trail(
        metadata,
        clock,
        ship_to(settings.audit_stream) if settings.audit_stream else None,
        has_downloads=settings.audit_downloads,
    )

    accounts = Accounts(
        metadata,
        clock,
        partial(_make_key, settings.url),
        timedelta(seconds=settings.key_life_max_s) if settings.key_life_max_s else None,
    )
    core_metadata = ByteCache(settings.core_metadata_cache_bytes)
    remotes = _remotes(settings, metadata, blobs, core_metadata, clock)
    administration = Administration(metadata, clock, remotes.probe)
    publisher = Publisher(
        metadata,
        blobs,
        clock,
        file_size_max_bytes=settings.file_size_max_bytes,
        archive_limits=Limits(unpacked_bytes_max=settings.unpacked_size_max_bytes),
    )
    is_first_start = await Founding(metadata, accounts, clock).found(
        RepositoryName.parse(
            settings.first_project, settings.default_location, settings.first_repository
        ),
        partial(write_private, settings.data_dir / ADMIN_KEY),
    )

    catalog = Catalog(
        metadata,
        lambda name: StandardRepository(name, metadata, blobs, core_metadata),
        remotes.make,
    )
    routes = route_table(
        health=Health(metadata, blobs),
        simple=SimpleApi(catalog, Pages(settings.page_cache_bytes)),
        files=FilesApi(catalog),
        uploads=UploadApi(catalog, publisher),
        tokens=TokenEndpoint(authenticator),
        discovery=Discovery(settings.url, signing_keys),
        exchange=TokenExchange(workloads),
        projects=ProjectsApi(administration),
        repositories=RepositoriesApi(
            administration, access, settings.default_location, urlsplit(settings.url).netloc
        ),
        policies=PoliciesApi(Granting(metadata)),
        accounts=AccountsApi(accounts),
        pools=PoolsApi(
            Federation(
                metadata,
                clock,
                partial(check_provider, is_private_allowed=settings.private_issuers),
            )
        ),
        credentials=CredentialsApi(
            accounts,
            tokens,
            IdTokenIssuer(signing_keys, clock, settings.url),
            timedelta(seconds=settings.token_life_max_s),
            clock,
        ),
    )
    audited = Audited(trail, _addresses(settings))
    patience = Patience(settings.body_wait_s, settings.body_grace_s, settings.body_rate_min_bytes_s)
    application = Application(routes, access, audited, settings.default_location, patience)
    collector = Collector(metadata, blobs, clock, timedelta(seconds=settings.orphan_grace_s))
    return Registry(
        application,
        routes,
        metadata,
        blobs,
        catalog,
        signing_keys,
        collector,
        trail,
        workload_issuers,
        remotes,
        lock,
        is_first_start,
    )


def _remotes(
    settings: Settings,
    metadata: SqlMetadataStore,
    blobs: BlobStore,
    core_metadata: ByteCache,
    clock: Clock,
) -> Remotes:
    kept_in = Path(settings.secrets_dir or settings.data_dir / SECRETS)
    bounds = Bounds(
        connect_timeout_s=settings.upstream_connect_timeout_s,
        page_timeout_s=settings.upstream_page_timeout_s,
        silence_timeout_s=settings.upstream_silence_timeout_s,
        page_size_max_bytes=settings.upstream_page_size_max_bytes,
        connections_max=settings.upstream_connections_max,
    )

    secrets = Secrets(kept_in, configuration.secret_variables())
    clients = Clients(secrets, clock, bounds, settings.public_index_url)
    return Remotes(
        *(metadata, blobs, core_metadata, clock, clients),
        file_size_max_bytes=settings.file_size_max_bytes,
        archive_limits=Limits(),
    )


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


def serve(options: Mapping[str, str], config: Path | None = None) -> None:
    """Run the registry until it is told to stop (SIGTERM, SIGINT).

    Raises:
        SystemExit: it cannot start; the message says why.
    """
    try:
        settings = configuration.load(options, config)
        # Metadata, private packages and keys: nobody else on this machine reads them.
        os.umask(0o077)
        _check_address(settings)
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        logging.getLogger("alembic").setLevel("WARNING")
        uvloop.run(_serve(settings))
    except (SettingsError, BondedError) as error:
        sys.exit(f"bonded: {error}")
    except OSError as error:
        sys.exit(f"bonded: cannot start: {error.strerror}: {error.filename}")


def _check_address(settings: Settings) -> None:
    # Granian binds with SO_REUSEPORT: two servers could share a port, and the kernel
    # would deal connections to both.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.listen}: {error.strerror}. Choose another with --listen."
        ) from error


async def _serve(settings: Settings) -> None:
    registry = await build(settings)
    # What is loaded now stays: the garbage collector need not look at it ever again.
    gc.freeze()
    _follow_public_url(settings)
    server = HttpServer(
        registry.application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=CONNECTIONS_WAITING_MAX,
        backpressure=REQUESTS_AT_ONCE_MAX,
        log_enabled=False,
    )
    sys.stdout.write(welcome(settings, is_first_start=registry.is_first_start))
    sys.stdout.flush()
    every = timedelta(seconds=settings.collect_every_s)
    background = [
        asyncio.create_task(registry.collector.run(every)),
        asyncio.create_task(registry.signing_keys.run()),
        asyncio.create_task(registry.trail.run()),
        asyncio.create_task(registry.remotes.run()),
    ]
    try:
        await _run(server)
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await registry.close()


async def _run(server: HttpServer) -> None:
    """Serve until told to stop; then give the requests under way some time, and go."""
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(server.serve())

    def stop() -> None:
        server.stop()  # type: ignore[no-untyped-call]
        # Granian waits for a stalled client for ever.
        loop.call_later(STOP_MAX_S, serving.cancel)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


def _follow_public_url(settings: Settings) -> None:
    """Point the administrator's key file at where this server now is, if it is still here."""
    path = settings.data_dir / ADMIN_KEY
    try:
        key = json.loads(path.read_text())
        token_uri = f"{settings.url}/token"
        if key["token_uri"] == token_uri:
            return
        key["token_uri"] = token_uri
    except (OSError, ValueError, KeyError, TypeError):
        return
    write_private(path, json.dumps(key, indent=2))
    _log.info("%s now points at %s", path, token_uri)


def welcome(settings: Settings, *, is_first_start: bool) -> str:
    """Return what a person reads when the server has started: where it is, and what to paste."""
    data_dir = settings.data_dir.resolve()
    url = f"{settings.url}/{settings.first_project}/{settings.first_repository}"
    index = f"{url.replace('://', '://oauth2accesstoken:$TOKEN@', 1)}/simple/"
    # In full, for the shell this is pasted into need not have the server's environment.
    bonded = Path(sys.executable).with_name("bonded")
    first = f"""
This was the first start. It made the project {settings.first_project} with the repository
{settings.first_repository}, and {data_dir / ADMIN_KEY},
the key of the account that owns the server.
"""
    return f"""\
Bonded is running at {settings.url}, data in {data_dir}.
{first if is_first_start else ""}
Publish and install from another shell:

  {bonded} auth activate-service-account --key-file={data_dir / ADMIN_KEY}
  export TOKEN="$({bonded} auth print-access-token)"

  export TWINE_USERNAME=oauth2accesstoken TWINE_PASSWORD="$TOKEN"
  twine upload --repository-url {url}/ dist/*

  export UV_PUBLISH_USERNAME=oauth2accesstoken UV_PUBLISH_PASSWORD="$TOKEN"
  uv publish --publish-url {url}/

  export PIP_INDEX_URL="{index}"
  pip install PACKAGE

Settings for each tool (pip, uv, poetry, pdm, twine):

  {bonded} artifacts print-settings python --repository={settings.first_repository} --tool=uv
"""

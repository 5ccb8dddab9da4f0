"""Runs the registry as a process: listens, says where it is, and ends soon when told to."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as HttpServer

from bonded.server import settings as configuration
from bonded.server.app import ADMIN_KEY, Registry, build
from bonded.server.core.clock import Clock, system_clock
from bonded.server.core.errors import BondedError, PrivateAddress, Unavailable
from bonded.server.core.names import RepositoryName
from bonded.server.identity.secret_files import write_secret
from bonded.server.operations.founding import EVERYTHING, PUBLIC
from bonded.server.repositories.trying import try_out
from bonded.server.settings import Settings, SettingsError

CONNECTIONS_WAITING_MAX = 1024
REQUESTS_AT_ONCE_MAX = 16_384
"""Beyond, connections wait; far above what clients that trickle can hold for a minute."""
CONNECTION_BUFFER_BYTES = 128 * 1024
"""Of what comes and what goes: no head of a request is longer, and slow clients take no more."""
STOP_MAX_S = 5
"""How long requests that are under way may take when the server is told to stop."""
_M_ARENA_MAX = -8
"""Of glibc's malloc.h, see mallopt(3)."""

OUT_OF_REACH = (
    "The repository %s cannot be used from this machine: %s. If this network has a mirror of the "
    "public index, start the server with BONDED_PUBLIC_INDEX_URL=https://MIRROR/simple/, and if "
    "the mirror keeps files on private hosts, with BONDED_UPSTREAM_PRIVATE_HOSTS=HOST[,HOST] too. "
    "See docs/how-to/remote-repositories.md."
)
AT_PRIVATE_ADDRESS = (
    "If %s belongs to this network, start the server with:\n\n  %s ./serve\n\nUntil then the "
    "repository %s cannot be used: %s. If the index keeps files on more private hosts, the server "
    "says so after that start. See docs/how-to/remote-repositories.md."
)

PROBE_AFTER_S = 3
"""When the server has started and the first clients have their answers."""

_log = logging.getLogger("bonded.server")


def serve(
    options: Mapping[str, str],
    config: Path | None = None,
    foreign: Collection[str] = (),
    clock: Clock = system_clock,
) -> None:
    """Run the registry until it is told to stop (SIGTERM, SIGINT).

    *foreign* are the `BONDED_…` variables that are not for the server, and so are no mistake here.

    Raises:
        SystemExit: it cannot start; the message says why.
    """
    try:
        settings = configuration.load(options, config)
        # Metadata, private packages and keys: nobody else on this machine reads them.
        os.umask(0o077)
        held = _take_address(settings)
        _share_arena()
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        logging.getLogger("alembic").setLevel("WARNING")
        for name, near in configuration.unknown_variables(foreign).items():
            guess = f"; did you mean {near}?" if near else ", and it changes nothing"
            _log.warning("There is no setting for the environment variable %s%s", name, guess)
        with held:
            uvloop.run(_serve(settings, held.getsockname()[0], clock))
    except (SettingsError, BondedError) as error:
        sys.exit(f"bonded: {error}")
    except FileExistsError as error:
        sys.exit(f"bonded: cannot start: {error.filename} is not a directory. Name another.")
    except OSError as error:
        sys.exit(f"bonded: cannot start: {error.strerror}: {error.filename}")


def _take_address(settings: Settings) -> socket.socket:
    """Return a socket that is bound, and no more, to the address which the host names.

    Raises:
        SettingsError: there is none, or somebody else listens on it.
    """
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        # `localhost` may be both: clients that know one alone know 127.0.0.1.
        family, *_, name = min(found, key=lambda one: one[0] != socket.AF_INET)
        # Granian binds with SO_REUSEPORT: two servers could share a port, and the kernel
        # would deal connections to both.
        socket.create_server(name, family=family).close()
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(name)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.listen}: {error.strerror}. Choose another with --listen."
        ) from error
    return held


def _share_arena() -> None:
    """Have all threads take memory from one place, before there are any.

    The C library gives each thread its own, and what a hundred downloads leave free in one
    is not used by another: measured, the server grows by twice as much.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such thing
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def _serve(settings: Settings, address: str, clock: Clock) -> None:
    registry = await build(settings, clock)
    # What is loaded now stays: the garbage collector need not look at it ever again.
    gc.freeze()
    _follow_public_url(settings)
    server = HttpServer(
        registry.application,
        address=address,
        port=settings.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=CONNECTIONS_WAITING_MAX,
        backpressure=REQUESTS_AT_ONCE_MAX,
        http1_settings=HTTP1Settings(max_buffer_size=CONNECTION_BUFFER_BYTES),
        log_enabled=False,
    )
    sys.stdout.write(welcome(settings, registry))
    sys.stdout.flush()
    every = timedelta(seconds=settings.collect_every_s)
    background = [
        asyncio.create_task(_try_public_index(settings, registry)),
        asyncio.create_task(registry.collector.run(every)),
        asyncio.create_task(registry.signing_keys.run()),
        asyncio.create_task(registry.uses.run()),
        asyncio.create_task(registry.trail.run()),
        asyncio.create_task(registry.retention.run(every)),
        asyncio.create_task(registry.remotes.run()),
    ]
    try:
        await _run(server)
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        with suppress(BondedError):
            await registry.uses.write()
        await registry.close()
    _leave()


async def _try_public_index(settings: Settings, registry: Registry) -> None:
    """Say if the public index cannot be used from here; nobody waits for it.

    On the first start, and on each with an index that the operator has named: what is wrong with
    its files shows only when its pages can be read.
    """
    is_new = registry.is_first_start or settings.public_index_url
    if not (is_new and settings.public_index_probe):
        return
    await asyncio.sleep(PROBE_AFTER_S)
    own = RepositoryName.parse(
        settings.first_project, settings.default_location, settings.first_repository
    )
    try:
        public = await registry.catalog.open(replace(own, repository=PUBLIC))
        if (obstacle := await try_out(public)) is not None:
            _log.warning(*out_of_reach(settings, obstacle))
    except BondedError as error:
        _log.warning("The public index was not looked at: %s", error)


def out_of_reach(settings: Settings, obstacle: Unavailable) -> tuple[str, *tuple[str, ...]]:
    """Return what is logged of a public index that cannot be used: a text, and what it says."""
    if not isinstance(obstacle, PrivateAddress) or not obstacle.host:
        return OUT_OF_REACH, PUBLIC, str(obstacle).rstrip(".")
    hosts = dict.fromkeys(settings.upstream_private_hosts.replace(",", " ").split())
    hosts[obstacle.host] = None
    index = settings.public_index_url or obstacle.index_url
    line = f"BONDED_PUBLIC_INDEX_URL={index} BONDED_UPSTREAM_PRIVATE_HOSTS={','.join(hosts)}"
    return AT_PRIVATE_ADDRESS, obstacle.host, line, PUBLIC, obstacle.message


def _leave() -> None:
    """End the process now, all being written.

    The interpreter would wait for every thread, and one may inspect a large sdist for
    minutes yet; what it finds nobody is there to be told.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


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
    write_secret(path, json.dumps(key, indent=2))
    _log.info("%s now points at %s", path, token_uri)


def welcome(settings: Settings, registry: Registry) -> str:
    """Return what a person reads when the server has started: where it is, and what to paste."""
    data_dir = settings.data_dir.resolve()
    project = f"{settings.url}/{settings.first_project}"
    url = f"{project}/{settings.first_repository}"
    install_url = f"{project}/{registry.installs_from}"
    index = f"{install_url.replace('://', '://oauth2accesstoken:$TOKEN@', 1)}/simple/"
    # In full, for the shell this is pasted into need not have the server's environment.
    bonded = Path(sys.executable).with_name("bonded")
    elsewhere = f"""
WARNING: it listens on every address of this machine, but the commands below and the key files that
it writes are good on this machine alone. If others are to use it, say how they reach it:
--public-url http://HOST:{settings.port}
"""
    first = f"""
This was the first start. It made the project {settings.first_project} with three repositories:
{settings.first_repository} for your own packages, {PUBLIC} for the public ones, and {EVERYTHING},
which shows both, and no public package in the place of one of yours. And it made
{data_dir / ADMIN_KEY}, the key of the account that owns the server.
"""
    return f"""\
Bonded is running at {settings.url}, data in {data_dir}.
{elsewhere if settings.is_address_unknown else ""}{first if registry.is_first_start else ""}
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

  {bonded} artifacts print-settings python --repository={registry.installs_from} --tool=uv
"""

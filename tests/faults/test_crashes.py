"""The process dies at any moment; nothing acknowledged is lost and nothing broken is listed."""

from __future__ import annotations

import random
import re
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


def test_an_upload_is_acknowledged_after_everything_it_needs_was_synced_in_order(
    server: Server,
) -> None:
    client = Loopback(server)
    assert client.upload(make_wheel("before", "1.0")).status == 200
    wheel = make_wheel("demo", "1.0")

    with tracing(server, "trace=rename,fsync,fdatasync,writev,sendto,write", "-y") as log:
        assert client.upload(wheel).status == 200

    blob = f"blobs/{wheel.sha256[:2]}"
    steps = [
        r"fsync\(\d+<[^>]*/staging/stage-[^>]*>",  # the bytes
        rf'rename\("[^"]*/staging/stage-[^"]*", "[^"]*/{blob}/{wheel.sha256}"',  # their name
        rf"fsync\(\d+<[^>]*/{blob}>",  # the name, kept
        # The row; until it is done, for the reply comes from another thread.
        r"fdatasync\(\d+<[^>]*-wal>(\)\s+= 0| <unf[^\0]*?fdatasync resumed>\)\s+= 0)",
        r"(writev|sendto|write)\(\d+<[^>]*(socket|TCP)[^\n]*HTTP/1\.1 200",  # the reply
    ]
    # A step that is missing, or comes before another, makes a power cut lose what a reply promised.
    order = [re.search(step, log.read_text()) for step in steps]
    assert all(order), (steps, log.read_text())
    ends = [found.end() for found in order if found]
    assert ends == sorted(ends), log.read_text()


@contextmanager
def killing_at(server: Server, call: str, number: int) -> Iterator[None]:
    """Make the kernel kill the server when a thread of it makes that call for the n-th time."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    with tracing(server, f"trace={call}", "-e", inject):
        yield


@contextmanager
def tracing(server: Server, expression: str, *options: str) -> Iterator[Path]:
    """Have strace follow the server's system calls; give its log, complete afterwards."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    assert server.process is not None
    log = server.log.with_suffix(".strace")
    command = ["strace", "-f", "-p", str(server.process.pid), "-e", expression, *options]
    with log.open("wb") as out:
        tracer = subprocess.Popen(command, stderr=out, stdout=out)
    try:
        wait_until(lambda: b"attached" in log.read_bytes() or tracer.poll() is not None, "strace")
        if tracer.poll() is not None:
            pytest.skip(f"strace may not attach: {log.read_text().strip()}")
        yield log
        tracer.terminate()
    finally:
        # It ends with the process. Asked to end while that dies, it waits for it for ever.
        with suppress(subprocess.TimeoutExpired):
            tracer.wait(TRACER_END_MAX_S)
        tracer.kill()
        tracer.wait()

"""Clients that vanish, dawdle or send very much; and a server that is told to stop under them."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.loopback import Loopback, wait_until
from support.server import Server, running_server
from support.site import encode, form_of
from support.wheels import Distribution, make_sdist, make_wheel

MIB = 1024 * 1024
LARGE_BYTES = 300 * MIB
GROWTH_MAX_BYTES = 80 * MIB
STOP_MAX_S = 8


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    with running_server(tmp_path / "data") as server:
        yield server


@pytest.mark.parametrize("sent", [0.0, 0.01, 0.5, 0.999])
def test_a_client_that_vanishes_during_its_upload_leaves_nothing(
    server: Server, sent: float
) -> None:
    client = Loopback(server)
    wheel = make_wheel("demo", "1.0", payload_bytes=5 * MIB)

    connection, _ = client.open_upload(wheel, sent)
    if sent >= 0.5:
        wait_until(lambda: client.staging() != [], "the upload is being staged")
    connection.close()

    wait_until(lambda: client.staging() == [], "the stage is left")
    assert client.listed() == {}
    assert client.upload(wheel).status == 200
    assert client.check() == {wheel.filename: wheel.sha256}


def test_a_connection_that_is_reset_during_an_upload_leaves_nothing(server: Server) -> None:
    client = Loopback(server)

    connection, _ = client.open_upload(make_wheel(payload_bytes=5 * MIB), 0.5)
    wait_until(lambda: client.staging() != [], "the upload is being staged")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()

    wait_until(lambda: client.staging() == [], "the stage is left")
    assert client.listed() == {}


def test_slow_clients_keep_nobody_waiting(server: Server) -> None:
    client = Loopback(server)
    slow = [make_wheel("slow", f"{n}.0", payload_bytes=3 * MIB) for n in range(20)]
    waiting = [client.open_upload(wheel, 0.5) for wheel in slow]
    quick = make_wheel("quick", "1.0")

    started = time.monotonic()
    assert client.upload(quick).status == 200
    assert client.check() == {quick.filename: quick.sha256}
    elapsed_s = time.monotonic() - started

    assert elapsed_s < 5
    for connection, rest in waiting:
        connection.sendall(rest)
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
        connection.close()
    assert len(client.check()) == 21


def test_a_client_that_falls_silent_is_told_and_let_go(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", environment={"BONDED_BODY_WAIT_S": "1"}) as server:
        client = Loopback(server)
        connection, _ = client.open_upload(make_wheel(payload_bytes=MIB), 0.5)

        with closing(connection):
            answer = connection.recv(4096).decode()

        assert answer.startswith("HTTP/1.1 408")
        assert "Nothing has come for 1 s" in answer
        wait_until(lambda: client.staging() == [], "the stage is left")


def test_a_client_that_trickles_is_told_and_let_go(tmp_path: Path) -> None:
    environment = {"BONDED_BODY_GRACE_S": "1", "BONDED_BODY_RATE_MIN_BYTES_S": "1000000"}
    with running_server(tmp_path / "data", environment=environment) as server:
        client = Loopback(server)
        connection, rest = client.open_upload(make_wheel(payload_bytes=MIB), 0.01)
        connection.settimeout(0.2)

        answer = b""
        with closing(connection):
            for start in range(0, 200, 10):
                with suppress(OSError):
                    connection.sendall(rest[start : start + 10])
                    answer = connection.recv(4096)
                if answer:
                    break

        assert answer.startswith(b"HTTP/1.1 408")
        assert b"comes at less than 1000000 bytes a second" in answer


def test_a_large_upload_and_its_download_take_constant_memory(
    server: Server, tmp_path: Path
) -> None:
    client = Loopback(server)
    assert client.upload(make_wheel("warm", "1.0", payload_bytes=3 * MIB)).status == 200
    large = write_large_wheel(tmp_path, LARGE_BYTES)
    before = client.memory_peak_bytes()

    uploaded = upload_file(client, large)

    assert uploaded == 200
    assert client.memory_peak_bytes() - before < GROWTH_MAX_BYTES
    assert download_digest(client, large) == hashlib.sha256(large.read_bytes()).hexdigest()
    assert client.memory_peak_bytes() - before < GROWTH_MAX_BYTES
    assert client.staging() == []


def test_a_range_is_not_read_on_for_a_client_that_has_gone(server: Server, tmp_path: Path) -> None:
    client = Loopback(server)
    large = write_large_wheel(tmp_path, 120 * MIB)
    assert upload_file(client, large) == 200
    head = (
        f"GET /my-project/python/large/{large.name} HTTP/1.1\r\nHost: x\r\n"
        f"Range: bytes=5-\r\nAuthorization: {client.credential}\r\n\r\n"
    )
    before = client.read_bytes()

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        received = 0
        while received < 3 * MIB:
            received += len(connection.recv(MIB))

    time.sleep(2)
    assert client.read_bytes() - before < 60 * MIB


def test_sigterm_ends_an_idle_server_at_once_and_cleanly(server: Server) -> None:
    client = Loopback(server)
    wheel = make_wheel()
    assert client.upload(wheel).status == 200

    started = time.monotonic()
    status = server.stop()

    assert (status, time.monotonic() - started < STOP_MAX_S) == (0, True)
    server.start()
    assert client.check() == {wheel.filename: wheel.sha256}


def test_sigterm_ends_a_server_during_an_upload_and_leaves_nothing(server: Server) -> None:
    client = Loopback(server)
    connection, _ = client.open_upload(make_wheel(payload_bytes=5 * MIB), 0.5)
    wait_until(lambda: client.staging() != [], "the upload is being staged")

    started = time.monotonic()
    with connection:
        status = server.stop()

    assert (status, time.monotonic() - started < STOP_MAX_S) == (0, True)
    server.start()
    assert client.staging() == []
    assert client.listed() == {}


def test_sigterm_ends_a_server_during_a_download(server: Server) -> None:
    client = Loopback(server)
    wheel = make_wheel(payload_bytes=30 * MIB)
    assert client.upload(wheel).status == 200
    head = (
        f"GET /my-project/python/demo/{wheel.filename} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {client.credential}\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        status = server.stop()

    assert (status, time.monotonic() - started < STOP_MAX_S) == (0, True)


def test_sigterm_ends_a_server_during_an_inspection(server: Server) -> None:
    client = Loopback(server)
    connection, rest = client.open_upload(make_slow_sdist(), 0.5)
    connection.sendall(rest)
    wait_until(lambda: client.staging() != [], "the upload is being inspected")

    started = time.monotonic()
    with connection:
        status = server.stop()

    assert (status, time.monotonic() - started < STOP_MAX_S) == (0, True)
    server.start()
    assert client.staging() == []
    assert client.listed() == {}


def make_slow_sdist() -> Distribution:
    """Return a small sdist that takes a long time to inspect: millions of pax records."""
    records = b"6 a=b\n" * (MIB // 6)
    padded = records + bytes(-len(records) % 512)
    info = tarfile.TarInfo("records")
    info.type, info.size = tarfile.XGLTYPE, len(records)
    part = info.tobuf(tarfile.USTAR_FORMAT) + padded
    end = gzip.decompress(make_sdist("demo", "1.0").data)
    return Distribution("demo-1.0.tar.gz", gzip.compress(part * 60 + end, 6), b"")


def write_large_wheel(directory: Path, size_bytes: int) -> Path:
    """Write a wheel that holds one stored member of that size, at constant memory."""
    frame = make_wheel("large", "1.0")
    path = frame.write_to(directory)
    noise = random.Random(0).randbytes(MIB)
    with zipfile.ZipFile(path, "a", allowZip64=True) as archive:
        member = zipfile.ZipInfo("large/data.bin", (1980, 1, 1, 0, 0, 0))
        member.file_size = size_bytes
        with archive.open(member, "w", force_zip64=size_bytes > 2**31) as data:
            for _ in range(size_bytes // MIB):
                data.write(noise)
    return path


def upload_file(client: Loopback, path: Path) -> int:
    """Upload a file without holding it, and return the status."""
    form, content_type = encode(
        form_of(Distribution(path.name, b"\0here\0", b""), sha256_digest=None)
    )
    before, after = form.split(b"\0here\0")

    def body() -> Iterator[bytes]:
        yield before
        with path.open("rb") as file:
            while chunk := file.read(MIB):
                yield chunk
        yield after

    headers = {
        "authorization": client.credential,
        "content-type": content_type,
        "content-length": str(len(before) + path.stat().st_size + len(after)),
    }
    return client.ask("POST", "/my-project/python/", body(), headers).status


def download_digest(client: Loopback, path: Path) -> str:
    """Download the file again and return its digest."""
    return hashlib.sha256(client.get(f"large/{path.name}").body).hexdigest()

"""What installers read through `all`: a closure of this machine's index, and a very large wheel."""

from __future__ import annotations

import hashlib
import json
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pypi_simple import PyPISimple

from clients.shelves import LOCATION, PROJECT, Shelf, sign_in
from support.loopback import Loopback
from support.server import Server, free_port, running_server
from support.tools import Desk, download, machine_index
from support.upstream import reset, running_index
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

ROOTS = ("requests==2.32.3",)
CLOSURE_PACKAGES = 150
FRESHNESS_S = 1
CLIENTS = 100
LARGE_BYTES = 100_000_000
CLIENT_MAX_S = 60
MEMORY_MAX_BYTES = CLIENTS * 3_000_000
"""For the buffers of each connection. Of the file itself there would be 10 GB."""
HASHING = 3
"""How many of the clients look at what they get; the others only count it."""


def _shorten_freshness(server: Server, token: str) -> None:
    """Have pages asked for again after a second, so that a warm cache must go upstream too."""
    resource = f"/v1/projects/{PROJECT}/locations/{LOCATION}/repositories/pypi"
    mask = "remoteRepositoryConfig.bonded"
    config = {"remoteRepositoryConfig": {"bonded": {"pageFreshness": f"{FRESHNESS_S}s"}}}
    request = urllib.request.Request(
        f"{server.url}{resource}?updateMask={mask}",
        json.dumps(config).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="PATCH",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def _lock_and_install(
    desk: Desk, index_url: str, name: str, roots: tuple[str, ...] = ROOTS
) -> tuple[str, list[str]]:
    """Return the lock and what is installed, with nothing cached at the client."""
    cache = str(desk.home / f"cache-{name}")
    lock = desk.home / f"{name}.txt"
    (desk.home / "roots.in").write_text("\n".join(roots))
    desk.uv(
        *("pip", "compile", "roots.in", "--generate-hashes", "--no-header", "--only-binary"),
        *(":all:", "--no-emit-index-url", "--default-index", index_url, "--output-file", lock),
        UV_CACHE_DIR=cache,
    )
    python = desk.make_environment(name)
    desk.uv(
        *("pip", "install", "--require-hashes", "--requirement", lock, "--no-build"),
        *("--default-index", index_url, "--python", python),
        UV_CACHE_DIR=cache,
    )
    installed = desk.uv("pip", "freeze", "--python", python).output
    return lock.read_text(), [line for line in installed.splitlines() if "==" in line]


def test_a_closure_is_the_same_cold_warm_and_with_its_index_unreachable(
    desk: Desk, tmp_path: Path
) -> None:
    download("one", "--no-deps", "idna==3.10")  # skips where there is no index
    data = tmp_path / "data"
    with PyPISimple(machine_index()) as index:
        # A machine's own mirror may be at addresses that are not public.
        hosts = {urlsplit(one.url).hostname for one in index.get_project_page("idna").packages}
    reachable = {
        "BONDED_PUBLIC_INDEX_URL": machine_index(),
        "BONDED_UPSTREAM_PRIVATE_HOSTS": ",".join(host for host in hosts if host),
    }
    with running_server(data, environment=reachable) as server:
        token = sign_in(server)
        _shorten_freshness(server, token)
        index_url = Shelf(server, "all", token).index_url
        cold = _lock_and_install(desk, index_url, "cold")
        warm = _lock_and_install(desk, index_url, "warm")
    time.sleep(FRESHNESS_S + 0.1)
    nowhere = {"BONDED_PUBLIC_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple/"}
    with running_server(data, environment=nowhere) as server:
        shelf = Shelf(server, "all", sign_in(server))
        offline = _lock_and_install(desk, shelf.index_url, "offline")
        door = Loopback(server)
        page = f"/{PROJECT}/all/simple/django/"
        never_seen = door.ask("GET", page, headers={"authorization": door.credential})

    assert len(cold[1]) > len(ROOTS)
    assert warm == cold
    assert offline == cold
    assert never_seen.status == 502, never_seen.text


def test_a_closure_of_150_packages_is_the_same_cold_warm_and_with_its_index_gone(
    desk: Desk, tmp_path: Path
) -> None:
    with running_index() as index:
        for number in range(CLOSURE_PACKAGES):
            # A tree: each needs two others, of which there is a newer version that it excludes.
            below = (2 * number + 1, 2 * number + 2)
            needs = [f"part-{one}<2" for one in below if one < CLOSURE_PACKAGES]
            index.publish(make_wheel(f"part-{number}", "1.0", requires_dist=needs))
            index.publish(make_wheel(f"part-{number}", "2.0"))
        environment = {"BONDED_PUBLIC_INDEX_URL": index.url}
        with running_server(tmp_path / "data", environment=environment) as server:
            token = sign_in(server)
            _shorten_freshness(server, token)
            url = Shelf(server, "all", token).index_url
            cold = _lock_and_install(desk, url, "cold", ("part-0<2",))
            files = index.paths("/files/")
            time.sleep(FRESHNESS_S)
            warm = _lock_and_install(desk, url, "warm", ("part-0<2",))
            fetched_once = index.paths("/files/") == files
            index.faults["/"] = reset
            time.sleep(FRESHNESS_S)
            offline = _lock_and_install(desk, url, "offline", ("part-0<2",))

    assert set(cold[1]) == {f"part-{number}==1.0" for number in range(CLOSURE_PACKAGES)}
    assert warm == cold
    assert offline == cold
    assert fetched_once


def _receive(server: Server, token: str, filename: str, *, is_hashing: bool) -> str:
    """Fetch the large wheel through `all`; return its digest, or from one that counts its size."""
    request = (
        f"GET /{PROJECT}/all/large/{filename} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    digest, size, buffer = hashlib.sha256(), 0, bytearray(1 << 20)
    # Linux drops what is received with this flag: a hundred clients need not copy ten gigabytes.
    flags = 0 if is_hashing else socket.MSG_TRUNC
    with socket.create_connection(("127.0.0.1", server.port), timeout=CLIENT_MAX_S) as connection:
        connection.sendall(request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 200"), head
        while received := connection.recv_into(buffer, len(buffer), flags):
            size += received
            if is_hashing:
                digest.update(memoryview(buffer)[:received])
    return digest.hexdigest() if is_hashing else str(size)


def test_a_hundred_clients_of_a_cold_wheel_of_100_mb_cost_one_fetch_and_flat_memory(
    tmp_path: Path,
) -> None:
    large = make_wheel("large", "1.0", payload_bytes=LARGE_BYTES)
    with running_index() as index:
        index.publish(large)
        environment = {"BONDED_PUBLIC_INDEX_URL": index.url}
        with running_server(tmp_path / "data", environment=environment) as server:
            door, token = Loopback(server), sign_in(server)
            before = door.memory_peak_bytes()
            with ThreadPoolExecutor(CLIENTS) as clients:
                hashing = [number < HASHING for number in range(CLIENTS)]
                ask = partial(_receive, server, token, large.filename)
                asked = [clients.submit(ask, is_hashing=each) for each in hashing]
                received = [each.result() for each in asked]
            grown = door.memory_peak_bytes() - before

    counted = [str(len(large.data))] * (CLIENTS - HASHING)
    assert received == [large.sha256] * HASHING + counted
    assert len(index.paths("/files/")) == 1
    assert grown < MEMORY_MAX_BYTES, grown

"""Remote repositories of real indexes, used by real installers, before and after those are gone."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pypi_simple import PyPISimple

from clients.shelves import LOCATION, PROJECT, Shelf, sign_in
from support.loopback import Loopback, wait_until
from support.server import Server, free_port, running_server
from support.tools import Desk, download, machine_index, tool
from support.upstream import Response, running_index, say
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

BASE = make_wheel("base", "1.0")
TOP = make_wheel("top", "2.0", requires_dist=["base>=1"])
CLIENTS = 100
MEMORY_MAX_BYTES = CLIENTS * 800_000
"""For what is queued for each client; however large the file is."""
BIG = make_wheel("big", "1.0", payload_bytes=8_000_000)
_numbers = count(1)

MakeRemote = Callable[..., Shelf]


@pytest.fixture(name="make_remote")
def _make_remote(make_repository: Callable[[], Shelf]) -> MakeRemote:
    """Make remote repositories over REST on the server of all clients."""

    def make(uri: str, **config: object) -> Shelf:
        shelf = make_repository()
        return make_remote_on(shelf.server, shelf.token, uri, **config)

    return make


def make_remote_on(server: Server, token: str, uri: str, **config: object) -> Shelf:
    """Make a remote repository over REST."""
    name = f"remote-{next(_numbers)}"
    body = {
        "format": "PYTHON",
        "mode": "REMOTE_REPOSITORY",
        "remoteRepositoryConfig": {
            "commonRepository": {"uri": uri},
            "disableUpstreamValidation": True,
            "bonded": {"allowPrivateAddresses": True, **config},
        },
    }
    parent = f"/v1/projects/{PROJECT}/locations/{LOCATION}/repositories"
    request = urllib.request.Request(
        f"{server.url}{parent}?repositoryId={name}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    return Shelf(server, name, token)


@contextmanager
def _serving(command: Sequence[object], url: str) -> Iterator[str]:
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _answers(url), url)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _pypiserver(directory: Path) -> Iterator[str]:
    for wheel in (BASE, TOP):
        wheel.write_to(directory)
    port = str(free_port())
    options = ["run", "-i", "127.0.0.1", "-p", port, "--disable-fallback", directory]
    command = [tool("pypiserver", "pypi-server"), *options]
    with _serving(command, f"http://127.0.0.1:{port}/simple/") as url:
        yield url


@contextmanager
def _simple_repository_server(directory: Path) -> Iterator[str]:
    for wheel in (BASE, TOP):
        place = directory / wheel.filename.partition("-")[0]
        place.mkdir()
        wheel.write_to(place)
    port = str(free_port())
    command = [tool("simple-repository-server"), "--port", port, directory]
    with _serving(command, f"http://127.0.0.1:{port}/simple/") as url:
        yield url


@pytest.mark.parametrize("upstream", [_pypiserver, _simple_repository_server])
def test_what_an_index_has_is_installed_through_us_and_after_it_is_gone(
    desk: Desk,
    make_remote: MakeRemote,
    tmp_path: Path,
    upstream: Callable[[Path], Any],
) -> None:
    directory = tmp_path / "packages"
    directory.mkdir()
    with upstream(directory) as url:
        shelf = make_remote(url, pageFreshness="1s")
        python = desk.make_environment("cold")
        desk.uv("pip", "install", "--python", python, "--index-url", shelf.index_url, "top")
    # The upstream is dead, and every page is older than it should be.
    time.sleep(1.1)

    again = desk.make_environment("offline")
    desk.pip(again, "install", "--no-cache-dir", "--index-url", shelf.index_url, "top")
    cached = desk.home / "uv-cache"
    fresh = desk.make_environment("offline-uv")
    desk.uv(
        *("pip", "install", "--python", fresh, "--index-url", shelf.index_url, "top"),
        UV_CACHE_DIR=f"{cached}-2",
    )

    assert shelf.list_files("top") == {TOP.filename: TOP.sha256}


def test_another_bonded_is_an_upstream(desk: Desk, shelf: Shelf, make_remote: MakeRemote) -> None:
    directory = desk.home / "files"
    directory.mkdir()
    paths = [wheel.write_to(directory) for wheel in (BASE, TOP)]
    desk.uv("publish", "--publish-url", shelf.upload_url, *paths, UV_PUBLISH_TOKEN=shelf.token)
    policy = {
        "policy": {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]}
    }
    resource = f"/v1/projects/{PROJECT}/locations/{LOCATION}/repositories/{shelf.name}"
    request = urllib.request.Request(
        f"{shelf.server.url}{resource}:setIamPolicy",
        json.dumps(policy).encode(),
        {"Authorization": f"Bearer {shelf.token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    remote = make_remote(shelf.public_index_url)

    python = desk.make_environment("empty")
    desk.uv("pip", "install", "--python", python, "--index-url", remote.index_url, "top")

    assert remote.list_files("top") == shelf.list_files("top")


def test_this_machines_index_is_cached_as_it_is(desk: Desk, tmp_path: Path) -> None:
    download("one", "--no-deps", "idna==3.10")  # skips where there is no index
    with PyPISimple(machine_index()) as index:
        theirs = {one.filename: one for one in index.get_project_page("idna").packages}
    files = [one.url for one in theirs.values()]
    # A machine's own mirror may be at addresses that are not public.
    hosts = {urlsplit(url).hostname or "" for url in (*files, machine_index())}
    environment = {
        "BONDED_PUBLIC_INDEX_URL": machine_index(),
        "BONDED_UPSTREAM_PRIVATE_HOSTS": ",".join(hosts),
    }
    (desk.home / "roots.in").write_text("idna==3.10\n")
    with running_server(tmp_path / "data", environment=environment) as server:
        shelf = make_remote_on(server, sign_in(server), machine_index())
        desk.uv(
            *("pip", "compile", "roots.in", "--generate-hashes", "--no-emit-index-url", "-q"),
            *("--default-index", shelf.index_url, "--output-file", "lock.txt"),
        )
        python = desk.make_environment("empty")
        locked = ("--require-hashes", "-r", desk.home / "lock.txt")
        desk.pip(python, "install", "--index-url", shelf.index_url, *locked)
        ours = shelf.list_files("idna")

    # Eggs and the like, which no installer takes any more, may be left out.
    for filename, digest in ours.items():
        assert theirs[filename].digests["sha256"] == digest
    assert {name for name in theirs if name.endswith((".whl", ".tar.gz"))} <= set(ours)


@pytest.mark.parametrize("mode", ["standard", "remote"])
def test_a_hundred_clients_that_do_not_read_on_take_little_memory(
    mode: str, tmp_path: Path
) -> None:
    with running_index() as index, running_server(tmp_path / "data") as server:
        index.publish(BIG)
        door, token = Loopback(server), sign_in(server)
        if mode == "remote":
            shelf = make_remote_on(server, token, index.url)
        else:
            shelf = Shelf(server, "python", token)
            assert door.upload(BIG).status == 200
        before = door.memory_peak_bytes()

        connections = [_ask_for_big(shelf) for _ in range(CLIENTS)]
        # All of them have as much under way as the server has ready for somebody who is slow.
        for connection in connections:
            assert connection.recv(12) == b"HTTP/1.1 200"
        time.sleep(1)
        with ThreadPoolExecutor(CLIENTS) as clients:
            digests = list(clients.map(_digest_of_rest, connections))
        grown = door.memory_peak_bytes() - before

    assert digests == [BIG.sha256] * CLIENTS
    assert len(index.paths("/files/")) == (1 if mode == "remote" else 0)
    assert grown < MEMORY_MAX_BYTES, grown


def _ask_for_big(shelf: Shelf) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", shelf.server.port), timeout=60)
    connection.sendall(
        f"GET /{PROJECT}/{shelf.name}/big/{BIG.filename} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {shelf.token}\r\nConnection: close\r\n\r\n".encode()
    )
    return connection


def _digest_of_rest(connection: socket.socket) -> str:
    digest = hashlib.sha256()
    with connection, connection.makefile("rb") as answer:
        while answer.readline().strip():
            pass
        while chunk := answer.read(1 << 18):
            digest.update(chunk)
    return digest.hexdigest()


def test_a_client_of_a_large_wheel_that_came_wrong_is_cut_off(make_remote: MakeRemote) -> None:
    with running_index() as index:
        index.publish(BIG)
        wrong = bytearray(BIG.data)
        wrong[100] ^= 1
        index.faults["/files/"] = say(Response(200, bytes(wrong)))
        shelf = make_remote(index.url)
        connection = HTTPConnection("127.0.0.1", shelf.server.port, timeout=60)
        connection.request(
            "GET",
            f"/{PROJECT}/{shelf.name}/big/{BIG.filename}",
            headers={"Authorization": f"Bearer {shelf.token}"},
        )
        response = connection.getresponse()
        received = 0
        try:
            while chunk := response.read(65536):
                received += len(chunk)
        except (OSError, ValueError):
            pass
        connection.close()

    assert response.getheader("content-length") == str(len(BIG.data))
    assert received < len(BIG.data)

"""What an upstream does to a whole server: to its memory, and to its first start."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.command_line import command_line
from support.loopback import Loopback, wait_until
from support.server import Server, running_server
from support.site import JSON
from support.upstream import Index, Request, Response, running_index, say
from support.wheels import make_wheel

PAGES = 6
ENTRIES = 1000
ENTRY_SIZE_BYTES = 12_000
"""Of which all but some hundred bytes mean nothing: what stays of a page is small."""
PAGE_SIZE_BYTES = ENTRIES * ENTRY_SIZE_BYTES
PIP = make_wheel("pip", "26.0")


def large_page(name: str) -> bytes:
    files = [
        {
            "filename": f"{name}-{number}.tar.gz",
            "url": f"../../files/{name}-{number}.tar.gz",
            "hashes": {"sha256": f"{number:064x}"},
            "_more": "x" * (ENTRY_SIZE_BYTES - 200),
        }
        for number in range(ENTRIES)
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()


async def send_large(request: Request, writer: asyncio.StreamWriter) -> None:
    body = large_page(request.path.strip("/").rpartition("/")[2])
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@contextmanager
def server_behind(index: Index, data_dir: Path, **environment: str) -> Iterator[Server]:
    """Run a server for which *index* is the public one."""
    changed = {"BONDED_PUBLIC_INDEX_URL": index.url, **environment}
    with running_server(data_dir, environment=changed) as server:
        yield server


def test_large_pages_of_many_names_at_once_take_the_memory_of_few(tmp_path: Path) -> None:
    with (
        running_index() as index,
        server_behind(index, tmp_path / "data", BONDED_UPSTREAM_LARGE_PAGES_MAX="1") as server,
    ):
        index.faults["/simple/"] = send_large
        door = Loopback(server)

        def files_of(name: str) -> int:
            headers = {"authorization": door.credential, "accept": JSON}
            answer = door.ask("GET", f"/my-project/pypi/simple/{name}/", headers=headers)
            return len(answer.json()["files"])

        assert files_of("first") == ENTRIES
        before = door.memory_peak_bytes()

        with ThreadPoolExecutor(PAGES) as clients:
            found = list(clients.map(files_of, [f"p{number}" for number in range(PAGES)]))
        grown = door.memory_peak_bytes() - before

    assert found == [ENTRIES] * PAGES
    assert grown < PAGES / 2 * PAGE_SIZE_BYTES, grown


def test_a_first_start_says_at_once_what_of_the_public_index_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_index() as index, running_index() as files:
        index.publish(PIP)
        # Another origin, at an address that nobody has allowed for files.
        elsewhere = f"http://127.0.0.1:{urlsplit(files.url).port}/{PIP.filename}"
        index.changes[PIP.filename] = {"url": elsewhere}
        probing = {
            "BONDED_PUBLIC_INDEX_PROBE": "on",
            "BONDED_UPSTREAM_PRIVATE_HOSTS": "",
        }
        with server_behind(index, tmp_path / "data", **probing) as server:
            is_ready_first = not index.asked
            wait_until(
                lambda: "Until then the repository pypi cannot" in server.log.read_text(), "a word"
            )
            said = server.log.read_text()
            bonded = command_line(server, tmp_path / "config", monkeypatch, capsys)
            made = bonded(
                *("artifacts", "repositories", "create", "far", "--location=local"),
                *("--repository-format=python", "--mode=remote-repository"),
                *(f"--remote-python-repo={elsewhere}/simple/", "--disable-remote-validation"),
            )
            ill = bonded("doctor", "--format=json")
            spared = bonded("doctor", "--skip-upstreams")
        probing["BONDED_UPSTREAM_PRIVATE_HOSTS"] = "files.example"
        with server_behind(index, tmp_path / "data", **probing) as server:
            wait_until(lambda: "files.example,127" in server.log.read_text(), "another word")
            again = server.log.read_text()

    assert is_ready_first
    line = f"BONDED_PUBLIC_INDEX_URL={index.url} BONDED_UPSTREAM_PRIVATE_HOSTS={{}} ./serve"
    assert f"\n  {line.format('127.0.0.1')}\n" in said
    assert f"\n  {line.format('files.example,127.0.0.1')}\n" in again
    assert "which is not contacted: 127.0.0.1" in said
    assert made.status == 0, made.err
    far, finding = sorted(json.loads(ill.out), key=lambda one: one["resource"])
    assert far["advice"].startswith("Look whether the upstream that far names is up")
    assert "BONDED_PUBLIC_INDEX_URL" not in far["what"] + far["advice"]
    assert "set BONDED_PUBLIC_INDEX_URL for the server" in finding["advice"]
    assert (finding["finding"], finding["resource"].rpartition("/")[2]) == ("UPSTREAM", "pypi")
    assert "which is not contacted" in finding["what"]
    assert (ill.status, spared.status, spared.out) == (1, 0, "")


REFUSALS = {
    "refused": (401, "The upstream refuses the credentials that refused names: the secret"),
    "forbidden": (403, "The upstream refuses the credentials that forbidden names: the secret"),
    "throttled": (429, "The upstream of throttled says that it is asked too often."),
    "unknown": (401, "The upstream wants credentials, and unknown names none:"),
}


def test_the_doctor_says_whose_credentials_an_upstream_refuses_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"BONDED_UPSTREAM_PRIVATE_HOSTS": "127.0.0.1", "BONDED_SECRET_MY_PROJECT_KEY": "s3"}
    with running_index() as index, server_behind(index, tmp_path / "data", **changed) as server:
        index.publish(PIP)
        bonded = command_line(server, tmp_path / "config", monkeypatch, capsys)
        for name in ("well", *REFUSALS):
            index.faults[f"/{name}/"] = say(Response(REFUSALS.get(name, (404, ""))[0]))
            url = index.url if name == "well" else index.url.replace("/simple/", f"/{name}/simple/")
            secret = () if name == "unknown" else ("--remote-password-secret-version=env:KEY",)
            made = bonded(
                *("artifacts", "repositories", "create", name, "--repository-format=python"),
                *("--mode=remote-repository", f"--remote-python-repo={url}", "--quiet"),
                *("--remote-allow-private-addresses", "--disable-remote-validation", *secret),
            )
            assert made.status == 0, made.err
        index.asked.clear()

        found = json.loads(bonded("doctor", "--format=json").out)
        again = json.loads(bonded("doctor", "--format=json").out)

    ill = {one["resource"].rpartition("/")[2]: one for one in found}
    assert set(ill) == set(REFUSALS)
    assert [one["resource"] for one in again] == [one["resource"] for one in found]
    for name, (status, advice) in REFUSALS.items():
        assert f"with status {status}" in ill[name]["what"]
        assert ill[name]["advice"].startswith(advice)
    assert "env:KEY" in ill["refused"]["advice"]
    assert "repositories update refused --remote-password" in ill["refused"]["advice"]
    # The public index is asked for pip; what is behind credentials is not, and keeps nothing.
    assert index.paths("/simple/pip/") == ["/simple/pip/"]
    with closing(sqlite3.connect(tmp_path / "data" / "bonded.sqlite3")) as database:
        kept = database.execute(
            "SELECT repositories.repository, normalized FROM cached_pages JOIN repositories "
            "ON repositories.key = cached_pages.repository"
        ).fetchall()
    assert kept == [("pypi", "pip")]


def test_the_doctor_skips_what_its_caller_may_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_index() as index, server_behind(index, tmp_path / "data") as server:
        bonded = command_line(server, tmp_path / "config", monkeypatch, capsys)
        role = "--permissions=resourcemanager.projects.list,artifactregistry.repositories.list"
        key = tmp_path / "auditor.json"
        email = "auditor@my-project.iam.gserviceaccount.com"
        grant = (f"--member=serviceAccount:{email}", "--role=organizations/bonded/roles/lister")
        for line in (
            ("iam", "service-accounts", "create", "auditor"),
            ("iam", "service-accounts", "keys", "create", str(key), f"--iam-account={email}"),
            ("iam", "roles", "create", "lister", "--organization=bonded", role),
            ("organizations", "add-iam-policy-binding", "bonded", *grant),
            ("auth", "activate-service-account", f"--key-file={key}"),
        ):
            done = bonded(*line, "--quiet")
            assert done.status == 0, done.err
        index.asked.clear()

        said = bonded("doctor", f"--account={email}")

    pypi = "projects/my-project/locations/local/repositories/pypi"
    assert f"Skipped {pypi}: the account may not see it." in said.err
    assert "UPSTREAM" not in said.out
    assert index.asked == []

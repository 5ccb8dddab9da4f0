"""Lock files that real tools have written, moved to another address and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.shelves import Shelf
from clients.test_prefetching_locks import BASE, NEWER, SDIST, make_pylock, make_uv_lock
from clients.test_remotes import make_remote_on
from support.tools import Desk, Result
from support.upstream import Index, running_index
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

TOP = make_wheel("top", "1.0", requires_dist=["base<2", "Accel"])
LOCAL = make_wheel("Accel", "1.0+cpu.1")
OURS = make_wheel("acme", "1.0")


@dataclass
class Bench:
    """A desk with a remote repository of an index, and a virtual one over it and our own."""

    desk: Desk
    index: Index
    remote: Shelf
    team: Shelf

    def map(self, shelf: Shelf, lock: str, *arguments: str, fails: bool = False) -> Result:
        line = ("artifacts", "repositories", "map", shelf.name, "--location=local", "-r", lock)
        return self.bonded(*line, *arguments, fails=fails)

    def bonded(self, *arguments: str, fails: bool = False) -> Result:
        return self.desk.run(sys.executable, "-m", "bonded", *arguments, fails=fails)

    def files_asked(self) -> set[tuple[str, str]]:
        """Return which files the index was asked for, and by whom."""
        return {
            (one.path.rpartition("/")[2], one.headers["user-agent"].partition("/")[0])
            for one in self.index.asked
            if one.path.startswith("/files/") and not one.path.endswith(".metadata")
        }


@pytest.fixture(name="bench")
def _bench(desk: Desk, make_repository: Callable[[], Shelf]) -> Iterator[Bench]:
    own = make_repository()
    key = own.server.data_dir / "admin-key.json"
    with running_index() as index:
        index.publish(BASE, NEWER, TOP, LOCAL, SDIST)
        remote = make_remote_on(own.server, own.token, index.url)
        team = Shelf(own.server, f"over-{remote.name}", own.token)
        bench = Bench(desk, index, remote, team)
        bench.bonded("auth", "activate-service-account", f"--key-file={key}")
        policies = [
            {"id": shelf.name, "repository": shelf.name, "priority": rank}
            for rank, shelf in enumerate((remote, own))
        ]
        (desk.home / "policies.json").write_text(json.dumps(policies))
        bench.bonded(
            *("artifacts", "repositories", "create", team.name, "--location=local", "--quiet"),
            *("--repository-format=python", "--mode=virtual-repository"),
            "--upstream-policy-file=policies.json",
        )
        (desk.home / OURS.filename).write_bytes(OURS.data)
        desk.uv("publish", "--publish-url", own.upload_url, OURS.filename, *as_owner(own))
        yield bench


def as_owner(shelf: Shelf) -> tuple[str, ...]:
    return ("--username", "oauth2accesstoken", "--password", shelf.token)


@pytest.mark.parametrize("make_lock", [make_uv_lock, make_pylock])
def test_a_lock_of_an_index_installs_from_the_repository_and_goes_back_to_the_byte(
    bench: Bench, make_lock: Callable[[Desk, str], str]
) -> None:
    lock = make_lock(bench.desk, bench.index.url)
    path = bench.desk.home / lock
    before = path.read_bytes()
    bench.index.asked.clear()

    said = bench.map(bench.remote, lock)
    mapped = path.read_text()
    nothing = bench.files_asked()
    python = install(bench, lock)
    bench.map(bench.remote, lock, "--to=upstream")

    assert f"4 URLs of [{lock}] are the repository's now." in said.output
    assert f"127.0.0.1:{bench.index.port}" not in mapped
    assert f"{bench.remote.upload_url}accel/accel-1.0%2Bcpu.1-py3-none-any.whl" in mapped
    assert nothing == set()
    assert bench.files_asked() == {(one.filename, "bonded") for one in (BASE, TOP, LOCAL)}
    assert "accel==1.0+cpu.1" in bench.desk.uv("pip", "freeze", "--python", python).output
    assert path.read_bytes() == before


def install(bench: Bench, lock: str) -> Path:
    """Have uv install what the lock names, and nothing that it finds elsewhere."""
    desk, index_url = bench.desk, bench.remote.index_url
    if lock == "uv.lock":
        desk.uv("sync", "--locked", "--no-install-project", "--default-index", index_url)
        return desk.home / ".venv" / "bin" / "python"
    python = desk.make_environment("of-pylock")
    desk.uv("pip", "sync", lock, "--python", python, "--default-index", index_url)
    return python


def test_what_only_we_have_stays_where_it_is(bench: Bench) -> None:
    project = bench.desk.home / "pyproject.toml"
    make_uv_lock(bench.desk, bench.team.index_url)
    project.write_text(project.read_text().replace('["top"]', '["top", "acme"]'))
    bench.desk.uv("lock", "--default-index", bench.team.index_url)
    path = bench.desk.home / "uv.lock"
    before = path.read_bytes()

    said = bench.map(bench.team, "uv.lock", "--to=upstream")
    mapped = path.read_text()
    again = bench.map(bench.team, "uv.lock", f"--index={bench.index.url}")

    assert "4 URLs of [uv.lock] are the upstream's now. 1 of your own packages stay." in said.output
    assert mapped.count(f'registry = "{bench.index.url}"') == 3
    assert mapped.count(f"{bench.team.upload_url}acme/{OURS.filename}") == 1
    assert "4 URLs" in again.output
    assert path.read_bytes() == before


def test_what_is_not_where_the_lock_has_it_leaves_the_lock_as_it_is(bench: Bench) -> None:
    lock = make_uv_lock(bench.desk, bench.index.url)
    path = bench.desk.home / lock
    before = path.read_bytes()
    del bench.index.published["base"][BASE.filename]

    missing = bench.map(bench.remote, lock, fails=True)
    other = bench.map(bench.remote, lock, "--to=upstream", fails=True)
    unnamed = bench.map(bench.remote, lock, "--index=https://index.example/simple", fails=True)
    registry = f'registry = "{bench.index.url}"'
    two = before.decode().replace(registry, 'registry = "https://index.example/simple"', 1)
    assert two != before.decode()
    path.write_text(two)
    several = bench.map(bench.remote, lock, fails=True)

    assert "Nothing is written. These are not where" in missing.output
    assert f"/files/{BASE.filename}" in missing.output
    assert f"uv.lock names no file of {bench.remote.upload_url}." in other.output
    assert "uv.lock names no file of https://index.example/simple" in unnamed.output
    assert "names several indexes: http://127" in several.output
    assert path.read_text() == two

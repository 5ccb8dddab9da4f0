"""What a request costs does not grow with the versions that a package has.

Counted in instructions of SQLite's virtual machine, which no busy machine makes more of.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bonded.server.core.digests import Sha256
from bonded.server.core.files import File
from bonded.server.core.names import PackageName, RepositoryName
from support.site import Site, open_site
from support.wheels import make_wheel

TEAM = RepositoryName("my-project", "local", "python")
FEW, MANY = 10, 1000
UPLOADS = 5


@pytest.fixture(name="instructions")
def _instructions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Return how many instructions all connections that are opened from now on have executed."""
    executed = 0

    def count() -> int:
        nonlocal executed
        executed += 1
        return 0  # anything else would interrupt the statement

    connect = sqlite3.connect

    def connect_and_count(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_progress_handler(count, 1)
        return connection

    for module in (sqlite3, sqlite3.dbapi2):
        monkeypatch.setattr(module, "connect", connect_and_count)
    yield lambda: executed
    assert executed


async def test_an_upload_costs_as_much_at_a_thousand_versions_as_at_ten(
    tmp_path: Path, instructions: Callable[[], int]
) -> None:
    async with open_site(tmp_path / "data") as site:
        costs = {}
        for name, versions in (("few", FEW), ("many", MANY)):
            await _fill(site, name, versions)
            costs[name] = [
                await _cost(instructions, partial(site.upload, make_wheel(name, f"0.{number}")))
                for number in range(UPLOADS)
            ]

    # The first finds nothing kept; of the others one may take a step of a B-tree more.
    assert min(costs["few"]) > 100
    assert min(costs["many"]) <= min(costs["few"]) * 1.05, costs


@pytest.mark.parametrize(
    ("what", "accept"),
    [
        ("simple/{name}/", "application/vnd.pypi.simple.v1+json"),
        ("simple/{name}/", "text/html"),
        ("{name}/{name}-1.0-py3-none-any.whl", "*/*"),
        ("{name}/{name}-1.0-py3-none-any.whl.metadata", "*/*"),
    ],
)
async def test_what_was_asked_for_before_costs_as_much_at_a_thousand_versions_as_at_ten(
    tmp_path: Path, instructions: Callable[[], int], what: str, accept: str
) -> None:
    async with open_site(tmp_path / "data") as site:
        costs = {}
        for name, versions in (("few", FEW), ("many", MANY)):
            assert (await site.upload(make_wheel(name, "1.0"))).status_code == 200
            await _fill(site, name, versions)
            ask = partial(site.get, f"{site.repository}/{what.format(name=name)}", accept=accept)
            assert (await ask()).status_code == 200
            costs[name] = await _cost(instructions, ask)

    assert costs["many"] == costs["few"]


async def _cost(instructions: Callable[[], int], ask: Callable[[], Any]) -> int:
    before = instructions()
    answer = await ask()
    assert answer.status_code == 200, answer.text
    return instructions() - before


async def _fill(site: Site, name: str, versions: int) -> None:
    """Add versions to a package, without the bytes of their files."""
    package = PackageName.parse(name)
    async with site.registry.metadata.transaction() as tx:
        for version in range(2, versions + 1):
            filename = f"{name}-{version}.0-py3-none-any.whl"
            digest = Sha256(hashlib.sha256(filename.encode()).hexdigest())
            file = File(filename, f"{version}.0", 1, digest, site.clock())
            await tx.files.add(TEAM, package, file, b"")

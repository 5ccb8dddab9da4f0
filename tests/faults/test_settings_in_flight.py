"""Settings of a remote repository change, or it goes, while requests are on their way through it.

Nobody's request fails for that: whoever has a repository keeps its connections, and nobody else.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.names import PackageName
from bonded.server.core.upstreams import NamePattern, UpstreamPolicy, VirtualConfig
from bonded.server.metadata.store import RepositoryRecord
from support.remotes import Remote, open_remote
from support.site import Site, open_site
from support.upstream import Index, Request, core_metadata_of, open_index
from support.wheels import make_wheel

if TYPE_CHECKING:
    from support.databases import Database

pytest_plugins = ("support.databases",)

BURST = 20
"""Requests that come at once."""
READERS = 8
WHEELS = [make_wheel(f"p{number}", "1.0") for number in range(32)]
WHEEL = WHEELS[0]
FILE = f"p0/{WHEEL.filename}"


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(*WHEELS)
        yield index


@asynccontextmanager
async def _started(database: Database, data_dir: Path) -> AsyncIterator[Site]:
    settings: dict[str, Any] = {}
    if not isinstance(database.place, Path):
        settings["database_url"] = database.place
    async with open_site(data_dir, **settings) as site:
        yield site


async def _view_over(remote: Remote, merged: str = "") -> Remote:
    """Make a virtual repository over the standard one and *remote*."""
    policies = [
        UpstreamPolicy("own", replace(remote.name, repository="python"), 2),
        UpstreamPolicy("index", remote.name, 1),
    ]
    patterns = [NamePattern.parse(merged)] if merged else []
    now, name = remote.clock(), replace(remote.name, repository="team")
    config = VirtualConfig.of(policies, patterns)
    async with remote.site.registry.metadata.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=config))
    return Remote(remote.site, name)


async def _change(remote: Remote, freshness_s: int) -> None:
    """Change a setting, as an administrator does."""
    config = {"bonded": {"pageFreshness": f"{freshness_s}s"}}
    answer = await remote.site.call(
        "PATCH",
        f"/v1/{remote.name}?updateMask=remoteRepositoryConfig.bonded.pageFreshness",
        {"remoteRepositoryConfig": config},
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("through", ["the remote", "a virtual one"])
async def test_many_who_come_at_once_after_a_start_are_all_answered(
    database: Database, tmp_path: Path, index: Index, through: str
) -> None:
    async with _started(database, tmp_path / "data") as site, open_remote(site, index.url) as made:
        team = await _view_over(made)
        asked = made.name if through == "the remote" else team.name
    paths = [f"simple/p{number}/" for number in range(BURST)]

    async with _started(database, tmp_path / "data") as site:
        remote = Remote(site, asked)
        answers = await asyncio.gather(*(remote.get(path) for path in paths))
        opened = len(tuple(one for one in site.registry.remotes if one.name == made.name))

    assert Counter(answer.status_code for answer in answers) == {200: BURST}
    assert opened == 1


async def test_nobody_who_reads_notices_that_settings_change(
    database: Database, tmp_path: Path, index: Index
) -> None:
    async with (
        _started(database, tmp_path / "data") as site,
        open_remote(site, index.url) as remote,
    ):
        team = await _view_over(remote)
        numbers = iter(range(len(WHEELS)))
        statuses: Counter[int] = Counter()

        async def read() -> None:
            for number in numbers:
                wheel = WHEELS[number]
                path = f"p{number}/{wheel.filename}"
                through = team if number % 2 else remote
                for asked in (f"simple/p{number}/", f"{path}.metadata"):
                    statuses[(await through.get(asked)).status_code] += 1
                file = await through.get(path)
                statuses[file.status_code] += 1
                assert file.content == wheel.data

        readers = [asyncio.create_task(read()) for _ in range(READERS)]
        changes = 0
        while not all(reader.done() for reader in readers):
            changes += 1
            await _change(remote, 600 + changes)
        await asyncio.gather(*readers)

    assert statuses == {200: 3 * len(WHEELS)}
    assert changes > 1


async def test_who_has_a_repository_as_it_was_is_answered_and_leaves_no_connection_behind(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        assert (await remote.get("simple/p0/")).status_code == 200
        before = await remote.repository()
        await _change(remote, 600)
        after = await remote.repository()
        await _until_closed(index)

        name = PackageName.parse("p0")
        beside = await before.open_core_metadata(name, WHEEL.filename)
        file = await before.open_file(name, WHEEL.filename)
        page = await before.get_package(PackageName.parse("p1"))

        assert after is not before
        assert beside.sha256 == sha256_of(core_metadata_of(WHEEL))
        assert file.sha256 == WHEEL.sha256
        assert len(page.files) == 1
        await _until_closed(index)
        left = weakref.ref(before)
        del before
        gc.collect()
        assert left() is None


async def _until_closed(index: Index) -> None:
    """Wait until nobody is connected to an index."""
    async with asyncio.timeout(5):
        while index.serving:
            await asyncio.wait(tuple(index.serving))


@pytest.mark.parametrize("path", ["simple/p0/", FILE, f"{FILE}.metadata"])
async def test_what_was_begun_before_a_change_is_ended(
    tmp_path: Path, index: Index, path: str
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        begun, go = _hold(index, "/simple/" if path.startswith("simple") else "/files/")
        asking = asyncio.create_task(remote.get(path))
        await begun.wait()
        for change in (1, 2):
            await _change(remote, 600 + change)
            await remote.repository()
            await site.registry.remotes.tidy()
        go.set()

        answer = await asyncio.wait_for(asking, 5)

    assert answer.status_code == 200, answer.text
    if path.endswith(".whl"):
        assert answer.content == WHEEL.data


async def test_a_page_on_its_way_when_the_repository_is_deleted_is_answered_with_why(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        begun, go = _hold(index, "/simple/")
        asking = asyncio.create_task(remote.get("simple/p0/"))
        await begun.wait()
        assert (await site.call("DELETE", f"/v1/{remote.name}")).status_code == 200
        await site.registry.remotes.tidy()
        go.set()

        answer = await asyncio.wait_for(asking, 5)

        assert (answer.status_code, answer.text) == (
            503,
            f"Repository {remote.name} does not exist.\n",
        )
        assert remote.name not in [one.name for one in site.registry.remotes]
        await _until_closed(index)


async def test_a_server_that_ends_gives_up_what_was_begun_before_a_change(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        begun, _ = _hold(index, "/simple/")
        asking = asyncio.create_task(remote.get("simple/p0/"))
        await begun.wait()
        await _change(remote, 600)
        await remote.repository()

        await asyncio.wait_for(site.registry.remotes.close(), 5)

        with pytest.raises(asyncio.CancelledError):
            await asking
        index.faults.clear()


async def test_a_package_put_together_of_several_upstreams_is_read_as_they_are_set_up_now(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        team = await _view_over(remote, merged="p*")
        assert (await team.get("simple/p0/")).status_code == 200
        before = weakref.ref(await remote.repository())
        await _change(remote, 600)

        file = await team.get(FILE)
        gc.collect()

        assert file.content == WHEEL.data
        assert before() is None


def _hold(index: Index, start: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Let an index say when it is asked for what begins so, and answer when it is told to."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await go.wait()
        writer.write(bytes(index.answer(request)))
        await writer.drain()

    index.faults[start] = hold
    return begun, go

"""What an upstream does not have, or no more: believed with care, for a name hangs on it."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx2
import pytest

from bonded.server.core.caches import PackageCache
from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import (
    SecretReference,
    UpstreamCredentials,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.caches import CachedPage
from bonded.server.metadata.store import RepositoryRecord, Transaction
from bonded.server.repositories.cached_pages import ANSWER_WAIT_S, CachedPages
from support.remotes import Remote, open_remote
from support.site import JSON, Site, open_site
from support.upstream import Index, Request, Response, open_index, say
from support.wheels import make_wheel

OURS = make_wheel("acme", "1.0")
THEIRS = make_wheel("acme", "99.0")


@dataclass
class Stage:
    """Our index and a public one, a remote repository of each, and a virtual one over both."""

    ours: Index
    public: Index
    remote: Remote
    site: Site
    view: RepositoryName

    async def ask(self) -> httpx2.Response:
        return await self.site.get(f"/my-project/{self.view.repository}/simple/acme/", accept=JSON)

    async def versions(self) -> list[str]:
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        versions: list[str] = answer.json()["versions"]
        return versions


@pytest.fixture(name="site", scope="module")
async def _site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("absence") / "data") as site:
        yield site


@pytest.fixture(name="stage")
async def _stage(site: Site) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        indexes = [await stack.enter_async_context(open_index()) for _ in range(2)]
        for index, wheel in zip(indexes, (OURS, THEIRS), strict=True):
            index.publish(wheel, make_wheel("other", "1.0"))
        remotes = [
            await stack.enter_async_context(open_remote(site, one.url, stale_max_s=600))
            for one in indexes
        ]
        view = replace(remotes[0].name, repository=f"v{secrets.token_hex(4)}")
        policies = [
            UpstreamPolicy(f"u{priority}", remote.name, priority)
            for priority, remote in zip((2, 1), remotes, strict=True)
        ]
        now = site.clock()
        config = VirtualConfig(tuple(policies))
        async with site.registry.metadata.transaction() as tx:
            await tx.repositories.add(RepositoryRecord(view, "", {}, now, now, config=config))
        yield Stage(indexes[0], indexes[1], remotes[0], site, view)


async def test_an_index_that_says_404_to_everything_has_not_let_go_of_its_names(
    stage: Stage,
) -> None:
    assert await stage.versions() == ["1.0"]
    # As many do to whoever has no credentials, or no valid ones any more.
    stage.ours.faults["/"] = say(Response(404))
    stage.site.clock.now += timedelta(minutes=2)

    assert await stage.versions() == ["1.0"]
    assert stage.public.asked == []

    stage.site.clock.now += timedelta(minutes=20)
    answer = await stage.ask()
    assert answer.status_code in (502, 504)
    assert "has no list of packages" in answer.text


async def test_a_name_that_an_upstream_had_is_nobody_elses_until_an_administrator_says_so(
    stage: Stage,
) -> None:
    assert await stage.versions() == ["1.0"]
    del stage.ours.published["acme"]
    stage.site.clock.now += timedelta(minutes=2)

    for _ in range(2):
        answer = await stage.ask()
        assert answer.status_code == 404
        assert "has package acme no more" in answer.text
        stage.site.clock.now += timedelta(minutes=15)
    assert stage.public.asked == []

    rest = f"/v1/{stage.remote.name}"
    await stage.site.call("POST", f"{rest}:refresh", {})
    assert (await stage.ask()).status_code == 404
    await stage.site.call("POST", f"{rest}/packages/acme:refresh", {})
    assert await stage.versions() == ["99.0"]

    stage.ours.publish(OURS)
    stage.site.clock.now += timedelta(minutes=2)
    assert await stage.versions() == ["1.0"]


def _make_credentials(site: Site) -> UpstreamCredentials:
    place = site.data_dir / "secrets" / "my-project"
    place.mkdir(parents=True, exist_ok=True)
    (place / "nexus").write_text("a token")
    return UpstreamCredentials("", SecretReference.parse("file:nexus", "my-project"))


async def test_a_private_index_must_know_us_before_its_404_is_an_absence(
    site: Site,
) -> None:
    token = _make_credentials(site)
    async with open_index() as index:
        index.publish(make_wheel("other", "1.0"))
        async with open_remote(site, index.url, credentials=token) as remote:
            assert (await remote.get("simple/acme/")).status_code == 404
            index.faults["/"] = say(Response(404))
            site.clock.now += timedelta(minutes=2)
            assert (await remote.get("simple/acme/")).status_code == 502


async def test_what_a_private_index_said_to_a_clock_ahead_is_no_absence_when_it_is_right_again(
    site: Site,
) -> None:
    token = _make_credentials(site)
    now = site.clock()
    async with open_index() as index:
        index.publish(make_wheel("other", "1.0"))
        async with open_remote(site, index.url, credentials=token) as remote:
            site.clock.now = now + timedelta(minutes=30)
            assert (await remote.get("simple/acme/")).status_code == 404
            site.clock.now = now
            index.faults["/"] = say(Response(404))
            assert (await remote.get("simple/elsewhere/")).status_code == 502


async def test_asking_for_what_does_not_exist_leaves_nothing_behind(
    site: Site, stage: Stage
) -> None:
    def rows() -> list[int]:
        with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database:
            counts = "SELECT (SELECT count(*) FROM cached_pages), (SELECT count(*) FROM serials)"
            return list(database.execute(counts).fetchone())

    await stage.remote.page("other")
    before = rows()
    for number in range(20):
        assert (await stage.remote.get(f"simple/none-{number}/")).status_code == 404

    assert rows() == before


@pytest.mark.parametrize("path", ["simple/acme/", f"acme/{OURS.filename}.metadata"])
async def test_who_waits_is_answered_though_the_repository_is_described_otherwise_meanwhile(
    stage: Stage, path: str
) -> None:
    waiting, go = asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        await go.wait()
        writer.write(bytes(stage.ours.answer(request)))
        await writer.drain()

    stage.ours.faults["/files/" if path.endswith(".metadata") else "/simple/acme"] = hold
    asking = asyncio.create_task(stage.remote.get(path, accept=JSON))
    await waiting.wait()
    changes = {"remoteRepositoryConfig": {"description": "said otherwise"}}
    mask = "updateMask=remoteRepositoryConfig.description"
    changed = await stage.site.call("PATCH", f"/v1/{stage.remote.name}?{mask}", changes)
    assert changed.status_code == 200, changed.text
    assert (await stage.remote.get("simple/other/")).status_code == 200
    go.set()

    assert (await asking).status_code == 200


async def _make_room(stage: Stage) -> None:
    async with stage.site.registry.metadata.transaction() as tx:
        assert await tx.caches.evict(stage.remote.name, 0, 10, stage.site.clock())


async def test_a_page_that_made_room_after_a_clock_was_ahead_gives_no_name_away(
    stage: Stage,
) -> None:
    now = stage.site.clock()
    stage.site.clock.now += timedelta(minutes=2)
    assert await stage.versions() == ["1.0"]
    await _make_room(stage)
    stage.site.clock.now = now

    assert await stage.versions() == ["1.0"]
    assert stage.public.asked == []


async def test_another_replicas_page_that_made_room_meanwhile_gives_no_name_away(
    stage: Stage,
) -> None:
    waiting, go = asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        if waiting.is_set():
            # Whoever asks again waits longer than anybody who could have an old page.
            await asyncio.sleep(4 * ANSWER_WAIT_S)
        waiting.set()
        await go.wait()
        writer.write(bytes(stage.ours.answer(request)))
        await writer.drain()

    stage.ours.faults["/simple/acme"] = hold
    asking = asyncio.create_task(stage.versions())
    await waiting.wait()
    stage.site.clock.now += timedelta(seconds=1)
    quicker = CachedPage(PackageName.parse("acme"), b"x", "d", "", "", stage.site.clock())
    async with stage.site.registry.metadata.transaction() as tx:
        await tx.caches.keep_page(stage.remote.name, quicker, 0)
    await _make_room(stage)
    go.set()

    assert await asking == ["1.0"]
    assert stage.public.asked == []


class _Crowded:
    """A metadata store in which a page has always just made room when it is read."""

    def __init__(self, stage: Stage) -> None:
        metadata = stage.site.registry.metadata
        self._metadata = metadata
        self._repository = stage.remote.name
        self._clock = stage.site.clock
        self.serials = metadata.serials
        self.check = metadata.check
        self.transaction = metadata.transaction

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with self._metadata.transaction() as tx:
            await tx.caches.evict(self._repository, 0, 10, self._clock())
        async with self._metadata.read() as tx:
            yield tx


async def test_a_page_that_makes_room_whenever_it_is_read_is_an_outage_and_no_absence(
    stage: Stage,
) -> None:
    repository = await stage.remote.repository()
    pages = CachedPages(
        stage.remote.name,
        _Crowded(stage),
        repository._client,
        stage.site.clock,
        packages=PackageCache(10),
        freshness_s=60,
        stale_max_s=600,
    )

    with pytest.raises(UpstreamFailed, match="has package acme"):
        await pages.get(PackageName.parse("acme"))

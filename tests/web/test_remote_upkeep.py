"""The cache of a remote repository over time: what it notices, lets go, and never forgets."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from bonded.server.core.errors import Aborted, Unavailable
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import CustomIndex, RemoteConfig, UpstreamPolicy, VirtualConfig
from bonded.server.metadata.store import (
    MetadataStore,
    RepositoryRecord,
    Transaction,
    package_scope,
)
from bonded.server.operations.browsing import Browsing
from bonded.server.repositories.cached_pages import ANSWER_WAIT_S
from bonded.server.repositories.trying import try_out
from bonded.server.web.v1.repositories import _revise_checked
from support.faults import Fuse, FusedMetadata
from support.remotes import Remote, open_remote
from support.site import JSON, Site, open_site
from support.upstream import (
    Index,
    Request,
    Response,
    core_metadata_of,
    hang,
    open_index,
    say,
)
from support.wheels import make_wheel

WHEEL = make_wheel("Demo", "1.0")
NEXT = make_wheel("Demo", "2.0")
OTHER = replace(make_wheel("Demo", "1.0", requires_python=">=3.11"), filename=WHEEL.filename)
PATH = f"demo/{WHEEL.filename}"
DOWN = say(Response(500))


@pytest.fixture(name="shared", scope="module")
async def _shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("shared") / "data") as site:
        yield site


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(WHEEL)
        yield index


@pytest.fixture(name="remote")
async def _remote(shared: Site, index: Index) -> AsyncIterator[Remote]:
    async with open_remote(shared, index.url) as remote:
        yield remote


async def test_who_asks_for_files_alone_learns_that_one_was_replaced(
    remote: Remote, index: Index
) -> None:
    first = await remote.get(PATH)
    index.publish(OTHER)
    again = await remote.get(PATH)
    pages = len(index.paths("/simple/"))
    remote.clock.now += timedelta(seconds=61)

    later = await remote.get(PATH)

    assert (first.content, again.content, later.content) == (WHEEL.data, WHEEL.data, OTHER.data)
    assert len(index.paths("/simple/")) == pages + 1


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("gone", ["the package", "the file", "the package, and then the index"])
async def test_what_is_served_of_a_file_that_is_withdrawn_is_served_with_its_metadata(
    index: Index, gone: str, *, told: bool, shared: Site
) -> None:
    index.has_core_metadata = told
    index.publish(NEXT)
    async with open_remote(shared, index.url) as remote:
        view = await _view_of(remote)
        assert (await remote.get(PATH)).status_code == 200
        if gone == "the file":
            del index.published["demo"][WHEEL.filename]
        else:
            del index.published["demo"]
        remote.clock.now += timedelta(seconds=61)
        page = await remote.get("simple/demo/", accept=JSON)
        if gone.endswith("the index"):
            index.faults["/"] = DOWN
            remote.clock.now += timedelta(seconds=61)
        is_down = gone.endswith("the index")
        # Whoever stands before others cannot tell whose the name is then, and says so.
        expected = ((remote, 200), (Remote(shared, view), 502 if is_down else 200))
        for repository, status in expected:
            file, beside = await repository.get(PATH), await repository.get(f"{PATH}.metadata")
            assert (file.status_code, beside.status_code) == (status, status)
            if status == 200:
                assert (file.content, beside.content) == (WHEEL.data, core_metadata_of(WHEEL))
            # What is not here is not to be had, and neither half of it is.
            never = f"demo/{NEXT.filename}"
            answers = [await repository.get(path) for path in (never, f"{never}.metadata")]
            assert len({one.status_code for one in answers}) == 1
        assert WHEEL.filename not in page.text


async def test_a_wheel_that_is_here_has_its_metadata_here_though_nobody_has_asked_for_it(
    remote: Remote, index: Index
) -> None:
    await remote.get(PATH)
    index.faults["/"] = DOWN
    remote.clock.now += timedelta(seconds=61)
    assert (await remote.entry(WHEEL.filename))["core-metadata"]["sha256"]

    beside = await remote.get(f"{PATH}.metadata")

    assert (beside.status_code, beside.content) == (200, core_metadata_of(WHEEL))


async def test_who_asks_for_files_alone_learns_of_a_quarantine(
    remote: Remote, index: Index
) -> None:
    for path in (PATH, f"{PATH}.metadata"):
        assert (await remote.get(path)).status_code == 200
    index.page_changes = {"project-status": {"status": "quarantined"}}
    remote.clock.now += timedelta(seconds=61)

    answers = [(await remote.get(path)).status_code for path in (PATH, f"{PATH}.metadata")]

    assert answers == [404, 404]


async def test_files_that_are_here_are_served_in_an_outage_for_as_long_as_pages_are(
    shared: Site, index: Index
) -> None:
    async with open_remote(shared, index.url, stale_max_s=600) as remote:
        await remote.get(PATH)
        index.faults["/"] = DOWN
        remote.clock.now += timedelta(seconds=650)
        assert (await remote.get(PATH)).content == WHEEL.data

        remote.clock.now += timedelta(seconds=20)

        answer = await remote.get(PATH)
        assert answer.status_code == 502
        assert index.url in answer.text


async def _elapsed_s(*answers: Awaitable[httpx2.Response]) -> float:
    begun = time.monotonic()
    for answer in answers:
        assert (await answer).status_code == 200
    return time.monotonic() - begun


@pytest.mark.parametrize("is_refreshed", [False, True])
async def test_an_upstream_that_hangs_holds_up_what_is_here_for_one_moment_only(
    tmp_path: Path, index: Index, *, is_refreshed: bool
) -> None:
    paths = (PATH, f"{PATH}.metadata", "simple/demo/")
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(tmp_path / "data"))
        remote = await stack.enter_async_context(open_remote(site, index.url))
        name = remote.name
        for rank in range(2):
            inner = replace(remote.name, repository=f"v{rank}")
            config = VirtualConfig((UpstreamPolicy("only", name, 1),))
            async with site.registry.metadata.transaction() as tx:
                record = RepositoryRecord(inner, "", {}, site.clock(), site.clock(), config=config)
                await tx.repositories.add(record)
            name = inner
        outer = Remote(site, name)
        for path in paths:
            await outer.get(path)
        index.faults["/"] = hang(30)
        now = site.clock() + timedelta(seconds=61)
        site.clock.now = now
        if is_refreshed:
            site.clock.now -= timedelta(seconds=61)
            refreshed = await site.call("POST", f"/v1/{remote.name}:refresh", {})
            assert refreshed.status_code == 200
        else:
            # A process that has asked for nothing before: the good copies are in the database.
            await stack.aclose()
            site = await stack.enter_async_context(open_site(tmp_path / "data"))
            site.clock.now = now
        outer = Remote(site, name)

        waited_s = await _elapsed_s(*(outer.get(path) for path in paths))

        assert ANSWER_WAIT_S <= waited_s < ANSWER_WAIT_S + 2


async def test_after_a_hang_nobody_waits_again_for_a_moment(tmp_path: Path, index: Index) -> None:
    async with (
        open_site(tmp_path / "data", upstream_page_timeout_s=1) as site,
        open_remote(site, index.url) as remote,
    ):
        await remote.page()

        async def slow(_: Request, __: asyncio.StreamWriter) -> None:
            # As long as it hangs, time goes on.
            site.clock.now += timedelta(seconds=20)
            await asyncio.sleep(30)

        index.faults["/"] = slow
        site.clock.now += timedelta(seconds=61)
        await _elapsed_s(remote.get("simple/demo/"))
        asked = len(index.asked)

        assert await _elapsed_s(remote.get("simple/demo/")) < 0.5
        assert len(index.asked) == asked


async def test_a_page_that_a_clock_ahead_has_checked_is_asked_for_again(
    remote: Remote, index: Index
) -> None:
    remote.clock.now += timedelta(minutes=40)
    await remote.page()
    remote.clock.now -= timedelta(minutes=40)
    index.publish(NEXT)

    assert (await remote.page())["versions"] == ["1.0", "2.0"]
    asked = len(index.asked)
    await remote.page()
    assert len(index.asked) == asked


async def test_pages_count_in_the_limit_and_go_before_anybody_has_to_delete_them(
    shared: Site, index: Index
) -> None:
    for number in range(6):
        index.publish(make_wheel(f"p{number}"))
    async with open_remote(shared, index.url, cache_size_max_bytes=1) as remote:
        for number in range(6):
            await remote.page(f"p{number}")
        asked = len(index.asked)
        await remote.page("p0")
        assert len(index.asked) == asked

        await shared.registry.remotes.tidy()

        assert len((await remote.page("p0"))["files"]) == 1
        assert len(index.asked) == asked + 1


async def test_a_page_stays_as_long_as_a_file_of_its_package_is_here(
    shared: Site, index: Index
) -> None:
    index.publish(make_wheel("other"))
    async with open_remote(shared, index.url) as measured:
        await measured.page()
        async with shared.registry.metadata.read() as tx:
            page = await tx.caches.find_page(measured.name, PackageName.parse("demo"))
        assert page is not None
    size = len(WHEEL.data) + len(page.content) + 10
    async with open_remote(shared, index.url, cache_size_max_bytes=size) as remote:
        # The page of the file is the oldest of all.
        await remote.page()
        remote.clock.now += timedelta(seconds=20)
        await remote.page("other")
        remote.clock.now += timedelta(seconds=20)
        await remote.get(PATH)
        await shared.registry.remotes.tidy()
        index.faults["/"] = DOWN
        remote.clock.now += timedelta(seconds=61)

        assert (await remote.page())["files"]
        assert (await remote.get(PATH)).content == WHEEL.data
        assert (await remote.get("simple/other/")).status_code == 502


async def test_a_name_stays_its_upstreams_though_its_page_made_room(
    shared: Site, index: Index
) -> None:
    async with open_remote(shared, index.url, cache_size_max_bytes=1) as remote:
        await remote.page()
        await shared.registry.remotes.tidy()
        index.faults["/"] = say(Response(404))
        lost = await remote.get("simple/demo/")
        del index.faults["/"]
        del index.published["demo"]
        remote.clock.now += timedelta(seconds=61)

        gone = await remote.get("simple/demo/")

        # An index that has no list any more has no say in what is absent.
        assert lost.status_code == 502
        assert gone.status_code == 404
        assert "nobody else may answer for the name" in gone.text
        index.publish(WHEEL)
        remote.clock.now += timedelta(seconds=61)
        assert (await remote.page())["files"]


async def test_a_copy_is_dropped_without_giving_the_name_away(remote: Remote, index: Index) -> None:
    await remote.get(PATH)
    del index.published["demo"]
    remote.clock.now += timedelta(seconds=61)
    assert (await remote.get("simple/demo/")).status_code == 404

    at = f"/v1/{remote.name}/files/demo%2F{WHEEL.filename}"
    dropped = await remote.site.call("DELETE", at)

    assert dropped.status_code == 200, dropped.text
    assert await remote.kept() == []
    page = await remote.get("simple/demo/")
    assert page.status_code == 404
    assert "nobody else may answer for the name" in page.text


async def test_a_repository_that_is_deleted_leaves_nothing_in_memory_and_no_serials(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        await remote.get(PATH)
        scope = package_scope(remote.name, PackageName.parse("demo"))
        before = await site.registry.metadata.serials.read(scope)
        held = weakref.ref(await remote.repository())

        deleted = await site.call("DELETE", f"/v1/{remote.name}")
        await site.registry.remotes.tidy()
        gc.collect()

        assert deleted.status_code == 200
        assert before != (0,)
        assert held() is None
        assert await site.registry.metadata.serials.read(scope) == (0,)


async def test_virtual_repositories_that_are_deleted_hold_nothing_either(
    tmp_path: Path, index: Index
) -> None:
    async with open_site(tmp_path / "data") as site, open_remote(site, index.url) as remote:
        view = await _view_over(site, remote.name, name="team")
        await Remote(site, view).page()
        held = [weakref.ref(await site.registry.catalog.open(one)) for one in (view, remote.name)]

        for one in (view, remote.name):
            assert (await site.call("DELETE", f"/v1/{one}")).status_code == 200
        await site.registry.remotes.tidy()
        gc.collect()

        assert [one() for one in held] == [None, None]


async def _view_over(site: Site, *names: RepositoryName, name: str) -> RepositoryName:
    view = replace(names[0], repository=name)
    now = site.clock()
    policies = [
        UpstreamPolicy(f"u{rank}", one, len(names) - rank) for rank, one in enumerate(names)
    ]
    record = RepositoryRecord(view, "", {}, now, now, config=VirtualConfig.of(policies))
    async with site.registry.metadata.transaction() as tx:
        await tx.repositories.add(record)
    return view


async def _replace(remote: Remote, index_url: str) -> None:
    """Delete a repository, and create another of its name."""
    source = CustomIndex(index_url)
    now = remote.clock() + timedelta(seconds=1)
    config = RemoteConfig(source=source, is_private_address_allowed=True, freshness_s=86_400)
    async with remote.site.registry.metadata.transaction() as tx:
        await tx.repositories.remove(remote.name)
    async with remote.site.registry.metadata.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(remote.name, "", {}, now, now, config=config))


@pytest.mark.parametrize(
    ("path", "held", "status"),
    [
        ("simple/demo/", "/simple/demo", 503),
        (PATH, "/files/", 404),
        (f"{PATH}.metadata", "/files/", 404),
    ],
)
async def test_what_is_on_its_way_to_a_repository_never_arrives_in_another_of_its_name(
    tmp_path: Path, index: Index, path: str, held: str, status: int
) -> None:
    waiting, go = asyncio.Event(), asyncio.Event()

    async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        await go.wait()
        writer.write(bytes(index.answer(request)))
        await writer.drain()

    # A registry of its own: core metadata that another repository has had is not asked for.
    async with (
        open_site(tmp_path / "data") as site,
        open_index() as new,
        open_remote(site, index.url) as remote,
        asyncio.timeout(20),
    ):
        new.publish(NEXT)
        index.faults[held] = hold
        asking = asyncio.create_task(remote.get(path))
        await waiting.wait()
        await _replace(remote, new.url)
        site.clock.now += timedelta(seconds=1)
        go.set()
        answer = await asking

        assert answer.status_code == status or answer.content == WHEEL.data
        assert await remote.kept() == []
        assert (await remote.page())["versions"] == ["2.0"]


class _Interrupted:
    """A metadata store; something happens just before a transaction begins."""

    def __init__(self, metadata: MetadataStore, interrupt: Callable[[], Awaitable[object]]) -> None:
        self.serials = metadata.serials
        self.read = metadata.read
        self.check = metadata.check
        self._metadata = metadata
        self._interrupt = interrupt

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        await self._interrupt()
        async with self._metadata.transaction() as tx:
            yield tx


async def test_tidying_up_after_a_deleted_repository_spares_the_next_one_of_its_name(
    shared: Site, index: Index
) -> None:
    async with open_remote(shared, index.url) as remote:
        await remote.get(PATH)
        before = await remote.repository()

        async def make_anew() -> None:
            await _replace(remote, index.url)
            await remote.repository()

        before._metadata = _Interrupted(before._metadata, make_anew)
        before._used.add((PackageName.parse("demo"), WHEEL.filename))

        await shared.registry.remotes.tidy()

        after = await remote.repository()
        assert after is not before
        assert after in tuple(shared.registry.remotes)
        assert (await remote.page())["files"]


async def test_what_could_not_make_room_goes_the_next_time(shared: Site, index: Index) -> None:
    async with open_remote(shared, index.url, cache_size_max_bytes=1) as remote:
        await remote.get(PATH)
        repository = await remote.repository()
        metadata = repository._metadata
        repository._metadata = FusedMetadata(metadata, Fuse(0))
        with pytest.raises(Unavailable):
            await repository.evict()
        repository._metadata = metadata

        assert await repository.evict() > 0
        assert await remote.kept() == []


async def test_a_view_tells_the_address_that_the_copy_it_shows_came_from_in_few_questions(
    shared: Site, index: Index
) -> None:
    index.publish(*(make_wheel(f"p{number}") for number in range(4)))
    async with AsyncExitStack() as stack:
        remotes = []
        for _ in range(3):
            other = await stack.enter_async_context(open_index())
            other.publish(WHEEL, *(make_wheel(f"p{number}") for number in range(4)))
            remotes.append(await stack.enter_async_context(open_remote(shared, other.url)))
            for name in ("demo", *(f"p{number}" for number in range(4))):
                (file,) = (await remotes[-1].page(name))["files"]
                await remotes[-1].get(f"{name}/{file['filename']}")
        view = await _view_over(
            shared, *(one.name for one in remotes), name=f"v{remotes[0].name.repository}"
        )
        fuse = Fuse(10_000)
        browsing = Browsing(FusedMetadata(shared.registry.metadata, fuse))

        found = await browsing.list_files(view, ("", ""), 100)
        before = fuse.calls_left
        listed = await browsing.with_urls(found)

        owner = remotes[0].name
        first = await shared.call("GET", f"/v1/{owner}/files")
        urls = [one["annotations"]["upstreamUrl"] for one in first.json()["files"]]
        assert [one.upstream_url for one in listed] == urls
        # One snapshot and one question, each of two calls at most, however many files these are.
        assert before - fuse.calls_left <= 3


async def test_without_digests_a_file_of_another_address_is_another_file(
    remote: Remote, index: Index
) -> None:
    index.algorithm = ""
    begun = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await asyncio.sleep(0.5)
        writer.write(bytes(index.answer(request)))
        await writer.drain()

    index.faults["/files/"] = slow
    before = asyncio.create_task(remote.get(PATH))
    await begun.wait()
    # The upstream replaces the file, and says so by its address alone.
    del index.faults["/files/"]
    moved = f"/elsewhere/{WHEEL.filename}"
    index.changes[WHEEL.filename] = {"url": moved, "size": len(OTHER.data)}
    index.faults["/elsewhere/"] = say(Response(200, OTHER.data))
    remote.clock.now += timedelta(seconds=61)

    after = await remote.get(PATH)

    assert (await before).content == WHEEL.data
    assert after.content == OTHER.data


async def test_the_control_plane_says_where_a_copy_came_from_and_a_lock_can_be_mapped(
    shared: Site, index: Index
) -> None:
    index.changes[WHEEL.filename] = {"url": f"../../files/{WHEEL.filename}?signed=secret"}
    index.publish(NEXT)
    async with open_remote(shared, index.url) as remote:
        base = f"/{remote.name.project}/{remote.name.repository}"
        lock = [f"{base}/demo/{one.filename}" for one in (WHEEL, NEXT)]
        for url in lock:
            assert (await shared.get(url)).status_code == 200

        listed = (await shared.call("GET", f"/v1/{remote.name}/files")).json()["files"]
        one = await shared.call("GET", f"/v1/{remote.name}/files/demo%2F{WHEEL.filename}")

        urls = {
            each["name"].rpartition("%2F")[2]: each["annotations"]["upstreamUrl"] for each in listed
        }
        mapped = [urls[url.rpartition("/")[2]] for url in lock]
        assert mapped == [
            f"http://127.0.0.1:{index.port}/files/{one.filename}" for one in (WHEEL, NEXT)
        ]
        for url, wheel in zip(mapped, (WHEEL, NEXT), strict=True):
            at = url.removeprefix(f"http://127.0.0.1:{index.port}")
            assert index.answer(Request("GET", at, {})).body == wheel.data
        assert one.json()["annotations"] == {"upstreamUrl": mapped[0]}
        assert "secret" not in str(listed)


async def test_what_was_published_here_came_from_nowhere_else(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data") as site:
        await site.upload(WHEEL)

        (listed,) = (await site.call("GET", f"{site.rest}/files")).json()["files"]

        assert "annotations" not in listed


async def test_the_list_of_a_virtual_repository_names_nothing_that_has_no_page(
    tmp_path: Path, index: Index
) -> None:
    index.publish(make_wheel("acme"), make_wheel("fine"))
    async with open_index() as public, open_site(tmp_path / "data") as site:
        public.publish(WHEEL, make_wheel("acme"), make_wheel("free"))
        async with open_remote(site, index.url) as first, open_remote(site, public.url) as second:
            site.clock.now += timedelta(seconds=1)
            upstreams = ("python", first.name.repository, second.name.repository)
            policies = [
                {"id": one, "repository": f"{site.rest.removesuffix('/python')}/{one}"[4:]}
                | {"priority": 100 - rank}
                for rank, one in enumerate(upstreams)
            ]
            made = await site.call(
                "POST",
                f"{site.rest.rpartition('/')[0]}?repositoryId=team",
                {
                    "format": "PYTHON",
                    "mode": "VIRTUAL_REPOSITORY",
                    "virtualRepositoryConfig": {"upstreamPolicies": policies},
                },
            )
            assert made.status_code == 200, made.text
            for remote, names in ((first, ("acme", "fine")), (second, ("demo", "acme", "free"))):
                for name in names:
                    (file,) = (await remote.page(name))["files"]
                    assert (await remote.get(f"{name}/{file['filename']}")).status_code == 200
            await site.upload(WHEEL)

            async def agreed() -> list[str]:
                listing = await site.get("/my-project/team/simple/", accept=JSON)
                names = [one["name"] for one in listing.json()["projects"]]
                for name in names:
                    page = await site.get(f"/my-project/team/simple/{name}/")
                    assert page.status_code == 200, (name, page.text)
                return sorted(name.lower() for name in names)

            assert await agreed() == ["acme", "demo", "fine", "free"]
            deleted = await site.call("DELETE", f"{site.rest}/packages/demo")
            assert deleted.status_code == 200
            assert await agreed() == ["acme", "fine", "free"]
            del index.published["acme"]
            site.clock.now += timedelta(seconds=61)
            assert (await first.get("simple/acme/")).status_code == 404
            assert await agreed() == ["fine", "free"]


def test_an_upstream_that_nobody_has_checked_is_not_added_by_a_change_at_the_same_time() -> None:
    name = RepositoryName("my-project", "local", "all")
    one, two = (
        UpstreamPolicy(label, replace(name, repository=label), 1) for label in ("one", "two")
    )
    wanted = VirtualConfig.of([one, two])
    now = datetime(2026, 11, 22, tzinfo=UTC)
    before = RepositoryRecord(name, "", {}, now, now, config=wanted)
    meanwhile = replace(before, config=VirtualConfig.of([one]))

    assert _revise_checked(lambda _: wanted, frozenset(), before) == wanted
    with pytest.raises(Aborted, match="at the same time"):
        _revise_checked(lambda _: wanted, frozenset(), meanwhile)
    added = frozenset({two.repository})
    assert _revise_checked(lambda _: wanted, added, meanwhile) == wanted


async def test_what_keeps_an_index_from_being_used_is_told_of_its_pages_and_of_its_files(
    shared: Site,
) -> None:
    pip = make_wheel("pip", "26.0")
    async with open_index() as index, open_remote(shared, index.url) as remote:
        repository = await remote.repository()
        assert await try_out(repository) is None
        index.publish(pip)
        remote.clock.now += timedelta(seconds=61)
        assert await try_out(repository) is None
        index.faults["/"] = DOWN
        async with open_remote(shared, index.url) as unreachable:
            why = str(await try_out(await unreachable.repository()))
    assert "status 500" in why

    # The operator has named a network: that opens it to indexes, and to no host of files.
    async with open_index() as index, open_index() as files:
        later = make_wheel("pip", "26.1")
        index.publish(later)
        index.changes[later.filename] = {"url": f"http://127.0.0.1:{files.port}/{later.filename}"}
        async with open_remote(shared, index.url) as remote:
            why = str(await try_out(await remote.repository()))
    assert "is not contacted" in why
    assert "BONDED_UPSTREAM_PRIVATE_HOSTS" in why


async def test_the_log_tells_of_a_failure_once(
    remote: Remote, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    index.faults["/"] = DOWN
    policy = {"id": "up", "repository": str(remote.name), "priority": 1}
    made = await remote.site.call(
        "POST",
        f"{remote.site.rest.rpartition('/')[0]}?repositoryId=v{remote.name.repository}",
        {
            "format": "PYTHON",
            "mode": "VIRTUAL_REPOSITORY",
            "virtualRepositoryConfig": {"upstreamPolicies": [policy]},
        },
    )
    assert made.status_code == 200, made.text

    answer = await remote.site.get(f"/my-project/v{remote.name.repository}/simple/demo/")

    assert answer.status_code == 502
    (line,) = [one.message for one in caplog.records if "unavailable" in one.message]
    assert line.count("with status 500") == 1


async def _view_of(remote: Remote) -> RepositoryName:
    """Make a virtual repository that shows the remote one alone."""
    name = replace(remote.name, repository=f"v-{remote.name.repository}")
    now = remote.clock()
    config = VirtualConfig((UpstreamPolicy("only", remote.name, 1),))
    async with remote.site.registry.metadata.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(name, "", {}, now, now, config=config))
    return name

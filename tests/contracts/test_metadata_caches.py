"""What every metadata store answers about the caches of remote repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from os import urandom
from pathlib import Path

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import NotFound
from bonded.server.core.files import File
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import PublicIndex, RemoteConfig
from bonded.server.metadata.caches import CachedFile, CachedPage, KeptPage
from bonded.server.metadata.sql.store import SqlMetadataStore, open_sqlite
from bonded.server.metadata.store import (
    Project,
    RepositoryRecord,
    Transaction,
    listing_scope,
    package_scope,
)

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_013, tzinfo=UTC)
CACHE = RepositoryName("my-project", "local", "pypi")
OTHER = replace(CACHE, repository="other")
MISSING = replace(CACHE, repository="missing")
DEMO = PackageName.parse("Demo")
LIB = PackageName.parse("lib")
PAGE = CachedPage(DEMO, b"packed", "d1", '"e1"', "Sun, 22 Nov 2026 00:00:00 GMT", NOW)
ABSENT = CachedPage(LIB, b"", "", "", "", NOW, is_absent=True)
CORE = b"Metadata-Version: 2.4\nName: demo\n"


def cached(filename: str, *, size: int = 100, used: int = 0) -> CachedFile:
    """Return a file that was used *used* minutes after the start."""
    file = File(
        filename=filename,
        version="1.0",
        size_bytes=size,
        sha256=sha256_of(filename.encode()),
        upload_time=NOW,
        core_metadata_sha256=sha256_of(CORE),
    )
    return CachedFile(file, f"https://files.test/{filename}", minute(used))


def minute(number: int) -> datetime:
    return NOW + timedelta(minutes=number)


@pytest.fixture(name="store")
async def _store(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store with two remote repositories that have cached nothing."""
    async with metadata.transaction() as tx:
        await add_caches(tx)
    return metadata


async def add_caches(tx: Transaction) -> None:
    await tx.projects.add(Project("my-project", 123_456_789_012, "Mine", NOW))
    for name in (CACHE, OTHER):
        config = RemoteConfig(source=PublicIndex())
        await tx.repositories.add(RepositoryRecord(name, "", {}, NOW, NOW, config=config))


async def keep(store: SqlMetadataStore, name: PackageName, *files: CachedFile) -> None:
    async with store.transaction() as tx:
        for one in files:
            await tx.caches.keep_file(CACHE, name, one, CORE, is_news=True)


async def keep_core(store: SqlMetadataStore, filename: str, data: bytes, *, at: int = 0) -> None:
    async with store.transaction() as tx:
        await tx.caches.keep_core_metadata(CACHE, DEMO, filename, data, minute(at), is_news=True)


async def serials(store: SqlMetadataStore) -> tuple[int, ...]:
    """Return those of the list and of both packages."""
    scopes = (listing_scope(CACHE), package_scope(CACHE, DEMO), package_scope(CACHE, LIB))
    return await store.serials.read(*scopes)


async def size_of(store: SqlMetadataStore) -> int:
    async with store.read() as tx:
        record = await tx.repositories.find(CACHE)
    assert record is not None
    return record.size_bytes


async def test_pages_come_back_whole_in_their_own_repository(store: SqlMetadataStore) -> None:
    async with store.transaction() as tx:
        for page in (PAGE, ABSENT):
            await tx.caches.keep_page(CACHE, page, 0)

    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, PackageName.parse("DEMO")) == PAGE
        assert await tx.caches.find_page(CACHE, LIB) == ABSENT
        assert await tx.caches.find_page(OTHER, DEMO) is None


async def test_a_serial_moves_when_clients_see_another_page_and_only_then(
    store: SqlMetadataStore,
) -> None:
    later = replace(PAGE, etag='"e2"', checked_at=minute(1), content=b"other URLs")
    seen = []
    for page in (
        PAGE,
        later,
        replace(later, digest="d2"),
        replace(ABSENT, name=DEMO, checked_at=minute(2)),
    ):
        async with store.transaction() as tx:
            await tx.caches.keep_page(CACHE, page, 0)
        seen.append((await serials(store))[1])

    assert seen[0] == seen[1] < seen[2] < seen[3]


async def test_a_confirmation_never_turns_time_back_nor_undoes_a_refresh(
    store: SqlMetadataStore,
) -> None:
    newer = replace(PAGE, checked_at=minute(5), etag='"e5"')
    older = replace(PAGE, checked_at=minute(3), etag='"e3"')
    other = replace(PAGE, checked_at=minute(9), digest="another page")
    async with store.transaction() as tx:
        await tx.caches.keep_page(CACHE, PAGE, 0)
        await tx.caches.confirm_pages(CACHE, (newer, older, other))
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == newer

    async with store.transaction() as tx:
        assert await tx.caches.expire_pages(CACHE, DEMO) == 1
        await tx.caches.confirm_pages(CACHE, (replace(PAGE, checked_at=minute(7)),))

    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == replace(newer, is_expired=True)


async def test_replicas_that_write_the_same_pages_and_files_down_never_wait_for_each_other(
    store: SqlMetadataStore,
) -> None:
    names = [PackageName.parse(f"p{number}") for number in range(150)]
    async with store.transaction() as tx:
        for name in names:
            await tx.caches.keep_page(CACHE, replace(PAGE, name=name), 0)
            await tx.caches.keep_file(CACHE, name, cached("one.whl"), CORE, is_news=True)

    async def write_down(number: int) -> None:
        order = names[:: 1 if number % 2 else -1]
        later = [replace(PAGE, name=name, checked_at=minute(number + 1)) for name in order]
        async with store.transaction() as tx:
            await tx.caches.confirm_pages(CACHE, later)
        async with store.transaction() as tx:
            # A dict keeps its order, as a set does for as long as it is one.
            used = dict.fromkeys((name, "one.whl") for name in order)
            await tx.caches.use_files(CACHE, used, minute(number + 1))

    await asyncio.gather(*(write_down(number) for number in range(4)))

    async with store.read() as tx:
        page = await tx.caches.find_page(CACHE, names[0])
    assert page is not None
    assert page.checked_at == minute(4)


async def test_where_files_came_from_is_told_of_many_at_once(store: SqlMetadataStore) -> None:
    await keep(store, DEMO, cached("demo-1.whl"), cached("demo-2.whl"))
    await keep(store, LIB, cached("lib-1.whl"))
    wanted = [(DEMO, "demo-2.whl"), (LIB, "lib-1.whl"), (LIB, "none.whl")]
    many = [(LIB, f"lib-{number}.whl") for number in range(2, 600)]

    async with store.read() as tx:
        assert await tx.caches.list_urls(CACHE, (*wanted, *many)) == {
            (DEMO, "demo-2.whl"): "https://files.test/demo-2.whl",
            (LIB, "lib-1.whl"): "https://files.test/lib-1.whl",
        }
        assert await tx.caches.list_urls(OTHER, wanted) == {}


async def test_an_older_answer_never_takes_the_place_of_a_newer_one(
    store: SqlMetadataStore,
) -> None:
    newer = replace(PAGE, checked_at=minute(5), digest="d5", content=b"newer")
    async with store.transaction() as tx:
        await tx.caches.keep_page(CACHE, newer, 0)
        kept = await tx.caches.keep_page(CACHE, replace(PAGE, checked_at=minute(3)), 0)

    assert kept == KeptPage((await serials(store))[1], is_current=False)
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == newer


async def test_a_clock_that_was_ahead_keeps_no_later_answer_out(store: SqlMetadataStore) -> None:
    async with store.transaction() as tx:
        ahead = replace(PAGE, checked_at=minute(40))
        asked_at = (await tx.caches.keep_page(CACHE, ahead, 0)).serial
        answer = replace(PAGE, digest="d2", content=b"published since")
        kept = await tx.caches.keep_page(CACHE, answer, asked_at)

    assert kept.is_current
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == answer


async def _make_room(tx: Transaction) -> None:
    await tx.caches.evict(CACHE, 0, 10, minute(9))


async def _forget(tx: Transaction) -> None:
    await tx.caches.expire_pages(CACHE, DEMO)


@pytest.mark.parametrize(("is_absent", "empty"), [(False, _make_room), (True, _forget)])
async def test_an_answer_is_never_dropped_in_favour_of_nothing(
    store: SqlMetadataStore, *, is_absent: bool, empty: Callable[[Transaction], Awaitable[None]]
) -> None:
    async with store.transaction() as tx:
        await tx.caches.keep_page(
            CACHE, replace(PAGE, checked_at=minute(5), is_absent=is_absent), 0
        )
        await empty(tx)
        kept = await tx.caches.keep_page(CACHE, PAGE, 0)

    assert not kept.is_current
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == replace(PAGE, is_expired=True)


async def test_a_refresh_outlasts_an_answer_that_was_asked_for_before_it(
    store: SqlMetadataStore,
) -> None:
    async with store.transaction() as tx:
        asked_at = (await tx.caches.keep_page(CACHE, PAGE, 0)).serial
    async with store.transaction() as tx:
        await tx.caches.expire_pages(CACHE, DEMO)

    answer = replace(PAGE, checked_at=minute(1), content=b"of before", digest="d2")
    async with store.transaction() as tx:
        kept = await tx.caches.keep_page(CACHE, answer, asked_at)
    assert not kept.is_current
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == replace(answer, is_expired=True)

    async with store.transaction() as tx:
        later = replace(answer, checked_at=minute(2))
        kept = await tx.caches.keep_page(CACHE, later, kept.serial)
    assert kept.is_current
    async with store.read() as tx:
        assert await tx.caches.find_page(CACHE, DEMO) == later


@pytest.mark.parametrize("name", [DEMO, None])
async def test_a_refresh_by_name_alone_forgets_that_the_upstream_once_had_a_package(
    store: SqlMetadataStore, name: PackageName | None
) -> None:
    gone = replace(PAGE, is_absent=True)
    async with store.transaction() as tx:
        await tx.caches.keep_page(CACHE, gone, 0)
        await tx.caches.expire_pages(CACHE, name)

    async with store.read() as tx:
        page = await tx.caches.find_page(CACHE, DEMO)
    assert page is not None
    assert page.content == (b"" if name else gone.content)


@pytest.mark.parametrize(("name", "pages", "moved"), [(DEMO, 1, (1,)), (None, 2, (1, 2))])
async def test_a_refresh_concerns_one_package_or_all_of_one_repository(
    store: SqlMetadataStore, name: PackageName | None, pages: int, moved: tuple[int, ...]
) -> None:
    async with store.transaction() as tx:
        for page in (PAGE, ABSENT):
            await tx.caches.keep_page(CACHE, page, 0)
        await tx.caches.keep_page(OTHER, PAGE, 0)
        await tx.caches.keep_file(CACHE, DEMO, cached("demo.whl"), CORE, is_news=True)
    before = await serials(store)

    async with store.transaction() as tx:
        assert await tx.caches.expire_pages(CACHE, name) == pages

    after = await serials(store)
    assert [place for place in range(3) if before[place] != after[place]] == list(moved)
    async with store.read() as tx:
        assert await tx.caches.find_page(OTHER, DEMO) == PAGE


async def test_a_file_comes_back_whole_and_takes_the_place_of_the_one_before(
    store: SqlMetadataStore,
) -> None:
    first, other = cached("demo.whl", size=10), cached("Demo.whl", size=7)
    await keep(store, DEMO, first, other)
    async with store.read() as tx:
        assert await tx.caches.find_file(CACHE, DEMO, "demo.whl") == first
        assert set(await tx.caches.list_files(CACHE, DEMO)) == {first, other}
        assert await tx.caches.find_file(OTHER, DEMO, "demo.whl") is None
        assert await tx.caches.find_file(CACHE, LIB, "demo.whl") is None
        assert await tx.files.find_core_metadata(sha256_of(CORE)) == CORE
    assert await size_of(store) == 17

    again = cached("demo.whl", size=30, used=2)
    await keep(store, DEMO, again)

    async with store.read() as tx:
        assert set(await tx.caches.list_files(CACHE, DEMO)) == {again, other}
    assert await size_of(store) == 37


async def test_the_list_moves_when_a_package_gets_its_first_file_and_loses_its_last(
    store: SqlMetadataStore,
) -> None:
    async def listed() -> tuple[int, list[str]]:
        async with store.read() as tx:
            names = await tx.files.list_packages(CACHE)
        return (await serials(store))[0], [str(name) for name in names]

    seen = [await listed()]
    for number, filename in enumerate(("a.whl", "b.whl")):
        await keep(store, DEMO, cached(filename, used=number))
        seen.append(await listed())
    for size_max in (100, 0):
        async with store.transaction() as tx:
            await tx.caches.evict(CACHE, size_max, 10, NOW)
        seen.append(await listed())

    assert [names for _, names in seen] == [[], ["demo"], ["demo"], ["demo"], []]
    moves = [serial for serial, _ in seen]
    assert moves[0] < moves[1] == moves[2] == moves[3] < moves[4]


async def test_what_was_used_longest_ago_goes_first_and_no_more_than_must(
    store: SqlMetadataStore,
) -> None:
    await keep(store, DEMO, *(cached(f"{used}.whl", used=used) for used in (3, 1, 2)))
    await keep(store, LIB, cached("lib.whl", used=4))
    async with store.transaction() as tx:
        await tx.caches.use_files(CACHE, [(DEMO, "1.whl"), (DEMO, "unknown.whl")], minute(9))

    async with store.transaction() as tx:
        assert await tx.caches.evict(CACHE, 400, 10, NOW) == ()
        one = await tx.caches.evict(CACHE, 150, 1, NOW)
        rest = await tx.caches.evict(CACHE, 150, 10, NOW)

    assert [gone.filename for gone in one] == ["2.whl"]
    assert [(gone.name, gone.filename) for gone in rest] == [(DEMO, "3.whl"), (LIB, "lib.whl")]
    assert rest[0].sha256 == sha256_of(b"3.whl")
    assert await size_of(store) == 100


async def test_core_metadata_of_files_that_are_not_here_counts_and_goes_in_its_turn(
    store: SqlMetadataStore,
) -> None:
    # Random, as it were: kept packed, it is as large as it was.
    large = [bytes(sha256_of(bytes([number])), "ascii") * 2 for number in range(3)]
    for number, data in enumerate(large):
        await keep_core(store, f"demo-{number}.whl", data, at=number * 2)
    await keep(store, DEMO, cached("demo.whl", size=1000, used=1))
    async with store.read() as tx:
        assert set(await tx.caches.list_core_metadata(CACHE, DEMO)) == {
            f"demo-{number}.whl" for number in range(3)
        }
    before = await serials(store)

    async with store.transaction() as tx:
        assert await tx.caches.evict(CACHE, 2000, 10, NOW) == ()
        gone = await tx.caches.evict(CACHE, 1000, 10, NOW)

    # The first is older than the file; but without it the rest is still too much.
    assert [one.filename for one in gone] == ["demo-0.whl", "demo.whl"]
    after = await serials(store)
    assert before[1] < after[1]
    async with store.transaction() as tx:
        kept = await tx.caches.list_core_metadata(CACHE, DEMO)
        assert kept == {f"demo-{n}.whl": sha256_of(large[n]) for n in (1, 2)}
        assert await size_of(store) == 0
        assert len(await tx.caches.evict(CACHE, 1, 10, NOW)) == 2
        assert await tx.caches.list_core_metadata(CACHE, DEMO) == {}
        for part in range(256):
            await tx.lifecycle.forget_core_metadata(f"{part:02x}", NOW)
        assert await tx.files.find_core_metadata(sha256_of(large[0])) is None


async def test_to_find_the_oldest_page_no_page_is_read(tmp_path: Path) -> None:
    # Of SQLite alone: PostgreSQL has what is large elsewhere than in the row.
    writing = await open_sqlite(tmp_path / "bonded.sqlite3")
    async with writing.transaction() as tx:
        await add_caches(tx)
        for number in range(200):
            name = PackageName.parse(f"p{number}")
            page = replace(PAGE, name=name, content=urandom(60_000), checked_at=minute(number))
            await tx.caches.keep_page(CACHE, page, 0)
    fresh = await open_sqlite(tmp_path / "bonded.sqlite3")

    before = read_bytes()
    async with fresh.transaction() as tx:
        (gone,) = await tx.caches.evict(CACHE, 199 * 60_000, 200, minute(999))

    assert gone.name == PackageName.parse("p0")
    assert read_bytes() - before < 2_000_000
    for store in (fresh, writing):
        await store.close()


def read_bytes() -> int:
    """Return how much this process has read from files so far."""
    told = Path("/proc/self/io").read_text()
    return int(told.partition("rchar: ")[2].split()[0])


async def test_pages_count_and_go_in_their_turn_but_not_before_the_files_of_their_package(
    store: SqlMetadataStore,
) -> None:
    other = PackageName.parse("other")
    pages = [
        replace(PAGE, content=b"d" * 100),
        replace(PAGE, name=LIB, content=b"l" * 100, checked_at=minute(1)),
        replace(PAGE, name=other, content=b"o" * 100, checked_at=minute(3)),
    ]
    async with store.transaction() as tx:
        for page in pages:
            await tx.caches.keep_page(CACHE, page, 0)
    await keep(store, DEMO, cached("demo.whl", used=2))
    before = await serials(store)

    async with store.transaction() as tx:
        assert await tx.caches.evict(CACHE, 400, 10, NOW) == ()
        gone = await tx.caches.evict(CACHE, 250, 10, NOW)
        rest = await tx.caches.evict(CACHE, 0, 10, NOW)
        last = await tx.caches.evict(CACHE, 0, 10, NOW)
        assert await tx.caches.evict(CACHE, 0, 10, NOW) == ()

    assert [(one.name, one.filename) for one in gone] == [(LIB, ""), (DEMO, "demo.whl")]
    assert [one.name for one in (*rest, *last)] == [DEMO, other]
    after = await serials(store)
    assert before[1] < after[1]
    assert before[2] < after[2]
    async with store.read() as tx:
        evicted = await tx.caches.find_page(CACHE, LIB)
    assert evicted is not None
    assert (evicted.is_evicted, evicted.is_expired, evicted.etag) == (True, True, "")


async def test_what_an_upstream_has_withdrawn_is_listed_and_counts_for_nothing(
    store: SqlMetadataStore,
) -> None:
    async def reserved() -> list[str]:
        async with store.read() as tx:
            return sorted(str(name) for name in await tx.lifecycle.list_emptied(CACHE, None))

    async with store.transaction() as tx:
        for page in (PAGE, ABSENT):
            await tx.caches.keep_page(CACHE, page, 0)
    listed = (await serials(store))[0]
    assert await reserved() == []

    async with store.transaction() as tx:
        withdrawn = replace(PAGE, is_absent=True, checked_at=minute(1))
        await tx.caches.keep_page(CACHE, withdrawn, 0)
        assert await tx.caches.evict(CACHE, 0, 10, NOW) == ()
    assert await reserved() == ["demo"]
    moved = (await serials(store))[0]
    assert listed < moved

    async with store.transaction() as tx:
        await tx.caches.expire_pages(CACHE, DEMO)
    assert await reserved() == []
    assert moved < (await serials(store))[0]


async def test_serials_of_a_repository_go_with_it_and_never_come_back_as_they_were(
    store: SqlMetadataStore,
) -> None:
    seen: list[tuple[int, ...]] = []
    for _ in range(3):
        async with store.transaction() as tx:
            await tx.caches.keep_page(CACHE, PAGE, 0)
        async with store.transaction() as tx:
            await tx.caches.keep_page(CACHE, replace(ABSENT, checked_at=minute(1)), 0)
        seen.append((await serials(store))[1:])
        async with store.transaction() as tx:
            await tx.repositories.remove(CACHE)
        assert (await serials(store))[1:] == (0, 0)
        async with store.transaction() as tx:
            config = RemoteConfig(source=PublicIndex())
            await tx.repositories.add(RepositoryRecord(CACHE, "", {}, NOW, NOW, config=config))

    assert len({serial for pair in seen for serial in pair[:1]}) == 3
    assert seen[0] < seen[1] < seen[2]


async def test_core_metadata_that_is_listed_is_not_an_orphan(store: SqlMetadataStore) -> None:
    await keep_core(store, "demo.whl", CORE)
    digest = sha256_of(CORE)

    async with store.transaction() as tx:
        await tx.lifecycle.forget_core_metadata(digest[:2], NOW)

    async with store.read() as tx:
        assert await tx.files.find_core_metadata(digest) == CORE


async def test_a_repository_that_is_gone_caches_nothing_and_leaves_nothing(
    store: SqlMetadataStore,
) -> None:
    attempts: tuple[Callable[[Transaction], Awaitable[object]], ...] = (
        lambda tx: tx.caches.keep_page(MISSING, PAGE, 0),
        lambda tx: tx.caches.confirm_pages(MISSING, (PAGE,)),
        lambda tx: tx.caches.expire_pages(MISSING, None),
        lambda tx: tx.caches.keep_file(MISSING, DEMO, cached("a.whl"), CORE, is_news=True),
        lambda tx: tx.caches.use_files(MISSING, [(DEMO, "a.whl")], NOW),
        lambda tx: tx.caches.keep_core_metadata(MISSING, DEMO, "a", CORE, NOW, is_news=True),
        lambda tx: tx.caches.evict(MISSING, 0, 10, NOW),
    )
    for attempt in attempts:
        with pytest.raises(NotFound, match="repositories/missing does not exist"):
            async with store.transaction() as tx:
                await attempt(tx)

    await keep(store, DEMO, cached("demo.whl"))
    await keep_core(store, "other.whl", CORE)
    async with store.transaction() as tx:
        await tx.caches.keep_page(CACHE, PAGE, 0)
        await tx.repositories.remove(CACHE)
        config = RemoteConfig(source=PublicIndex())
        await tx.repositories.add(RepositoryRecord(CACHE, "", {}, NOW, NOW, config=config))
        assert await tx.caches.find_page(CACHE, DEMO) is None
        assert await tx.caches.list_files(CACHE, DEMO) == ()
        assert await tx.caches.list_core_metadata(CACHE, DEMO) == {}

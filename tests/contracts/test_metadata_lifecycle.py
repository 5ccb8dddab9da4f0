"""What every metadata store answers about files after they were published."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import Conflict, NotFound, Rejected
from bonded.server.core.files import File, Package, Selection
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import PublicIndex, RemoteConfig
from bonded.server.metadata.caches import CachedFile
from bonded.server.metadata.sql.store import SqlMetadataStore
from bonded.server.metadata.store import Project, RepositoryRecord, listing_scope, package_scope

if TYPE_CHECKING:
    # Not at run time: pytest must be the first to load its plugin.
    from support.databases import Database

pytest_plugins = ("support.databases",)

NOW = datetime(2026, 11, 22, 12, 34, 56, 789_013, tzinfo=UTC)
TEAM = RepositoryName("my-project", "local", "team")
DEMO = PackageName.parse("Demo")
METADATA = b"Metadata-Version: 2.4"
UNTIL = NOW + timedelta(days=30)
UNIT = timedelta(seconds=1)
LATE = UNTIL + timedelta(microseconds=1)
WAIT_S = 0.2
"""Long enough for another transaction to run into a lock."""


def file_of(filename: str) -> File:
    return File(
        filename=filename,
        version=filename.split("-")[1].removesuffix(".tar.gz"),
        size_bytes=len(filename),
        sha256=sha256_of(filename.encode()),
        upload_time=NOW,
        requires_python=">=3.9",
        core_metadata_sha256=sha256_of(METADATA),
    )


WHEEL = file_of("demo-1.0-py3-none-any.whl")
SDIST = file_of("demo-1.0.tar.gz")
NEXT = file_of("demo-2.0-py3-none-any.whl")


@pytest.fixture(name="team")
async def _team(metadata: SqlMetadataStore) -> SqlMetadataStore:
    """A store with a repository that holds three files of one package."""
    async with metadata.transaction() as tx:
        await tx.projects.add(Project("my-project", 123_456_789_012, "Mine", NOW))
        await tx.repositories.add(RepositoryRecord(TEAM, "", {}, NOW, NOW))
        for file in (WHEEL, SDIST, NEXT):
            await tx.files.add(TEAM, DEMO, file, METADATA)
    return metadata


async def package_in(store: SqlMetadataStore) -> Package:
    async with store.read() as tx:
        package = await tx.files.find_package(TEAM, DEMO)
    assert package is not None
    return package


async def files_in(store: SqlMetadataStore) -> tuple[object, ...]:
    return (await package_in(store)).files


async def size_of(store: SqlMetadataStore) -> int:
    async with store.read() as tx:
        record = await tx.repositories.find(TEAM)
    assert record is not None
    return record.size_bytes


async def delete(store: SqlMetadataStore, selection: Selection) -> tuple[File, ...]:
    async with store.transaction() as tx:
        return await tx.lifecycle.delete(TEAM, selection, NOW, UNTIL)


async def restore(
    store: SqlMetadataStore, selection: Selection, at: datetime = NOW
) -> tuple[File, ...]:
    async with store.transaction() as tx:
        return await tx.lifecycle.restore(TEAM, selection, at)


SELECTIONS = [
    pytest.param(Selection(DEMO), {WHEEL, SDIST, NEXT}, id="all"),
    pytest.param(Selection(DEMO, "1.0"), {WHEEL, SDIST}, id="a version"),
    pytest.param(Selection(DEMO, filename=NEXT.filename), {NEXT}, id="a file"),
]


@pytest.mark.parametrize(("selection", "chosen"), SELECTIONS)
async def test_exactly_what_is_selected_is_yanked_and_unyanked(
    team: SqlMetadataStore, selection: Selection, chosen: set[File]
) -> None:
    scopes = (package_scope(TEAM, DEMO), listing_scope(TEAM))
    before = await team.serials.read(*scopes)

    async with team.transaction() as tx:
        yanked = await tx.lifecycle.yank(TEAM, selection, "broken")
    marked = await files_in(team)
    async with team.transaction() as tx:
        unyanked = await tx.lifecycle.yank(TEAM, selection, None)

    after = await team.serials.read(*scopes)
    assert set(yanked) == {replace(file, yanked="broken") for file in chosen}
    assert set(marked) == set(yanked) | ({WHEEL, SDIST, NEXT} - chosen)
    assert set(unyanked) == chosen
    assert await files_in(team) == (WHEEL, SDIST, NEXT)
    assert (after[0] - before[0], after[1] - before[1]) == (2, 0)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(PackageName.parse("other")),
        Selection(DEMO, "3.0"),
        Selection(DEMO, filename="demo-3.0.tar.gz"),
    ],
)
async def test_what_is_not_there_cannot_be_yanked(
    team: SqlMetadataStore, selection: Selection
) -> None:
    with pytest.raises(NotFound, match=f"No {selection}"):
        async with team.transaction() as tx:
            await tx.lifecycle.yank(TEAM, selection, "")


@pytest.mark.parametrize(("selection", "chosen"), SELECTIONS)
async def test_exactly_what_is_selected_goes_and_comes_back_as_it_was(
    team: SqlMetadataStore, selection: Selection, chosen: set[File]
) -> None:
    async with team.transaction() as tx:
        await tx.lifecycle.yank(TEAM, Selection(DEMO, filename=WHEEL.filename), "broken")
    whole = await package_in(team)
    size = await size_of(team)

    deleted = await delete(team, selection)
    left = await files_in(team)
    left_size = await size_of(team)
    restored = await restore(team, selection, UNTIL - timedelta(microseconds=1))

    assert {file.filename for file in deleted} == {file.filename for file in chosen}
    assert set(left) == set(whole.files) - set(deleted)
    assert left_size == size - sum(file.size_bytes for file in chosen)
    assert set(restored) == set(deleted)
    assert set((await package_in(team)).files) == set(whole.files)
    assert await size_of(team) == size


async def test_files_come_back_to_their_old_places(team: SqlMetadataStore) -> None:
    later = [replace(file_of(f"demo-{n}.0.tar.gz"), upload_time=NOW + n * UNIT) for n in (7, 8, 9)]
    async with team.transaction() as tx:
        for file in later:
            await tx.files.add(TEAM, DEMO, file, METADATA)

    await delete(team, Selection(DEMO, "7.0"))
    await restore(team, Selection(DEMO, "7.0"))

    assert (await files_in(team))[-3:] == tuple(later)
    assert (await package_in(team)).versions == ("1.0", "2.0", "7.0", "8.0", "9.0")


@pytest.mark.parametrize(
    ("selection", "moves"),
    [(Selection(DEMO), 2), (Selection(DEMO, "1.0"), 0)],
    ids=["the whole package", "a part of it"],
)
async def test_the_list_of_packages_changes_with_the_last_file_alone(
    team: SqlMetadataStore, selection: Selection, moves: int
) -> None:
    scopes = (package_scope(TEAM, DEMO), listing_scope(TEAM))
    before = await team.serials.read(*scopes)

    await delete(team, selection)
    async with team.read() as tx:
        listed = await tx.files.list_packages(TEAM)
        described = await tx.listings.describe_packages(TEAM, [DEMO])
        emptied = [
            *await tx.lifecycle.list_emptied(TEAM, None),
            *await tx.lifecycle.list_emptied(TEAM, DEMO),
        ]
    await restore(team, selection)

    after = await team.serials.read(*scopes)
    is_gone = bool(moves)
    assert (listed, [one.name for one in described]) == (((), []) if is_gone else ((DEMO,), [DEMO]))
    assert emptied == ([DEMO, DEMO] if is_gone else [])
    assert (after[0] - before[0], after[1] - before[1]) == (2, moves)
    async with team.read() as tx:
        assert await tx.files.list_packages(TEAM) == (DEMO,)
        assert await tx.lifecycle.list_emptied(TEAM, None) == ()


async def test_a_deleted_file_cannot_be_found(team: SqlMetadataStore) -> None:
    await delete(team, Selection(DEMO))

    async with team.read() as tx:
        file, status = await tx.files.find_file(TEAM, DEMO, WHEEL.filename)
    assert (file, status) == (None, "active")
    assert await files_in(team) == ()


async def test_the_same_bytes_bring_a_deleted_file_back_as_it_was(team: SqlMetadataStore) -> None:
    async with team.transaction() as tx:
        await tx.lifecycle.yank(TEAM, Selection(DEMO), "broken")
    await delete(team, Selection(DEMO))
    again = replace(WHEEL, upload_time=LATE)

    async with team.transaction() as tx:
        returned = await tx.files.add(TEAM, DEMO, again, METADATA)

    # Whoever may upload may not take a yank back, nor make an old file a new one.
    assert returned == replace(WHEEL, yanked="broken")
    assert await files_in(team) == (returned,)
    async with team.read() as tx:
        assert await tx.files.list_packages(TEAM) == (DEMO,)
        lost = await tx.lifecycle.list_deleted_of(TEAM, DEMO, NOW)
    assert [one.file.filename for one in lost] == [SDIST.filename, NEXT.filename]


@pytest.mark.parametrize(
    "other",
    [
        replace(WHEEL, sha256=sha256_of(b"other bytes")),
        replace(WHEEL, filename="Demo-1-py3-none-any.whl"),
    ],
    ids=["other bytes", "another spelling"],
)
@pytest.mark.parametrize("selection", [Selection(DEMO), Selection(DEMO, "1.0")])
async def test_nothing_else_comes_back_under_a_deleted_filename(
    team: SqlMetadataStore, other: File, selection: Selection
) -> None:
    await delete(team, selection)

    with pytest.raises(Conflict, match=f"{WHEEL.filename} was deleted.*{WHEEL.sha256}"):
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, replace(other, upload_time=LATE), METADATA)

    assert WHEEL.filename not in {file.filename for file in (await package_in(team)).files}


async def test_another_repository_knows_nothing_of_what_was_deleted(
    team: SqlMetadataStore,
) -> None:
    other = replace(TEAM, repository="other")
    await delete(team, Selection(DEMO))

    async with team.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(other, "", {}, NOW, NOW))
        await tx.files.add(other, DEMO, replace(WHEEL, sha256=sha256_of(b"other")), METADATA)

    async with team.read() as tx:
        assert await tx.lifecycle.list_emptied(other, None) == ()
        assert await tx.lifecycle.list_deleted_files(other, NOW, ("", ""), 9) == ()


async def test_what_was_deleted_too_long_ago_stays_a_tombstone(team: SqlMetadataStore) -> None:
    await delete(team, Selection(DEMO, "1.0"))

    with pytest.raises(Rejected, match="could be restored until 2026-12-22 12:34 UTC"):
        await restore(team, Selection(DEMO), UNTIL)
    with pytest.raises(NotFound, match=r"Nothing of version 2\.0 of demo"):
        await restore(team, Selection(DEMO, "2.0"))
    with pytest.raises(Conflict, match="only the same bytes"):
        async with team.transaction() as tx:
            await tx.files.add(TEAM, DEMO, replace(WHEEL, sha256=sha256_of(b"")), METADATA)
    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, replace(WHEEL, upload_time=LATE), METADATA)

    assert WHEEL in await files_in(team)


async def test_blobs_and_core_metadata_are_needed_until_nothing_can_be_restored(
    team: SqlMetadataStore,
) -> None:
    digest = sha256_of(METADATA)
    digests = [WHEEL.sha256, SDIST.sha256, sha256_of(b"orphan")]
    await delete(team, Selection(DEMO, filename=WHEEL.filename))
    before_last = UNTIL - timedelta(microseconds=1)

    async with team.transaction() as tx:
        early = await tx.lifecycle.find_named(digests, before_last)
        late = await tx.lifecycle.find_named(digests, UNTIL)
        await tx.lifecycle.delete(TEAM, Selection(DEMO), NOW, UNTIL)
        kept = await tx.lifecycle.forget_core_metadata(digest[:2], before_last)
        forgotten = await tx.lifecycle.forget_core_metadata(digest[:2], UNTIL)

    assert (set(early), set(late)) == ({WHEEL.sha256, SDIST.sha256}, {SDIST.sha256})
    assert (kept, forgotten) == (0, 1)


async def test_what_can_be_restored_is_listed_by_page(team: SqlMetadataStore) -> None:
    other = PackageName.parse("another")
    extra = file_of("another-1.0.tar.gz")
    async with team.transaction() as tx:
        await tx.files.add(TEAM, other, extra, METADATA)
        await tx.lifecycle.delete(TEAM, Selection(other), NOW, UNTIL)
        await tx.lifecycle.delete(TEAM, Selection(DEMO, "1.0"), NOW, UNTIL)

    async with team.read() as tx:
        lists = tx.lifecycle
        first = await lists.list_deleted_files(TEAM, NOW, ("", ""), 2)
        place = (first[-1].package.normalized, first[-1].file.filename)
        second = await lists.list_deleted_files(TEAM, NOW, place, 2)
        packages = await lists.list_deleted_packages(TEAM, NOW, "", 9)
        none = [
            *await lists.list_deleted_files(TEAM, UNTIL, ("", ""), 9),
            *await lists.list_deleted_packages(TEAM, UNTIL, "", 9),
            *await lists.list_deleted_packages(TEAM, NOW, "another", 9),
            *await lists.list_deleted_of(TEAM, DEMO, UNTIL),
        ]

    found = [*first, *second]
    assert [one.file for one in found] == [extra, WHEEL, SDIST]
    assert {(one.deleted_at, one.restorable_until) for one in found} == {(NOW, UNTIL)}
    assert [(one.summary.name, one.deleted_at, one.restorable_until) for one in packages] == [
        (other, NOW, UNTIL)
    ]
    assert none == []


async def test_a_deleted_repository_takes_its_tombstones_along(team: SqlMetadataStore) -> None:
    await delete(team, Selection(DEMO))

    async with team.transaction() as tx:
        await tx.repositories.remove(TEAM)
        await tx.repositories.add(RepositoryRecord(TEAM, "", {}, NOW, NOW))
        await tx.files.add(TEAM, DEMO, replace(WHEEL, sha256=sha256_of(b"other")), METADATA)
        named = await tx.lifecycle.find_named([SDIST.sha256], NOW)

    assert named == frozenset()


async def test_a_copy_of_an_upstream_s_file_is_dropped_without_a_trace(
    team: SqlMetadataStore,
) -> None:
    cache = replace(TEAM, repository="cache")
    config = RemoteConfig(source=PublicIndex())
    scopes = (package_scope(cache, DEMO), listing_scope(cache))
    async with team.transaction() as tx:
        await tx.repositories.add(RepositoryRecord(cache, "", {}, NOW, NOW, config=config))
        for file in (WHEEL, NEXT):
            kept = CachedFile(file, f"https://index.test/{file.filename}", NOW)
            await tx.caches.keep_file(cache, DEMO, kept, METADATA, is_news=False)
            await tx.caches.keep_core_metadata(
                cache, DEMO, file.filename, METADATA, NOW, is_news=False
            )
    seen = [await team.serials.read(*scopes)]

    for selection in (Selection(DEMO, "1.0"), Selection(DEMO)):
        async with team.transaction() as tx:
            await tx.lifecycle.drop(cache, selection, NOW)
        seen.append(await team.serials.read(*scopes))

    async with team.read() as tx:
        assert await tx.caches.list_files(cache, DEMO) == ()
        assert await tx.caches.list_core_metadata(cache, DEMO) == {}
        assert await tx.files.list_packages(cache) == ()
        assert await tx.lifecycle.list_emptied(cache, None) == ()
        record = await tx.repositories.find(cache)
    assert record is not None
    assert record.size_bytes == 0
    assert [after > before for before, after in pairwise(one[0] for one in seen)] == [True, True]
    assert [after > before for before, after in pairwise(one[1] for one in seen)] == [False, True]
    with pytest.raises(NotFound, match="No package demo"):
        async with team.transaction() as tx:
            await tx.lifecycle.drop(cache, Selection(DEMO), NOW)


@pytest.mark.parametrize("verb", ["yank", "delete", "restore", "drop"])
async def test_a_repository_that_is_gone_has_nothing_to_change(
    team: SqlMetadataStore, verb: str
) -> None:
    gone = replace(TEAM, repository="gone")
    rest: dict[str, tuple[object, ...]] = {"yank": ("",), "delete": (NOW, UNTIL)}

    with pytest.raises(NotFound, match="repositories/gone does not exist"):
        async with team.transaction() as tx:
            await getattr(tx.lifecycle, verb)(gone, Selection(DEMO), *rest.get(verb, (NOW,)))


async def test_core_metadata_of_a_file_that_is_being_added_is_not_forgotten(
    team: SqlMetadataStore, database: Database
) -> None:
    """SQLite has one writer; where there are several, one collects while another publishes."""
    digest = sha256_of(METADATA)
    other = await database.open()
    async with team.transaction() as tx:
        # What had it is gone for good, so it is an orphan until the next file has it too.
        await tx.lifecycle.delete(TEAM, Selection(DEMO), NOW, NOW)

    async def forget() -> int:
        async with other.transaction() as tx:
            return await tx.lifecycle.forget_core_metadata(digest[:2], LATE)

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, file_of("demo-3.0-py3-none-any.whl"), METADATA)
        forgetting = asyncio.create_task(forget())
        await asyncio.sleep(WAIT_S)
    await forgetting

    async with team.read() as tx:
        assert await tx.files.find_core_metadata(digest) == METADATA


async def test_core_metadata_is_added_anew_if_it_was_just_being_forgotten(
    team: SqlMetadataStore, database: Database
) -> None:
    digest = sha256_of(METADATA)
    other = await database.open()
    async with team.transaction() as tx:
        await tx.lifecycle.delete(TEAM, Selection(DEMO), NOW, NOW)

    async def add() -> None:
        async with other.transaction() as tx:
            await tx.files.add(TEAM, DEMO, file_of("demo-3.0-py3-none-any.whl"), METADATA)

    async with team.transaction() as tx:
        assert await tx.lifecycle.forget_core_metadata(digest[:2], LATE) == 1
        adding = asyncio.create_task(add())
        await asyncio.sleep(WAIT_S)
    await adding

    async with team.read() as tx:
        assert await tx.files.find_core_metadata(digest) == METADATA


async def test_core_metadata_of_megabytes_comes_back_whole(team: SqlMetadataStore) -> None:
    large = random.Random(0).randbytes(2_000_000)
    wheel = replace(file_of("demo-3.0-py3-none-any.whl"), core_metadata_sha256=sha256_of(large))

    async with team.transaction() as tx:
        await tx.files.add(TEAM, DEMO, wheel, large)

    async with team.read() as tx:
        assert await tx.files.find_core_metadata(sha256_of(large)) == large

"""What every blob store answers, whatever it keeps its blobs in."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_never

import pytest
from obstore.store import LocalStore, MemoryStore

from bonded.server.blobs.directory import IN_MEMORY_MAX_BYTES, DirectoryBlobStore
from bonded.server.blobs.objects import CHUNK_SIZE_BYTES, ObjectBlobStore
from bonded.server.blobs.staging import WRITE_SIZE_BYTES, StagedFile
from bonded.server.blobs.store import BlobStore
from bonded.server.core.clock import system_clock
from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.errors import OutOfSpace, Rejected, TooLarge, Unavailable
from bonded.server.core.files import Content, InMemory, OnDisk, Streamed

ROOMY = 64 * 1024 * 1024
SMALL = b"a small blob"
BIG = bytes(range(256)) * (10 * 1024)
"""Larger than every threshold: kept on disk, written in a thread, read in several chunks."""
assert len(BIG) > max(IN_MEMORY_MAX_BYTES, WRITE_SIZE_BYTES, CHUNK_SIZE_BYTES)
SIZES = pytest.mark.parametrize("data", [b"", SMALL, BIG], ids=["empty", "small", "big"])


@dataclass
class Shelf:
    """A blob store, and the directory in which its bytes arrive."""

    blobs: BlobStore
    staging: Path

    async def keep(self, data: bytes) -> Sha256:
        """Stage and keep, in two chunks."""
        async with self.blobs.stage(len(data)) as staged:
            await staged.write(data[: len(data) // 2])
            await staged.write(data[len(data) // 2 :])
            await staged.finish()
            return await staged.keep()

    async def read(self, data: bytes) -> bytes:
        """Read the blob back that should hold *data*."""
        return await read(await self.blobs.open(sha256_of(data), len(data)))


async def read(content: Content, start: int = 0, stop: int | None = None) -> bytes:
    stop = content.size_bytes if stop is None else stop
    match content:
        case InMemory(data):
            return data[start:stop]
        case OnDisk(path):
            return path.read_bytes()[start:stop]
        case Streamed(_, ranged):
            return b"".join([chunk async for chunk in ranged(start, stop)])
        case _:
            assert_never(content)


@pytest.fixture(name="shelf", params=["directory", "memory", "local objects"])
def _shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """An empty blob store of each kind."""
    match request.param:
        case "directory":
            store: BlobStore = DirectoryBlobStore(tmp_path, cache_bytes=1000)
        case "memory":
            store = ObjectBlobStore(MemoryStore(), tmp_path / "staging")
        case _:
            (tmp_path / "objects").mkdir()
            objects = LocalStore(tmp_path / "objects")
            store = ObjectBlobStore(objects, tmp_path / "staging")
    return Shelf(store, tmp_path / "staging")


@SIZES
async def test_what_was_kept_comes_back_under_its_digest(shelf: Shelf, data: bytes) -> None:
    digest = await shelf.keep(data)

    assert digest == sha256_of(data)
    assert await shelf.read(data) == data
    assert list(shelf.staging.iterdir()) == []


@SIZES
async def test_put_keeps_bytes_that_are_here_already(shelf: Shelf, data: bytes) -> None:
    digest = await shelf.blobs.put(data)

    assert digest == sha256_of(data)
    assert await shelf.read(data) == data
    assert list(shelf.staging.iterdir()) == []


async def test_a_stage_knows_the_size_and_digest_and_shows_the_bytes_in_a_file(
    shelf: Shelf,
) -> None:
    async with shelf.blobs.stage(ROOMY) as staged:
        for start in range(0, len(BIG), 100_000):
            await staged.write(BIG[start : start + 100_000])
        await staged.finish()

        assert staged.size_bytes == len(BIG)
        assert staged.sha256 == sha256_of(BIG)
        seen: list[bytes] = []
        await staged.keep(lambda path: seen.append(path.read_bytes()))

        assert seen == [BIG]


async def test_what_a_check_refuses_is_not_kept(shelf: Shelf) -> None:
    def refuse(_arrived: Path) -> None:
        raise Rejected("not a wheel")

    async with shelf.blobs.stage(ROOMY) as staged:
        await staged.write(SMALL)
        await staged.finish()
        with pytest.raises(Rejected, match="not a wheel"):
            await staged.keep(refuse)

    assert list(shelf.staging.iterdir()) == []
    with pytest.raises(Unavailable):
        await shelf.blobs.open(sha256_of(SMALL), len(SMALL))


@SIZES
async def test_leaving_a_stage_forgets_it_and_leaves_no_file(shelf: Shelf, data: bytes) -> None:
    async with shelf.blobs.stage(ROOMY) as staged:
        await staged.write(data)
        await staged.finish()

    with pytest.raises(Unavailable):
        await shelf.blobs.open(sha256_of(data), len(data))
    assert list(shelf.staging.iterdir()) == []


async def test_an_error_within_a_stage_leaves_no_file(shelf: Shelf) -> None:
    async def fail() -> None:
        async with shelf.blobs.stage(ROOMY) as staged:
            await staged.write(BIG)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert list(shelf.staging.iterdir()) == []


@pytest.mark.parametrize("data", [SMALL, BIG], ids=["small", "big"])
async def test_a_stage_takes_what_it_was_opened_for_and_no_byte_more(
    shelf: Shelf, data: bytes
) -> None:
    async with shelf.blobs.stage(len(data)) as staged:
        await staged.write(data)

        with pytest.raises(TooLarge, match=f"larger than the limit of {len(data)} bytes"):
            await staged.write(b"x")

    assert list(shelf.staging.iterdir()) == []


@SIZES
async def test_the_same_bytes_may_be_kept_again_and_again(shelf: Shelf, data: bytes) -> None:
    digests = [await shelf.keep(data), await shelf.keep(data), await shelf.blobs.put(data)]

    assert digests == [sha256_of(data)] * 3
    assert await shelf.read(data) == data


async def test_equal_bytes_that_arrive_together_are_one_blob(shelf: Shelf) -> None:
    async with AsyncExitStack() as stack:
        stages = [await stack.enter_async_context(shelf.blobs.stage(ROOMY)) for _ in range(8)]
        for staged in stages:
            await staged.write(BIG)
            await staged.finish()

        digests = await asyncio.gather(*(staged.keep() for staged in stages))

    assert set(digests) == {sha256_of(BIG)}
    assert await shelf.read(BIG) == BIG
    assert list(shelf.staging.iterdir()) == []


async def test_different_bytes_that_arrive_together_stay_apart(shelf: Shelf) -> None:
    blobs = [bytes([number]) * (WRITE_SIZE_BYTES + number) for number in range(8)]

    await asyncio.gather(*(shelf.keep(data) for data in blobs))

    assert [await shelf.read(data) for data in blobs] == blobs


async def test_a_blob_that_is_missing_is_an_outage_not_an_empty_file(shelf: Shelf) -> None:
    for size_bytes in (0, len(SMALL), len(BIG)):
        with pytest.raises(Unavailable):
            await shelf.blobs.open(sha256_of(b"never kept"), size_bytes)


async def test_a_blob_of_another_size_than_its_row_says_is_not_served(shelf: Shelf) -> None:
    await shelf.keep(SMALL)
    await shelf.keep(BIG)

    for data in (SMALL, BIG):
        with pytest.raises(Unavailable):
            await shelf.blobs.open(sha256_of(data), len(data) + 1)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 1),
        (len(BIG) - 1, len(BIG)),
        (5, 5),
        (CHUNK_SIZE_BYTES - 1, CHUNK_SIZE_BYTES + 1),
        (17, 2 * CHUNK_SIZE_BYTES + 17),
        (0, len(BIG)),
    ],
)
async def test_any_range_can_be_read(shelf: Shelf, start: int, stop: int) -> None:
    await shelf.keep(BIG)
    content = await shelf.blobs.open(sha256_of(BIG), len(BIG))

    assert content.size_bytes == len(BIG)
    assert await read(content, start, stop) == BIG[start:stop]


async def _older(shelf: Shelf, before: datetime) -> set[Sha256]:
    return {one async for some in shelf.blobs.list_older(before) for one in some}


async def test_only_what_is_older_is_listed_and_removed(shelf: Shelf) -> None:
    digests = {await shelf.keep(data) for data in (b"", SMALL, BIG)}
    earlier, later = system_clock() - timedelta(hours=1), system_clock() + timedelta(hours=1)

    assert await _older(shelf, earlier) == set()
    assert not await shelf.blobs.remove_older(sha256_of(SMALL), earlier)
    assert await shelf.read(SMALL) == SMALL
    assert await _older(shelf, later) == digests
    assert await shelf.blobs.remove_older(sha256_of(SMALL), later)
    with pytest.raises(Unavailable):
        await shelf.read(SMALL)
    assert await shelf.read(BIG) == BIG


async def test_removing_what_is_gone_already_is_no_error(shelf: Shelf) -> None:
    later = system_clock() + timedelta(hours=1)

    assert not await shelf.blobs.remove_older(sha256_of(b"never kept"), later)


async def test_a_removed_blob_can_be_kept_again(shelf: Shelf) -> None:
    await shelf.keep(SMALL)
    await shelf.blobs.remove_older(sha256_of(SMALL), system_clock() + timedelta(hours=1))

    await shelf.keep(SMALL)

    assert await shelf.read(SMALL) == SMALL


async def test_a_store_that_can_write_passes_its_check(shelf: Shelf) -> None:
    await shelf.blobs.check()

    assert await _older(shelf, datetime.max.replace(tzinfo=UTC)) == set()


async def test_opening_a_store_clears_what_a_crash_left_in_the_stage(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "stage-left").write_bytes(b"half an upload")

    DirectoryBlobStore(tmp_path, cache_bytes=1000)

    assert list((tmp_path / "staging").iterdir()) == []


async def test_keeping_again_makes_a_blob_young(tmp_path: Path) -> None:
    shelf = Shelf(DirectoryBlobStore(tmp_path, cache_bytes=1000), tmp_path / "staging")
    digest = await shelf.keep(SMALL)
    path = tmp_path / "blobs" / digest[:2] / digest
    os.utime(path, (1_000_000, 1_000_000))

    await shelf.keep(SMALL)

    assert path.stat().st_mtime == pytest.approx(system_clock().timestamp(), abs=60)


async def test_the_memory_for_small_blobs_is_bounded_and_forgets_the_oldest(
    tmp_path: Path,
) -> None:
    shelf = Shelf(DirectoryBlobStore(tmp_path, cache_bytes=1000), tmp_path / "staging")
    blobs = [bytes([number]) * 400 for number in range(4)]
    for data in blobs:
        await shelf.keep(data)
        await shelf.read(data)
    for path in (tmp_path / "blobs").glob("*/*"):
        path.unlink()

    remembered = []
    for data in blobs:
        try:
            remembered.append(await shelf.read(data) == data)
        except Unavailable:
            remembered.append(False)

    assert remembered == [False, False, True, True]


async def test_a_stage_is_not_closed_under_a_thread_whose_caller_was_cancelled(
    tmp_path: Path,
) -> None:
    store = DirectoryBlobStore(tmp_path, cache_bytes=1000)
    shelf = Shelf(store, tmp_path / "staging")
    lent, is_over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work(staged: StagedFile) -> None:
        with staged._file() as descriptor:
            loop.call_soon_threadsafe(lent.set)
            is_over.wait()
            os.fstat(descriptor)

    async def receive() -> None:
        async with store.stage(ROOMY) as staged:
            await asyncio.to_thread(work, staged)

    receiving = asyncio.create_task(receive())
    await lent.wait()
    receiving.cancel()
    await asyncio.sleep(0.1)
    is_waiting = not receiving.done()
    is_over.set()
    with pytest.raises(asyncio.CancelledError):
        await receiving

    # Closed earlier, its number might by now have meant another upload's file.
    assert is_waiting
    assert list(shelf.staging.iterdir()) == []


async def test_a_stage_that_was_left_takes_nothing_and_leaves_no_file(shelf: Shelf) -> None:
    async with shelf.blobs.stage(ROOMY) as staged:
        await staged.write(SMALL)

    with pytest.raises(Unavailable, match="The upload was given up"):
        await staged.keep()

    assert list(shelf.staging.iterdir()) == []


async def test_a_directory_that_cannot_be_written_is_an_outage_for_the_upload(
    tmp_path: Path,
) -> None:
    shelf = Shelf(DirectoryBlobStore(tmp_path, cache_bytes=1000), tmp_path / "staging")
    shelf.staging.rmdir()

    with pytest.raises(Unavailable, match="The disk failed at an upload"):
        await shelf.keep(SMALL)
    with pytest.raises(Unavailable):
        await shelf.blobs.check()


async def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    store = DirectoryBlobStore(tmp_path, cache_bytes=1000)
    async with store.stage(ROOMY) as staged:
        await staged.write(SMALL)
        await staged.finish()
        staged._descriptor = os.open("/dev/full", os.O_WRONLY)

        with pytest.raises(OutOfSpace, match="There is no space left for an upload"):
            await staged.keep()


async def test_files_that_take_long_to_check_keep_no_thread_from_anybody_else(
    tmp_path: Path,
) -> None:
    blobs = DirectoryBlobStore(tmp_path, cache_bytes=0)
    may_go = threading.Event()
    many = 40

    async def arrive(number: int) -> None:
        async with blobs.stage(ROOMY) as staged:
            await staged.write(f"{number}".encode())
            await staged.finish()
            await staged.keep(lambda _path: assert_true(may_go.wait(30)))

    arriving = [asyncio.create_task(arrive(number)) for number in range(many)]
    try:
        async with asyncio.timeout(10):
            # As commits and downloads do. More than there are threads for everybody.
            assert await asyncio.gather(*[asyncio.to_thread(int, "7") for _ in range(many)])
        assert not any(one.done() for one in arriving)
    finally:
        may_go.set()
        await asyncio.gather(*arriving)


def assert_true(value: object) -> None:
    assert value

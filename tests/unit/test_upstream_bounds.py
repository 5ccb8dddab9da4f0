"""What is remembered of upstreams, within limits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bonded.server.core.caches import PackageCache
from bonded.server.core.files import Package, TimeSource, UpstreamFile
from bonded.server.core.names import PackageName
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.requests import BREAKERS_MAX, Requests, Route
from bonded.server.upstream.rules import Origin
from bonded.server.upstream.secrets import Secrets
from bonded.server.upstream.turns import SharedTurns

SEEN = datetime(2026, 11, 22, tzinfo=UTC)


def package(name: str, files: int) -> Package:
    return Package(
        PackageName.parse(name),
        tuple(
            UpstreamFile(
                filename=f"{name}-{number}.tar.gz",
                url=f"https://files.test/{name}-{number}.tar.gz",
                version=str(number),
                upload_time=SEEN,
                time_source=TimeSource.UPSTREAM,
                size_bytes=1,
                hashes=(),
            )
            for number in range(files)
        ),
        (),
    )


async def test_a_page_that_names_a_thousand_hosts_is_remembered_by_some_and_the_index_always(
    tmp_path: Path,
) -> None:
    bounds = Bounds(failures_max=1)
    requests = Requests("https://index.test/simple/", Route(), Secrets(tmp_path, {}), bounds)
    try:
        hosts = [Origin("https", f"h{number}.test", 443) for number in range(1000)]
        for origin in (Origin("https", "index.test", 443), *hosts):
            requests.breaker(origin).fail("it is down")

        remembered = [origin for origin in reversed(hosts) if requests.breaker(origin).is_open]
        index = requests.breaker(Origin("https", "index.test", 443)).is_open
    finally:
        await requests.close()

    assert index
    assert len(remembered) == BREAKERS_MAX - 1
    assert hosts[-1] in remembered


def test_packages_are_kept_by_their_files_and_the_last_one_however_large() -> None:
    cache = PackageCache(100)
    for name in ("a", "b", "c"):
        cache.add(name, 1, package(name, 30))
    assert cache.find("a", 1) is not None
    assert cache.find("a", 2) is None

    cache.add("d", 1, package("d", 30))
    assert [name for name in "abcd" if cache.find(name, 1)] == ["a", "c", "d"]
    cache.add("a", 2, package("a", 200))

    assert [name for name in "abcd" if cache.find(name, 1) or cache.find(name, 2)] == ["a"]


async def test_one_upstream_never_takes_every_turn_whoever_asks_it() -> None:
    shared = SharedTurns(3)
    slow, again, other = shared.of("slow"), shared.of("slow"), shared.of("other")
    async with slow.take(1), again.take(1):
        assert not slow.are_free
        assert not again.are_free
        assert other.are_free
        async with other.take(1):
            assert not other.are_free
    assert slow.are_free


async def test_a_turn_is_waited_for_so_long_and_lost_by_nobody_who_gave_up() -> None:
    turns = SharedTurns(2).of("slow")
    async with turns.take(1):
        with pytest.raises(TimeoutError):
            async with turns.take(0.01):
                raise AssertionError("two had the one turn")

    async with turns.take(0.01):
        # A turn itself may last: what is done in it has its own bounds.
        await asyncio.sleep(0.02)
    assert turns.are_free

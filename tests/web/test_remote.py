"""Remote repositories through the door: what an upstream says arrives, and is kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bonded.server.operations.collecting import Collector
from support.remotes import Remote, open_remote
from support.site import JSON, Site, open_site
from support.upstream import HTML, Index, Response, core_metadata_of, open_index, say
from support.wheels import make_sdist, make_wheel

WHEEL = make_wheel("Demo", "1.0", requires_python=">=3.9")
SDIST = make_sdist("Demo", "1.0")
BIG = make_wheel("Demo", "2.0", payload_bytes=3_000_000)
PAGES_BYTES = 900
"""More than a page takes, and less than any file."""


@pytest.fixture(name="shared", scope="module")
async def _shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("shared") / "data") as site:
        yield site


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(WHEEL, SDIST, BIG)
        yield index


@pytest.fixture(name="remote")
async def _remote(shared: Site, index: Index) -> AsyncIterator[Remote]:
    async with open_remote(shared, index.url) as remote:
        yield remote


async def test_a_page_passes_everything_on_with_our_urls(remote: Remote, index: Index) -> None:
    provenance = "https://provenance.example/x"
    index.changes[WHEEL.filename] = {
        "yanked": "too <old>",
        "requires-python": ">=3.9",
        "provenance": provenance,
    }
    index.page_changes = {
        "versions": ["0.5", "1.0", "2.0"],
        "project-status": {"status": "archived", "reason": "done"},
    }

    page = await remote.page()

    (entry,) = [one for one in page["files"] if one["filename"] == WHEEL.filename]
    assert entry == {
        "filename": WHEEL.filename,
        "url": f"../../demo/{WHEEL.filename}",
        "hashes": {"sha256": WHEEL.sha256},
        "size": len(WHEEL.data),
        "upload-time": "2024-02-03T04:05:06.000007Z",
        "requires-python": ">=3.9",
        "core-metadata": {"sha256": hashlib.sha256(core_metadata_of(WHEEL)).hexdigest()},
        "yanked": "too <old>",
        "provenance": provenance,
    }
    assert page["versions"] == ["0.5", "1.0", "2.0"]
    assert page["project-status"] == {"status": "archived", "reason": "done"}


async def test_html_becomes_the_same_page_as_far_as_it_says(remote: Remote, index: Index) -> None:
    index.form = HTML
    index.changes[WHEEL.filename] = {"yanked": True, "requires-python": ">=3.9"}

    page = await remote.page()

    (entry,) = [one for one in page["files"] if one["filename"] == WHEEL.filename]
    assert entry["hashes"] == {"sha256": WHEEL.sha256}
    assert entry["yanked"] is True
    assert entry["requires-python"] == ">=3.9"
    assert entry["core-metadata"]["sha256"]
    assert entry["_upload-time-source"] == "first-seen"
    assert page["versions"] == ["1.0", "2.0"]


async def test_an_upload_time_that_nobody_tells_is_when_it_was_first_seen_and_stays(
    remote: Remote, index: Index
) -> None:
    index.changes[WHEEL.filename] = {"upload-time": ...}
    first = {one["filename"]: one for one in (await remote.page())["files"]}[WHEEL.filename]
    remote.clock.now += timedelta(minutes=30)
    index.publish(make_wheel("Demo", "3.0"))

    page = await remote.page()

    later = {one["filename"]: one for one in page["files"]}
    # One page can list hundreds of files: none of them is asked when it was made.
    assert index.paths("/files/") == []
    assert later[WHEEL.filename]["upload-time"] == first["upload-time"]
    assert later[WHEEL.filename]["_upload-time-source"] == "first-seen"
    assert "_upload-time-source" not in later[SDIST.filename]
    assert len(later) == 4


@pytest.mark.parametrize("distribution", [WHEEL, SDIST, BIG], ids=["wheel", "sdist", "big"])
async def test_a_file_is_fetched_once_and_served_from_the_cache_then(
    remote: Remote, index: Index, distribution: Any
) -> None:
    path = f"demo/{distribution.filename}"

    cold, *others = await asyncio.gather(*(remote.get(path) for _ in range(5)))
    index.faults["/"] = say(Response(500))
    warm = await remote.get(path)

    for answer in (cold, *others, warm):
        assert answer.status_code == 200
        assert answer.content == distribution.data
        assert answer.headers["etag"] == f'"{distribution.sha256}"'
        assert answer.headers["content-length"] == str(len(distribution.data))
    assert index.paths("/files/") == [f"/files/{distribution.filename}"]


async def test_ranges_and_resumes_work_from_cold(remote: Remote, index: Index) -> None:
    path = f"demo/{BIG.filename}"

    tail, middle, resumed = await asyncio.gather(
        remote.get(path, range="bytes=-100"),
        remote.get(path, range="bytes=1000-1999"),
        remote.get(path, range="bytes=5000-", if_range=f'"{BIG.sha256}"'),
    )

    assert [one.status_code for one in (tail, middle, resumed)] == [206, 206, 206]
    assert tail.content == BIG.data[-100:]
    assert middle.content == BIG.data[1000:2000]
    assert resumed.content == BIG.data[5000:]
    assert len(index.paths("/files/")) == 1


async def test_core_metadata_is_passed_on_without_the_wheel(remote: Remote, index: Index) -> None:
    path = f"demo/{WHEEL.filename}.metadata"

    cold, again = await asyncio.gather(remote.get(path), remote.get(path))
    index.faults["/"] = say(Response(500))
    warm = await remote.get(path)

    assert {one.content for one in (cold, again, warm)} == {core_metadata_of(WHEEL)}
    assert index.paths("/files/") == [f"/files/{WHEEL.filename}.metadata"]


async def test_core_metadata_is_read_out_of_a_wheel_by_ranges_and_listed_then(
    remote: Remote, index: Index
) -> None:
    index.has_core_metadata = False
    assert all("core-metadata" not in one for one in (await remote.page())["files"])

    answer = await remote.get(f"demo/{BIG.filename}.metadata")

    assert answer.content == core_metadata_of(BIG)
    ranges = [one.headers.get("range") for one in index.asked if one.path.endswith(BIG.filename)]
    assert None not in ranges
    assert ranges[0] == "bytes=-65536"
    entry = {one["filename"]: one for one in (await remote.page())["files"]}[BIG.filename]
    assert entry["core-metadata"] == {"sha256": hashlib.sha256(answer.content).hexdigest()}


async def test_core_metadata_is_read_out_of_a_cached_wheel_without_being_asked(
    remote: Remote, index: Index
) -> None:
    index.has_core_metadata = index.has_ranges = False

    answer = await remote.get(f"demo/{WHEEL.filename}")

    assert answer.content == WHEEL.data
    entry = {one["filename"]: one for one in (await remote.page())["files"]}[WHEEL.filename]
    assert entry["core-metadata"]["sha256"]
    metadata = await remote.get(f"demo/{WHEEL.filename}.metadata")
    assert metadata.content == core_metadata_of(WHEEL)


async def test_without_ranges_the_wheel_is_fetched_for_its_core_metadata(
    remote: Remote, index: Index
) -> None:
    index.has_core_metadata = index.has_ranges = False

    metadata = await remote.get(f"demo/{BIG.filename}.metadata")
    wheel = await remote.get(f"demo/{BIG.filename}")

    assert metadata.content == core_metadata_of(BIG)
    assert wheel.content == BIG.data


async def test_an_sdist_has_no_core_metadata(remote: Remote) -> None:
    answer = await remote.get(f"demo/{SDIST.filename}.metadata")

    assert answer.status_code == 404


async def test_digests_and_sizes_that_the_upstream_lacks_are_listed_once_known(
    remote: Remote, index: Index
) -> None:
    index.algorithm = ""
    index.changes[WHEEL.filename] = {"size": ..., "upload-time": ...}
    before = {one["filename"]: one for one in (await remote.page())["files"]}[WHEEL.filename]

    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data

    after = {one["filename"]: one for one in (await remote.page())["files"]}[WHEEL.filename]
    assert before["hashes"] == {}
    assert "size" not in before
    assert after["hashes"] == {"sha256": WHEEL.sha256}
    assert after["size"] == len(WHEEL.data)
    assert after["upload-time"] == "2023-02-03T04:05:06.000000Z"
    assert after["_upload-time-source"] == "last-modified"


async def test_a_page_is_asked_for_again_only_when_it_is_no_longer_fresh(
    remote: Remote, index: Index
) -> None:
    first = await remote.get("simple/demo/", accept=JSON)
    remote.clock.now += timedelta(seconds=59)
    await remote.page()
    assert len(index.paths("/simple/")) == 1

    remote.clock.now += timedelta(seconds=2)
    again = await remote.get("simple/demo/", accept=JSON)

    assert again.headers["etag"] == first.headers["etag"]
    assert [bool(one.headers.get("if-none-match")) for one in index.asked] == [False, True]
    assert len((await remote.page())["files"]) == 3
    index.publish(make_wheel("Demo", "3.0"))
    remote.clock.now += timedelta(seconds=61)
    assert len((await remote.page())["files"]) == 4


async def test_a_restart_forgets_nothing(tmp_path: Path, index: Index) -> None:
    async with (
        open_site(tmp_path / "data") as site,
        open_remote(site, index.url) as remote,
    ):
        await remote.page()
        await remote.get(f"demo/{WHEEL.filename}")
        name = remote.name
    index.faults["/"] = say(Response(500))

    async with open_site(tmp_path / "data") as site:
        remote = Remote(site, name)
        assert len((await remote.page())["files"]) == 3
        assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


async def test_an_unknown_package_is_remembered_briefly(remote: Remote, index: Index) -> None:
    for _ in range(3):
        assert (await remote.get("simple/new/")).status_code == 404
    assert index.paths("/simple/") == ["/simple/new/"]

    index.publish(make_wheel("new"))
    remote.clock.now += timedelta(seconds=61)

    assert (await remote.page("new"))["files"]


async def test_both_lists_name_packages_of_which_a_file_is_here(shared: Site, index: Index) -> None:
    index.publish(make_wheel("other", "1.0"))
    size = len(WHEEL.data) + PAGES_BYTES
    async with open_remote(shared, index.url, cache_size_max_bytes=size) as remote:

        async def listed() -> tuple[list[str], str]:
            simple = await remote.get("simple/", accept=JSON)
            rest = await shared.call("GET", f"/v1/{remote.name}/packages")
            names = [one["name"] for one in simple.json()["projects"]]
            found = [one["name"].rpartition("/")[2] for one in rest.json().get("packages", [])]
            assert names == found
            return names, simple.headers["etag"]

        before = await listed()
        await remote.page()
        await remote.get("simple/unknown/")
        assert await listed() == before == ([], before[1])

        await remote.get(f"demo/{WHEEL.filename}")
        assert (await listed())[0] == ["demo"]

        remote.clock.now += timedelta(minutes=1)
        other = await remote.get("other/other-1.0-py3-none-any.whl")
        assert other.status_code == 200
        await shared.registry.remotes.tidy()
        assert (await listed())[0] == ["other"]


async def test_a_quarantined_package_offers_nothing_not_even_from_the_cache(
    remote: Remote, index: Index
) -> None:
    assert (await remote.get(f"demo/{WHEEL.filename}")).status_code == 200
    index.page_changes = {"project-status": {"status": "quarantined"}}
    remote.clock.now += timedelta(seconds=61)

    assert (await remote.page())["files"] == []
    assert (await remote.get(f"demo/{WHEEL.filename}")).status_code == 404


async def test_a_file_that_the_upstream_has_removed_stays_for_builds_that_pin_it(
    remote: Remote, index: Index
) -> None:
    assert (await remote.get(f"demo/{WHEEL.filename}")).status_code == 200
    del index.published["demo"][WHEEL.filename]
    remote.clock.now += timedelta(seconds=61)

    assert len((await remote.page())["files"]) == 2
    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


async def test_nobody_publishes_to_a_remote_repository(remote: Remote) -> None:
    path = f"/my-project/{remote.name.repository}/"
    answer = await remote.site.upload(WHEEL, path=path)

    assert answer.status_code in (400, 405), answer.text


async def test_a_refresh_asks_the_upstream_before_the_next_answer(
    remote: Remote, index: Index
) -> None:
    await remote.page()
    index.publish(make_wheel("Demo", "3.0"))
    assert len((await remote.page())["files"]) == 3
    rest = f"/v1/{remote.name}"

    one = await remote.site.call("POST", f"{rest}/packages/Demo:refresh", {})

    assert one.json() == {"pages": 1}
    assert len((await remote.page())["files"]) == 4
    everything = await remote.site.call("POST", f"{rest}:refresh", {})
    assert everything.json() == {"pages": 1}
    before = len(index.asked)
    for _ in range(3):
        await remote.page()
    assert len(index.asked) == before + 1
    await remote.site.call("POST", f"{rest}:refresh", {})
    index.faults["/"] = say(Response(500))
    assert len((await remote.page())["files"]) == 4


async def test_a_standard_repository_has_nothing_to_refresh(remote: Remote) -> None:
    answer = await remote.site.call("POST", f"{remote.site.rest}:refresh", {})

    assert answer.status_code == 400
    assert "is a standard repository, and caches nothing" in answer.text


async def test_files_used_longest_ago_make_room_and_their_bytes_are_collected(
    shared: Site, index: Index
) -> None:
    size = len(BIG.data) + len(WHEEL.data) + PAGES_BYTES
    async with open_remote(shared, index.url, cache_size_max_bytes=size) as remote:
        for filename in (SDIST.filename, WHEEL.filename):
            await remote.get(f"demo/{filename}")
            remote.clock.now += timedelta(minutes=1)
        await remote.get(f"demo/{BIG.filename}")

        await shared.registry.remotes.tidy()

        assert await remote.kept() == sorted([BIG.filename, WHEEL.filename])
        asked = len(index.paths("/files/"))
        assert (await remote.get(f"demo/{SDIST.filename}")).content == SDIST.data
        assert len(index.paths("/files/")) == asked + 1


async def test_a_use_counts_and_is_written_down_in_time(shared: Site, index: Index) -> None:
    size = len(BIG.data) + len(WHEEL.data) + PAGES_BYTES
    async with open_remote(shared, index.url, cache_size_max_bytes=size) as remote:
        for filename in (WHEEL.filename, SDIST.filename):
            await remote.get(f"demo/{filename}")
        shared.clock.now += timedelta(minutes=50)
        shared.admin = await shared.sign_in(shared.admin_key)
        shared.clock.now += timedelta(minutes=20)
        await remote.get(f"demo/{WHEEL.filename}")
        await shared.registry.remotes.tidy()
        await remote.get(f"demo/{BIG.filename}")

        await shared.registry.remotes.tidy()

        assert await remote.kept() == sorted([BIG.filename, WHEEL.filename])
    shared.admin = await shared.sign_in(shared.admin_key)


async def test_the_collector_spares_what_is_cached(remote: Remote, index: Index) -> None:
    await remote.get(f"demo/{WHEEL.filename}")
    index.changes[BIG.filename] = {"core-metadata": True}
    remote.clock.now += timedelta(seconds=61)
    metadata = await remote.get(f"demo/{BIG.filename}.metadata")
    assert metadata.content == core_metadata_of(BIG)
    collector = replace_grace(remote)

    await collector.collect()

    index.faults["/"] = say(Response(500))
    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data
    again = await remote.get(f"demo/{BIG.filename}.metadata")
    assert again.content == core_metadata_of(BIG)


async def test_a_cached_file_whose_bytes_are_lost_is_fetched_again(
    remote: Remote, index: Index
) -> None:
    await remote.get(f"demo/{BIG.filename}")
    digest = BIG.sha256
    (remote.site.data_dir / "blobs" / digest[:2] / digest).unlink()

    assert (await remote.get(f"demo/{BIG.filename}")).content == BIG.data


def replace_grace(remote: Remote) -> Collector:
    """Return a collector that spares nothing for its age."""
    registry = remote.site.registry
    tomorrow = lambda: datetime.now(UTC) + timedelta(days=1)  # noqa: E731, TID251 - ages of files are real
    return Collector(registry.metadata, registry.blobs, tomorrow, timedelta(0))

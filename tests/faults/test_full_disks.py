"""Disks and databases fill up: 507, one clear sentence, and everything works once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from support.disk import MIB, NoDisk, SmallDisk, small_disk
from support.loopback import Loopback
from support.server import Server, running_server
from support.site import Site
from support.wheels import Distribution, make_wheel

# More than the write-ahead log can take in, and little enough that some upload still fits.
ROOM_LEFT_BYTES = (0, 8_192, 49_152, 131_072, 262_144, 524_288)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 16 MiB."""
    try:
        with small_disk(tmp_path / "disk", 16 * MIB) as disk:
            yield disk
    except NoDisk as error:
        pytest.skip(str(error))


@pytest.fixture(name="server")
def _server(disk: SmallDisk) -> Iterator[Server]:
    """A server whose data is on the small disk."""
    with running_server(disk.path / "data") as server:
        yield server


def test_an_upload_that_does_not_fit_is_507_and_succeeds_once_there_is_room(
    disk: SmallDisk, server: Server
) -> None:
    client = Loopback(server)
    small, large = make_wheel("small", "1.0"), make_wheel("large", "1.0", payload_bytes=8 * MIB)
    assert client.upload(small).status == 200
    disk.fill(leave_bytes=4 * MIB)

    refused = client.upload(large)

    assert (refused.status, refused.text) == (507, "There is no space left for an upload.\n")
    assert client.staging() == []
    assert client.check() == {small.filename: small.sha256}
    disk.empty()
    assert client.upload(large).status == 200
    assert client.check() == {one.filename: one.sha256 for one in (small, large)}


def test_a_server_on_a_disk_that_is_full_to_the_last_byte_lives_and_recovers(
    disk: SmallDisk, server: Server
) -> None:
    client = Loopback(server)
    first = make_wheel("first", "1.0")
    assert client.upload(first).status == 200
    published = {first.filename: first.sha256}
    refused = []

    for room_bytes in ROOM_LEFT_BYTES:
        disk.fill(leave_bytes=room_bytes)
        for number in range(3):
            wheel = make_wheel("wheel", f"{room_bytes}.{number}", payload_bytes=20_000)
            answer = client.upload(wheel)
            assert answer.status in (200, 507), answer.text
            if answer.status == 200:
                published[wheel.filename] = wheel.sha256
            else:
                assert "no space left" in answer.text
                refused.append(wheel)
        assert client.staging() == []
        assert client.check() == published
        disk.empty()

    assert refused
    for wheel in refused:
        assert client.upload(wheel).status == 200
        published[wheel.filename] = wheel.sha256
    assert client.check() == published
    assert server.stop() == 0
    server.start()
    assert client.check() == published


async def test_a_full_database_is_507_and_the_upload_succeeds_once_there_is_room(
    site: Site,
) -> None:
    published: list[str] = []
    refused: Distribution | None = None
    sentence = ""
    await limit_pages(site, 1)

    for version in range(200):
        wheel = make_wheel("demo", f"{version}.0", requires_python=">=3.9" + ",!=3.8.*" * 30)
        answer = await site.upload(wheel)
        if answer.status_code != 200:
            refused, sentence = wheel, f"{answer.status_code} {answer.text}"
            break
        published.append(wheel.filename)

    assert refused is not None
    assert sentence == "507 The database has no space left.\n"
    assert [file["filename"] for file in (await site.page("demo"))["files"]] == published
    assert list((site.data_dir / "staging").iterdir()) == []
    await limit_pages(site, 1_000_000)
    assert (await site.upload(refused)).status_code == 200
    assert len((await site.page("demo"))["files"]) == len(published) + 1


async def limit_pages(site: Site, pages: int) -> None:
    """Let the database grow to that many pages; SQLite raises it to how many there are."""
    async with site.registry.metadata.transaction() as tx:
        connection = tx.projects._connection
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))

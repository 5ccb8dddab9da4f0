"""Files and their core metadata: whole, by range, not modified; and what a cache may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bonded.server.blobs.directory import IN_MEMORY_MAX_BYTES
from bonded.server.core.errors import BondedError, Unavailable
from bonded.server.core.files import OnDisk
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.web.messages import ContentReply, Message
from bonded.server.web.sending import send_answer
from support.site import Site, open_site
from support.wheels import Distribution, make_sdist, make_wheel

SMALL = make_wheel("small")
LARGE = make_wheel("large", payload_bytes=IN_MEMORY_MAX_BYTES)
SDIST = make_sdist("small")
REPOSITORY = "projects/my-project/locations/local/repositories/python"
CACHE = "private, max-age=365000000, immutable"
FILES = pytest.mark.parametrize("wheel", [SMALL, LARGE], ids=["in memory", "on disk"])


@pytest.fixture(name="stocked", scope="module")
async def _stocked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("stocked") / "data") as site:
        for distribution in (SMALL, LARGE, SDIST):
            assert (await site.upload(distribution)).status_code == 200
        yield site


def path_of(distribution: Distribution) -> str:
    return f"/my-project/python/{distribution.filename.partition('-')[0]}/{distribution.filename}"


async def test_the_large_file_is_served_from_the_disk(stocked: Site) -> None:
    catalog = stocked.registry.catalog
    repository = await catalog.open(RepositoryName("my-project", "local", "python"))

    stored = await repository.open_file(PackageName.parse("large"), LARGE.filename)

    assert isinstance(stored.content, OnDisk)


@FILES
async def test_a_file_comes_whole_with_all_that_a_client_needs(
    stocked: Site, wheel: Distribution
) -> None:
    response = await stocked.get(path_of(wheel), accept_encoding="gzip, zstd")

    assert (response.status_code, response.content) == (200, wheel.data)
    assert dict(response.headers) == {
        "content-type": "application/octet-stream",
        "content-length": str(len(wheel.data)),
        "etag": f'"{wheel.sha256}"',
        "accept-ranges": "bytes",
        "cache-control": CACHE,
    }


RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=0-99": (0, 100),
    "bytes=100-199": (100, 200),
    "bytes=100-": (100, None),
    "bytes=-100": (-100, None),
    "bytes=-1": (-1, None),
    "bytes=0-": (0, None),
    "bytes=0-999999999999": (0, None),
    "bytes=-999999999999": (0, None),
    "bytes= 5 - 9 ": (5, 10),
}


@FILES
@pytest.mark.parametrize("wanted", RANGES)
async def test_a_range_comes_alone(stocked: Site, wheel: Distribution, wanted: str) -> None:
    start, stop = RANGES[wanted]
    expected = wheel.data[start:stop]
    first = start if start >= 0 else len(wheel.data) + start

    response = await stocked.get(path_of(wheel), range=wanted)

    last = first + len(expected) - 1
    assert (response.status_code, response.content) == (206, expected)
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(wheel.data)}"
    assert response.headers["content-length"] == str(len(expected))
    assert response.headers["etag"] == f'"{wheel.sha256}"'


@FILES
@pytest.mark.parametrize("wanted", ["bytes=999999999-", "bytes=999999999-9999999999", "bytes=-0"])
async def test_a_range_past_the_end_is_416_and_says_how_long_the_file_is(
    stocked: Site, wheel: Distribution, wanted: str
) -> None:
    response = await stocked.get(path_of(wheel), range=wanted)

    assert (response.status_code, response.content) == (416, b"")
    assert response.headers["content-range"] == f"bytes */{len(wheel.data)}"


@FILES
@pytest.mark.parametrize(
    "wanted",
    ["bytes=0-1,5-6", "bytes=9-5", "bytes=-", "bytes=a-b", "bytes", "", "lines=0-1", "bytes=0-1x"],
)
async def test_a_range_that_cannot_be_served_alone_brings_the_whole(
    stocked: Site, wheel: Distribution, wanted: str
) -> None:
    response = await stocked.get(path_of(wheel), range=wanted)

    assert (response.status_code, response.content) == (200, wheel.data)
    assert "content-range" not in response.headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{SMALL.sha256}"', 206),
        (f'W/"{SMALL.sha256}"', 200),
        (f'"{LARGE.sha256}"', 200),
        ("Sun, 22 Nov 2026 12:00:00 GMT", 200),
    ],
)
async def test_if_range_gives_a_range_of_the_same_file_only(
    stocked: Site, condition: str, status: int
) -> None:
    response = await stocked.get(path_of(SMALL), range="bytes=0-9", if_range=condition)

    assert response.status_code == status
    assert response.content == (SMALL.data[:10] if status == 206 else SMALL.data)


@FILES
@pytest.mark.parametrize("condition", ['"{}"', 'W/"{}"', '"a", "{}"', "*"])
async def test_what_the_client_has_already_is_304(
    stocked: Site, wheel: Distribution, condition: str
) -> None:
    response = await stocked.get(path_of(wheel), if_none_match=condition.format(wheel.sha256))

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == f'"{wheel.sha256}"'
    assert response.headers["cache-control"] == CACHE


async def test_304_comes_before_the_range(stocked: Site) -> None:
    response = await stocked.get(
        path_of(SMALL), if_none_match=f'"{SMALL.sha256}"', range="bytes=0-9"
    )

    assert response.status_code == 304


async def test_304_and_ranges_need_the_same_rights_as_200(stocked: Site) -> None:
    nobody = await stocked.get(path_of(SMALL), token="", if_none_match=f'"{SMALL.sha256}"')
    ranged = await stocked.get(path_of(SMALL), token="", range="bytes=0-9")
    metadata = await stocked.get(f"{path_of(SMALL)}.metadata", token="")

    assert [one.status_code for one in (nobody, ranged, metadata)] == [401, 401, 401]
    assert SMALL.sha256 not in str(nobody.headers)


@FILES
@pytest.mark.parametrize("wanted", [None, "bytes=0-9", "bytes=999999999-"])
async def test_head_has_the_headers_of_the_whole_file_and_no_body(
    stocked: Site, wheel: Distribution, wanted: str | None
) -> None:
    headers = {"authorization": f"Bearer {stocked.admin}"}
    ranged = headers | ({"range": wanted} if wanted else {})

    get = await stocked.http.get(path_of(wheel), headers=headers)
    head = await stocked.http.head(path_of(wheel), headers=ranged)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert dict(head.headers) == dict(get.headers)


async def test_core_metadata_comes_byte_for_byte(stocked: Site) -> None:
    response = await stocked.get(f"{path_of(SMALL)}.metadata")
    (file,) = (
        file
        for file in (await stocked.page("small"))["files"]
        if file["filename"] == SMALL.filename
    )

    assert (response.status_code, response.content) == (200, SMALL.core_metadata)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["etag"] == f'"{file["core-metadata"]["sha256"]}"'
    assert response.headers["cache-control"] == CACHE
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (f"{path_of(SDIST)}.metadata", f"{SDIST.filename} has no core metadata file."),
        (
            "/my-project/python/small/absent-1.0-py3-none-any.whl.metadata",
            f"No file absent-1.0-py3-none-any.whl of small in {REPOSITORY}.",
        ),
        (
            f"/my-project/python/large/{SMALL.filename}",
            f"No file {SMALL.filename} of large in {REPOSITORY}.",
        ),
        (
            "/my-project/python/small/..%2F..%2Fadmin-key.json",
            f"No file ../../admin-key.json of small in {REPOSITORY}.",
        ),
    ],
)
async def test_what_is_not_there_is_404_in_a_sentence(stocked: Site, path: str, says: str) -> None:
    response = await stocked.get(path)

    assert (response.status_code, response.text) == (404, f"{says}\n")


async def test_a_package_may_be_spelled_otherwise_in_a_file_s_address(stocked: Site) -> None:
    response = await stocked.get(f"/my-project/python/Small/{SMALL.filename}")

    assert response.content == SMALL.data


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("short", "The blob blob is damaged: it ends at 10 bytes"),
        ("absent", "The disk failed at a download: No such file or directory"),
        ("a directory", "The disk failed at a download: Is a directory"),
    ],
)
async def test_a_blob_that_fails_under_its_download_breaks_it_off(
    tmp_path: Path, made: str, says: str
) -> None:
    blob = tmp_path / "blob"
    if made == "short":
        blob.write_bytes(b"0123456789")
    elif made == "a directory":
        blob.mkdir()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    reply = ContentReply(206, OnDisk(blob, 100), (), 5, 100)
    with pytest.raises(Unavailable) as raised:
        await send_answer(reply, {"method": "GET"}, stays, send)

    assert str(raised.value) == says
    assert {"type": "http.response.body", "body": b""} not in sent


@pytest.mark.parametrize("error", [BondedError("The blob broke"), OSError(5, "The blob broke")])
async def test_what_breaks_an_answer_off_is_logged(
    stocked: Site, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise error

    scope = {
        "type": "http",
        "method": "GET",
        "path": path_of(SMALL),
        "raw_path": path_of(SMALL).encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {stocked.admin}".encode())],
    }
    with pytest.raises(type(error), match="The blob broke"):
        await stocked.registry.application(scope, stays, send)

    assert f"GET {path_of(SMALL)} broke off" in caplog.text
    assert "The blob broke" in caplog.text


async def stays() -> Message:
    """Be a client that has said all and stays."""
    await asyncio.Event().wait()
    raise AssertionError

"""An upstream that misbehaves: the cache stays clean, and the answer is honest."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bonded.server.core.errors import UpstreamFailed
from bonded.server.upstream.client import LARGE_PAGE_MIN_BYTES
from support.remotes import Remote, open_remote
from support.site import JSON, Site, open_site
from support.upstream import (
    HTML,
    Fault,
    Index,
    Request,
    Response,
    core_metadata_of,
    cut,
    hang,
    open_index,
    reset,
    say,
)
from support.wheels import Distribution, make_wheel

WHEEL = make_wheel("Demo", "1.0")
BIG = make_wheel("Demo", "2.0", payload_bytes=3_000_000)
PAGE = "simple/demo/"
BOMB = gzip.compress(b" " * 5_000_000)
TYPED = {"Content-Type": JSON}


def answering(body: bytes, status: int = 200, content_type: str = JSON) -> Fault:
    return say(Response(status, body, {"Content-Type": content_type}))


def sending_to(url: str) -> Fault:
    return say(Response(302, b"", {"Location": url}))


async def gigantic(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + JSON.encode() + b"\r\n\r\n{")
    for _ in range(100):
        writer.write(b" " * 65536)
        await writer.drain()


async def bomb(_request: Request, writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Encoding: gzip\r\n"
    writer.write(f"{head}Content-Length: {len(BOMB)}\r\n\r\n".encode() + BOMB)
    await writer.drain()


@pytest.fixture(name="index")
async def _index() -> AsyncIterator[Index]:
    async with open_index() as index:
        index.publish(WHEEL, BIG)
        yield index


@pytest.fixture(name="shared", scope="module")
async def _shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A registry with little patience."""
    async with open_site(
        tmp_path_factory.mktemp("shared") / "data",
        upstream_page_timeout_s=2,
        upstream_silence_timeout_s=2,
        upstream_page_size_max_bytes=1_000_000,
    ) as site:
        yield site


@pytest.fixture(name="remote")
async def _remote(shared: Site, index: Index) -> AsyncIterator[Remote]:
    async with open_remote(shared, index.url) as remote:
        yield remote


PAGE_FAULTS: dict[str, tuple[Fault, int, str]] = {
    "an error": (answering(b"", 500), 502, "status 500"),
    "a refusal": (answering(b"", 403), 502, "status 403"),
    "a demand for credentials": (answering(b"", 401), 502, "credentials"),
    "a reset": (reset, 502, "broke off"),
    "silence": (hang(6), 504, "not"),
    "half a page": (cut(Response(200, b"x" * 1000, TYPED), 500), 502, "broke off"),
    "another content type": (answering(b"{}", 200, "application/json"), 502, "content type"),
    "a sign-in form": (answering(b"<html><form></form></html>", 200, HTML), 502, "lists no file"),
    "malformed HTML": (answering(b"<<<a href='\xff", 200, HTML), 502, "lists no file"),
    "a declaration that is none": (answering(b"<![x[", 200, HTML), 502, "lists no file"),
    "malformed JSON": (answering(b'{"files": ['), 502, "not valid JSON"),
    "JSON of something else": (answering(b"[1, 2]"), 502, "not a page"),
    "another major version": (
        answering(json.dumps({"meta": {"api-version": "2.0"}, "files": []}).encode()),
        502,
        "version '2.0'",
    ),
    "a gigantic page": (gigantic, 502, "more than 1000000 bytes"),
    "a compressed bomb": (bomb, 502, "more than 1000000 bytes"),
    "304 to who has nothing": (answering(b"", 304), 502, "304"),
    "a redirect to itself": (sending_to("/simple/demo/"), 502, "redirects more than 5 times"),
    "a redirect to another host": (
        sending_to("http://other.example/x/"),
        502,
        "another host, other.example. If the index has moved",
    ),
    "a redirect to a file": (sending_to("file:///etc/passwd"), 502, "no http(s) URL"),
    "no HTTP at all": (lambda _, writer: _say_raw(writer, b"hello\r\n\r\n"), 502, "broke off"),
}


async def _say_raw(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.parametrize("fault", PAGE_FAULTS)
async def test_a_page_that_does_not_come_is_the_upstreams_fault_and_never_absence(
    remote: Remote, index: Index, fault: str
) -> None:
    index.faults["/simple/"], status, words = PAGE_FAULTS[fault]

    answer = await remote.get(PAGE)

    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert index.url in answer.text or "127.0.0.1" in answer.text
    assert "cache-control" in answer.headers
    del index.faults["/simple/"]
    assert len((await remote.page())["files"]) == 2


@pytest.mark.parametrize("fault", PAGE_FAULTS)
async def test_a_page_that_is_here_is_served_as_it_was(
    remote: Remote, index: Index, fault: str
) -> None:
    before = await remote.get(PAGE, accept=JSON)
    if fault != "304 to who has nothing":
        index.faults["/simple/"] = PAGE_FAULTS[fault][0]
    remote.clock.now += timedelta(minutes=30)

    after = await remote.get(PAGE, accept=JSON)

    assert after.status_code == 200
    assert after.content == before.content


async def test_a_stale_page_is_served_no_longer_than_is_set(shared: Site, index: Index) -> None:
    async with open_remote(shared, index.url, stale_max_s=600) as remote:
        await remote.page()
        index.faults["/simple/"] = reset
        remote.clock.now += timedelta(seconds=650)
        assert (await remote.get(PAGE)).status_code == 200

        remote.clock.now += timedelta(seconds=20)

        assert (await remote.get(PAGE)).status_code == 502


async def test_an_old_404_is_not_trusted_in_an_outage(remote: Remote, index: Index) -> None:
    assert (await remote.get("simple/new/")).status_code == 404
    index.faults["/simple/"] = reset
    remote.clock.now += timedelta(seconds=61)

    assert (await remote.get("simple/new/")).status_code == 502


def changed(distribution: Distribution) -> Response:
    data = bytearray(distribution.data)
    data[100] ^= 1
    return Response(200, bytes(data), {"Content-Type": "application/octet-stream"})


FILE_FAULTS: dict[str, tuple[Fault, str]] = {
    "an error": (say(Response(500)), "status 500"),
    "a reset": (reset, "broke off"),
    "silence": (hang(6), "takes too long"),
    "other bytes": (say(changed(WHEEL)), "instead of"),
    "fewer bytes": (say(Response(200, WHEEL.data[:-10])), "sends"),
    "half of it": (cut(Response(200, WHEEL.data), len(WHEEL.data) // 2), "where it broke"),
    "a sign-in form": (answering(WHEEL.data, 200, HTML), "HTML page"),
    "a redirect to itself": (sending_to(f"/files/{WHEEL.filename}"), "redirects more than"),
    "a private address": (sending_to("http://10.0.0.1/x.whl"), "not a public address"),
    "the cloud's metadata": (
        sending_to("http://169.254.169.254/latest/"),
        "not a public address",
    ),
    "another port of this machine": (
        sending_to("http://127.0.0.1:9/x.whl"),
        "not a public address",
    ),
    "a name of this machine": (sending_to("http://localhost:9/x.whl"), "not a public address"),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
async def test_a_file_that_does_not_come_right_is_not_kept(
    remote: Remote, index: Index, fault: str
) -> None:
    index.faults["/files/"], words = FILE_FAULTS[fault]

    answer = await remote.get(f"demo/{WHEEL.filename}")

    assert answer.status_code in (502, 504), answer.text
    assert words in answer.text
    assert await remote.kept() == []
    assert remote.staged() == []
    del index.faults["/files/"]
    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


async def test_a_large_file_with_other_bytes_is_cut_off_before_its_end(
    remote: Remote, index: Index
) -> None:
    index.faults["/files/"] = say(changed(BIG))

    with pytest.raises(UpstreamFailed):
        await remote.get(f"demo/{BIG.filename}")

    assert await remote.kept() == []
    del index.faults["/files/"]
    assert (await remote.get(f"demo/{BIG.filename}")).content == BIG.data


async def test_a_file_whose_connection_breaks_is_resumed_where_it_broke(
    remote: Remote, index: Index
) -> None:
    async def once(request: Request, writer: asyncio.StreamWriter) -> None:
        del index.faults["/files/"]
        healthy = index.answer(request)
        await cut(healthy, 1_000_000)(request, writer)

    index.faults["/files/"] = once

    answer = await remote.get(f"demo/{BIG.filename}")

    assert answer.content == BIG.data
    wanted = [one.headers.get("range") for one in index.asked if "/files/" in one.path]
    assert wanted == [None, "bytes=1000000-"]


async def test_a_file_without_digests_is_taken_whole_or_not_at_all(
    remote: Remote, index: Index
) -> None:
    index.algorithm = ""
    index.faults["/files/"] = cut(Response(200, BIG.data), 2_000_000)

    answer = await remote.get(f"demo/{BIG.filename}")

    assert answer.status_code == 502
    assert await remote.kept() == []


@pytest.mark.parametrize("algorithm", ["md5", "sha512", "blake2b"])
async def test_other_digests_are_verified_too(remote: Remote, index: Index, algorithm: str) -> None:
    index.algorithm = algorithm
    index.changes[WHEEL.filename] = {"size": ...}
    index.faults["/files/"] = say(changed(WHEEL))
    answer = await remote.get(f"demo/{WHEEL.filename}")
    assert answer.status_code == 502
    assert algorithm in answer.text

    del index.faults["/files/"]

    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


async def test_core_metadata_with_another_digest_is_not_passed_on(
    remote: Remote, index: Index
) -> None:
    index.faults["/files/"] = say(Response(200, b"Metadata-Version: 2.1\nName: evil\n"))
    path = f"demo/{WHEEL.filename}.metadata"

    answer = await remote.get(path)

    assert answer.status_code == 502
    del index.faults["/files/"]
    assert (await remote.get(path)).status_code == 200


async def test_a_file_that_the_upstream_has_replaced_is_never_served_again(
    remote: Remote, index: Index
) -> None:
    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data
    other = make_wheel("Demo", "1.0", requires_python=">=3.11")
    index.publish(replace(other, filename=WHEEL.filename))
    remote.clock.now += timedelta(seconds=61)

    (entry,) = [one for one in (await remote.page())["files"] if one["filename"] == WHEEL.filename]
    answer = await remote.get(f"demo/{WHEEL.filename}")

    assert entry["hashes"] == {"sha256": other.sha256}
    assert answer.content == other.data


async def test_changing_etags_and_signed_urls_change_nothing_for_clients(
    remote: Remote, index: Index
) -> None:
    tags = iter(range(100))

    async def restless(request: Request, writer: asyncio.StreamWriter) -> None:
        number = next(tags)
        for one in (WHEEL, BIG):
            index.changes[one.filename] = {"url": f"../../files/{one.filename}?signed={number}"}
        page = index.answer(replace(request, headers={}))
        headers = {**page.headers, "ETag": f'"{number}"'}
        writer.write(bytes(replace(page, headers=headers)))
        await writer.drain()

    index.faults["/simple/"] = restless
    first = await remote.get(PAGE)
    versions = set()
    for _ in range(3):
        remote.clock.now += timedelta(seconds=61)
        versions.add((await remote.get(PAGE)).headers["etag"])

    assert versions == {first.headers["etag"]}
    assert len(index.paths("/simple/")) == 4


async def test_an_upstream_that_keeps_failing_is_left_alone(remote: Remote, index: Index) -> None:
    index.faults["/simple/"] = say(Response(500))

    answers = [await remote.get(f"simple/p{number}/") for number in range(12)]

    assert {one.status_code for one in answers} == {502}
    assert len(index.asked) == 5
    assert "5 times in a row" in answers[-1].text


async def test_entries_that_make_no_sense_are_left_out_of_a_page(
    remote: Remote, index: Index
) -> None:
    good = index.entry(WHEEL)
    strange: list[Any] = [
        None,
        {},
        {"filename": 1},
        good | {"filename": "other-1.0-py3-none-any.whl"},
        good | {"filename": "../../evil-1.0.whl"},
        good | {"filename": "demo-1.0.exe"},
        good | {"filename": "demo-5-py3-none-any.whl", "url": "ftp://x/demo-5-py3-none-any.whl"},
        good | {"filename": "demo-6-py3-none-any.whl", "url": "http://u:p@x/demo-6.whl"},
        good | {"filename": "demo-7-py3-none-any.whl", "url": "http://[x/"},
        good
        | {"filename": "demo-8-py3-none-any.whl", "size": -1, "hashes": {"sha256": "zz"}}
        | {"yanked": None, "upload-time": "yesterday", "requires-python": 3},
    ]
    page = {"meta": {"api-version": "1.1"}, "name": "demo", "files": [good, *strange]}
    index.faults["/simple/"] = answering(json.dumps(page).encode())

    files = {one["filename"]: one for one in (await remote.page())["files"]}

    assert set(files) == {WHEEL.filename, "demo-8-py3-none-any.whl"}
    lenient = files["demo-8-py3-none-any.whl"]
    assert lenient["hashes"] == {}
    assert "size" not in lenient
    assert lenient["yanked"] is False


SIGN_IN = b"<html><form>Please sign in</form></html>"
UNFRAMED = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
ZIPPED = Response(200, gzip.compress(WHEEL.data), {"Content-Encoding": "gzip"})
UNVERIFIABLE: dict[str, tuple[Fault, str]] = {
    "half of it, with no size": (
        lambda _, writer: _say_raw(writer, UNFRAMED + WHEEL.data[: len(WHEEL.data) // 2]),
        "it could be cut short unseen",
    ),
    "a form of an odd type": (
        say(Response(200, SIGN_IN, {"Content-Type": "Text/HTML ; charset=utf-8"})),
        "HTML page",
    ),
    "a form of no type": (say(Response(200, SIGN_IN)), "not a readable archive"),
    "half of it, with a size": (
        say(Response(200, WHEEL.data[: len(WHEEL.data) // 2])),
        "not a readable archive",
    ),
    "another byte": (
        say(Response(200, WHEEL.data.replace(b"\n", b"\r", 1))),
        "not a readable arch",
    ),
    "not modified": (say(Response(304)), "which was not asked for"),
    "a part": (
        say(Response(206, WHEEL.data, {"Content-Range": "bytes 0-9/10"})),
        "which was not asked for",
    ),
    "a coding that was not asked for": (say(ZIPPED), "not a readable archive"),
}


@pytest.mark.parametrize("fault", UNVERIFIABLE)
async def test_a_file_that_has_no_digest_is_kept_only_if_it_is_whole(
    remote: Remote, index: Index, fault: str
) -> None:
    index.algorithm = ""
    index.has_core_metadata = False
    index.changes[WHEEL.filename] = {"size": ...}
    index.faults["/files/"], words = UNVERIFIABLE[fault]

    answer = await remote.get(f"demo/{WHEEL.filename}")

    assert answer.status_code == 502
    assert words in answer.text
    assert (await remote.kept(), remote.staged()) == ([], [])
    del index.faults["/files/"]
    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


async def test_a_file_in_chunks_needs_neither_a_size_nor_a_digest(
    remote: Remote, index: Index
) -> None:
    chunked = UNFRAMED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = f"{len(WHEEL.data):x}\r\n".encode() + WHEEL.data + b"\r\n0\r\n\r\n"
    index.algorithm = ""
    index.changes[WHEEL.filename] = {"size": ...}
    index.faults["/files/"] = lambda _, writer: _say_raw(writer, chunked + body)

    assert (await remote.get(f"demo/{WHEEL.filename}")).content == WHEEL.data


@pytest.mark.parametrize(
    "said",
    [
        SIGN_IN,
        b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
        b"Metadata-Version: 2.1\nName: demo\nVersion: 9.0\n",
        b"",
    ],
)
async def test_core_metadata_that_has_no_digest_is_believed_only_for_its_name_and_version(
    remote: Remote, index: Index, said: bytes
) -> None:
    index.changes[WHEEL.filename] = {"core-metadata": True}
    index.faults[f"/files/{WHEEL.filename}.metadata"] = say(Response(200, said))

    answer = await remote.get(f"demo/{WHEEL.filename}.metadata")

    # Read out of the wheel in its place, and announced so.
    assert answer.content == core_metadata_of(WHEEL)
    digest = hashlib.sha256(core_metadata_of(WHEEL)).hexdigest()
    assert (await remote.entry(WHEEL.filename))["core-metadata"] == {"sha256": digest}


async def test_who_waits_for_a_turn_is_not_the_upstreams_fault(
    tmp_path: Path, index: Index
) -> None:
    wheels = [make_wheel("Demo", f"3.{number}") for number in range(12)]
    index.publish(*wheels)

    async def steady(request: Request, writer: asyncio.StreamWriter) -> None:
        data = index.answer(request).body
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        writer.write(head + data[:100])
        await asyncio.sleep(0.5)
        writer.write(data[100:])
        await writer.drain()

    index.faults["/files/"] = steady
    limits = {"upstream_connections_max": 2, "upstream_page_timeout_s": 1}
    async with (
        open_site(tmp_path / "data", **limits) as site,
        open_remote(site, index.url) as remote,
    ):
        # Twelve files, two at a time: the last waits for longer than any single answer may take.
        files = [remote.get(f"demo/{one.filename}") for one in wheels]
        parts = [remote.get(f"demo/{one.filename}.metadata") for one in wheels]
        answers = await asyncio.gather(*files, *parts)

        assert {one.status_code for one in answers} == {200}
        assert (await remote.get("simple/other/")).status_code == 404


async def test_a_slow_host_of_files_does_not_close_the_way_to_the_index(
    tmp_path: Path, index: Index
) -> None:
    async with open_index() as far:
        far.faults["/"] = hang(6)
        wheels = [make_wheel("Demo", f"3.{number}") for number in range(6)]
        index.publish(*wheels)
        for one in wheels:
            url = f"http://127.0.0.1:{far.port}/{one.filename}"
            index.changes[one.filename] = {"url": url}
        changes = {"upstream_private_hosts": "127.0.0.1", "upstream_page_timeout_s": 1}
        async with (
            open_site(tmp_path / "data", **changes) as site,
            open_remote(site, index.url) as remote,
        ):
            answers = await asyncio.gather(
                *(remote.get(f"demo/{one.filename}.metadata") for one in wheels)
            )

            assert {one.status_code for one in answers} == {504}
            assert (await remote.get("simple/other/")).status_code == 404


async def test_large_pages_of_one_slow_upstream_hold_up_no_other_and_wait_so_long(
    tmp_path: Path, index: Index
) -> None:
    names = ("demo", "one", "two", "three")
    pages = {name: page_of(name) for name in names}

    async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
        body = pages[request.path.strip("/").rpartition("/")[2]]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(body) + 9}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        await asyncio.sleep(9)

    changes = {"upstream_page_timeout_s": 2, "upstream_large_pages_max": 2}
    async with open_index() as healthy, open_site(tmp_path / "data", **changes) as site:
        index.faults["/simple/"] = trickle
        healthy.faults["/simple/"] = say(Response(200, pages["demo"], {"Content-Type": JSON}))
        async with (
            open_remote(site, index.url) as slow,
            open_remote(site, index.url) as again,
            open_remote(site, healthy.url) as other,
        ):
            asking = [
                asyncio.ensure_future(remote.get(f"simple/{name}/"))
                for remote, name in ((slow, "one"), (again, "two"), (again, "three"))
            ]
            await asyncio.sleep(0.3)
            page = await other.get(PAGE, accept=JSON)
            told_before = [one for one in asking if one.done()]
            answers = await asyncio.gather(*asking)

    assert page.status_code == 200
    assert told_before == []
    assert {one.status_code for one in answers} == {504}
    waited = [one.text for one in answers if "is large, and has waited 2 s" in one.text]
    assert waited
    assert all(index.url in one for one in waited)


def page_of(name: str) -> bytes:
    """Return a page so large that it takes a turn, and parsed in no time."""
    page = {"meta": {"api-version": "1.1"}, "name": name, "files": []}
    return json.dumps(page | {"_padding": "x" * (LARGE_PAGE_MIN_BYTES + 1)}).encode()


async def test_an_honest_404_is_no_failure_in_a_row(remote: Remote, index: Index) -> None:
    for number in range(8):
        index.faults["/simple/"] = say(Response(500 if number % 2 else 404))
        await remote.get(f"simple/new{number}/")
    del index.faults["/simple/"]

    assert (await remote.get(PAGE)).status_code == 200


async def test_what_a_url_is_signed_with_is_told_to_nobody(
    remote: Remote, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    signed = f"/files/{WHEEL.filename}?X-Signature=s3cret"
    index.changes[WHEEL.filename] = {"url": signed}
    said = []
    for fault in (say(Response(403)), say(Response(404)), reset, sending_to(signed), hang(6)):
        index.faults["/files/"] = fault
        said.append((await remote.get(f"demo/{WHEEL.filename}")).text)
        said.append((await remote.get(f"demo/{WHEEL.filename}.metadata")).text)

    assert all("s3cret" not in text for text in [*said, caplog.text])
    assert f"/files/{WHEEL.filename} with status 403" in said[0]

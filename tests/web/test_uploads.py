"""Uploads whose outcome depends on the client: its tool, its timing, its patience."""

from __future__ import annotations

import asyncio
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bonded.server.blobs.directory import DirectoryBlobStore
from bonded.server.core.errors import TooLarge
from bonded.server.web.forms import read_form
from bonded.server.web.messages import Call, Message
from bonded.server.web.uploads import FIELDS
from support.site import Parts, Site, encode, form_of, open_site
from support.wheels import make_sdist, make_wheel

UV_ACCEPT = "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"
WHEEL = make_wheel("demo")


def blobs(site: Site) -> set[str]:
    return {path.name for path in (site.data_dir / "blobs").rglob("*") if path.is_file()}


def staged(site: Site) -> list[str]:
    return [path.name for path in (site.data_dir / "staging").iterdir()]


@pytest.mark.parametrize("path", ["/", "", "/simple/", "/simple", "/legacy/", "/legacy"])
async def test_uploads_are_taken_at_the_right_and_the_usual_wrong_addresses(
    site: Site, path: str
) -> None:
    response = await site.upload(WHEEL, path=f"{site.repository}{path}")

    assert response.status_code == 200


async def test_the_same_bytes_again_change_nothing(site: Site) -> None:
    await site.upload(WHEEL)
    page = await site.page("demo")
    site.clock.forward(minutes=5)

    again = await site.upload(WHEEL)

    assert (again.status_code, again.text) == (
        200,
        f"Already published, unchanged: {WHEEL.filename}\n",
    )
    assert await site.page("demo") == page


async def test_the_file_may_come_before_the_fields_that_describe_it(site: Site) -> None:
    *fields, content = form_of(WHEEL)

    response = await site.upload([content, *fields, ("attestations", "")])

    assert response.status_code == 200


async def test_fields_that_nobody_needs_are_ignored(site: Site) -> None:
    signature: Parts = [("gpg_signature", ("demo.whl.asc", b"signed"))]

    response = await site.upload(
        [*signature, ("classifiers", "a"), ("classifiers", "b"), *form_of(WHEEL)]
    )

    assert response.status_code == 200


async def test_fields_take_little_memory_however_long_they_are(tmp_path: Path) -> None:
    fields: Parts = [("description", "x€" * 3_000_000), ("version", "é" * 1_000_000)]
    body, content_type = encode([*fields, *form_of(WHEEL, version=None)])
    starts = iter(range(0, len(body), 65_536))

    async def receive() -> Message:
        start = next(starts)
        more = start + 65_536 < len(body)
        return {"type": "http.request", "body": body[start : start + 65_536], "more_body": more}

    call = Call({}, receive, "POST", {b"content-type": content_type.encode()}, {})
    blobs = DirectoryBlobStore(tmp_path, cache_bytes=0)
    async with blobs.stage(len(WHEEL.data)) as stage:
        tracemalloc.start()
        try:
            form = await read_form(call, stage, FIELDS)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak_bytes < 1_000_000
    assert form.one("name") == "demo"
    with pytest.raises(TooLarge, match="The field version is longer than 1024 characters"):
        form.one("version")


async def test_digests_may_be_in_upper_case_and_may_be_left_out(site: Site) -> None:
    upper = await site.upload(form_of(WHEEL, sha256_digest=WHEEL.sha256.upper()))
    none = await site.upload(form_of(make_wheel("other"), sha256_digest=None))

    assert (upper.status_code, none.status_code) == (200, 200)


async def test_an_sdist_is_listed_without_core_metadata(site: Site) -> None:
    sdist = make_sdist("demo", requires_python=">=3.9")

    await site.upload(sdist)

    (file,) = (await site.page("demo"))["files"]
    assert file["filename"] == "demo-1.0.tar.gz"
    assert file["requires-python"] == ">=3.9"
    assert "core-metadata" not in file


@pytest.mark.parametrize(
    ("upload", "status", "title"),
    [
        ({"token": ""}, 401, "Unauthorized"),
        ({"token": "wrong"}, 401, "Unauthorized"),
        ({"path": "/my-project/none/"}, 404, "Not Found"),
        ({"path": "/my-project/python/a/b/"}, 404, "Not Found"),
        ({"parts": form_of(WHEEL, name="other")}, 400, "Bad Request"),
        ({"parts": form_of(make_wheel("kept", summary="Changed."))}, 409, "Conflict"),
    ],
)
async def test_uv_is_told_the_same_sentence_as_problem_json(
    site: Site, upload: dict[str, Any], status: int, title: str
) -> None:
    await site.upload(make_wheel("kept"))
    plain = await site.upload(**({"parts": WHEEL} | upload))

    site.http.headers["accept"] = UV_ACCEPT
    problem = await site.upload(**({"parts": WHEEL} | upload))

    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.headers["cache-control"] == "no-store"
    assert problem.json() == {"title": title, "status": status, "detail": plain.text.rstrip("\n")}


async def test_a_conflict_begins_with_the_words_that_uploaders_look_for(site: Site) -> None:
    await site.upload(WHEEL)

    response = await site.upload(make_wheel("demo", summary="Changed."))

    assert response.status_code == 409
    assert response.text.startswith("File already exists")


async def test_racing_uploads_of_the_same_bytes_all_succeed(site: Site) -> None:
    answers = await asyncio.gather(*(site.upload(WHEEL) for _ in range(8)))

    assert [answer.status_code for answer in answers] == [200] * 8
    assert sum(answer.text.startswith("Published") for answer in answers) == 1
    assert len((await site.page("demo"))["files"]) == 1
    assert staged(site) == []


async def test_of_racing_uploads_with_different_bytes_exactly_one_wins(site: Site) -> None:
    wheels = [make_wheel("demo", summary=f"Number {number}.") for number in range(8)]

    answers = await asyncio.gather(*(site.upload(wheel) for wheel in wheels))

    won = [n for n, answer in enumerate(answers) if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code == 409]
    (file,) = (await site.page("demo"))["files"]
    (winner,) = won
    assert len(lost) == 7
    assert all(answer.text.startswith("File already exists: ") for answer in lost)
    assert file["hashes"] == {"sha256": wheels[winner].sha256}
    assert staged(site) == []


@pytest.mark.parametrize("payload_bytes", [0, 3_000_000])
async def test_a_client_that_goes_away_leaves_nothing_and_is_told_nothing(
    site: Site, payload_bytes: int
) -> None:
    body, content_type = encode(form_of(make_wheel("demo", payload_bytes=payload_bytes)))
    arriving: list[Message] = [
        {"type": "http.request", "body": body[: len(body) * 2 // 3], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> Message:
        return arriving.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"{site.repository}/",
        "raw_path": f"{site.repository}/".encode(),
        "query_string": b"",
        "headers": [
            (b"authorization", f"Bearer {site.admin}".encode()),
            (b"content-type", content_type.encode()),
        ],
    }
    before = blobs(site)

    await site.registry.application(scope, receive, send)

    assert sent == []
    assert (staged(site), blobs(site)) == ([], before)
    assert (await site.get(f"{site.repository}/simple/demo/")).status_code == 404


async def test_an_early_refusal_reads_the_rest_of_the_upload(site: Site) -> None:
    body, content_type = encode(form_of(make_wheel("demo", payload_bytes=1_000_000)))
    read = 0

    async def chunks() -> Any:
        nonlocal read
        for start in range(0, len(body), 50_000):
            read += len(body[start : start + 50_000])
            yield body[start : start + 50_000]

    response = await site.http.post(
        f"{site.repository}/", content=chunks(), headers={"content-type": content_type}
    )

    assert response.status_code == 401
    assert read == len(body)


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/my-project/python/", "1000", 401),
        ("/my-project/python/a/b/", "1000", 404),
        ("/my-project/python/", "9" * 12, 413),
    ],
)
async def test_a_refused_upload_that_falls_silent_is_answered_all_the_same(
    tmp_path: Path, path: str, length: str, status: int
) -> None:
    async with open_site(tmp_path / "data", body_wait_s=0.1) as site:
        headers = {"content-length": length}
        headers |= {} if status == 401 else {"authorization": f"Bearer {site.admin}"}
        async with asyncio.timeout(3):
            answer = await site.http.post(path, content=drip(60), headers=headers)

    assert answer.status_code == status


async def test_a_refused_upload_that_trickles_is_answered_soon(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", body_wait_s=0.3) as site, asyncio.timeout(3):
        answer = await site.http.post(f"{site.repository}/", content=drip(0.05))

    assert answer.status_code == 401


async def drip(every_s: float) -> AsyncIterator[bytes]:
    """Send a byte, and another, and never end."""
    while True:
        yield b"x"
        await asyncio.sleep(every_s)


async def test_another_spelling_of_a_published_filename_is_the_same_file(site: Site) -> None:
    first, other = make_sdist("foo", "1.0"), make_sdist("foo", "1.0", files={"more.txt": b"more"})
    assert (await site.upload(first)).status_code == 200

    for filename in ("Foo-1.0.tar.gz", "FOO-1.0.tar.gz", "foo-v1.0.tar.gz", "foo-1.0.0.tar.gz"):
        spelled = replace(other, filename=filename)
        refused = await site.upload(spelled)
        assert (refused.status_code, refused.text[:19]) == (409, "File already exists")

    assert [file["filename"] for file in (await site.page("foo"))["files"]] == [first.filename]


async def test_uploading_again_puts_back_core_metadata_that_was_lost(site: Site) -> None:
    wheel = make_wheel()
    url = f"{site.repository}/demo/{wheel.filename}.metadata"
    assert (await site.upload(wheel)).status_code == 200
    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database, database:
        database.execute("DELETE FROM core_metadata")
    assert (await site.get(url)).status_code == 503

    again = await site.upload(wheel)

    found = await site.get(url)
    assert (again.status_code, found.status_code) == (200, 200)
    assert "Already published, unchanged" in again.text
    assert found.content == wheel.core_metadata

"""Which representation each client gets, and how it learns that nothing has changed."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
import zstandard

from support.site import HTML, JSON, Site
from support.wheels import make_wheel

PLAIN = "text/html; charset=utf-8"
V1_HTML = f"{HTML}; charset=utf-8"
UNPACK: dict[str | None, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": zstandard.decompress,
    None: bytes,
}
PAGE = "/my-project/python/simple/demo/"
LIST = "/my-project/python/simple/"


@pytest.fixture(name="demo", scope="module")
async def _demo(shared: Site) -> Site:
    """A registry with one package of a few files."""
    for number in range(4):
        await shared.upload(make_wheel("demo", f"{number}.0"))
    return shared


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param(None, PLAIN, id="no Accept"),
        pytest.param("*/*", PLAIN, id="hatch, curl"),
        pytest.param(f"{JSON}, {HTML}; q=0.1, text/html; q=0.01", JSON, id="pip"),
        pytest.param(f"{JSON}, {HTML};q=0.2, text/html;q=0.01", JSON, id="uv"),
        pytest.param(f"{JSON}, */*;q=0.1", JSON, id="Poetry"),
        pytest.param(JSON, JSON, id="bandersnatch"),
        pytest.param(
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            PLAIN,
            id="browser",
        ),
        pytest.param("application/vnd.pypi.simple.latest+json", JSON, id="latest JSON"),
        pytest.param("application/vnd.pypi.simple.latest+html", V1_HTML, id="latest HTML"),
        pytest.param(HTML, V1_HTML, id="v1 HTML"),
        pytest.param("text/html", PLAIN, id="HTML"),
        pytest.param(f"{HTML}, {JSON}", JSON, id="the richest of equals"),
        pytest.param(f"{JSON};q=0.5, {HTML};q=0.6", V1_HTML, id="the greater quality"),
        pytest.param(f"text/html, {JSON};q=0.9", PLAIN, id="a named preference"),
        pytest.param(f"*/*, {JSON};q=0.1", JSON, id="a named type before a wildcard"),
        pytest.param(f"{JSON};q=0, text/html", PLAIN, id="q=0 refuses"),
        pytest.param(f"{JSON.upper()}", JSON, id="upper case"),
        pytest.param(f"{JSON};charset=utf-8;q=1", JSON, id="parameters"),
        pytest.param("application/vnd.pypi.simple.v2+json", PLAIN, id="another version"),
        pytest.param("application/json", PLAIN, id="nothing that fits"),
        pytest.param(f"{JSON};q=nonsense", PLAIN, id="broken quality"),
        pytest.param("x," * 1000 + JSON, PLAIN, id="too long to read"),
    ],
)
async def test_each_client_gets_the_page_it_reads_best(
    demo: Site, accept: str | None, content_type: str
) -> None:
    headers = {"authorization": f"Bearer {demo.admin}"}
    request = demo.http.build_request("GET", PAGE, headers=headers)
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept

    response = await demo.http.send(request)

    assert (response.status_code, response.headers["content-type"]) == (200, content_type)


@pytest.mark.parametrize(
    ("asked", "content_type"),
    [
        (JSON.replace("+", "%2B"), JSON),
        (JSON, JSON),
        (HTML.replace("+", "%2B"), V1_HTML),
        ("text/html", PLAIN),
        ("nonsense", V1_HTML),
        ("", V1_HTML),
    ],
)
async def test_format_in_the_query_wins_over_accept(
    demo: Site, asked: str, content_type: str
) -> None:
    response = await demo.get(f"{PAGE}?format={asked}", accept=HTML)

    assert response.headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("gzip;q=0", None),
        ("zstd;q=0, gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("*, zstd;q=0", "gzip"),
        ("br", None),
        ("identity;q=0", None),
        ("gzip;q=broken", None),
    ],
)
@pytest.mark.parametrize("media", [JSON, HTML])
async def test_a_page_is_compressed_as_the_client_asks(
    demo: Site, media: str, accept: str, coding: str | None
) -> None:
    plain = await demo.get(PAGE, accept=media, accept_encoding="identity")

    async with demo.http.stream(
        "GET",
        PAGE,
        headers={
            "authorization": f"Bearer {demo.admin}",
            "accept": media,
            "accept-encoding": accept,
        },
    ) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])

    assert response.headers.get("content-encoding") == coding
    assert int(response.headers["content-length"]) == len(raw)
    assert UNPACK[coding](raw) == plain.content


async def test_each_representation_has_a_strong_etag_of_its_own(demo: Site) -> None:
    etags = set()
    for media in (JSON, HTML):
        for coding in ("identity", "gzip", "zstd"):
            response = await demo.get(PAGE, accept=media, accept_encoding=coding)
            etags.add(response.headers["etag"])

    assert len(etags) == 6
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)


@pytest.mark.parametrize("path", [PAGE, LIST])
async def test_pages_are_private_revalidated_and_vary(demo: Site, path: str) -> None:
    response = await demo.get(path)

    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize("path", [PAGE, LIST])
@pytest.mark.parametrize("wrap", ["{}", "W/{}", '"a", {}, "b"', '"a",W/{}', "*"])
async def test_what_the_client_has_already_is_304(demo: Site, path: str, wrap: str) -> None:
    first = await demo.get(path, accept=JSON)
    etag = first.headers["etag"]

    again = await demo.get(path, accept=JSON, if_none_match=wrap.format(etag))

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["vary"] == first.headers["vary"]
    assert again.headers["cache-control"] == first.headers["cache-control"]
    assert "content-type" not in again.headers


@pytest.mark.parametrize("condition", ['"other"', "nonsense", "", '"a", "b"'])
async def test_what_the_client_has_not_is_200(demo: Site, condition: str) -> None:
    response = await demo.get(PAGE, accept=JSON, if_none_match=condition)

    assert response.status_code == 200


async def test_another_representation_s_etag_is_not_a_match(demo: Site) -> None:
    as_html = await demo.get(PAGE, accept=HTML)

    response = await demo.get(PAGE, accept=JSON, if_none_match=as_html.headers["etag"])

    assert response.status_code == 200


async def test_an_etag_ends_with_the_next_upload(site: Site) -> None:
    await site.upload(make_wheel("demo", "1.0"))
    before = (await site.get(PAGE, accept=JSON)).headers["etag"]
    await site.upload(make_wheel("demo", "2.0"))

    response = await site.get(PAGE, accept=JSON, if_none_match=before)

    assert response.status_code == 200
    assert response.headers["etag"] != before


async def test_304_needs_the_same_rights_as_200(demo: Site) -> None:
    etag = (await demo.get(PAGE, accept=JSON)).headers["etag"]

    nobody = await demo.get(PAGE, token="", accept=JSON, if_none_match=etag)
    garbage = await demo.get(PAGE, token="garbage", accept=JSON, if_none_match=etag)

    assert (nobody.status_code, garbage.status_code) == (401, 401)
    assert "etag" not in nobody.headers


@pytest.mark.parametrize("path", [PAGE, LIST, "/my-project/python/simple/absent/"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_head_has_the_headers_of_get_and_no_body(demo: Site, path: str, coding: str) -> None:
    headers = {"authorization": f"Bearer {demo.admin}", "accept-encoding": coding}

    get = await demo.http.get(path, headers=headers)
    head = await demo.http.head(path, headers=headers)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert dict(head.headers) == dict(get.headers)

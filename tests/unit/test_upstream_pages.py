"""Pages of upstreams, read as values: what is tolerated, and what the worst of them costs."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.files import Package, UpstreamFile
from bonded.server.core.names import PackageName
from bonded.server.upstream.pages import FILES_MAX, dump, load
from bonded.server.upstream.parsing import JSON_MEDIA, PARTS_MAX, parse_page
from bonded.server.upstream.tags import PIECES_MAX, read_tags

SEEN = datetime(2024, 5, 6, tzinfo=UTC)
URL = "https://index.test/simple/demo/"


def parse(body: bytes, media: str = "text/html") -> Package:
    return parse_page(body, media, PackageName.parse("demo"), URL, SEEN)


def parse_json(page: dict[str, Any]) -> Package:
    return parse(json.dumps(page).encode(), JSON_MEDIA)


def only(package: Package) -> UpstreamFile:
    (file,) = package.files
    assert isinstance(file, UpstreamFile)
    return file


SHA256 = "ab" * 32
HREF = f"demo-1.tar.gz#sha256={SHA256}"
SAME_ANCHORS = {
    "usual": f'<a href="{HREF}">demo-1.tar.gz</a>',
    "single quotes": f"<a href='{HREF}'>",
    "no quotes": f"<a href={HREF}>",
    "capitals": f'<A HREF="{HREF}">',
    "spaces around": f'<a\n href\t=\n"{HREF}"\n>',
    "no space between": f'<a class="x"href="{HREF}"/>',
    "a slash": f'<a/href="{HREF}">',
    "others around it": f'<p><b title="a > b"><a id=x href="{HREF}" hidden></b>',
    "a comment before it": f"<!-- <a href=demo-2.tar.gz> --><a href={HREF}>",
    "an empty comment before it": f"<!--><!---><a href={HREF}>",
    "a comment that ends otherwise": f"<!-- x --!><a href={HREF}>",
    "a script before it": f"<script>'<a href=demo-2.tar.gz>'</SCRIPT ><a href={HREF}>",
    "declarations before it": f"<!DOCTYPE html><?xml version='1'?><![CDATA[x]]><a href={HREF}>",
    "brackets before it": f"1 < 2 << 3 </> <3 <a href={HREF}>",
    "a tag that does not end behind it": f'<a href={HREF}><a href="demo-2.tar.gz',
    "a comment that does not end behind it": f"<a href={HREF}><!-- <a href=demo-2.tar.gz>",
    "character references": f'<a href="demo&#45;1&#x2e;tar.gz#sha256={SHA256}">',
    "bytes that are no text": f"\udcff<a title=\udcff href={HREF}>",
}


@pytest.mark.parametrize("page", SAME_ANCHORS.values(), ids=SAME_ANCHORS.keys())
def test_an_anchor_is_found_however_it_is_written(page: str) -> None:
    file = only(parse(page.encode("utf-8", errors="surrogateescape")))

    assert (file.filename, file.url, file.sha256) == (
        "demo-1.tar.gz",
        f"{URL}demo-1.tar.gz",
        SHA256,
    )


def test_an_anchor_says_everything_that_an_entry_does() -> None:
    file = only(
        parse(
            b'<meta name="pypi:repository-version" content="1.1"><base href="/files/">'
            b'<a href="demo-1-py3-none-any.whl?a=1&copy=2&amp;b=3" data-requires-python="&gt;=3.9" '
            b'data-yanked data-dist-info-metadata="true" data-size="12" '
            b'data-upload-time="2024-02-03T04:05:06Z" data-provenance="p.json">'
        )
    )

    # A reference without its semicolon is none within a query (HTML §13.2.5.73).
    assert file.url == ("https://index.test/files/demo-1-py3-none-any.whl?a=1&copy=2&b=3")
    assert (file.requires_python, file.yanked, file.has_core_metadata) == (">=3.9", "", True)
    assert (file.size_bytes, file.upload_time.day) == (12, 3)
    assert file.provenance == "https://index.test/files/p.json"


EVIL = 'https://files.test/demo-1.tar.gz", hash = "sha256:ee" }, { url = "https://files.test/x'
ENCODED = [
    (EVIL, EVIL.replace('"', "%22").replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")),
    ("a\x0c--pre\x0c\x1b/demo-1.tar.gz", f"{URL}a%0C--pre%0C%1B/demo-1.tar.gz"),
    (
        "a\u2028\u202e/demo-1.tar.gz?s='<x>'",
        f"{URL}a%E2%80%A8%E2%80%AE/demo-1.tar.gz?s=%27%3Cx%3E%27",
    ),
    # A line's end is left out, as of every URL (WHATWG URL §4.1), wherever it leads.
    ("a\r\nb/demo-1.tar.gz", f"{URL}ab/demo-1.tar.gz"),
    ("http://files.test/a\r\nb/demo-1.tar.gz", "http://files.test/ab/demo-1.tar.gz"),
    # What is encoded already may be signed as it is.
    ("a%2fb%7E%/demo-1.tar.gz?s=%2B+/=", f"{URL}a%2fb%7E%/demo-1.tar.gz?s=%2B+/="),
]


@pytest.mark.parametrize(("url", "kept"), ENCODED)
def test_what_has_no_place_in_a_url_is_kept_encoded(url: str, kept: str) -> None:
    entry = {"filename": "demo-1.tar.gz", "url": url, "provenance": url}

    file = only(parse_json({"files": [entry]}))

    assert (file.url, file.provenance) == (kept, kept)


def test_what_comes_before_urls_is_encoded_too() -> None:
    file = only(parse(b"<base href='/\"x y\"/'><a href=f/demo-1.tar.gz>"))

    assert file.url == "https://index.test/%22x%20y%22/f/demo-1.tar.gz"


@pytest.mark.parametrize(
    "host", ['files.test"', "files test", "files\u2028.test", "b\xfccher.test"]
)
def test_a_host_that_would_have_to_be_encoded_is_none(host: str) -> None:
    files = [{"filename": "demo-1.tar.gz", "url": f"https://{host}/demo-1.tar.gz"}]

    assert parse_json({"files": files}).files == ()


def test_a_page_that_was_kept_with_urls_as_they_came_is_read_with_encoded_ones() -> None:
    package = parse_json({"files": [{"filename": "demo-1.tar.gz", "url": "f/demo-1.tar.gz"}]})
    before = replace(package, files=(replace(only(package), url=EVIL, provenance=EVIL),))

    file = only(load(dump(before)))

    assert (file.url, file.provenance) == (ENCODED[0][1], ENCODED[0][1])


ODD_ENTRIES: dict[str, Any] = {
    "no object": 1,
    "a list": [],
    "no filename": {"url": "demo-2.tar.gz"},
    "a filename that is a number": {"filename": 1, "url": "demo-2.tar.gz"},
    "no URL": {"filename": "demo-2.tar.gz"},
    "another package's": {"filename": "other-2.tar.gz", "url": "other-2.tar.gz"},
    "too long": {"filename": "demo-2.tar.gz", "url": "demo-2.tar.gz", "x": "x" * 100_000},
}


@pytest.mark.parametrize("odd", ODD_ENTRIES.values(), ids=ODD_ENTRIES.keys())
def test_an_entry_that_makes_no_sense_does_not_hide_the_others(odd: object) -> None:
    good = {"filename": "demo-1.tar.gz", "url": "demo-1.tar.gz", "hashes": None, "size": "12"}

    package = parse_json({"meta": None, "files": [odd, good], "versions": 1, "project-status": []})

    assert [file.filename for file in package.files] == ["demo-1.tar.gz"]
    assert only(package).size_bytes is None


N = 40_000
WORST = [
    *("<", "<a ", "<a x='", "<a href='", '<a x="', "<!--", "<!--a--!", "<!", "<?", "<![", "</"),
    *("&#", "<script>", "<script></script", "<a href=&", "<div>", "x ", "<a b=c d ", "<a><!--->"),
]


@pytest.mark.parametrize("begin", ["", "<a ", "<script>", "<a href='"])
@pytest.mark.parametrize("unit", WORST)
def test_no_page_of_html_takes_longer_than_its_length_allows(unit: str, begin: str) -> None:
    page = begin + unit * (N // len(unit))
    began_s = time.thread_time()

    for _ in read_tags(page, {"href"}):
        pass

    # Some 30 ms; the standard library's parser takes a minute for several of these.
    assert time.thread_time() - began_s < 2


@pytest.mark.parametrize("url", ["a/" * 4000 + "\x01", "/" * 8000 + "\x01", "a" * 8000 + "\x01"])
def test_no_address_takes_longer_than_its_length_allows(url: str) -> None:
    files = [{"filename": "demo-1.tar.gz", "url": url}] * 8
    began_s = time.thread_time()

    parse_json({"files": files})

    assert time.thread_time() - began_s < 2


TOO_LARGE = {
    "values": (b'{"files":[' + b"1," * (PARTS_MAX + 1) + b"1]}", JSON_MEDIA),
    "files": (b'{"files":[' + b"{}," * FILES_MAX + b"{}]}", JSON_MEDIA),
    "anchors": (b"<a href=x>" * (FILES_MAX + 1), "text/html"),
    "tags": (b"<b>" * (PIECES_MAX // 2 + 1), "text/html"),
    "attributes": (b"<b " + b"x " * (PIECES_MAX + 1), "text/html"),
}


@pytest.mark.parametrize(("body", "media"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_page_of_more_parts_than_any_needs_is_an_error_and_never_cut(
    body: bytes, media: str
) -> None:
    with pytest.raises(UpstreamFailed, match=rf"{re.escape(URL)} is too large a page: It .* more"):
        parse(body, media)


MARKUP = st.lists(st.sampled_from([*WORST, "<![x[", ">", "-->", "'", " ", "href=demo-1.zip", "<a"]))


@given(st.binary(max_size=200) | MARKUP.map(lambda pieces: "".join(pieces).encode()))
def test_any_bytes_are_a_page_or_the_upstreams_fault(body: bytes) -> None:
    for media in ("text/html", JSON_MEDIA):
        try:
            package = parse(body, media)
        except UpstreamFailed:
            continue
        assert package.name.normalized == "demo"

"""Pages of upstreams, read as values: what is tolerated, and what the worst of them costs."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import UpstreamFailed
from bonded.server.core.files import Package, UpstreamFile
from bonded.server.core.names import PackageName
from bonded.server.upstream.pages import FILES_MAX
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

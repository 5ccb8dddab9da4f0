"""Simple pages as pure rendering: HTML and JSON agree, whatever the words in them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypi_simple import ProjectPage

from bonded.server.core.digests import sha256_of
from bonded.server.core.files import File, Package, Status
from bonded.server.core.names import PackageName
from bonded.server.pages.simple import detail_html, detail_json

NAME = PackageName.parse("Demo.App")
OUR_TAGS = {"html", "head", "meta", "title", "/title", "/head", "body", "h1", "/h1"}
OUR_TAGS |= {"a", "/a", "br", "/body", "/html"}
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


def file_of(number: int, requires_python: str | None = None, yanked: str | None = None) -> File:
    return File(
        filename=f"demo_app-1.{number}+local-py3-none-any.whl",
        version=f"1.{number}+local",
        size_bytes=number,
        sha256=sha256_of(b"%d" % number),
        upload_time=datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC),
        requires_python=requires_python,
        core_metadata_sha256=sha256_of(b"core"),
        yanked=yanked,
    )


@given(
    st.lists(st.tuples(st.none() | WORDS, st.none() | WORDS), max_size=4),
    st.sampled_from(Status),
    WORDS,
)
def test_html_and_json_agree_whatever_the_words(
    files: list[tuple[str | None, str | None]], status: Status, reason: str
) -> None:
    package = Package(
        NAME,
        tuple(file_of(number, *texts) for number, texts in enumerate(files)),
        tuple(f"1.{number}+local" for number in range(len(files))),
        status,
        reason,
    )

    from_json = ProjectPage.from_json_data(json.loads(detail_json(package)))
    from_html = ProjectPage.from_html("demo-app", detail_html(package).decode())

    assert [
        (one.filename, one.url, one.digests, one.requires_python, one.is_yanked)
        for one in from_json.packages
    ] == [
        (one.filename, one.url, one.digests, one.requires_python, one.is_yanked)
        for one in from_html.packages
    ]
    for one, other in zip(from_json.packages, from_html.packages, strict=True):
        # HTML cannot tell an empty reason from none.
        assert (one.yanked_reason or "") == (other.yanked_reason or "")
        assert one.metadata_digests == other.metadata_digests
    assert str(from_json.status) == str(status)
    # HTML says nothing of the one that goes without saying.
    assert str(from_html.status) == ("None" if status is Status.ACTIVE else str(status))


@pytest.mark.parametrize(
    "reason",
    [
        '"><script>alert(1)</script>',
        "' onmouseover='alert(1)",
        "</a></body>",
        "&lt;b&gt;",
        "a\nb",
        "-->",
    ],
)
def test_hostile_words_stay_words(reason: str) -> None:
    package = Package(NAME, (file_of(1, reason, reason),), ("1.1",), Status.DEPRECATED, reason)

    html = detail_html(package).decode()

    tags = re.findall(r"<(/?\w+)", html)
    assert set(tags) <= OUR_TAGS
    assert len(re.findall(r"<a [^>]+>([^<]+)</a>", html)) == 1
    page = ProjectPage.from_html("demo-app", html)
    assert page.packages[0].yanked_reason == reason
    assert page.packages[0].requires_python == reason


@pytest.mark.parametrize(
    ("yanked", "in_json", "in_html"),
    [
        (None, False, ""),
        ("", True, ' data-yanked=""'),
        ("broken", "broken", ' data-yanked="broken"'),
    ],
)
def test_a_yanked_file_is_marked_with_its_reason(
    yanked: str | None, in_json: object, in_html: str
) -> None:
    package = Package(NAME, (file_of(1, yanked=yanked),), ("1.1",))

    (file,) = json.loads(detail_json(package))["files"]
    html = detail_html(package).decode()

    assert file["yanked"] == in_json
    assert re.findall(r' data-yanked="[^"]*"', html) == ([in_html] if in_html else [])


@pytest.mark.parametrize(
    ("status", "reason", "in_json", "in_html"),
    [
        (Status.ACTIVE, "", {"status": "active"}, []),
        (Status.ARCHIVED, "", {"status": "archived"}, [("project-status", "archived")]),
        (
            Status.DEPRECATED,
            "Use demo2.",
            {"status": "deprecated", "reason": "Use demo2."},
            [("project-status", "deprecated"), ("project-status-reason", "Use demo2.")],
        ),
    ],
)
def test_a_status_marker_is_shown_where_each_form_has_it(
    status: Status, reason: str, in_json: dict[str, str], in_html: list[tuple[str, str]]
) -> None:
    package = Package(NAME, (), (), status, reason)

    found = json.loads(detail_json(package))["project-status"]
    html = detail_html(package).decode()

    assert found == in_json
    assert re.findall(r'<meta name="pypi:(project-[a-z-]+)" content="([^"]*)">', html) == in_html


def test_what_is_unknown_is_left_out_and_never_null() -> None:
    file = File("demo_app-1.0.tar.gz", "1.0", 1, sha256_of(b""), datetime(2026, 1, 1, tzinfo=UTC))

    page = detail_json(Package(NAME, (file,), ("1.0",)))

    assert b"null" not in page
    assert json.loads(page)["files"][0].keys() == {
        *("filename", "url", "hashes", "size", "upload-time", "yanked"),
    }


def test_times_have_at_most_six_digits_and_a_z() -> None:
    package = Package(NAME, (file_of(1),), ("1.1",))

    (file,) = json.loads(detail_json(package))["files"]

    assert file["upload-time"] == "2026-01-02T03:04:05.000600Z"

"""How METADATA and PKG-INFO are read, and what is said of those that do not fit."""

from __future__ import annotations

from email import message_from_string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.archives.core_metadata import Inspection, _headers, read_core_metadata
from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename
from support.wheels import make_metadata

FILENAME = Filename.parse("demo-1.0-py3-none-any.whl")
HEADERS = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"


def read(data: bytes) -> Inspection:
    return read_core_metadata("METADATA", data, FILENAME)


@pytest.mark.parametrize(
    "version", ["1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.99"]
)
def test_every_minor_version_of_a_known_major_is_read(version: str) -> None:
    assert read(make_metadata(metadata_version=version)).metadata_version == version


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe", "METADATA is not UTF-8 at byte 0"),
        (HEADERS + b"Author: M\xfcller\n", "METADATA is not UTF-8 at byte 55"),
        (b"", "METADATA has no Name"),
        (b"just some text", "METADATA has no Name"),
        (b"Metadata-Version: 2.1\nVersion: 1.0\n", "METADATA has no Name"),
        (b"Metadata-Version: 2.1\nName:\nVersion: 1.0\n", "METADATA has no Name"),
        (b"Metadata-Version: 2.1\n\nName: demo\nVersion: 1.0\n", "METADATA has no Name"),
        (b"Metadata-Version: 2.1\nName: demo\n", "METADATA has no Version"),
        (b"Name: demo\nVersion: 1.0\n", "METADATA has no Metadata-Version"),
        (HEADERS + b"name: demo\n", "METADATA has more than one Name"),
        (HEADERS + b"VERSION: 1.0\n", "METADATA has more than one Version"),
        *(
            (
                make_metadata(metadata_version=version),
                f"Metadata-Version {version!r} in METADATA is not known",
            )
            for version in ("3.0", "0.9", "2", "two", "2.1.1", "12.1")
        ),
        (
            make_metadata("other"),
            "Name in METADATA is 'other', but the file is named demo-1.0-py3-none-any.whl",
        ),
        (
            make_metadata("de mo"),
            "Name in METADATA: 'de mo' is not a valid package name",
        ),
        (
            make_metadata(version="1.1"),
            "Version in METADATA is '1.1', but the file is named demo-1.0-py3-none-any.whl",
        ),
        (
            make_metadata(version="1.0+local"),
            "Version in METADATA is '1.0+local', but the file is named demo-1.0-py3-none-any.whl",
        ),
        (
            make_metadata(version="first"),
            "Version in METADATA is not a PEP 440 version: 'first'",
        ),
        (
            make_metadata(version="1" * 5000),
            "Version in METADATA is longer than 1000 characters",
        ),
        (
            make_metadata(requires_python="newest"),
            "Requires-Python in METADATA is not a PEP 440 specifier set: 'newest'",
        ),
    ],
)
def test_core_metadata_that_do_not_fit_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(Rejected) as caught:
        read(data)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("name", "version"), [("Demo", "1.0"), ("demo", "1.0.0"), ("demo", "v1.0"), ("DEMO", "1")]
)
def test_name_and_version_may_be_spelled_otherwise(name: str, version: str) -> None:
    assert read(make_metadata(name, version)).name.spelled == name


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [(None, None), ("", None), (">=3.9", ">=3.9"), (">=3.9,\n        <4", ">=3.9, <4")],
)
def test_requires_python_is_one_line_of_specifiers_or_none(
    given_text: str | None, kept: str | None
) -> None:
    assert read(make_metadata(requires_python=given_text)).requires_python == kept


@pytest.mark.parametrize(
    ("given_text", "kept"),
    [
        ("", None),
        ("A\n        b", "A b"),
        ("A\tb\0c\x1b[1m", "A b c [1m"),
        ("x" * 3000, "x" * 1999),
    ],
)
def test_the_summary_is_one_printable_line_of_bounded_length(
    given_text: str, kept: str | None
) -> None:
    assert read(make_metadata(summary=given_text)).summary == kept


def test_fields_of_the_description_are_text() -> None:
    assert read(make_metadata(description="Name: other\n\nName: third\n")).name.spelled == "demo"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_in_any_way(line_end: bytes) -> None:
    data = make_metadata(requires_python=">=3.9", description="Text.").replace(b"\n", line_end)

    inspection = read(data)

    assert (inspection.core_metadata, inspection.requires_python) == (data, ">=3.9")


LINES = st.sampled_from(
    [
        *("Name: demo", "Name:demo", "name: demo ", "Name : demo", "Version: 1.0", "Version: 1.1"),
        *("Metadata-Version: 2.1", "Requires-Python: >=3.9", " <4", "\tmore", "", " ", "text", ":"),
    ]
)


@given(st.lists(LINES), st.sampled_from(["\n", "\r\n", "\r"]))
def test_the_same_headers_are_found_as_the_standard_library_finds(
    lines: list[str], line_end: str
) -> None:
    text = line_end.join(lines)

    found = [(key, value.split()) for key, value in _headers(text)]

    message = message_from_string(text)
    assert found == [(key.lower(), value.split()) for key, value in message.items()]

"""Accept and Accept-Encoding as pure choices; the table of real clients is in web/."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.pages.negotiation import Coding, Media, choose_coding, choose_media

NAMES = st.sampled_from(
    [media.value for media in Media] + ["*/*", "text/*", "application/*", "x/y"]
)
QUALITIES = st.sampled_from(["", ";q=1", ";q=0.5", ";q=0", ";q=nan", ";q=-1", ";q=9", ";q=", ";q"])
ACCEPTS = st.lists(st.tuples(NAMES, QUALITIES).map("".join), max_size=5)


@given(st.binary(max_size=80))
def test_whatever_is_accepted_some_form_is_chosen(header: bytes) -> None:
    assert isinstance(choose_media(header), Media)
    assert isinstance(choose_coding(header), Coding)


@given(ACCEPTS)
def test_the_order_of_preferences_with_distinct_qualities_does_not_matter(
    parts: list[str],
) -> None:
    forward = ", ".join(dict.fromkeys(parts))
    backward = ", ".join(reversed(dict.fromkeys(parts)))

    assert choose_media(forward.encode()) is choose_media(backward.encode())


@given(ACCEPTS)
def test_what_is_named_with_full_quality_beats_every_wildcard(parts: list[str]) -> None:
    header = ", ".join([*(part for part in parts if "*" in part), Media.HTML.value])

    assert choose_media(header.encode()) is Media.HTML


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (b"", Media.PLAIN_HTML),
        (b"*/*", Media.PLAIN_HTML),
        (b"application/*", Media.JSON),
        (b"text/*", Media.PLAIN_HTML),
        (b"application/vnd.pypi.simple.v1+json;q=nan", Media.PLAIN_HTML),
        (b"application/vnd.pypi.simple.v1+json ; q=0.1 , text/html;q=0", Media.JSON),
    ],
)
def test_a_form_is_chosen(accept: bytes, media: Media) -> None:
    assert choose_media(accept) is media


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (b"", Coding.IDENTITY),
        (b"gzip", Coding.GZIP),
        (b"gzip;q=0.001", Coding.GZIP),
        (b"gzip;q=nan", Coding.IDENTITY),
        (b"gzip, zstd", Coding.ZSTD),
        (b"gzip;q=1.0, zstd;q=0.9", Coding.GZIP),
        (b"*;q=0.5, gzip", Coding.GZIP),
        (b"x-gzip", Coding.IDENTITY),
    ],
)
def test_a_coding_is_chosen(accept_encoding: bytes, coding: Coding) -> None:
    assert choose_coding(accept_encoding) is coding

"""Names as types: parsed once, refused in a sentence."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.digests import parse_sha256
from bonded.server.core.errors import Rejected
from bonded.server.core.names import (
    PackageName,
    RepositoryName,
    account_email,
    parse_account_id,
    parse_location_id,
    parse_project_id,
)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("demo", "demo"),
        ("Demo", "demo"),
        ("Zope.Interface", "zope-interface"),
        ("a__b-.-c", "a-b-c"),
        ("1", "1"),
        ("a" * 200, "a" * 200),
    ],
)
def test_a_package_s_name_is_compared_normalized(text: str, normalized: str) -> None:
    name = PackageName.parse(text)

    assert (name.normalized, name.spelled, str(name)) == (normalized, text, normalized)
    assert name == PackageName.parse(normalized)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-a", "a-", ".a", "_", "a b", "a\n", "a\0", "é", "a/b", "..", "a" * 201),
        "\N{KELVIN SIGN}",
    ],
)
def test_any_other_package_name_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        PackageName.parse(text)


@given(st.text(max_size=20))
def test_normalizing_is_idempotent_and_leaves_nothing_to_escape(text: str) -> None:
    try:
        name = PackageName.parse(text)
    except Rejected:
        return

    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name.normalized)
    assert PackageName.parse(name.normalized).normalized == name.normalized


@pytest.mark.parametrize("text", ["my-project", "abcdef", "a23456", "a" * 30])
def test_project_and_account_ids(text: str) -> None:
    assert parse_project_id(text) == parse_account_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "short", "1abcdef", "abcdef-", "Abcdef", "abc_def", "abcdef\n", "a" * 31, "é" * 6]
)
def test_any_other_project_or_account_id_is_refused(text: str) -> None:
    for parse in (parse_project_id, parse_account_id):
        with pytest.raises(Rejected):
            parse(text)


@pytest.mark.parametrize("text", ["", "-", "a-", "1a", "A", "a_b", "a\n", "a/b", "a" * 64])
def test_a_bad_location_or_repository_id_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        parse_location_id(text)
    with pytest.raises(Rejected):
        RepositoryName.parse("my-project", "local", text)


def test_a_repository_is_named_in_full() -> None:
    name = RepositoryName.parse("my-project", "us-west1", "python")

    assert str(name) == "projects/my-project/locations/us-west1/repositories/python"


def test_an_account_s_address_is_google_s() -> None:
    assert account_email("robot-1", "my-project") == "robot-1@my-project.iam.gserviceaccount.com"


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64, "sha256=" + "0" * 64])
def test_a_bad_digest_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        parse_sha256(text)


def test_a_digest_may_be_in_upper_case_with_space_around() -> None:
    assert parse_sha256(f" {'AB' * 32}\n") == "ab" * 32

"""YAML out and in again."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from bonded.cli import yaml_text
from bonded.client.errors import Misconfigured

TEXT = st.text(max_size=20) | st.text(alphabet="ab:- #'\"[]{}1.e0n~|>/\n", max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_printed_reads_as_what_it_was(value: object) -> None:
    assert yaml_text.load(yaml_text.dump(value), "file", "") == value


@given(st.text(alphabet=string.printable, max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        yaml_text.load(text, "file", "Write JSON.")
    except Misconfigured as error:
        assert "not YAML that Bonded reads" in error.message  # noqa: PT017 - either is right


def test_the_style_is_that_of_gcloud() -> None:
    value = {
        "name": "projects/p/locations/l",
        "createTime": "2026-01-02T03:04:05Z",
        "labels": {"on": "off", "number": "1", "empty": ""},
        "bindings": [{"role": "roles/owner", "members": ["user:a@example.com", "*"]}, {}, []],
        "enabled": True,
        "none": None,
        "text": "it's: #1\n",
    }

    assert yaml_text.dump(value) == snapshot("""\
bindings:
- members:
  - user:a@example.com
  - '*'
  role: roles/owner
- {}
- []
createTime: '2026-01-02T03:04:05Z'
enabled: true
labels:
  empty: ''
  number: '1'
  'on': 'off'
name: projects/p/locations/l
none: null
text: "it's: #1\\U0000000A"
""")


def test_what_people_write_is_read() -> None:
    text = """\
---
# Ours.
bindings:
  - role: "roles/owner"   # the boss
    members: # who
      - 'user:a@example.com'
      -
        user:b@example.com
    condition:
      expression: request.time < timestamp("2027-01-01T00:00:00Z")
etag: BwX=
version: 3
"""

    assert yaml_text.load(text, "file", "Write JSON.") == snapshot(
        {
            "bindings": [
                {
                    "role": "roles/owner",
                    "members": ["user:a@example.com", "user:b@example.com"],
                    "condition": {"expression": 'request.time < timestamp("2027-01-01T00:00:00Z")'},
                }
            ],
            "etag": "BwX=",
            "version": 3,
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: [b, c]",
        "a: {b: c}",
        "a: |\n  text",
        "a: &anchor b",
        "a: *anchor",
        "a: !!str b",
        "a: b\na: c",
        "a: b\n  c: d",
        "1: b",
        'a: "\\q"',
        'a: "open',
        "- " * 1000 + "a",
    ],
)
def test_what_is_beyond_this_reader_is_refused_by_line(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"^Line \d of file is not YAML that Bonded reads: "):
        yaml_text.load(text, "file", "Write JSON.")

"""Filenames of wheels and sdists: taken apart, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename


@pytest.mark.parametrize(
    ("text", "kind", "name", "version"),
    [
        ("demo-1.0-py3-none-any.whl", "bdist_wheel", "demo", "1.0"),
        ("demo_app-1.0-2b-py2.py3-none-any.whl", "bdist_wheel", "demo-app", "1.0"),
        (
            "Demo.App-1.0+cu118-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "bdist_wheel",
            "demo-app",
            "1.0+cu118",
        ),
        ("demo-1!2.0rc1-py3-none-any.whl", "bdist_wheel", "demo", "1!2.0rc1"),
        ("demo_app-1.0.tar.gz", "sdist", "demo-app", "1.0"),
        ("demo-app-1.0.post1.dev2.tar.gz", "sdist", "demo-app", "1.0.post1.dev2"),
    ],
)
def test_a_filename_says_kind_name_and_version(
    text: str, kind: str, name: str, version: str
) -> None:
    filename = Filename.parse(text)

    assert (filename.text, filename.kind, filename.name.normalized, str(filename.version)) == (
        text,
        kind,
        name,
        version,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        ".whl",
        ".tar.gz",
        "demo.tar.gz",
        "demo-.tar.gz",
        "demo-one.tar.gz",
        "demo-1.0.zip",
        "demo-1.0.tar.bz2",
        "demo-1.0.exe",
        "demo-1.0-py3.11.egg",
        "demo-1.0.whl",
        "demo-1.0-py3-none.whl",
        "demo-1.0-py3-none-any.WHL",
        "demo-1.0-x1-py3-none-any.whl",
        "demo-1.0-1 2-py3-none-any.whl",
        "demo-1.0-1-py3-none-any-variant.whl",
        "demo-1.0-py3-none-.whl",
        "demo-1.0-py3-none-any..whl",
        "demo-1.0-py3-none-a ny.whl",
        "demo-1.0-py3-none-an%79.whl",
        'demo-1.0-py3-none-"><b>.whl',
        "demo-1.0-py3-none-any.whl\n",
        "demo-1.0-py3-none-any\x00.whl",
        "démo-1.0-py3-none-any.whl",
        "../demo-1.0-py3-none-any.whl",
        "a/demo-1.0-py3-none-any.whl",
        "C:\\demo-1.0-py3-none-any.whl",
        "-demo-1.0.tar.gz",
        f"demo-1.{'1' * 130}.tar.gz",
        f"{'d' * 260}-1.0.tar.gz",
        f"{'d' * 220}-1.0.tar.gz",
    ],
)
def test_any_other_filename_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        Filename.parse(text)


@given(st.text(max_size=40), st.sampled_from(["", ".whl", ".tar.gz", "-1.0-py3-none-any.whl"]))
def test_whatever_comes_is_a_filename_or_rejected(start: str, end: str) -> None:
    try:
        filename = Filename.parse(start + end)
    except Rejected:
        return

    assert set(filename.text).isdisjoint("/\\ \"'<>&%?#\0\n")

"""The URLs in lock files: all of them found, nothing else touched, and put back to the byte."""

from __future__ import annotations

import pytest

from bonded.client.errors import Misconfigured
from bonded.client.lock_urls import Locked, file_url, like, list_locked, replace

UV = """\
version = 1

[[package]]
name = "app"
version = "0"
source = { editable = "." }
dependencies = [
    { name = "demo", version = "1.0", source = { registry = "https://a.test/simple" }, x = "" },
    { name = "demo", version = "2.0", source = { registry = "https://b.test/simple" } },
]

[[package]]
name = "demo"
version = "1.0"
source = { registry = "https://a.test/simple" }
sdist = { url = "https://files.test/1/demo-1.0.tar.gz", hash = "sha256:00" }
wheels = [
    { url = "https://files.test/2/demo-1.0%2Bcpu-py3-none-any.whl?signed=1", hash = "sha256:01" },
]

[[package]]
name = "demo"
version = "2.0"
source = { registry = "https://b.test/simple" }
wheels = [{ url = "https://b.test/demo-2.0-py3-none-any.whl", hash = "sha256:02" }]

[[package]]
name = "direct"
version = "1.0"
source = { url = "https://c.test/direct-1.0-py3-none-any.whl" }
wheels = [{ url = "https://c.test/direct-1.0-py3-none-any.whl", hash = "sha256:03" }]
"""
PYLOCK = """\
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "demo"
version = "1.0"
marker = "python_version > '3'"
index = "https://a.test/simple/"
sdist = { url = "https://files.test/1/demo-1.0.tar.gz", hashes = { sha256 = "00" } }
wheels = [{ name = "demo-1.0-py3-none-any.whl", path = "demo-1.0-py3-none-any.whl" }]

[[packages]]
name = "other"
version = "1.0"
index = "https://b.test/simple/"
wheels = [{ url = "https://b.test/other-1.0-py3-none-any.whl", hashes = { sha256 = "01" } }]
"""
REQUIREMENTS = """\
--index-url https://a.test/simple/
Demo @ https://files.test/1/demo-1.0.tar.gz#sha256=00 ; python_version > '3'
https://files.test/2/other_one-1.0-py3-none-any.whl \\
    --hash=sha256:01
plain==1.0  # see https://a.test/why
"""
DEMO = "https://files.test/1/demo-1.0.tar.gz"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            UV,
            [
                Locked("demo", DEMO, "https://a.test/simple"),
                Locked(
                    *("demo", "https://files.test/2/demo-1.0%2Bcpu-py3-none-any.whl"),
                    "https://a.test/simple",
                ),
                Locked(
                    *("demo", "https://b.test/demo-2.0-py3-none-any.whl"), "https://b.test/simple"
                ),
            ],
        ),
        (
            PYLOCK,
            [
                Locked("demo", DEMO, "https://a.test/simple/"),
                Locked(
                    *("other", "https://b.test/other-1.0-py3-none-any.whl"),
                    "https://b.test/simple/",
                ),
            ],
        ),
        (
            REQUIREMENTS,
            [
                Locked("demo", DEMO, ""),
                Locked("other-one", "https://files.test/2/other_one-1.0-py3-none-any.whl", ""),
            ],
        ),
    ],
)
def test_every_file_of_an_index_is_found_with_its_index(text: str, found: list[Locked]) -> None:
    assert list_locked(text) == found


@pytest.mark.parametrize("text", [UV, PYLOCK, REQUIREMENTS, UV.replace("\n", "\r\n")])
def test_what_is_replaced_and_replaced_back_is_the_same(text: str) -> None:
    locked = [one for one in list_locked(text) if not one.index.startswith("https://b.test")]
    urls = {one.url: file_url("https://ours.test/p/all", one) for one in locked}
    indexes = {
        (one.package, one.index): like("https://ours.test/p/all/simple", one.index)
        for one in locked
        if one.index
    }

    there = replace(text, urls, indexes)
    back = replace(
        there,
        {after: before for before, after in urls.items()},
        {(name, after): before for (name, before), after in indexes.items()},
    )

    assert DEMO not in there
    assert "https://ours.test/p/all/demo/demo-1.0.tar.gz" in there
    assert back == text


def test_an_index_is_replaced_for_the_packages_that_are_meant_alone() -> None:
    indexes = {("demo", "https://a.test/simple"): "https://ours.test/p/all/simple"}

    there = replace(UV, {}, indexes)

    # Of the package itself, and where another depends on one of two versions of it.
    assert there.count('registry = "https://ours.test/p/all/simple"') == 2
    assert there.count('registry = "https://b.test/simple"') == 2
    assert replace(PYLOCK, {}, {("demo", "https://b.test/simple/"): "no"}) == PYLOCK


def test_a_lock_that_is_no_toml_is_named() -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        list_locked('version = 1\n[[package]\nname = "demo"\n')

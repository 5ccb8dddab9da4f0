"""The URLs in lock files: all of them found, nothing else touched, and put back to the byte."""

from __future__ import annotations

import pytest

from bonded.client.errors import ClientError, Misconfigured
from bonded.client.lock_urls import Locked, file_url, is_writable, like, list_locked, replace

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


ODD_LOCKS = {
    "a package without a name": f'[[package]]\nsdist = {{ url = "{DEMO}" }}',
    "a name that is a number": f'[[package]]\nname = 1\nsdist = {{ url = "{DEMO}" }}',
    "a source that is text": '[[package]]\nname = "demo"\nsource = "registry+https://a.test"',
    "an index that is a number": '[[packages]]\nname = "demo"\nindex = 1',
    "packages that are text": 'package = "x"',
    "packages that are none": "packages = [1]",
    "a URL that is a number": '[[package]]\nname = "demo"\nsdist = { url = 5 }',
    "a file that is text": '[[package]]\nname = "demo"\nsdist = "x"',
    "files that are text": '[[package]]\nname = "demo"\nwheels = ["x"]',
    "files that are no list": '[[package]]\nname = "demo"\nwheels = { url = "x" }',
    "lists without an end in sight": "x = " + "[" * 5_000,
}


@pytest.mark.parametrize("rest", ODD_LOCKS.values(), ids=ODD_LOCKS.keys())
def test_a_lock_of_another_shape_is_named(rest: str) -> None:
    with pytest.raises(Misconfigured, match=r"The lock file cannot be read: .+\."):
        list_locked(f"version = 1\n{rest}\n")


SIGNS = ['"', "'", " ", "\t", "\n", "\r", "\x0b", "\x0c", "\x1b", "\x1c", "\x85", "\u2028", "\\"]
URLS_THAT_ARE_MORE = [
    *(f"https://evil.test/{sign}/demo-1.0.tar.gz" for sign in SIGNS),
    *("https://evil.test/${HOME}/demo-1.0.tar.gz", "https://evil.test/demo-1.0.tar.gz#sha256=00"),
    *("https://evil.test/d?demo-1.0.tar.gz", "https://evil.test/;x/demo-1.0.tar.gz"),
    *("file:///demo-1.0.tar.gz", "https://evil.test/\u202edemo-1.0.tar.gz", "https://", ""),
]


@pytest.mark.parametrize("url", URLS_THAT_ARE_MORE)
def test_a_url_that_would_mean_more_in_a_lock_is_none_to_write(url: str) -> None:
    assert not is_writable(url)


@pytest.mark.parametrize(
    "url", [DEMO, "http://[::1]:8080/a%22b/demo-1.0%2Bcpu.tar.gz", "https://a.test/~x/(y)/$z,1=2"]
)
def test_a_url_as_rfc_3986_has_them_is_one_to_write(url: str) -> None:
    assert is_writable(url)


OTHER = "https://evil.test/demo-1.0.tar.gz"
HASHED = f'{OTHER}", hash = "sha256:ee" }}\nx = {{ url = "{OTHER}'
TABLES = f'{OTHER}", hashes = {{ sha256 = "ee" }} }}\nx = {{ y = {{ url = "{OTHER}'


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (UV, HASHED),
        (PYLOCK, TABLES),
        (UV, f'{OTHER}", x = "'),
        (REQUIREMENTS, f"{OTHER}\x0c--extra-index-url https://evil.test/simple\x0cx"),
        (REQUIREMENTS, f"{OTHER}\u2028--pre\u2028demo @ {OTHER}"),
        (REQUIREMENTS, "https://evil.test/evil-1.0.tar.gz"),
    ],
)
def test_nothing_but_a_url_takes_the_place_of_one(text: str, url: str) -> None:
    with pytest.raises(ClientError, match="Nothing is written"):
        replace(text, {DEMO: url}, {})


def test_nothing_but_a_url_takes_the_place_of_an_index() -> None:
    evil = 'https://evil.test/simple" }\nx = { y = "'

    with pytest.raises(ClientError, match="Nothing is written"):
        replace(UV, {}, {("demo", "https://a.test/simple"): evil})

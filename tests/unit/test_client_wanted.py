"""What requirements and lock files want of an index, and which files fit this interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags

from bonded.client.errors import Misconfigured
from bonded.client.wanted import Wanted, choose, read_wanted

TAG = str(next(iter(sys_tags())))
NATIVE = f"demo-1.0-{TAG}.whl"
PURE = "demo-1.0-py3-none-any.whl"
FOREIGN = "demo-1.0-cp20-cp20-plan9_x86.whl"
SDIST = "demo-1.0.tar.gz"


def of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [str(one) for one in read_wanted(path)]


def test_a_requirements_file_wants_its_names_and_those_of_files_it_names(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("Other.Name ~= 2.0\n")
    text = (
        "# a comment\n--index-url https://x/simple\n-r more.txt\n"
        "demo[extra]==1.0 \\\n    --hash=sha256:00\n"
        "away==1; python_version < '3'\nlocal @ file:///tmp/x\n-e .\nplain  # why\n"
    )

    assert of(tmp_path / "requirements.txt", text) == ["other-name~=2.0", "demo==1.0", "plain"]


def test_a_uv_lock_wants_exactly_the_files_from_indexes(tmp_path: Path) -> None:
    text = f"""
version = 1
[[package]]
name = "Demo"
version = "1.0"
source = {{ registry = "https://x/simple" }}
sdist = {{ url = "https://x/{SDIST}", hash = "sha256:00" }}
wheels = [{{ url = "https://x/{PURE}", hash = "sha256:00" }}]
[[package]]
name = "mine"
version = "1"
source = {{ editable = "." }}
"""
    path = tmp_path / "uv.lock"
    path.write_text(text)

    (wanted,) = read_wanted(path)

    assert (str(wanted), wanted.filenames) == ("demo==1.0", frozenset({SDIST, PURE}))


def test_a_pylock_wants_exactly_its_files(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(f"""
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "demo"
version = "1.0"
wheels = [{{ name = "{PURE}", url = "https://x/{PURE}", hashes = {{ sha256 = "00" }} }}]
""")

    (wanted,) = read_wanted(path)

    assert (str(wanted), wanted.filenames) == ("demo==1.0", frozenset({PURE}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "not a requirement !!\n"),
        ("uv.lock", "= broken"),
        ("other.toml", "[tool]\nx = 1\n"),
        ("pylock.toml", "lock-version = '1.0'\npackages = 3\n"),
    ],
)
def test_what_is_no_such_file_is_refused_by_its_name(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(Misconfigured, match=name.replace(".", r"\.")):
        of(tmp_path / name, text)


@pytest.mark.parametrize(
    ("listed", "every_platform", "chosen"),
    [
        ([FOREIGN, PURE, NATIVE, SDIST], False, [NATIVE]),
        ([FOREIGN, SDIST], False, [SDIST]),
        ([FOREIGN], False, []),
        (["nonsense.txt", "demo-2.0.tar.gz", PURE], False, [PURE]),
        ([FOREIGN, PURE, SDIST], True, [FOREIGN, PURE, SDIST]),
    ],
)
def test_the_best_file_for_this_interpreter_is_chosen(
    tmp_path: Path, listed: list[str], *, every_platform: bool, chosen: list[str]
) -> None:
    (tmp_path / "r.txt").write_text("demo<2\n")
    (wanted,) = read_wanted(tmp_path / "r.txt")

    assert choose(wanted, listed, every_platform=every_platform) == chosen


def test_files_that_a_lock_names_are_the_only_ones() -> None:
    wanted = Wanted("demo", SpecifierSet("==1.0"), frozenset({SDIST}))

    assert choose(wanted, [PURE, SDIST], every_platform=True) == [SDIST]

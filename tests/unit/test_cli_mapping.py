"""`bonded artifacts repositories map`, with an index that means harm, and files of people."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from support.cli_registry import Registry, Said, Terminal

NAME = "projects/my-project/locations/local/repositories/pypi"
WHEEL = "demo-1.0-py3-none-any.whl"
INDEX = "https://index.test/simple"
THERE = f"https://files.test/ab/{WHEEL}"
OTHER = f"https://evil.test/{WHEEL}"


@pytest.fixture(name="lock")
def _lock(registry: Registry, tmp_path: Path) -> Path:
    registry.add_repository("pypi")
    say(registry, THERE)
    path = tmp_path / "uv.lock"
    here = f"{registry.url}/my-project/pypi"
    path.write_text(
        f'version = 1\n[[package]]\nname = "demo"\nsource = {{ registry = "{here}/simple" }}\n'
        f'wheels = [{{ url = "{here}/demo/{WHEEL}", hash = "sha256:aa" }}]\n'
    )
    return path


def say(registry: Registry, url: str, index: str = INDEX) -> None:
    """Have the registry say where its index has the wheel."""
    files = [{"filename": WHEEL, "upstreamUrl": url}]
    registry.resources[f"{NAME}/packages/demo"] = {"indexUri": index, "files": files}


def to_upstream(bonded: Terminal, lock: Path) -> Said:
    return bonded("artifacts", "repositories", "map", "pypi", f"-r{lock}", "--to=upstream")


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        ((f'{OTHER}", hash = "sha256:ee" }}, {{ url = "{OTHER}', INDEX), 'hash = "sha256:ee"'),
        ((f"https://evil.test/\x1b[2J/{WHEEL}", INDEX), r"https://evil.test/\x1b[2J/"),
        ((f"https://evil.test/\u2028/{WHEEL}", INDEX), r"https://evil.test/\u2028/"),
        (("https://evil.test/other-1.0-py3-none-any.whl", INDEX), f"{WHEEL}: 'https://evil.test/o"),
        ((THERE, f'{INDEX}" }}\nx = {{ y = "'), "These indexes are at no URL"),
    ],
)
def test_an_index_that_would_write_more_than_its_urls_writes_nothing(
    registry: Registry, bonded: Terminal, lock: Path, urls: tuple[str, str], shown: str
) -> None:
    before = lock.read_bytes()
    say(registry, *urls)

    said = to_upstream(bonded, lock)

    assert said.status != 0
    assert "Nothing is written" in said.err
    assert shown in said.err
    assert lock.read_bytes() == before


def test_a_lock_keeps_its_mode_and_the_link_to_it_and_is_replaced_whole(
    bonded: Terminal, lock: Path, tmp_path: Path
) -> None:
    lock.chmod(0o640)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "linked.lock"
    link.symlink_to("../uv.lock")
    before = lock.read_text()

    # Who began to read it reads on in what it was.
    with lock.open() as reader:
        said = to_upstream(bonded, link)
        assert reader.read() == before

    assert said.status == 0
    assert link.is_symlink()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o640
    assert f'url = "{THERE}", hash = "sha256:aa"' in lock.read_text()
    assert sorted(one.name for one in link.parent.iterdir()) == ["linked.lock"]


def test_a_lock_that_cannot_be_replaced_is_as_it_was(bonded: Terminal, lock: Path) -> None:
    # The draft that is put in its place would have a longer name.
    long = lock.rename(lock.with_name("x" * 250))
    before = long.read_text()

    said = to_upstream(bonded, long)

    assert said.status != 0
    assert "Cannot write" in said.err
    assert long.read_text() == before
    assert [one.name for one in long.parent.glob(".x*")] == []

"""The closures of real packages, published with real tools and installed from Bonded alone.

Where this machine has an index, a larger run of the same is one command:

    BONDED_CLIENTS_DISTRIBUTIONS=200 ./check -m clients -k closure
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename
from pypi_simple import PyPISimple

from clients.shelves import USER, Shelf
from support.tools import Desk, download, tool

pytestmark = pytest.mark.clients

ROOTS = ("requests", "numpy", "django", "sqlalchemy[asyncio]")
MODULES = "requests, numpy, django, sqlalchemy, greenlet"
FROM_SDIST = ("requests", "idna", "certifi", "sqlparse", "typing-extensions")
BACKENDS = ("flit_core<4", "hatchling", "setuptools", "wheel")
DISTRIBUTIONS = int(os.environ.get("BONDED_CLIENTS_DISTRIBUTIONS", "0"))  # noqa: TID251 - asks for the large run
MORE_ROOTS = Path(__file__).with_name("two_hundred.txt")


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything that was published, and where."""

    shelf: Shelf
    files: tuple[Path, ...]
    """As pip downloaded them, sorted by name."""
    roots: tuple[str, ...]
    desk: Desk

    def make_lock(self, path: Path) -> Path:
        """Have uv resolve the roots against Bonded alone and write them with their digests."""
        (path.parent / "roots.in").write_text("\n".join(self.roots))
        self.desk.uv(
            *("pip", "compile", "roots.in", "--generate-hashes", "--no-emit-index-url"),
            *("--default-index", self.shelf.index_url, "--output-file", path),
            cwd=path.parent,
        )
        return path


@pytest.fixture(name="closure", scope="module")
def _closure(
    make_repository: Callable[[], Shelf], tmp_path_factory: pytest.TempPathFactory
) -> Closure:
    """Publish the closure: every other file with uv, the rest with twine."""
    roots, files = _download()
    desk = Desk(tmp_path_factory.mktemp("publisher"))
    shelf = make_repository()
    by_uv = [path for path in files[::2] if _is_spelled_as_uv_wants(path)]
    by_twine = sorted({*files} - {*by_uv})
    twine = (tool("twine"), "upload", "--non-interactive", "--disable-progress-bar")
    desk.run(*twine, "--repository-url", shelf.upload_url, "-u", USER, "-p", shelf.token, *by_twine)
    desk.uv("publish", "--publish-url", shelf.upload_url, *by_uv, UV_PUBLISH_TOKEN=shelf.token)
    return Closure(shelf, files, roots, desk)


def test_the_closure_is_listed_as_it_was_published(closure: Closure) -> None:
    published = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in closure.files}

    with PyPISimple(closure.shelf.public_index_url, auth=(USER, closure.shelf.token)) as index:
        names = index.get_index_page().projects
    listed = {
        name: digest for each in names for name, digest in closure.shelf.list_files(each).items()
    }

    assert listed == published
    assert len(names) >= DISTRIBUTIONS


def test_pip_installs_the_closure_from_bonded_alone(closure: Closure, desk: Desk) -> None:
    lock = closure.make_lock(desk.home / "lock.txt")
    python = desk.make_environment("empty")

    desk.pip(
        python,
        *("install", "--require-hashes", "--requirement", lock, "--only-binary", ":all:"),
        *("--index-url", closure.shelf.index_url, "--report", desk.home / "report.json"),
    )

    desk.run(python, "-c", f"import {MODULES}")
    report = json.loads((desk.home / "report.json").read_text())
    sources = [each["download_info"]["url"] for each in report["install"]]
    assert [url for url in sources if not url.startswith(closure.shelf.server.url)] == []
    assert len(sources) == lock.read_text().count("==")


def test_uv_installs_the_closure_from_bonded_alone(closure: Closure, desk: Desk) -> None:
    lock = closure.make_lock(desk.home / "lock.txt")
    python = desk.make_environment("empty")

    desk.uv(
        *("pip", "install", "--require-hashes", "--requirement", lock, "--no-build"),
        *("--default-index", closure.shelf.index_url, "--python", python),
    )

    desk.run(python, "-c", f"import {MODULES}")
    installed = desk.uv("pip", "freeze", "--python", python).output
    assert installed.count("==") == lock.read_text().count("==")


def test_pip_builds_sdists_of_the_closure_with_backends_from_bonded_alone(
    closure: Closure, desk: Desk
) -> None:
    lock = closure.make_lock(desk.home / "lock.txt")
    python = desk.make_environment("empty")

    built = desk.pip(
        python,
        *("install", "--require-hashes", "--requirement", lock),
        *("--index-url", closure.shelf.index_url, "--no-binary", ",".join(FROM_SDIST)),
    )

    assert [name for name in FROM_SDIST if f"Building wheel for {name}" not in built.flat] == []
    desk.run(python, "-c", f"import {MODULES}")


def test_uv_builds_sdists_of_the_closure_with_backends_from_bonded_alone(
    closure: Closure, desk: Desk
) -> None:
    lock = closure.make_lock(desk.home / "lock.txt")
    python = desk.make_environment("empty")

    built = desk.uv(
        *("pip", "install", "--require-hashes", "--requirement", lock, "--verbose"),
        *("--default-index", closure.shelf.index_url, "--python", python),
        *(option for name in FROM_SDIST for option in ("--no-binary", name)),
    )

    assert [name for name in FROM_SDIST if f"Built {name}==" not in built.flat] == []
    desk.run(python, "-c", f"import {MODULES}")


def _download() -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Return the roots, and wheels of their closure with sdists of all that needs no compiler."""
    closure = download("closure", "--only-binary", ":all:", *ROOTS)
    wheels = [parse_wheel_filename(path.name) for path in closure.glob("*.whl")]
    pure = [
        f"{name}=={version}"
        for name, version, _, tags in wheels
        if any(tag.platform == "any" for tag in tags)
    ]
    names = ",".join(sorted(requirement.partition("==")[0] for requirement in pure))
    sdists = download("sdists", "--no-deps", "--no-binary", names, *sorted(pure))
    backends = download("backends", "--only-binary", ":all:", *BACKENDS)
    roots: tuple[str, ...] = ROOTS
    directories = [closure, sdists, backends]
    if DISTRIBUTIONS:
        roots += tuple(MORE_ROOTS.read_text().split())
        directories = [download("more", "--only-binary", ":all:", *roots, *BACKENDS), sdists]
    files = {path.name: path for each in directories for path in each.iterdir() if _is_file(path)}
    return roots, tuple(files[name] for name in sorted(files))


def _is_spelled_as_uv_wants(path: Path) -> bool:
    """Say whether uv would publish a file; it skips names that are not normalized (PEP 625)."""
    name = path.name.partition("-")[0]
    return name == canonicalize_name(name).replace("-", "_")


def _is_file(path: Path) -> bool:
    return path.name.endswith((".whl", ".tar.gz"))

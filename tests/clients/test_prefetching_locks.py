"""The cache of a remote repository warmed from locks that real tools have written."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from clients.shelves import Shelf
from clients.test_remotes import make_remote_on
from support.tools import Desk, Result
from support.upstream import Response, running_index, say
from support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.clients

BASE = make_wheel("base", "1.0")
NEWER = make_wheel("base", "2.0")
TOP = make_wheel("top", "1.0", requires_dist=["base<2"])
SDIST = make_sdist("top", "1.0")
PROJECT = """\
[project]
name = "app"
version = "0"
requires-python = ">=3.11"
dependencies = ["top"]
"""


def bonded(desk: Desk, *arguments: str, fails: bool = False) -> Result:
    return desk.run(sys.executable, "-m", "bonded", *arguments, fails=fails)


def make_uv_lock(desk: Desk, index_url: str) -> str:
    (desk.home / "pyproject.toml").write_text(PROJECT)
    desk.uv("lock", "--default-index", index_url)
    return "uv.lock"


def make_pylock(desk: Desk, index_url: str) -> str:
    (desk.home / "roots.in").write_text("top\n")
    desk.uv("pip", "compile", "roots.in", "--default-index", index_url, "-o", "pylock.toml")
    return "pylock.toml"


@pytest.mark.parametrize("make_lock", [make_uv_lock, make_pylock])
def test_what_a_lock_names_is_here_when_its_index_is_gone(
    desk: Desk, make_repository: Callable[[], Shelf], make_lock: Callable[[Desk, str], str]
) -> None:
    shelf = make_repository()
    key = shelf.server.data_dir / "admin-key.json"
    bonded(desk, "auth", "activate-service-account", f"--key-file={key}")
    prefetch = ("artifacts", "repositories", "prefetch", "--location=local", "--all-platforms")
    with running_index() as index, running_index() as other:
        index.publish(BASE, NEWER, TOP, SDIST)
        other.publish(BASE)
        resolved, warmed, poor = (
            make_remote_on(shelf.server, shelf.token, one.url) for one in (index, index, other)
        )
        lock = make_lock(desk, resolved.index_url)
        index.asked.clear()

        done = bonded(desk, *prefetch, warmed.name, "-r", lock)
        missing = bonded(desk, *prefetch, poor.name, "-r", lock, fails=True)

        fetched = {path.rpartition("/")[2] for path in index.paths("/files/")}
        index.faults["/"] = say(Response(500))
        again = bonded(desk, *prefetch, warmed.name, "-r", lock)
        python = desk.make_environment("cut-off")
        desk.uv("pip", "install", "top", "--python", python, "--default-index", warmed.index_url)

    wanted = {one.filename for one in (BASE, TOP, SDIST)}
    assert {name for name in fetched if not name.endswith(".metadata")} == wanted
    assert f"3 files (0.0 MB) are in [{warmed.name}]." in done.output
    assert done.output == again.output
    assert "top==1.0" in desk.uv("pip", "freeze", "--python", python).output
    assert missing.status == 1
    assert "1 files" in missing.output
    assert "No package top" in missing.output

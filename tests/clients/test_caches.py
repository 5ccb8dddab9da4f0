"""The command line over the cache of a remote repository: refresh it, and warm it."""

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

DEMO = make_wheel("demo", "1.0")
NEWER = make_wheel("demo", "2.0")
TOP = make_wheel("top", "1.0")
SDIST = make_sdist("top", "1.0")
REQUIREMENTS = """\
demo==1.0
top
demo==9.0
unknown>=1
"""


def bonded(desk: Desk, *arguments: str, fails: bool = False) -> Result:
    command = (sys.executable, "-m", "bonded", "artifacts", "repositories", *arguments)
    return desk.run(*command, fails=fails)


@pytest.fixture(name="admin")
def _admin(desk: Desk, shelf: Shelf) -> Desk:
    """A desk at which the administrator sits."""
    key = shelf.server.data_dir / "admin-key.json"
    activate = ("auth", "activate-service-account", f"--key-file={key}")
    desk.run(sys.executable, "-m", "bonded", *activate)
    return desk


def test_a_cache_is_warmed_says_what_is_missing_and_serves_without_its_upstream(
    admin: Desk, make_repository: Callable[[], Shelf]
) -> None:
    shelf = make_repository()
    (admin.home / "some.txt").write_text(REQUIREMENTS)
    (admin.home / "good.txt").write_text("demo==1.0\ntop\n")
    with running_index() as index:
        index.publish(DEMO, NEWER, TOP, SDIST)
        remote = make_remote_on(shelf.server, shelf.token, index.url)
        where = (remote.name, "--location=local")

        some = bonded(admin, "prefetch", *where, "-r", "some.txt", fails=True)
        assert some.status == 1
        assert "Missing, 2 of 4:" in some.output
        missing = some.output.splitlines()[-2:]
        assert missing[0] == "demo==9.0: no file fits"
        assert missing[1].startswith("unknown>=1: ")
        assert "No package unknown" in missing[1]
        assert index.paths("/files/").count(f"/files/{DEMO.filename}") == 1
        assert f"/files/{NEWER.filename}" not in index.paths()

        index.faults["/"] = say(Response(500))
        good = bonded(admin, "prefetch", *where, "-r", "good.txt")
        assert f"are in [{remote.name}]" in good.output
        assert "Missing" not in good.output

        (admin.home / "new.txt").write_text("never==1.0\n")
        down = bonded(admin, "prefetch", *where, "-r", "new.txt", fails=True)
        assert down.status == 1
        assert "status 500" in down.output
        assert index.url in down.output


def test_a_refresh_says_how_many_pages_it_concerns_and_refuses_what_caches_nothing(
    admin: Desk, make_repository: Callable[[], Shelf]
) -> None:
    shelf = make_repository()
    with running_index() as index:
        index.publish(DEMO, TOP)
        remote = make_remote_on(shelf.server, shelf.token, index.url)
        for name in ("demo", "top"):
            remote.list_files(name)
        index.publish(NEWER)

        one = bonded(admin, "refresh", remote.name, "--package=Demo")
        assert f"1 page of [{remote.name}] will be asked for again." in one.output
        assert set(remote.list_files("demo")) == {DEMO.filename, NEWER.filename}
        every = bonded(admin, "refresh", remote.name)
        assert "2 pages of" in every.output

    standard = bonded(admin, "refresh", shelf.name, fails=True)
    assert standard.status == 1
    assert "is a standard repository, and caches nothing" in standard.flat
    gone = bonded(admin, "refresh", "no-such-repository", fails=True)
    assert gone.status == 1
    assert "does not exist" in gone.flat
    nowhere = bonded(admin, "prefetch", shelf.name, "-r", "no-such-file.txt", fails=True)
    assert nowhere.status == 2
    assert "no-such-file.txt" in nowhere.flat

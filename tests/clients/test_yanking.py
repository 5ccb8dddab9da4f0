"""The command line yanks, deletes and restores; pip and uv do what that is meant to make them."""

from __future__ import annotations

import sys

import pytest

from clients.shelves import Shelf
from support.tools import Desk
from support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.clients

OLD = make_wheel("demo", "1.0")
NEW = make_wheel("demo", "2.0")
SDIST = make_sdist("demo", "2.0")


class Curator:
    """An administrator at a desk, who curates one repository."""

    def __init__(self, desk: Desk, shelf: Shelf) -> None:
        self.desk = desk
        self.shelf = shelf
        self._run("auth", "activate-service-account", f"--key-file={shelf.server.data_dir}/{KEY}")

    def __call__(self, *arguments: str, fails: bool = False) -> str:
        where = (f"--repository={self.shelf.name}", "--location=local")
        return self._run("artifacts", *arguments, *where, fails=fails)

    def _run(self, *arguments: str, fails: bool = False) -> str:
        return self.desk.run(sys.executable, "-m", "bonded", *arguments, fails=fails).output

    def pip(self, requirement: str, *, fails: bool = False) -> str:
        """Say what pip would install."""
        command = ("install", "--dry-run", "--no-cache-dir", "--index-url", self.shelf.index_url)
        python = self.desk.home / "empty" / "bin" / "python"
        return self.desk.pip(python, *command, "--only-binary=:all:", requirement, fails=fails).flat

    def uv(self, requirement: str, *, fails: bool = False) -> str:
        """Say what uv would install, with hashes."""
        (self.desk.home / "roots.in").write_text(f"{requirement}\n")
        command = ("pip", "compile", "roots.in", "--quiet", "--no-cache", "--generate-hashes")
        index = ("--default-index", self.shelf.index_url)
        return self.desk.uv(*command, *index, fails=fails).flat


KEY = "admin-key.json"


@pytest.fixture(name="bonded")
def _bonded(desk: Desk, shelf: Shelf) -> Curator:
    directory = desk.home / "files"
    directory.mkdir()
    paths = [each.write_to(directory) for each in (OLD, NEW, SDIST)]
    desk.uv("publish", "--publish-url", shelf.upload_url, *paths, UV_PUBLISH_TOKEN=shelf.token)
    desk.make_environment("empty")
    return Curator(desk, shelf)


def test_pip_and_uv_choose_what_is_yanked_only_if_they_are_told_to(bonded: Curator) -> None:
    said = bonded("versions", "yank", "2.0", "--package=demo", "--reason=loses data")

    assert said == f"Yanked version [2.0]:\n - {NEW.filename}\n - {SDIST.filename}\n"
    assert "Would install demo-1.0" in bonded.pip("demo")
    assert "demo==1.0" in bonded.uv("demo")
    pinned = bonded.pip("demo==2.0")
    assert "Would install demo-2.0" in pinned
    assert "loses data" in pinned
    assert NEW.sha256 in bonded.uv("demo==2.0")
    assert "yanked=loses data" in bonded("versions", "list", "--package=demo")

    bonded("versions", "unyank", "2.0", "--package=demo")

    assert "Would install demo-2.0" in bonded.pip("demo")
    assert "demo==2.0" in bonded.uv("demo")


def test_a_deleted_version_is_gone_and_a_restored_one_has_the_same_hash(bonded: Curator) -> None:
    before = bonded.uv("demo==2.0")

    asked = bonded("versions", "delete", "2.0", "--package=demo", fails=True)
    said = bonded("versions", "delete", "2.0", "--package=demo", "--quiet")

    assert f"You are about to delete version [2.0] from repository [{bonded.shelf.name}]" in asked
    assert f"2 files:\n - {NEW.filename}\n - {SDIST.filename}" in asked
    assert "Deleted version [2.0].\nUntil 20" in said
    assert "No matching distribution found for demo==2.0" in bonded.pip("demo==2.0", fails=True)
    assert "no version of demo==2.0" in bonded.uv("demo==2.0", fails=True)
    plain = bonded("versions", "list", "--package=demo")
    lost = bonded("versions", "list", "--package=demo", "--show-deleted")
    assert ("2.0" in plain, "2.0" in lost, "RESTORABLE_UNTIL" in lost) == (False, True, True)

    (line,) = [one for one in said.splitlines() if one.startswith("  bonded artifacts")]
    bonded(*line.split()[2:6])

    assert bonded.uv("demo==2.0") == before
    assert "Would install demo-2.0" in bonded.pip("demo==2.0")


def test_a_package_and_a_file_are_deleted_and_restored_by_name(bonded: Curator) -> None:
    file = f"demo/{NEW.filename}"

    assert f"Deleted file [{file}]." in bonded("files", "delete", file, "--quiet")
    assert NEW.filename not in bonded.shelf.list_files("demo")
    assert f"Yanked file [demo/{SDIST.filename}]" in bonded(
        "files", "yank", f"demo/{SDIST.filename}"
    )
    assert "Deleted package [demo]." in bonded("packages", "delete", "demo", "--quiet")
    assert "demo" in bonded("packages", "list", "--show-deleted")
    assert "No package demo" in bonded("packages", "delete", "demo", "--quiet", fails=True)
    assert "Restored package [demo]" in bonded("packages", "undelete", "demo")
    bonded("files", "unyank", f"demo/{SDIST.filename}")
    assert "names no package" in bonded("files", "delete", NEW.filename, fails=True)
    assert "No file demo-9.whl of demo" in bonded("files", "delete", "demo/demo-9.whl", fails=True)

    assert set(bonded.shelf.list_files("demo")) == {OLD.filename, NEW.filename, SDIST.filename}

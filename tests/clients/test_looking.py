"""What is in repositories, as the command line lists, describes and explains it."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from clients.shelves import Shelf
from clients.test_remotes import make_remote_on
from support.cli_registry import Said, Terminal
from support.server import Server
from support.tools import Desk
from support.upstream import Response, running_index, say
from support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.clients

CORE = make_wheel("Acme.Core", "1.0")
CORE_SDIST = make_sdist("Acme.Core", "1.0")
CORE_2 = make_wheel("Acme.Core", "2.0")
WEB = make_wheel("acme-web", "1.0")
FAKE = make_wheel("Acme.Core", "99.0")
LIB = make_wheel("lib", "1.0")
STAMP = "2026-01-02T03:04:05"


@dataclass
class Administrator:
    """A server, as its first key opens it."""

    server: Server

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.server.url

    def key_file(self, _email: str) -> str:
        """Return the text of the administrator's key file."""
        return json.dumps(self.server.admin_key)


@pytest.fixture(name="filled")
def _filled(shelf: Shelf, desk: Desk) -> Shelf:
    """A repository that holds some."""
    files = desk.home / "files"
    files.mkdir()
    paths = [one.write_to(files) for one in (CORE, CORE_SDIST, CORE_2, WEB)]
    desk.uv("publish", "--publish-url", shelf.upload_url, *paths, UV_PUBLISH_TOKEN=shelf.token)
    return shelf


@pytest.fixture(name="bonded")
def _bonded(
    filled: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """Run lines of `bonded artifacts`; names of repositories and times are steadied."""
    terminal = Terminal(Administrator(filled.server), tmp_path, monkeypatch, capsys)
    terminal.sign_in()

    def run(*arguments: str) -> Said:
        said = terminal("artifacts", *arguments, f"--repository={filled.name}")
        return Said(steady(said.out, filled), steady(said.err, filled), said.status)

    return run


def steady(text: str, shelf: Shelf) -> str:
    digest = base64.b64encode(bytes.fromhex(CORE.sha256)).decode()
    text = text.replace(shelf.name, "SHELF").replace(digest, "DIGEST")
    text = text.replace(f"sizeBytes: '{len(CORE.data)}'", "sizeBytes: 'SIZE'")
    text = re.sub(r"'20\d\d-[^']+Z'", "'TIME'", text)
    return re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", STAMP, text)


def test_packages_are_listed_and_described(bonded: Callable[..., Said]) -> None:
    assert bonded("packages", "list") == snapshot(
        Said(
            out="""\
PACKAGE    CREATE_TIME          UPDATE_TIME          ANNOTATIONS
acme-core  2026-01-02T03:04:05  2026-01-02T03:04:05
acme-web   2026-01-02T03:04:05  2026-01-02T03:04:05
""",
            err="""\
Listing items under project my-project, location local, repository SHELF.

""",
        )
    )
    assert bonded("packages", "describe", "acme-core").out == snapshot("""\
createTime: 'TIME'
displayName: Acme.Core
name: projects/my-project/locations/local/repositories/SHELF/packages/acme-core
updateTime: 'TIME'
""")
    assert bonded("packages", "list", "--format=value(name)").out == snapshot("""\
projects/my-project/locations/local/repositories/SHELF/packages/acme-core
projects/my-project/locations/local/repositories/SHELF/packages/acme-web
""")
    assert bonded("packages", "describe", "unknown") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.artifacts.packages.describe) NOT_FOUND: No package unknown in projects/my-project/locations/local/repositories/SHELF.\n",
            status=1,
        )
    )


def test_versions_are_listed_and_described(bonded: Callable[..., Said]) -> None:
    assert bonded("versions", "list", "--package=Acme_Core") == snapshot(
        Said(
            out="""\
VERSION  DESCRIPTION  CREATE_TIME          UPDATE_TIME          SIZE  ANNOTATIONS
1.0                   2026-01-02T03:04:05  2026-01-02T03:04:05
2.0                   2026-01-02T03:04:05  2026-01-02T03:04:05
""",
            err="""\
Listing items under project my-project, location local, repository SHELF, package Acme_Core.

""",
        )
    )
    assert bonded("versions", "describe", "2.0", "--package=acme-core").out == snapshot("""\
createTime: 'TIME'
name: projects/my-project/locations/local/repositories/SHELF/packages/acme-core/versions/2.0
updateTime: 'TIME'
""")
    assert bonded("versions", "describe", "3.0", "--package=acme-core").err == snapshot(
        "ERROR: (bonded.artifacts.versions.describe) NOT_FOUND: No version '3.0' of acme-core in projects/my-project/locations/local/repositories/SHELF.\n"
    )
    assert bonded("versions", "list").status == 2


def test_files_are_listed_and_described(bonded: Callable[..., Said]) -> None:
    listed = bonded("files", "list", "--format=value(name)").out
    of_package = bonded("files", "list", "--package=acme-core", "--format=value(name)").out
    of_version = bonded("files", "list", "--package=acme-core", "--version=1.0")
    described = bonded("files", "describe", f"acme-core/{CORE.filename}")

    assert [line.rpartition("%2F")[2] for line in listed.splitlines()] == [
        *(CORE.filename, CORE_SDIST.filename, CORE_2.filename, WEB.filename)
    ]
    assert listed.startswith(of_package)
    assert of_version.out == snapshot("""\
FILE                                      CREATE_TIME          UPDATE_TIME          SIZE (MB)  OWNER  ANNOTATIONS
acme-core/acme_core-1.0-py3-none-any.whl  2026-01-02T03:04:05  2026-01-02T03:04:05  0.001      1.0
acme-core/acme_core-1.0.tar.gz            2026-01-02T03:04:05  2026-01-02T03:04:05  0.001      1.0
""")
    assert described.out == snapshot("""\
createTime: 'TIME'
hashes:
- type: SHA256
  value: DIGEST
name: 'projects/my-project/locations/local/repositories/SHELF/files/acme-core%2Facme_core-1.0-py3-none-any.whl'
owner: projects/my-project/locations/local/repositories/SHELF/packages/acme-core/versions/1.0
sizeBytes: 'SIZE'
updateTime: 'TIME'
""")
    assert bonded("files", "describe", "acme-core/none.whl").err == snapshot(
        "ERROR: (bonded.artifacts.files.describe) NOT_FOUND: No file none.whl of acme-core in projects/my-project/locations/local/repositories/SHELF.\n"
    )
    assert bonded("files", "list", "--version=1.0").status == 2


def test_an_explanation_says_who_owns_what_is_hidden_and_what_to_do(
    filled: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal(Administrator(filled.server), tmp_path, monkeypatch, capsys)
    terminal.sign_in()
    policies = tmp_path / "policies.json"
    name = f"over-{filled.name}"

    def explain(package: str) -> str:
        said = terminal("artifacts", "packages", "explain", package, f"--repository={name}")
        assert said.status == 0, said.err
        return said.err + said.out

    with running_index() as index:
        index.publish(FAKE, LIB)
        far = make_remote_on(filled.server, filled.token, index.url, pageFreshness="0s")
        policies.write_text(
            json.dumps(
                [
                    {"id": "own", "repository": filled.name, "priority": 2},
                    {"id": "far", "repository": far.name, "priority": 1},
                ]
            )
        )
        made = terminal(
            *("artifacts", "repositories", "create", name, "--repository-format=python"),
            *("--mode=virtual-repository", f"--upstream-policy-file={policies}"),
            "--reserved-packages=acme-*=own",
        )
        assert made.status == 0, made.err
        owned, reserved, public = explain("acme-core"), explain("acme-new"), explain("lib")
        asked = index.paths("/simple/")
        index.faults["/"] = say(Response(500))
        cached = explain("lib")
        down = explain("unknown")

    assert owned == snapshot("""\
acme-core comes from own.

UPSTREAM  PRIORITY  STANDING  VERSIONS     REASON
own       2         OWNER     2, last 2.0  The first upstream that has the package.
far       1         RESERVED               Not asked: acme-* is reserved for own.
""")
    assert "acme-new is reserved for own (acme-*), which does not have it." in reserved
    assert "lib comes from far." in public
    assert set(asked) == {"/simple/lib/"}
    assert "lib comes from far, out of its cache: its upstream fails." in cached
    assert "Served from the cache, upstream failing since 20" in cached
    assert "unknown cannot be served: far does not answer." in down
    assert "with status 500." in down

"""The dependency-confusion attack, replayed with real installers on what the first start makes.

Somebody publishes packages on the public index under the names of private ones, in versions above
theirs. Nothing of that is ever installed through `all`, pinned or not.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.shelves import LOCATION, PROJECT, USER, Shelf, sign_in
from support.server import Server, running_server
from support.tools import Desk, tool
from support.upstream import Index, running_index
from support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.clients

PRIVATE = "acme-core"
PLANNED = "acme-plans"
"""Private by a reservation, and not yet released."""
PUBLIC = "widget"
_PYPROJECT = """\
[project]
name = "consumer"
version = "0.1"
requires-python = ">=3.11,<4"
dependencies = []
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """A server whose public index is hostile, and its repository for installers."""

    index: Index
    all: Shelf


@pytest.fixture(name="attack", scope="module")
def _attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attack]:
    directory = tmp_path_factory.mktemp("confusion")
    with running_index() as index:
        for name in (PRIVATE, PLANNED):
            index.publish(make_wheel(name, "99.0"), make_sdist(name, "100.0"))
        # Needed by nobody's fault, and itself in need of a private one.
        index.publish(make_wheel(PUBLIC, "2.0", requires_dist=[f"{PRIVATE}>=1"]))
        environment = {"BONDED_PUBLIC_INDEX_URL": index.url}
        with running_server(directory / "data", environment=environment) as server:
            token = sign_in(server)
            _reserve(server, token, PLANNED)
            paths = [make_wheel(PRIVATE, one).write_to(directory) for one in ("1.0", "1.1")]
            desk = Desk(directory)
            url = f"{server.url}/{PROJECT}/python/"
            desk.uv("publish", "--publish-url", url, *paths, UV_PUBLISH_TOKEN=token)
            yield Attack(index, Shelf(server, "all", token))
        # Not one of the four installers has made the server say a private name aloud.
        heard = " ".join(index.paths())
        assert PUBLIC in heard
        assert "acme" not in heard


def _reserve(server: Server, token: str, pattern: str) -> None:
    name = f"projects/{PROJECT}/locations/{LOCATION}/repositories/all"
    own = {"reservedPackages": [{"pattern": pattern, "upstream": "python"}]}
    request = urllib.request.Request(
        f"{server.url}/v1/{name}?updateMask=virtualRepositoryConfig.bonded",
        json.dumps({"virtualRepositoryConfig": {"bonded": own}}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="PATCH",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def installed(python: Path) -> dict[str, str]:
    """Return the versions of what an environment holds."""
    site = next(python.parent.parent.glob("lib/python*/site-packages"))
    found = [path.name.removesuffix(".dist-info").split("-") for path in site.glob("*.dist-info")]
    return {name.replace("_", "-"): version for name, version in found}


EXPECTED = {PRIVATE: "1.1", PUBLIC: "2.0"}


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_pip_and_uv_install_the_private_package_whatever_the_public_version(
    attack: Attack, desk: Desk, installer: str
) -> None:
    def install(python: Path, *wanted: str, fails: bool = False) -> None:
        if installer == "pip":
            index = f"--index-url={attack.all.index_url}"
            desk.pip(python, "install", index, *wanted, fails=fails)
        else:
            index = f"--default-index={attack.all.index_url}"
            desk.uv("pip", "install", f"--python={python}", index, *wanted, fails=fails)

    unpinned, pinned, wrong = map(desk.make_environment, ("unpinned", "pinned", "wrong"))

    install(unpinned, PUBLIC)
    install(pinned, f"{PRIVATE}==1.0")
    for wanted in (f"{PRIVATE}==99.0", f"{PRIVATE}>=2", PLANNED, f"{PLANNED}==99.0"):
        install(wrong, wanted, fails=True)

    assert installed(unpinned) == EXPECTED
    assert installed(pinned) == {PRIVATE: "1.0"}
    assert installed(wrong) == {}


def test_poetry_locks_the_private_package_whatever_the_public_version(
    attack: Attack, desk: Desk, tmp_path: Path
) -> None:
    poetry, project = tool("poetry"), _project(tmp_path)
    desk.run(poetry, "config", "http-basic.all", USER, attack.all.token)
    desk.run(poetry, "config", "virtualenvs.in-project", "true")
    desk.run(poetry, "source", "add", "all", attack.all.public_index_url, cwd=project)

    desk.run(poetry, "add", PUBLIC, cwd=project)
    for wanted in (f"{PRIVATE}==99.0", PLANNED):
        desk.run(poetry, "add", wanted, cwd=project, fails=True)

    assert EXPECTED.items() <= installed(project / ".venv/bin/python").items()
    assert "99.0" not in (project / "poetry.lock").read_text()


def test_pdm_locks_the_private_package_whatever_the_public_version(
    attack: Attack, desk: Desk, tmp_path: Path
) -> None:
    pdm, project = tool("pdm"), _project(tmp_path)
    with (project / "pyproject.toml").open("a") as pyproject:
        source = f'name = "pypi"\nurl = "{attack.all.index_url}"\n'
        pyproject.write(f"[[tool.pdm.source]]\n{source}")
    python = desk.make_environment("environment")
    desk.run(pdm, "use", python, cwd=project)

    desk.run(pdm, "add", "--no-self", PUBLIC, cwd=project)
    for wanted in (f"{PRIVATE}==99.0", PLANNED):
        desk.run(pdm, "add", "--no-self", wanted, cwd=project, fails=True)

    assert installed(python) == EXPECTED
    assert "99.0" not in (project / "pdm.lock").read_text()


def _project(directory: Path) -> Path:
    project = directory / "consumer"
    project.mkdir()
    (project / "pyproject.toml").write_text(_PYPROJECT)
    return project

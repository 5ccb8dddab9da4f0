"""Tools that keep a project and its lock: each adds a package from Bonded and installs it again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clients.publishers import PUBLISHERS
from clients.shelves import USER, Shelf
from support.tools import Desk, tool
from support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.clients

_PYPROJECT = """\
[project]
name = "consumer"
version = "0.1"
requires-python = ">=3.11,<4"
dependencies = []
"""


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    """Return the directory of a project without dependencies."""
    directory = tmp_path / "consumer"
    directory.mkdir()
    (directory / "pyproject.toml").write_text(_PYPROJECT)
    return directory


def test_poetry_publishes_a_package_and_adds_it_to_another_project(
    desk: Desk, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    poetry = tool("poetry")
    publisher = next(each for each in PUBLISHERS if each.name == "poetry")
    parcel = publisher.write(tmp_path / "parcel", "a book")
    desk.run(poetry, "config", "repositories.shelf", shelf.upload_url)
    desk.run(poetry, "config", "http-basic.shelf", USER, shelf.token)
    desk.run(poetry, "config", "virtualenvs.in-project", "true")

    desk.run(poetry, "publish", "--build", "--repository", "shelf", cwd=parcel)
    desk.run(poetry, "source", "add", "shelf", shelf.public_index_url, cwd=project)
    desk.run(poetry, "add", "--source", "shelf", "parcel-one", cwd=project)

    said = desk.run(
        *(poetry, "run", "python", "-c", "import parcel_one; print(parcel_one.contents)"),
        cwd=project,
    )
    assert said.output.splitlines()[-1] == "a book"
    lock = (project / "poetry.lock").read_text()
    assert all(digest in lock for digest in shelf.list_files("parcel-one").values())


def test_uv_syncs_a_project_and_reinstalls_straight_from_its_lock(
    desk: Desk, shelf: Shelf, project: Path
) -> None:
    _publish_two(desk, shelf, project.parent)
    with (project / "pyproject.toml").open("a") as pyproject:
        pyproject.write(
            f'[[tool.uv.index]]\nname = "shelf"\nurl = "{shelf.public_index_url}"\ndefault = true\n'
        )
    # The index is in pyproject.toml, which uv reads only where configuration is allowed.
    settings = {
        "UV_NO_CONFIG": "0",
        "UV_INDEX_SHELF_USERNAME": USER,
        "UV_INDEX_SHELF_PASSWORD": shelf.token,
    }
    desk = Desk(desk.home, settings)

    desk.uv("add", "app", cwd=project)
    lock = (project / "uv.lock").read_text()
    shutil.rmtree(project / ".venv")
    shutil.rmtree(desk.home / "uv-cache")
    desk.uv("sync", "--frozen", cwd=project)

    assert f"{shelf.upload_url}base/base-2.0-py3-none-any.whl" in lock
    said = desk.run(project / ".venv/bin/python", "-c", "import app, base; print(base.__version__)")
    assert said.output == "2.0\n"


def test_pdm_adds_a_package_and_reinstalls_it_from_its_lock(
    desk: Desk, shelf: Shelf, project: Path
) -> None:
    _publish_two(desk, shelf, project.parent)
    pdm = tool("pdm")
    with (project / "pyproject.toml").open("a") as pyproject:
        pyproject.write(f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{shelf.index_url}"\n')
    first, second = desk.make_environment("first"), desk.make_environment("second")

    desk.run(pdm, "use", first, cwd=project)
    desk.run(pdm, "add", "--no-self", "app", cwd=project)
    desk.run(pdm, "use", second, cwd=project)
    desk.run(pdm, "sync", "--no-self", cwd=project)

    for python in (first, second):
        said = desk.run(python, "-c", "import app, base; print(base.__version__)")
        assert said.output == "2.0\n"
    lock = (project / "pdm.lock").read_text()
    assert make_wheel("base", "2.0").sha256 in lock


def _publish_two(desk: Desk, shelf: Shelf, directory: Path) -> None:
    """Publish app, which needs base, and two versions of base."""
    files = (
        make_wheel("app", "1.0", requires_dist=["base>=1"]),
        make_wheel("base", "1.0"),
        make_wheel("base", "2.0"),
        make_sdist("base", "2.0"),
    )
    paths = [each.write_to(directory) for each in files]
    desk.uv("publish", "--publish-url", shelf.upload_url, *paths, UV_PUBLISH_TOKEN=shelf.token)

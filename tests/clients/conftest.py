"""One server for all clients; a repository and an empty home for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from flit_core.buildapi import prepare_metadata_for_build_wheel  # type: ignore[import-untyped]

from clients.shelves import Shelf, make_shelf, sign_in
from clients.stages import Theatre, open_theatre
from support.server import running_server
from support.tools import ROOT, Desk


@pytest.fixture(name="make_repository", scope="session")
def _make_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Shelf]]:
    """Make empty repositories on one server."""
    numbers = count(1)
    with running_server(tmp_path_factory.mktemp("registry") / "data") as server:
        token = sign_in(server)
        yield lambda: make_shelf(server, token, f"shelf-{next(numbers)}")


@pytest.fixture(name="shelf")
def _shelf(make_repository: Callable[[], Shelf]) -> Shelf:
    """Return an empty repository."""
    return make_repository()


@pytest.fixture(name="desk")
def _desk(tmp_path: Path) -> Desk:
    """Return an empty home directory to run tools from."""
    home = tmp_path / "home"
    home.mkdir()
    return Desk(home)


@pytest.fixture(name="plugin", scope="session")
def _plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a path for Python where Bonded is installed, as far as importing it can tell."""
    directory = tmp_path_factory.mktemp("plugin")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        prepare_metadata_for_build_wheel(str(directory))
    return f"{ROOT / 'src'}:{directory}"


@pytest.fixture(name="theatre", scope="session")
def _theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Return a network of its own with a registry in it."""
    with open_theatre(tmp_path_factory.mktemp("theatre")) as opened:
        yield opened

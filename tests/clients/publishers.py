"""The six tools that publish: how each builds a project, and how each publishes what it built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from clients.shelves import USER, Shelf
from support.tools import UV, Desk, Result, tool

_PYPROJECT = """\
[project]
name = "parcel-one"
version = "1.0"
description = "A parcel."
requires-python = ">=3.9"
dependencies = []

[build-system]
requires = ["{backend}"]
build-backend = "{backend_module}"
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run in a project's directory, and with which variables."""

    arguments: tuple[str | Path, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publisher:
    """One publishing tool."""

    name: str
    backend: str
    backend_module: str
    build: Callable[[Desk, Path], Result]
    publishing: Callable[[Shelf, Path], Command]
    """What publishes all that is in dist/ of a project."""
    shows_reasons: bool = True
    """Whether the tool prints what a server says when it refuses."""

    def __str__(self) -> str:
        return self.name

    def write(self, directory: Path, contents: str) -> Path:
        """Write the project parcel-one; return its directory."""
        module = directory / "parcel_one"
        module.mkdir(parents=True, exist_ok=True)
        (module / "__init__.py").write_text(f'"""A parcel."""\n\ncontents = {contents!r}\n')
        pyproject = _PYPROJECT.format(backend=self.backend, backend_module=self.backend_module)
        (directory / "pyproject.toml").write_text(pyproject)
        return directory

    def prepare(self, desk: Desk, directory: Path, contents: str) -> Path:
        """Write the project and build it into dist/; return its directory."""
        self.build(desk, self.write(directory, contents))
        return directory

    def publish(self, desk: Desk, shelf: Shelf, project: Path, *, fails: bool = False) -> Result:
        """Publish what was built."""
        command = self.publishing(shelf, project)
        desk = replace(desk, settings=command.variables)
        return desk.run(*command.arguments, cwd=project, fails=fails)


def _flit_build(desk: Desk, project: Path) -> Result:
    return desk.run(tool("flit"), "build", "--no-use-vcs", cwd=project)


def _hatch_build(desk: Desk, project: Path) -> Result:
    # Hatch's own build would fetch its backend; the backend beside it makes the same files.
    return desk.run(tool("hatch", "hatchling"), "build", cwd=project)


def _poetry_build(desk: Desk, project: Path) -> Result:
    return desk.run(tool("poetry"), "build", cwd=project)


def _twine(shelf: Shelf, project: Path) -> Command:
    target = ("--repository-url", shelf.upload_url, "-u", USER, "-p", shelf.token)
    command = (tool("twine"), "upload", "--verbose", "--non-interactive")
    return Command((*command, *target, *_built(project)))


def _uv(shelf: Shelf, project: Path) -> Command:
    target = ("--publish-url", shelf.upload_url, "-u", USER, "-p", shelf.token)
    return Command((UV, "publish", *target, *_built(project)))


def _poetry(shelf: Shelf, _: Path) -> Command:
    return Command(
        (tool("poetry"), "publish", "--repository", "shelf", "--no-interaction"),
        {
            "POETRY_REPOSITORIES_SHELF_URL": shelf.upload_url,
            "POETRY_HTTP_BASIC_SHELF_USERNAME": USER,
            "POETRY_HTTP_BASIC_SHELF_PASSWORD": shelf.token,
        },
    )


def _pdm(shelf: Shelf, _: Path) -> Command:
    target = ("--repository", shelf.upload_url, "--username", USER, "--password", shelf.token)
    return Command((tool("pdm"), "publish", "--no-build", "--verbose", *target))


def _hatch(shelf: Shelf, project: Path) -> Command:
    target = ("--repo", shelf.upload_url, "--user", USER, "--auth", shelf.token)
    return Command((tool("hatch"), "publish", "--no-prompt", *target, *_built(project)))


def _flit(shelf: Shelf, _: Path) -> Command:
    return Command(
        (tool("flit"), "publish", "--no-use-vcs"),
        {
            "FLIT_INDEX_URL": shelf.upload_url,
            "FLIT_USERNAME": USER,
            "FLIT_PASSWORD": shelf.token,
        },
    )


def _built(project: Path) -> list[Path]:
    return sorted((project / "dist").iterdir())


_FLIT = ("flit_core>=3.12", "flit_core.buildapi", _flit_build)
_HATCHLING = ("hatchling", "hatchling.build", _hatch_build)
_POETRY_CORE = ("poetry-core>=2.0", "poetry.core.masonry.api", _poetry_build)

PUBLISHERS = (
    Publisher("twine", *_FLIT, _twine),
    Publisher("uv", *_FLIT, _uv),
    Publisher("poetry", *_POETRY_CORE, _poetry),
    Publisher("pdm", *_HATCHLING, _pdm, shows_reasons=False),
    Publisher("hatch", *_HATCHLING, _hatch, shows_reasons=False),
    Publisher("flit", *_FLIT, _flit, shows_reasons=False),
)

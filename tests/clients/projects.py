"""The tools that look after whole projects: how each publishes, and how each installs."""

from __future__ import annotations

from pathlib import Path

from clients.shelves import USER
from clients.stages import Stage
from support.tools import UV, tool
from support.wheels import make_wheel

_PARCEL = """\
[project]
name = "{name}"
version = "1.0"
"""
_IMPORT = "import by_uv"
# Every tool reads its own table, and is told of the index by it or by its environment.
_CONSUMER = """\
[project]
name = "consumer"
version = "0.1"
requires-python = ">=3.11,<4"
dependencies = ["by-uv"]

[[tool.poetry.source]]
name = "shelf"
url = "{url}"
priority = "primary"

[[tool.pdm.source]]
name = "pypi"
url = "{url}"

[tool.hatch.envs.default]
skip-install = true
installer = "uv"
dependencies = ["by-uv"]
"""


def publish_by_projects(stage: Stage, directory: Path) -> None:
    """Publish with Poetry, PDM and Hatch, each a wheel of its own."""
    certificates = str(stage.front.certificates)
    target = stage.upload_url
    lines = {
        "poetry": (tool("keyring", "poetry"), "publish", "-n", "--repository", "shelf"),
        "pdm": (
            *(tool("keyring", "pdm"), "publish", "--no-build", "--username", USER),
            *("--repository", target, "--ca-certs", certificates),
        ),
        # It brings keyring and no google-auth, so it is the last: the token is at hand then.
        "hatch": (tool("hatch"), "publish", "-n", "--user", USER, "--repo", target),
    }
    for name, line in lines.items():
        project = directory / name
        (project / "dist").mkdir(parents=True)
        wheel = make_wheel(f"by-{name}", "1.0").write_to(project / "dist")
        (project / "pyproject.toml").write_text(_PARCEL.format(name=f"by-{name}"))
        stage.desk.run(*line, cwd=project, POETRY_REPOSITORIES_SHELF_URL=target)
        assert list(stage.shelf.list_files(f"by-{name}")) == [wheel.name]


def install_by_projects(stage: Stage, directory: Path, names: tuple[str, ...]) -> None:
    """Install by-uv with some of the tools, each into an environment of its own."""
    project = directory / "consumer"
    project.mkdir()
    (project / "pyproject.toml").write_text(_CONSUMER.format(url=stage.index_url))
    lines = {
        "poetry": (tool("keyring", "poetry"), "install", "-n", "--no-root"),
        "pdm": (tool("keyring", "pdm"), "install", "--no-self"),
        # In the environment that it makes for the project, by uv.
        "hatch": (tool("hatch"), "run", "python", "-c", _IMPORT),
    }
    for name in names:
        python = stage.desk.make_environment(name)
        stage.desk.run(
            *lines[name],
            cwd=project,
            HATCH_ENV_TYPE_VIRTUAL_UV_PATH=str(UV),
            UV_DEFAULT_INDEX=stage.index_url_of_user,
            UV_KEYRING_PROVIDER="subprocess",
            # Or Hatch's uv would install into that Python in place of the environment.
            UV_PYTHON="",
            VIRTUAL_ENV=str(python.parents[1]),
        )
        if name != "hatch":
            assert stage.desk.run(python, "-c", _IMPORT).output == ""

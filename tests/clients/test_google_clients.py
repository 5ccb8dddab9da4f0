"""Google's own plugin and libraries, unmodified, against a server that answers as Google's does.

The same again with Bonded's own backend, on a host name that could be anybody's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.projects import install_by_projects, publish_by_projects
from clients.shelves import USER
from clients.stages import (
    GOOGLES_HOST,
    OTHER_HOST,
    Credential,
    Stage,
    Theatre,
    account,
    key_file,
    metadata_server,
    offline_key_file,
    person,
    workload,
)
from support.tools import Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients


@pytest.fixture(name="stage", params=["googles", "ours"])
def _stage(request: pytest.FixtureRequest, theatre: Theatre, desk: Desk, plugin: str) -> Stage:
    if request.param == "ours":
        return theatre.set_stage(OTHER_HOST, desk, PYTHONPATH=plugin)
    return theatre.set_stage(GOOGLES_HOST, desk)


@pytest.mark.parametrize(
    ("credential", "tokens", "by"),
    [
        (key_file, 1, "poetry"),
        (offline_key_file, 0, "pdm"),
        (metadata_server, 1, "hatch"),
        (account, 1, "poetry"),
        (workload, 1, "pdm"),
        (person, 1, "hatch"),
    ],
    ids=["key-file", "offline-key-file", "metadata-server", "account", "workload", "person"],
)
def test_publishing_and_installing_need_no_password(
    stage: Stage, credential: Credential, tokens: int, by: str, tmp_path: Path
) -> None:
    """One tool installs for each credential: to a plugin, all tools are the same."""
    wheels = [make_wheel(name, "1.0").write_to(tmp_path) for name in ("by-twine", "by-uv")]
    with credential(stage) as ready:
        publish(ready, *wheels)
        install(ready, is_thorough=stage.host == OTHER_HOST or credential is key_file)
        install_by_projects(ready, tmp_path, (by,))
        if stage.host == OTHER_HOST:
            publish_by_projects(ready, tmp_path)

    assert list(stage.shelf.list_files("by-uv")) == [wheels[1].name]
    assert stage.front.names == {stage.host}
    # Google's plugin caches nothing, and asks again for every look-up.
    if stage.host == OTHER_HOST:
        assert stage.tokens == tokens


def publish(stage: Stage, by_twine: Path, by_uv: Path) -> None:
    """Publish one wheel with twine and one with uv."""
    desk, url = stage.desk, stage.upload_url
    twine = (tool("keyring", "twine"), "upload", "--non-interactive", "--username", USER)
    desk.run(*twine, "--repository-url", url, by_twine)
    uv = ("publish", "--keyring-provider", "subprocess", "--username", USER)
    desk.uv(*uv, "--publish-url", url, by_uv)


def install(stage: Stage, *, is_thorough: bool) -> None:
    """Install by pip and by uv; thoroughly, by either way in which pip asks keyring."""
    desk, url = stage.desk, stage.index_url
    python = desk.make_environment("empty")
    pip = (tool("keyring", "python"), "-m", "pip", "download", "--no-cache-dir", "by-twine")
    desk.run(*pip, "--index-url", url, "--keyring-provider", "import")
    if is_thorough:
        by_command = ("install", "by-twine", "--index-url", stage.index_url_of_user)
        desk.pip(python, *by_command, "--keyring-provider", "subprocess")
    uv = ("pip", "install", "--python", python, "--keyring-provider", "subprocess", "by-uv")
    desk.uv(*uv, "--default-index", stage.index_url_of_user)
    assert desk.run(python, "-c", "import by_uv").output == ""

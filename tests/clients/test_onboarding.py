"""docs/how-to/onboard-a-team.md, line by line: what an owner types, and what a developer."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from flit_core.buildapi import build_wheel  # type: ignore[import-untyped]

from clients.shelves import USER
from support.person import browse
from support.server import Server, running_server
from support.tools import ROOT, Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

ADDRESS = "https://packages.example.com"
PASSWORD = "correct horse battery staple"


def lines_of_page(server: Server) -> list[list[str]]:
    """Return what the page has people type, block by block, for this server."""
    text = (ROOT / "docs" / "how-to" / "onboard-a-team.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text.replace(ADDRESS, server.url), re.DOTALL)
    return [[line.removeprefix("$ ") for line in block.splitlines()] for block in blocks]


def test_the_page_on_bringing_a_team_on_board_holds_line_by_line(
    tmp_path: Path, plugin: str
) -> None:
    with running_server(tmp_path / "data") as server:
        once, invitation, init, install, publish, leaving = lines_of_page(server)
        owner = _desk(tmp_path / "owner", plugin)
        _type(
            owner, f"bonded auth activate-service-account --key-file={tmp_path}/data/admin-key.json"
        )
        _publish_something(server, owner)

        for line in once:
            _type(owner, line)
        said = "".join(_type(owner, line) for line in invitation)
        link = re.search(r"http://\S+", said)
        assert link, said
        browse(link[0], {"password": PASSWORD, "again": PASSWORD})

        developer = replace(
            ada := _desk(tmp_path / "ada", plugin),
            settings={
                **ada.settings,
                "BROWSER": f"{sys.executable} {ROOT / 'tests' / 'support' / 'person.py'} %s &",
                "PERSON_TYPES": json.dumps({"address": "ada@example.com", "password": PASSWORD}),
            },
        )
        # Nobody is there to say yes.
        for line in init:
            _type(developer, f"{line} --quiet")
        for line in install:
            assert "Successfully installed acme-lib-1.0" in _type(developer, line)
        (developer.home / "dist").mkdir()
        make_wheel("acme-app", "1.0").write_to(developer.home / "dist")
        configure, upload = publish
        _type(developer, f"{configure} --quiet")
        _type(developer, upload.replace("dist/*", "dist/acme_app-1.0-py3-none-any.whl"))

        for line in leaving:
            _type(owner, line)
        refused = _type(developer, f"{install[0]} --force-reinstall", fails=True)

    assert "401" in refused or "No matching distribution" in refused


def test_the_client_is_fetched_from_the_registry_without_a_credential(
    tmp_path: Path, plugin: str
) -> None:
    text = (ROOT / "docs" / "how-to" / "clients.md").read_text()
    section = text.partition("## Where the client comes from")[2].partition("\n## ")[0]
    with running_server(tmp_path / "data") as server:
        place = section.replace("https://packages.example.com/P", f"{server.url}/my-project")
        lines = re.findall(r"^    (\S.*)$", place.replace("\\\n       ", ""), re.MULTILINE)
        wheel, create, open_to_all, upload, name, install = lines
        assert "pip wheel" in wheel
        owner = _desk(tmp_path / "owner", plugin)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            built = build_wheel(str(owner.home))
        _type(
            owner, f"bonded auth activate-service-account --key-file={tmp_path}/data/admin-key.json"
        )
        for line in (create, open_to_all):
            _type(owner, line)
        _type(owner, upload.replace("dist/bonded-*.whl", built))
        variable, _, url = name.removeprefix("export ").partition("=")
        stranger = Desk(tmp_path / "stranger")
        stranger.home.mkdir()
        _type(stranger, install.replace(f"${variable}", url) + " --no-deps")
        environment = stranger.home / "environment"
        (direct,) = environment.glob("lib/python*/site-packages/bonded-*.dist-info/direct_url.json")

    assert json.loads(direct.read_text())["url"] == url
    assert (environment / "bin" / "bonded").exists()


def _desk(home: Path, plugin: str) -> Desk:
    """Return a desk where `bonded`, keyring, pip and twine are on PATH."""
    home.mkdir()
    commands = home / "bin"
    commands.mkdir()
    (commands / "bonded").symlink_to(Path(sys.executable).with_name("bonded"))
    (commands / "twine").symlink_to(tool("keyring", "twine"))
    (commands / "keyring").symlink_to(tool("keyring"))
    settings = {
        "PATH": f"{commands}:/usr/bin:/bin",
        "PIP_CONFIG_FILE": str(home / "pip.conf"),
        "PYTHONPATH": plugin,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
    }
    return Desk(home, settings)


def _type(desk: Desk, line: str, *, fails: bool = False) -> str:
    """Run a line of the page; return what it said. pip is one for an environment of its own."""
    words = shlex.split(line)
    if words[0] == "pip":
        python = desk.home / "environment" / "bin" / "python"
        if not python.exists():
            desk.make_environment("environment")
        return desk.pip(python, *words[1:], fails=fails).output
    return desk.run(*words, fails=fails).output


def _publish_something(server: Server, owner: Desk) -> None:
    wheel = make_wheel("acme-lib", "1.0").write_to(owner.home)
    keyring = ("--keyring-provider", "subprocess", "--username", USER)
    owner.uv("publish", *keyring, "--publish-url", server.repository, wheel)

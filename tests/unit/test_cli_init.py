"""`bonded init`: questions for people, flags for scripts, and no question that has an answer."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from support.cli_registry import EMAIL, Registry, Terminal


@pytest.fixture(name="registry")
def _registry(registry: Registry) -> Registry:
    for name in ("my-project", "other"):
        registry.projects[name] = {"projectId": name}
    registry.add_repository("python")
    return registry


@pytest.fixture(name="bonded")
def _bonded(terminal: Terminal) -> Terminal:
    return terminal


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_newcomer_answers_questions(
    registry: Registry, bonded: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, registry.url, "7", "other", "1", "", "both", "y", "y")
    registry.add_repository("python")
    registry.resources["projects/other/locations/local/repositories/python"] = {
        "name": "projects/other/locations/local/repositories/python",
        "format": "PYTHON",
    }

    said = bonded("init", "--no-browser")

    assert said.err == snapshot("""\
Welcome! This command will take you through the configuration of bonded.

Address of the registry:  \n\
Open this address in a browser, on any machine:

    http://127.0.0.1:PORT/device?user_code=BDFG-HJKL

and make sure that it shows the code BDFG-HJKL.


You are now logged in as [ada@example.com].
Your current project is [None].  You can change this setting by running:
  $ bonded config set project PROJECT_ID
Pick the project to use:
 [1] my-project
 [2] other
Number or name [my-project]:  \n\
[7] is none of them.
Pick the project to use:
 [1] my-project
 [2] other
Number or name [my-project]:  \n\
Pick the location to use:
 [1] local
 [2] eu
Number or name [local]:  \n\
Pick the repository to use:
 [1] python
Number or name [python]:  \n\
Point which tools at the repository:
 [1] pip
 [2] uv
 [3] both
 [4] none
Number or name [none]:  \n\
--- DIR/.config/pip/pip.conf
+++ DIR/.config/pip/pip.conf
@@ -0,0 +1,3 @@
+[global]
+index-url = http://oauth2accesstoken@127.0.0.1:PORT/other/python/simple/
+keyring-provider = subprocess

DIR/.config/pip/pip.conf will be created.

Do you want to continue (Y/n)?  \n\
Wrote DIR/.config/pip/pip.conf.
--- DIR/.config/uv/uv.toml
+++ DIR/.config/uv/uv.toml
@@ -0,0 +1,8 @@
+keyring-provider = "subprocess"
+
+[[index]]
+name = "python"
+url = "http://127.0.0.1:PORT/other/python/simple/"
+publish-url = "http://127.0.0.1:PORT/other/python/"
+default = true
+authenticate = "always"

DIR/.config/uv/uv.toml will be created.

Do you want to continue (Y/n)?  \n\
Wrote DIR/.config/uv/uv.toml.
Publish: uv publish --index python --username oauth2accesstoken

Bonded is configured and ready to use.

* `bonded config list` shows what is set.
* `bonded artifacts print-settings python --tool=TOOL` shows settings of other tools.
""")
    assert said.status == 0
    assert bonded("config", "list", "--format=json").out == snapshot("""\
{
  "artifacts": {
    "location": "local",
    "repository": "python"
  },
  "core": {
    "account": "ada@example.com",
    "project": "other",
    "server": "http://127.0.0.1:PORT"
  }
}
""")
    uv = tomllib.loads((tmp_path / ".config" / "uv" / "uv.toml").read_text())
    assert uv["index"][0]["name"] == "python"
    assert "/other/python/simple/" in (tmp_path / ".config" / "pip" / "pip.conf").read_text()


def test_a_script_says_everything_and_is_asked_nothing(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    bonded.sign_in()
    place = ("--project=my-project", "--location=local", "--repository=python")

    said = bonded("init", "--quiet", f"--server={registry.url}", *place, "--tool=pip")

    assert said.status == 0
    assert "Number or name" not in said.err
    assert (tmp_path / ".config" / "pip" / "pip.conf").exists()
    assert not (tmp_path / ".config" / "uv").exists()


def test_what_is_needed_and_not_said_is_an_error(
    bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bonded("init", "--quiet").err == snapshot("""\
Welcome! This command will take you through the configuration of bonded.

ERROR: (bonded.init) Nothing says which registry to use.
Name it with --server.
""")
    answer(monkeypatch)
    assert bonded("init").err == snapshot("""\
Welcome! This command will take you through the configuration of bonded.

Address of the registry:  \n\
ERROR: (bonded.init) Nobody answers.
Say on the line what is asked, or use --quiet.
""")


def test_an_account_that_is_signed_in_can_go_on(
    registry: Registry, bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    bonded.sign_in()
    bonded("auth", "login", "--no-browser", f"--server={registry.url}")
    answer(monkeypatch, "", "2", "", "", "", "none")

    said = bonded("init")

    assert said.status == 0
    assert "Open this address" not in said.err
    assert bonded("config", "get", "account").out == f"{EMAIL}\n"

"""Helpers that write other tools' settings: shown first, kept a copy of, and without a secret."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import configparser
import io
import netrc
import os
import stat
import tomllib
from pathlib import Path

import pytest
from inline_snapshot import snapshot
from twine.utils import get_config

from support.cli_registry import Registry, Said, Terminal


@pytest.fixture(name="registry")
def _registry(registry: Registry) -> Registry:
    registry.add_repository()
    return registry


def test_pip_is_configured_once(bonded: Terminal, tmp_path: Path) -> None:
    line = ("auth", "configure-pip", "--repository=python", "--quiet")

    assert bonded(*line) == snapshot(
        Said(
            out="",
            err="""\
--- DIR/.config/pip/pip.conf
+++ DIR/.config/pip/pip.conf
@@ -0,0 +1,3 @@
+[global]
+index-url = http://oauth2accesstoken@127.0.0.1:PORT/my-project/python/simple/
+keyring-provider = subprocess
Wrote DIR/.config/pip/pip.conf.
""",
        )
    )
    assert bonded(*line) == snapshot(
        Said(out="", err="DIR/.config/pip/pip.conf is as it should be.\n")
    )
    changed = bonded(*line, "--keyring-provider=import")
    assert "-index-url = http://oauth2accesstoken@127" in changed.err
    assert "+index-url = http://127" in changed.err
    assert "The old one is pip.conf.bak." in changed.err
    kept = (tmp_path / ".config/pip/pip.conf.bak").read_text()
    assert "keyring-provider = subprocess" in kept


def test_other_hosts_that_pip_trusts_stay_beside_ours(
    bonded: Terminal, registry: Registry, tmp_path: Path
) -> None:
    uri = "eu-python.example.com:8443/my-project/python"
    registry.add_repository("python", "eu", registryUri=uri)
    (tmp_path / "pip.conf").write_text("[global]\ntrusted-host = a.example\n    b.example\n")
    line = ("auth", "configure-pip", "--repository=python", "--location=eu", "--quiet")

    bonded(*line, f"--file={tmp_path / 'pip.conf'}")

    read = configparser.ConfigParser(interpolation=None)
    read.read(tmp_path / "pip.conf")
    hosts = ["a.example", "b.example", "eu-python.example.com:8443"]
    assert read["global"]["trusted-host"].split() == hosts
    assert "as it should be" in bonded(*line, f"--file={tmp_path / 'pip.conf'}").err


def test_a_no_changes_nothing(
    bonded: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".pypirc").write_text("[distutils]\nindex-servers = other\n\n[other]\nx = 1\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    said = bonded("auth", "configure-twine", "--repository=python")

    assert said.status == 1
    assert "Aborted by user." in said.err
    assert "python" not in (tmp_path / ".pypirc").read_text()
    assert not (tmp_path / ".pypirc.bak").exists()


def test_pypirc_keeps_what_it_has_and_its_secrets_are_not_shown(
    bonded: Terminal, tmp_path: Path
) -> None:
    pypirc = tmp_path / "dotfiles" / "pypirc"
    pypirc.parent.mkdir()
    pypirc.write_text("[distutils]\nindex-servers = other\n[other]\npassword: hush\n")
    pypirc.chmod(0o640)
    (tmp_path / ".pypirc").symlink_to(pypirc)

    said = bonded("auth", "configure-twine", "--repository=python", "--quiet")

    assert "hush" not in said.err
    assert pypirc.read_text() == snapshot(
        """\
[distutils]
index-servers =
    other
    python
[other]
password: hush

[python]
repository = http://127.0.0.1:PORT/my-project/python/
username = oauth2accesstoken
""".replace("PORT", bonded.port)
    )
    assert (tmp_path / ".pypirc").is_symlink()
    assert stat.S_IMODE(pypirc.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("before", "servers"),
    [
        ("", {"pypi", "testpypi", "python"}),
        (
            "[pypi]\nusername = me\npassword = hush\n[testpypi]\nusername = me\n",
            {"pypi", "testpypi", "python"},
        ),
        ("[distutils]\nindex-servers = pypi\n[pypi]\nusername = me\n", {"pypi", "python"}),
    ],
)
def test_twine_reads_what_it_read_before_and_ours_beside_it(
    bonded: Terminal, tmp_path: Path, before: str, servers: set[str]
) -> None:
    (tmp_path / ".pypirc").write_text(before)
    line = ("auth", "configure-twine", "--repository=python", "--quiet")
    read = get_config(str(tmp_path / ".pypirc"))

    assert "WARNING" not in bonded(*line).err

    ours = {
        "repository": f"http://127.0.0.1:{bonded.port}/my-project/python/",
        "username": "oauth2accesstoken",
        "password": None,
    }
    found = get_config(str(tmp_path / ".pypirc"))
    assert set(found) == servers
    assert found == read | {"python": ours}
    assert "as it should be" in bonded(*line).err


@pytest.mark.parametrize(
    ("before", "warned"),
    [
        ("[python]\npassword = hush\n", ["[python]"]),
        ("[server-login]\npassword: hush\n", ["[server-login]"]),
        ("[DEFAULT]\npassword =\n", ["[python]"]),
        ("[pypi]\npassword = hush\n", []),
    ],
)
def test_a_password_that_twine_takes_in_place_of_a_token_is_warned_of(
    bonded: Terminal, tmp_path: Path, before: str, warned: list[str]
) -> None:
    (tmp_path / ".pypirc").write_text(before)
    line = ("auth", "configure-twine", "--repository=python", "--quiet")
    for _ in range(2):
        said = bonded(*line).err

        # The second time nothing is written, and the password is as wrong as before.
        warnings = [each for each in said.splitlines() if each.startswith("WARNING: ")]
        assert [each.split()[1] for each in warnings] == warned
        assert "hush" not in said
    password = get_config(str(tmp_path / ".pypirc"))["python"]["password"]
    assert (password is not None) == bool(warned)


def test_uv_is_configured(bonded: Terminal, tmp_path: Path) -> None:
    said = bonded("auth", "configure-uv", "--repository=python", "--quiet")

    written = tomllib.loads((tmp_path / ".config/uv/uv.toml").read_text())
    assert written["keyring-provider"] == "subprocess"
    (index,) = written["index"]
    assert (index["name"], index["authenticate"], index["default"]) == ("python", "always", True)
    assert said.err.endswith("Publish: uv publish --index python --username oauth2accesstoken\n")


def test_netrc_gets_a_secret_that_is_not_shown(bonded: Terminal, tmp_path: Path) -> None:
    path = tmp_path / ".netrc"
    path.write_text("machine other login a password hush\n")

    said = bonded("auth", "configure-netrc", "--repository=python", "--quiet")

    assert netrc.netrc(str(path)).authenticators("127.0.0.1") == (
        "oauth2accesstoken",
        "",
        "token-1",
    )
    assert netrc.netrc(str(path)).authenticators("other") is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "token-1" not in said.err
    assert "hush" not in said.err
    assert "expires within the hour" in said.err


def test_the_netrc_that_was_there_is_never_lost_however_often_the_token_is_renewed(
    bonded: Terminal, tmp_path: Path
) -> None:
    path, line = tmp_path / ".netrc", ("auth", "configure-netrc", "--repository=python", "--quiet")
    first = "machine 127.0.0.1 login ada password hush\nmachine 127.0.0.1 login bob password hush\n"
    path.write_text(first)

    said = bonded(*line).err

    assert "WARNING: All 2 entries of 127.0.0.1 will be replaced by ours" in said
    assert "hush" not in said
    for token in ("older", "oldest"):
        path.write_text(f"machine 127.0.0.1 login oauth2accesstoken password {token}\n")
        said = bonded(*line).err
        assert "replaced by ours" not in said
        assert said.splitlines()[1] == "Wrote DIR/.netrc."
    second = "machine 127.0.0.1 login eve password hush\n"
    path.write_text(second)
    assert "The old one is .netrc.bak2." in bonded(*line).err
    path.write_text(first)
    assert "The old one is .netrc.bak." in bonded(*line).err
    copies = {each.name: each.read_text() for each in tmp_path.glob(".netrc.*")}
    assert copies == {".netrc.bak": first, ".netrc.bak2": second}


def test_netrc_takes_a_key(bonded: Terminal, tmp_path: Path) -> None:
    key = f"--json-key={bonded.key_file}"
    path = tmp_path / "elsewhere"

    said = bonded("auth", "configure-netrc", "--repository=python", "-q", key, f"--file={path}")

    found = netrc.netrc(str(path)).authenticators("127.0.0.1")
    assert found is not None
    assert found[0] == "_json_key_base64"
    assert "expires" not in said.err


def test_what_is_not_ours_is_not_shown_and_where_else_packages_come_from_is_said(
    bonded: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text(
        "[global]\n"
        "# the password is hunter2\n"
        "index-url = https://hunter2:hunter2@old.example/hunter2/simple/\n"
        "extra-index-url = https://hunter2@a.example/simple https://x:hunter2@b.example/\n"
        "    https://hunter2/hunter2@c.example/\n"
        "api_key = hunter2\n"
        "timeout = 5\n"
    )

    said = bonded("auth", "configure-pip", "--repository=python", "-q", f"--file={path}")

    assert said.err == snapshot("""\
WARNING: [global] extra-index-url stays. pip takes the greatest version that any of its indexes has, so a public package can take the place of yours. Remove it, and have a virtual repository read that index.
--- DIR/pip.conf
+++ DIR/pip.conf
@@ -1,7 +1,8 @@
 [global]
 …
-index-url = https://…@old.example/…
+index-url = http://oauth2accesstoken@127.0.0.1:PORT/my-project/python/simple/
 extra-index-url = https://…@a.example/…, https://…@b.example/…
     …
 api_key = …
 timeout = 5
+keyring-provider = subprocess
Wrote DIR/pip.conf. The old one is pip.conf.bak.
""")


def test_a_file_that_is_for_a_person_to_change_stays_and_what_to_write_is_shown(
    bonded: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine other login a password my hunter2\n")

    said = bonded("auth", "configure-netrc", "--repository=python", "-q", f"--file={path}")

    assert said.err == snapshot("""\
ERROR: (bonded.auth.configure-netrc) Cannot change DIR/netrc. Python, and so pip, cannot read it: look at line 2 or before.
A comment must not follow an empty line, and `#` stands before a blank. Nothing was changed. By hand, have it say:

  machine 127.0.0.1 login oauth2accesstoken password …
""")
    assert "hunter2" in path.read_text()


def test_a_file_that_cannot_be_changed_is_named(bonded: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "uv.toml"
    path.write_text("what is this")

    said = bonded("auth", "configure-uv", "--repository=python", "-q", f"--file={path}")

    assert said.status == 1
    assert "Cannot change DIR/uv.toml. It is not TOML" in said.err
    assert path.read_text() == "what is this"


def test_a_device_does_not_become_a_file(
    bonded: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pipe"))

    said = bonded("auth", "configure-pip", "--repository=python", "--quiet")

    assert "DIR/pipe is no file." in said.err
    assert (tmp_path / "pipe").is_fifo()

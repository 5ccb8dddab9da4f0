"""gcloud's remaining words: configurations, config-helper, services, and the name gcloud itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from bonded.cli.components import upgrade_command
from support.cli_registry import EMAIL, Registry, Said, Terminal


def test_configurations_are_made_used_and_forgotten(bonded: Terminal) -> None:
    assert bonded("config", "configurations", "create", "work") == snapshot(
        Said(out="", err="Created [work].\nActivated [work].\n")
    )
    bonded("config", "set", "project", "at-work")
    assert bonded("config", "configurations", "list") == snapshot(
        Said(
            out="""\
NAME     IS_ACTIVE  ACCOUNT                                   PROJECT  SERVER
default  False      admin@my-project.iam.gserviceaccount.com
work     True                                                 at-work
""",
            err="",
        )
    )
    assert bonded("config", "get", "project", "--configuration=default").out == ""
    assert bonded("config", "configurations", "describe", "work") == snapshot(
        Said(
            out="""\
is_active: true
name: work
properties:
  core:
    project: at-work
""",
            err="",
        )
    )
    refused = bonded("config", "configurations", "delete", "work", "--quiet")
    assert "configuration [work] is set as active" in refused.err
    assert bonded("config", "configurations", "activate", "default").err == "Activated [default].\n"
    assert bonded("config", "configurations", "delete", "work", "--quiet") == snapshot(
        Said(out="", err="Deleted [work].\n")
    )
    assert bonded("auth", "print-access-token").out == "token-1\n"


def test_a_configuration_is_renamed_with_all_that_it_says(bonded: Terminal) -> None:
    rename = ("config", "configurations", "rename")
    bonded("config", "configurations", "create", "work")
    bonded("config", "set", "project", "at-work")

    said = bonded(*rename, "work", "--new-name=job")

    assert said == Said(out="", err="Renamed [work] to be [job].\n")
    names = bonded("config", "configurations", "list", "--format=value(name,is_active)").out
    assert names == "default\tFalse\njob\tTrue\n"
    assert bonded("config", "get", "project").out == "at-work\n"
    for line, words in {
        ("absent", "--new-name=other"): "Cannot find configuration [absent].",
        ("job", "--new-name=default"): "because it already exists.",
        ("job", "--new-name=../x"): "Invalid name [../x]",
        ("default", "--new-name=other"): "[default] keeps its name: it is always there.",
    }.items():
        refused = bonded(*rename, *line)
        assert (refused.status, words in refused.err) == (1, True), refused.err
    assert bonded("config", "get", "project").out == "at-work\n"


def test_a_configuration_that_cannot_be_is_named(
    bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in (("activate", "absent"), ("describe", "absent"), ("delete", "absent")):
        said = bonded("config", "configurations", *line)
        assert "Cannot find configuration [absent]." in said.err
    assert "already exists" in bonded("config", "configurations", "create", "default").err
    for name in ("../x", "X", "", "a b"):
        said = bonded("config", "configurations", "create", name)
        assert (said.status, "Invalid name" in said.err) == (1, True)
    monkeypatch.setenv("BONDED_ACTIVE_CONFIG_NAME", "absent")
    assert "Cannot find configuration [absent]." in bonded("projects", "list").err
    monkeypatch.delenv("BONDED_ACTIVE_CONFIG_NAME")
    (bonded.config / "active_config").write_text("gone\n")
    assert bonded("config", "configurations", "activate", "default").status == 0


def test_config_helper_speaks_as_gcloud_does(registry: Registry, bonded: Terminal) -> None:
    bonded("config", "set", "project", "my-project")
    said = bonded("config", "config-helper", "--format=json")
    document = json.loads(said.out)
    expiry = document["credential"].pop("token_expiry")

    assert document == {
        "configuration": {
            "active_configuration": "default",
            "properties": {"core": {"account": EMAIL, "project": "my-project"}},
        },
        "credential": {"access_token": "token-1"},
        "sentinels": {"config_sentinel": "DIR/config/config_sentinel"},
    }
    assert expiry.endswith("Z")
    assert (bonded.config / "config_sentinel").exists()
    value = bonded("config", "config-helper", "--format=value(credential.access_token)")
    assert value == Said(out="token-1\n", err="")
    alone = json.loads(bonded("config", "config-helper", "--format=json(credential)").out)
    assert list(alone) == ["credential"]
    assert registry.token_requests == 1


def test_config_helper_fetches_again_when_asked(registry: Registry, bonded: Terminal) -> None:
    line = ("config", "config-helper", "--format=value(credential.access_token)")

    assert bonded(*line, "--min-expiry=30m").out == "token-1\n"
    assert bonded(*line, "--force-auth-refresh").out == "token-2\n"
    assert bonded(*line, "--min-expiry=1h1m").out == "token-3\n"
    assert "is not a duration" in bonded(*line, "--min-expiry=soon").err


def test_services_need_no_enabling(bonded: Terminal) -> None:
    assert bonded("services", "enable", "artifactregistry.googleapis.com") == snapshot(
        Said(
            out="",
            err="Nothing needs enabling: every service of a Bonded registry is always on.\n",
        )
    )
    assert "There is no service [x] here." in bonded("services", "enable", "x").err
    assert bonded("services", "list", "--enabled") == snapshot(
        Said(
            out="""\
NAME                                 TITLE
artifactregistry.googleapis.com      Artifact Registry API
cloudresourcemanager.googleapis.com  Cloud Resource Manager API
iam.googleapis.com                   Identity and Access Management (IAM) API
""",
            err="",
        )
    )


def test_an_update_is_left_to_what_installed_us(bonded: Terminal) -> None:
    said = bonded("components", "update")

    assert said.status == 0
    assert "It does not update itself" in said.err
    assert said.out.startswith("  $ ")
    assert any(word in said.out for word in ("git -C", "upgrade"))


@pytest.mark.parametrize(
    ("origin", "by", "command"),
    [
        ({"dir_info": {"editable": True}}, "", "git -C /src/bonded pull"),
        (
            {"dir_info": {}},
            "",
            "git -C /src/bonded pull && PYTHON -m pip install --upgrade '/src/bonded[EXTRAS]'",
        ),
        (
            {"dir_info": {}},
            "pipx_metadata.json",
            "git -C /src/bonded pull && pipx install --force '/src/bonded[EXTRAS]'",
        ),
        ({"archive_info": {}}, "", "PYTHON -m pip install --upgrade 'SOURCE[EXTRAS]'"),
        ({}, "uv-receipt.toml", "uv tool install --force 'SOURCE[EXTRAS]'"),
        ({}, "", "PYTHON -m pip install --upgrade 'SOURCE[EXTRAS]'"),
    ],
)
def test_an_upgrade_never_asks_an_index_for_a_name_that_may_be_anybodys(
    origin: dict[str, object], by: str, command: str, tmp_path: Path
) -> None:
    if by:
        (tmp_path / by).touch()
    said = {"url": "file:///src/bonded", **origin} if origin else {}
    (tmp_path / "direct_url.json").write_text(json.dumps(said))

    upgrade = upgrade_command(PathDistribution(tmp_path), tmp_path)

    extras = re.compile(r"\[[a-z,]+\]")
    assert extras.sub("[EXTRAS]", upgrade.replace(sys.executable, "PYTHON")) == command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_our_lines(shell: str, bonded: Terminal) -> None:
    said = bonded("completion", shell)

    assert said.status == 0
    assert "_BONDED_COMPLETE" in said.out


@pytest.mark.parametrize("name", ["bonded", "gcloud"])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("au", "auth"),
        ("auth con", "configure-netrc configure-pip configure-twine configure-uv"),
        ("config config-h", "config-helper"),
        ("artifacts print-settings python --tool ", "pip uv poetry pdm twine"),
        ("auth login --fo", "--force --format"),
    ],
)
def test_bash_offers_what_may_come_next(
    name: str, typed: str, offered: str, tmp_path: Path
) -> None:
    (tmp_path / name).symlink_to(Path(sys.executable).with_name("bonded"))
    words = " ".join(f"'{word}'" for word in (name, *typed.split(" ")))
    script = f"""
        eval "$({name} completion bash)"
        COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) COMPREPLY=()
        _{name}_completion {name}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"},  # noqa: TID251 - a child inherits it
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == (f"{offered}\n", "")


def test_the_default_credential_is_printed_and_revoked(
    registry: Registry, bonded: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("auth", "application-default", "print-access-token")
    assert "Your default credentials were not found." in bonded(*line).err
    named = tmp_path / "named.json"
    named.write_text(registry.key_file("ci@example.com"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(named))
    assert bonded(*line) == Said(out="token-2\n", err="")
    assert bonded(*line).out == "token-2\n"
    assert "yours" not in bonded("auth", "application-default", "revoke", "-q").out

    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    path = tmp_path / ".config/gcloud/application_default_credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(registry.key_file("me@example.com"))
    assert bonded(*line).out == "token-3\n"
    revoked = bonded("auth", "application-default", "revoke", "--quiet")
    again = bonded("auth", "application-default", "revoke", "--quiet")

    assert revoked.err.startswith("Credentials revoked on this machine: DIR/.config/gcloud/")
    assert not path.exists()
    assert "nothing to revoke" in again.err
    assert named.exists()
    assert len(list(bonded.config.glob("tokens/*/default-*.json"))) == 1


def test_a_link_called_gcloud_is_gcloud(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.symlink_to(Path(sys.executable).with_name("bonded"))
    environment = os.environ | {"PATH": f"{gcloud.parent}:/usr/bin:/bin"}  # noqa: TID251

    def run(*line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["gcloud", *line],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    helped = run("config", "config-helper", "--format=json(credential)")
    credential = json.loads(helped.stdout)["credential"]
    refused = run("auth", "print-access-token", "nobody@example.com")

    assert credential["access_token"] == "token-1"
    assert credential["token_expiry"].endswith("Z")
    assert refused.stderr.startswith("ERROR: (gcloud.auth.print-access-token) ")
    assert run("config", "get-value", "account").stdout == f"{EMAIL}\n"

"""Somebody whose only role is on one repository gets on by its name, and is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.shelves import LOCATION, PROJECT, Shelf
from support.command_line import Bonded, command_line

pytestmark = pytest.mark.clients


@pytest.fixture(name="bonded")
def _bonded(
    shelf: Shelf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    """A command line of an account that reads the shelf, and may do nothing else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("APPDATA", "PIP_CONFIG_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    bonded = command_line(shelf.server, tmp_path / "config", monkeypatch, capsys)
    account, key = f"reader-{shelf.name}", tmp_path / "key.json"
    email = f"{account}@{PROJECT}.iam.gserviceaccount.com"
    reader = (f"--member=serviceAccount:{email}", "--role=roles/artifactregistry.reader")
    for line in (
        ("iam", "service-accounts", "create", account),
        ("iam", "service-accounts", "keys", "create", str(key), f"--iam-account={email}"),
        ("artifacts", "repositories", "add-iam-policy-binding", shelf.name, *reader),
        ("auth", "activate-service-account", f"--key-file={key}"),
    ):
        done = bonded(*line)
        assert done.status == 0, done.err
    return bonded


@pytest.mark.parametrize("where", [(), ("--location=all",), (f"--location={LOCATION}",)])
def test_the_refusal_of_a_list_names_commands_that_work(
    where: tuple[str, ...], bonded: Bonded, shelf: Shelf
) -> None:
    refused = bonded("artifacts", "repositories", "list", *where)

    assert (refused.status, refused.out) == (1, "")
    assert "denied on resource '//cloudresourcemanager.googleapis.com/projects/" in refused.err
    named = [line.strip() for line in refused.err.splitlines() if line.startswith("  $ bonded ")]
    assert [line.split()[3:5] for line in named] == [
        ["repositories", "describe"],
        ["packages", "list"],
        ["print-settings", "python"],
    ]
    for line in named:
        words = line.replace("REPOSITORY", shelf.name).split()[2:]
        assert bonded(*words).status == 0, line
        assert bonded(*words, f"--location={LOCATION}").status == 0, line


def test_who_may_not_list_projects_is_told_to_name_one(bonded: Bonded) -> None:
    refused = bonded("projects", "list")

    assert refused.status == 1
    assert "Name the project that you were told: `bonded config set project PROJECT" in refused.err


def test_init_takes_the_name_that_one_was_told(
    bonded: Bonded, shelf: Shelf, tmp_path: Path
) -> None:
    answers = ("", "", PROJECT, "", shelf.name, "pip", "y")

    done = bonded("init", typed="".join(f"{line}\n" for line in answers))

    assert done.status == 0, done.err
    # It is as it should be, so nothing of it frightens.
    assert done.err.count("Your roles do not list what there is: name the ") == 3
    assert "WARNING" not in done.err
    assert "PERMISSION_DENIED" not in done.err
    assert f"Type the name of the location to use [{LOCATION}]:" in done.err
    assert f"/{PROJECT}/{shelf.name}/simple/" in next(tmp_path.rglob("pip.conf")).read_text()
    assert f"{shelf.name}/simple/" in bonded("artifacts", "print-settings", "python").out


def test_init_for_a_repository_that_one_may_not_read_ends_in_what_to_ask_for(
    bonded: Bonded, tmp_path: Path
) -> None:
    line = ("init", f"--project={PROJECT}", "--repository=pypi", "--tool=pip", "--skip-sign-in")

    done = bonded(*line, typed="\n\n")

    assert done.status == 1
    assert "ask an administrator to run `bonded artifacts repositories " in done.err
    assert f"add-iam-policy-binding pypi --location={LOCATION} --project={PROJECT} " in done.err
    assert "--role=roles/artifactregistry.reader --member=" in done.err
    assert not list(tmp_path.rglob("pip.conf"))


def test_init_goes_on_without_what_nobody_names(bonded: Bonded, tmp_path: Path) -> None:
    done = bonded("init", typed="\n\n\n\n\n")

    assert done.status == 0, done.err
    assert "Type the name of the project to use, or nothing to go on without one:" in done.err
    assert "Bonded is configured and ready to use." in done.err
    assert not list(tmp_path.rglob("pip.conf"))

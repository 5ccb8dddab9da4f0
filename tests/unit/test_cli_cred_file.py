"""Signing in by a file: a service account's key, a person's sign-in, a workload's configuration."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from support.cli_people import PERSON
from support.cli_registry import EMAIL, Registry, Said, Terminal


def test_a_file_signs_in_too(registry: Registry, terminal: Terminal, tmp_path: Path) -> None:
    terminal("auth", "application-default", "login", "--no-browser", f"--server={registry.url}")
    path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    key = tmp_path / "key.json"
    key.write_text(registry.key_file())

    assert terminal("auth", "login", f"--cred-file={key}").err.startswith(
        "Activated service account"
    )
    assert f"logged in as [{PERSON}]" in terminal("auth", "login", f"--cred-file={path}").err
    assert terminal("auth", "login", EMAIL, f"--cred-file={path}").status == 1
    path.write_text('{"type": "external_account_authorized_user"}')
    assert terminal("auth", "login", f"--cred-file={path}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.login) DIR/.config/gcloud/application_default_credentials.json is no sign-in of a person.
Sign in again with `bonded auth login`.
""",
            status=1,
        )
    )


def workload_file(registry: Registry, directory: Path, **changes: object) -> Path:
    """Write what create-cred-config writes, and the token that it names."""
    (directory / "subject-token").write_text("proof of a job")
    fields = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/the-pool/providers/builds",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{registry.url}/v1/token",
        "credential_source": {"file": str(directory / "subject-token")},
    } | changes
    path = directory / "workload.json"
    path.write_text(json.dumps(fields))
    return path


# The second is longer than the name of a file may be.
@pytest.mark.parametrize("subject", ["job-7", f"system:serviceaccount:{'n' * 240}"])
def test_a_workload_signs_in_under_the_name_that_the_server_has_for_it(
    subject: str, registry: Registry, terminal: Terminal, tmp_path: Path
) -> None:
    path = workload_file(registry, tmp_path)
    registry.workload = name = f"principal://iam.googleapis.com/the-pool/subject/{subject}"

    said = terminal("auth", "login", f"--cred-file={path}")
    lines = [
        terminal("auth", "list", "--format=value(account,status)").out,
        terminal("auth", "print-access-token").out,
        terminal("auth", "revoke").err,
        terminal("auth", "list").err,
    ]

    assert said.err == (
        "Updated property [core/server] to http://127.0.0.1:PORT.\n"
        f"Authenticated with external account credentials for: [{name}].\n"
    )
    assert lines[:2] == [f"{name}\tACTIVE\n", "token-1\n"]
    assert "can sign in again wherever its proof is" in lines[2]
    assert "No credentialed accounts" in lines[3]
    # The first token came with the sign-in, and served.
    assert registry.token_requests == 1


def test_a_workload_that_acts_as_a_service_account_has_its_name(
    registry: Registry, terminal: Terminal, tmp_path: Path
) -> None:
    url = f"{registry.url}/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
    path = workload_file(registry, tmp_path, service_account_impersonation_url=url)

    assert f"for: [{EMAIL}]." in terminal("auth", "login", f"--cred-file={path}").err
    assert terminal("auth", "print-access-token").out == "token-of-another\n"
    assert terminal("auth", "print-identity-token").err.endswith(
        "Say with --audiences who will read it.\n"
    )


def test_a_workload_whose_proof_is_gone_says_where_to_look(
    registry: Registry, terminal: Terminal, tmp_path: Path
) -> None:
    registry.token_life_s = 10
    terminal("auth", "login", f"--cred-file={workload_file(registry, tmp_path)}")
    (tmp_path / "subject-token").unlink()

    said = terminal("auth", "print-access-token")

    assert said.status == 1
    assert "DIR/subject-token" in said.err
    assert "sign in again with `bonded auth login --cred-file=FILE`" in said.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON, so no credential file."),
        ('{"type": "authorized_user"}', "is not a service-account key."),
        ('{"type": "external_account"}', "lacks the field [token_url]."),
    ],
)
def test_a_file_that_nobody_can_sign_in_with_is_a_sentence(
    text: str, sentence: str, terminal: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)

    said = terminal("auth", "login", f"--cred-file={path}")

    assert said.status == 1
    assert sentence in said.err
    assert terminal("auth", "list", "--format=json").out == "[]\n"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"token_url": "ftp://x/"}, "[ftp://x] is not the URL of a server."),
        ({"audience": ""}, "lacks the field [audience]."),
        ({"credential_source": {"none": "c"}}, "The configuration is no usable credential file"),
        ({"credential_source": {"file": "/none"}}, "File '/none' was not found"),
    ],
)
def test_a_workload_that_lacks_something_is_told_what(
    changes: dict[str, object],
    sentence: str,
    registry: Registry,
    terminal: Terminal,
    tmp_path: Path,
) -> None:
    path = workload_file(registry, tmp_path, **changes)

    said = terminal("auth", "login", f"--cred-file={path}")

    assert said.status == 1
    assert sentence in said.err

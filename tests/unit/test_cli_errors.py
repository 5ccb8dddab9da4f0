"""What the command line says when something is wrong: a sentence, and what to do next."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inline_snapshot import snapshot

from support.cli_registry import EMAIL, Registry, Said, Terminal


def test_a_server_that_is_not_there(registry: Registry, bonded: Terminal) -> None:
    bonded("config", "set", "core/server", registry.url)
    bonded("config", "set", "core/hosts", "127.0.0.1:9")
    assert bonded("projects", "list", "--server=http://127.0.0.1:9") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) Nobody answers at http://127.0.0.1:9.
Start the server with `bonded serve`, or name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""",
            status=1,
        )
    )


def test_a_server_that_is_something_else(registry: Registry, bonded: Terminal) -> None:
    registry.raw = (200, b"<html>", {})
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) http://127.0.0.1:PORT answers 200 OK and no message of a Bonded server.
Something else may be listening there, or a proxy: name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""",
            status=1,
        )
    )
    registry.raw = (502, b"Bad gateway", {})
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) http://127.0.0.1:PORT answers 502 Bad Gateway and no message of a Bonded server.
Something else may be listening there, or a proxy: name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""",
            status=1,
        )
    )
    registry.raw = (200, b"[]", {})
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) http://127.0.0.1:PORT answers 200 OK and no message of a Bonded server.
Something else may be listening there, or a proxy: name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""",
            status=1,
        )
    )
    registry.raw = (500, b'{"error": "no"}', {})
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) http://127.0.0.1:PORT answers 500 Internal Server Error and no message of a Bonded server.
Something else may be listening there, or a proxy: name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""",
            status=1,
        )
    )


def test_a_redirect_is_not_followed_with_a_token(registry: Registry, bonded: Terminal) -> None:
    registry.raw = (301, b"", {"Location": "https://packages.example.com/v1/projects"})
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) http://127.0.0.1:PORT sends us to https://packages.example.com/v1/projects.
If that is the server's real address, run `bonded config set core/server URL` with it.
""",
            status=1,
        )
    )
    assert registry.requests[-1] == "GET /v1/projects"


def test_a_token_that_the_server_forgot_is_replaced_once(
    registry: Registry, bonded: Terminal
) -> None:
    registry.tokens.clear()
    assert bonded("projects", "list").status == 0
    assert registry.token_requests == 2


def test_an_account_that_the_server_refuses(registry: Registry, bonded: Terminal) -> None:
    registry.raw = (
        401,
        b'{"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "The account is disabled."}}',
        {},
    )
    said = bonded("projects", "list")
    assert said == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) UNAUTHENTICATED: The account is disabled.
http://127.0.0.1:PORT does not accept [admin@my-project.iam.gserviceaccount.com]. Sign in again with `bonded auth login` or `bonded auth activate-service-account --key-file=FILE`, or choose another server with `bonded config set core/server URL`.
""",
            status=1,
        )
    )


def test_a_key_that_the_server_refuses(registry: Registry, bonded: Terminal) -> None:
    registry.raw_token = (
        400,
        b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}',
        {},
    )
    assert bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.activate-service-account) The server refuses the key of [admin@my-project.iam.gserviceaccount.com]: Invalid JWT Signature.
Create another with `bonded iam service-accounts keys create`, and sign in with it: `bonded auth activate-service-account --key-file=FILE`.
""",
            status=1,
        )
    )


def test_a_token_endpoint_that_fails(registry: Registry, bonded: Terminal) -> None:
    registry.raw_token = (404, b"<html>Not found", {})
    assert bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.activate-service-account) http://127.0.0.1:PORT/token does not answer as a Bonded server does.
It may be failing, or something else may be listening there.
""",
            status=1,
        )
    )


def test_a_token_endpoint_that_is_not_there(registry: Registry, bonded: Terminal) -> None:
    bonded.key_file.write_text(registry.key_file(token_uri="http://127.0.0.1:9/token"))
    assert bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.activate-service-account) Nobody answers at http://127.0.0.1:9/token, where the key of [admin@my-project.iam.gserviceaccount.com] is to be exchanged for a token.
Start the server with `bonded serve`, or check the network and the address.
""",
            status=1,
        )
    )


def test_files_that_are_no_keys(registry: Registry, bonded: Terminal) -> None:
    reasons = []
    for text in (
        "",
        "[]",
        "{}",
        registry.key_file(token_uri=""),
        registry.key_file(private_key="x"),
    ):
        bonded.key_file.write_text(text)
        said = bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}")
        assert said.status == 1
        reasons.append(said.err.splitlines()[0].partition(") ")[2])
    bonded.key_file.unlink()
    said = bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}")
    reasons.append(said.err.splitlines()[0].partition(") ")[2])
    assert reasons == snapshot(
        [
            "DIR/key.json is not JSON, so not a key file.",
            "DIR/key.json is not a service-account key.",
            "DIR/key.json is not a service-account key.",
            "DIR/key.json lacks the field [token_uri].",
            "The key of [admin@my-project.iam.gserviceaccount.com] holds no usable private key: Unable to load PEM file. See https://cryptography.io/en/latest/faq/#why-can-t-i-import-my-pem-file for more details. MalformedFraming",
            "There is no key file at DIR/key.json.",
        ]
    )


def test_lines_that_are_not_understood(registry: Registry, bonded: Terminal) -> None:
    assert bonded("projects", "frobnicate") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects) No such command 'frobnicate'.
Usage: bonded projects [OPTIONS] COMMAND [ARGS]...
For more, run `bonded projects --help`.
""",
            status=2,
        )
    )
    assert bonded("artifacts", "repositories", "create", "python") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.create) Missing option '--repository-format'. Choose from:
	python
Usage: bonded artifacts repositories create [OPTIONS] REPOSITORY
For more, run `bonded artifacts repositories create --help`.
""",
            status=2,
        )
    )
    assert bonded(
        "artifacts", "repositories", "create", "python", "--repository-format=docker"
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.create) Invalid value for '--repository-format': 'docker' is not 'python'.
Usage: bonded artifacts repositories create [OPTIONS] REPOSITORY
For more, run `bonded artifacts repositories create --help`.
""",
            status=2,
        )
    )
    assert bonded(
        "artifacts",
        "repositories",
        "create",
        "python",
        "--repository-format=python",
        "--labels=oops",
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.create) Invalid value for '--labels': Bad syntax for dict arg: [oops]. Write KEY=VALUE.
Usage: bonded artifacts repositories create [OPTIONS] REPOSITORY
For more, run `bonded artifacts repositories create --help`.
""",
            status=2,
        )
    )


def test_errors_of_the_server_are_told_in_its_words(registry: Registry, bonded: Terminal) -> None:
    assert bonded("projects", "describe", "nothing") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.projects.describe) PERMISSION_DENIED: Permission denied on project 'nothing'.\n",
            status=1,
        )
    )
    assert bonded("artifacts", "repositories", "describe", "nothing") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.describe) NOT_FOUND: Requested entity was not found.
There are no repositories in project [my-project].
""",
            status=1,
        )
    )


def test_a_format_that_does_not_exist_is_refused(registry: Registry, bonded: Terminal) -> None:
    assert bonded("projects", "list", "--format=csv") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) [csv] is not a format.
Use yaml, json, jsonl, table or value(FIELD,...), such as --format='value(name)'.
""",
            status=1,
        )
    )
    assert bonded("projects", "list", "--format=value") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) [value] is not a format.
Use yaml, json, jsonl, table or value(FIELD,...), such as --format='value(name)'.
""",
            status=1,
        )
    )


def test_a_heading_is_no_field_and_is_not_silently_empty(
    registry: Registry, bonded: Terminal
) -> None:
    assert bonded("projects", "list", "--format=value(PROJECT_ID)") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) [PROJECT_ID] is no field: formats take the API's names, not a table's headings.
Look at the names with --format=json.
""",
            status=1,
        )
    )


def test_a_broken_key_store_is_named(registry: Registry, bonded: Terminal) -> None:
    next((bonded.config / "accounts").rglob("*.json")).write_text("{")
    assert bonded("projects", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.projects.list) What is stored of [admin@my-project.iam.gserviceaccount.com] cannot be used: DIR/config/accounts/http%3A%2F%2F127.0.0.1%3APORT/admin@my-project.iam.gserviceaccount.com.json is not JSON, so no credential file.
Sign in again with `bonded auth activate-service-account --key-file=FILE`.
""",
            status=1,
        )
    )


def test_an_end_that_is_none_is_told_in_all_its_forms(registry: Registry, bonded: Terminal) -> None:
    line = ("iam", "service-accounts", "keys", "create", "key.json", f"--iam-account={EMAIL}")

    said = bonded(*line, "--expires=3months")

    assert said.status == 1
    assert said.err.endswith(
        "[3months] is not a duration.\n"
        "Write it as 90s, 5m, 1h30m or 90d, or a moment as 2030-01-31T00:00:00Z.\n"
    )


def test_global_flags_stand_anywhere(registry: Registry, bonded: Terminal) -> None:
    bonded("projects", "create", "my-project")
    expected = "my-project\n"
    for arguments in (
        ("--format=value(projectId)", "projects", "list"),
        ("projects", "--format=value(projectId)", "list"),
        ("projects", "list", "--format=value(projectId)"),
        ("projects", "--format=json", "list", "--format=value(projectId)"),
    ):
        assert bonded(*arguments).out == expected


def test_serving_without_the_server_says_how_to_install_it(tmp_path: Path) -> None:
    # What an installation without the extra lacks, this interpreter is told to lack.
    program = (
        "import sys; sys.modules['uvloop'] = None; "
        "from bonded.cli.program import run; sys.exit(run(['serve', '--data-dir', sys.argv[1]]))"
    )
    line = [sys.executable, "-c", program, str(tmp_path)]

    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == snapshot("""\
ERROR: (bonded.serve) The server is not installed: there is no module [uvloop].
Run ./serve in a checkout of Bonded, or install that with its extra: `pip install "/path/to/checkout[server]"`.
""")

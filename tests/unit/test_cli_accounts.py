"""Accounts and properties through the command line."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest
from inline_snapshot import snapshot

from support.cli_registry import EMAIL, Registry, Said, Terminal, running_registry


def test_a_key_is_verified_by_fetching_a_token(registry: Registry, bonded: Terminal) -> None:
    said = bonded("auth", "activate-service-account", EMAIL, f"--key-file={bonded.key_file}")
    assert said == snapshot(
        Said(
            out="",
            err="Activated service account credentials for: [admin@my-project.iam.gserviceaccount.com]\n",
        )
    )
    assert registry.token_requests == 2


def test_an_account_must_be_that_of_its_key(registry: Registry, bonded: Terminal) -> None:
    assert bonded(
        "auth",
        "activate-service-account",
        "other@my-project.iam.gserviceaccount.com",
        f"--key-file={bonded.key_file}",
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.activate-service-account) The given account name does not match the account name in the key file.
This argument can be omitted when using .json keys.
""",
            status=1,
        )
    )


def test_the_token_is_all_that_standard_output_has(registry: Registry, bonded: Terminal) -> None:
    assert bonded("auth", "print-access-token") == snapshot(Said(out="token-1\n", err=""))
    assert bonded(
        "auth",
        "print-access-token",
        "admin@my-project.iam.gserviceaccount.com",
        "--format=json",
    ) == snapshot(
        Said(
            out="""\
{
  "token": "token-1"
}
""",
            err="",
        )
    )


def test_accounts_are_listed_and_the_active_one_is_marked(
    registry: Registry, bonded: Terminal
) -> None:
    bonded.sign_in("other@my-project.iam.gserviceaccount.com")
    assert bonded("auth", "list") == snapshot(
        Said(
            out="""\
                         Credentialed Accounts
ACTIVE  ACCOUNT                                   SERVER
        admin@my-project.iam.gserviceaccount.com  http://127.0.0.1:PORT
*       other@my-project.iam.gserviceaccount.com  http://127.0.0.1:PORT
""",
            err="""\

To set the active account, run:
    $ bonded config set account `ACCOUNT`
""",
        )
    )
    assert bonded("auth", "list", "--format=json") == snapshot(
        Said(
            out="""\
[
  {
    "account": "admin@my-project.iam.gserviceaccount.com",
    "server": "http://127.0.0.1:PORT",
    "status": ""
  },
  {
    "account": "other@my-project.iam.gserviceaccount.com",
    "server": "http://127.0.0.1:PORT",
    "status": "ACTIVE"
  }
]
""",
            err="",
        )
    )


def test_a_revoked_account_leaves_nothing_behind(registry: Registry, bonded: Terminal) -> None:
    assert bonded("auth", "revoke") == snapshot(
        Said(
            out="""\
Revoked credentials:
 - admin@my-project.iam.gserviceaccount.com
""",
            err="WARNING: [admin@my-project.iam.gserviceaccount.com] appears to be a service account. Its key still works wherever else it is kept: to end that, run `bonded iam service-accounts keys delete`.\n",
        )
    )
    assert not [
        path for path in bonded.config.rglob("*") if path.is_file() and "admin" in path.name
    ]
    assert bonded("auth", "list") == snapshot(
        Said(
            out="",
            err="""\
No credentialed accounts.

To login, run:
  $ bonded auth login `ACCOUNT`
""",
        )
    )
    assert bonded("auth", "print-access-token") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.print-access-token) You do not currently have an active account selected.
Please run:

  $ bonded auth login

or, with the key of a service account,

  $ bonded auth activate-service-account --key-file=FILE

to obtain new credentials. To select an account that `bonded auth list` shows, run

  $ bonded config set account ACCOUNT

or name it in the environment variable [BONDED_CORE_ACCOUNT].
""",
            status=1,
        )
    )
    assert bonded("auth", "revoke") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.auth.revoke) No credentials available to revoke.\n",
            status=1,
        )
    )
    assert bonded("auth", "revoke", "other@my-project.iam.gserviceaccount.com") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.revoke) No credentials found for account [other@my-project.iam.gserviceaccount.com].
`bonded auth list` shows the accounts that are signed in.
""",
            status=1,
        )
    )


def test_an_account_without_credentials_says_how_to_get_them(
    registry: Registry, bonded: Terminal
) -> None:
    assert bonded("auth", "print-access-token", "nobody@example.com") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.print-access-token) Your current active account [nobody@example.com] does not have any valid credentials.
Please run:

  $ bonded auth login

or, with the key of a service account,

  $ bonded auth activate-service-account --key-file=FILE

to obtain new credentials. To select an account that `bonded auth list` shows, run

  $ bonded config set account ACCOUNT

or name it in the environment variable [BONDED_CORE_ACCOUNT].
""",
            status=1,
        )
    )


def test_properties_are_set_listed_and_unset(registry: Registry, bonded: Terminal) -> None:
    assert bonded("config", "set", "project", "team-one") == snapshot(
        Said(out="", err="Updated property [core/project].\n")
    )
    assert bonded("config", "set", "artifacts/location", "eu") == snapshot(
        Said(out="", err="Updated property [artifacts/location].\n")
    )
    assert bonded("config", "get", "core/project") == snapshot(Said(out="team-one\n", err=""))
    assert bonded("config", "list") == snapshot(
        Said(
            out="""\
[core]
account = admin@my-project.iam.gserviceaccount.com
project = team-one

[artifacts]
location = eu

""",
            err="Your active configuration is: [default]\n",
        )
    )
    assert bonded("config", "list", "--format=json") == snapshot(
        Said(
            out="""\
{
  "artifacts": {
    "location": "eu"
  },
  "core": {
    "account": "admin@my-project.iam.gserviceaccount.com",
    "project": "team-one"
  }
}
""",
            err="",
        )
    )
    assert bonded("config", "unset", "project") == snapshot(
        Said(out="", err="Unset property [core/project].\n")
    )
    assert bonded("config", "get", "project") == snapshot(Said(out="", err="(unset)\n"))


def test_the_environment_overrides_the_file(
    registry: Registry, bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    bonded("config", "set", "project", "from-file")
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "from-cloudsdk")
    assert bonded("config", "get", "project").out == "from-cloudsdk\n"
    monkeypatch.setenv("BONDED_CORE_PROJECT", "from-bonded")
    assert bonded("config", "get", "project").out == "from-bonded\n"


def test_bad_properties_are_refused(registry: Registry, bonded: Terminal) -> None:
    assert bonded("config", "set", "core/colour", "blue") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.config.set) Section [core] has no property [colour].
The properties are: core/project, core/account, core/server, core/hosts, auth/attached_identity_hosts, auth/impersonate_service_account, artifacts/location, artifacts/repository.
""",
            status=1,
        )
    )
    assert bonded("config", "set", "server", "packages.example.com") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.config.set) [packages.example.com] is not the URL of a server.
Give scheme, host and port alone, such as http://127.0.0.1:8080.
""",
            status=1,
        )
    )
    assert bonded(
        "config", "set", "server", "https://packages.example.com/team/python/simple/"
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.config.set) [https://packages.example.com/team/python/simple/] is more than a server's URL.
Give scheme, host and port alone, such as http://127.0.0.1:8080.
""",
            status=1,
        )
    )
    assert bonded("config", "set", "server", "https://me:secret@packages.example.com") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.config.set) A server's URL must not carry a user name or password.
Give scheme, host and port alone, such as http://127.0.0.1:8080.
""",
            status=1,
        )
    )
    assert bonded("config", "set", "project", " ") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.config.set) [ ] cannot be the value of [core/project].\n",
            status=1,
        )
    )
    assert bonded("config", "set", "account", "nobody@example.com") == snapshot(
        Said(
            out="",
            err="""\
Updated property [core/account].
WARNING: [nobody@example.com] has no credentials here. Run `bonded auth login nobody@example.com`, or for a service account `bonded auth activate-service-account --key-file=FILE`.
""",
        )
    )


def test_a_server_elsewhere_than_the_key_is_pointed_out(
    registry: Registry, bonded: Terminal
) -> None:
    bonded("config", "set", "core/server", registry.url.replace("127.0.0.1", "localhost"))
    assert bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}") == snapshot(
        Said(
            out="",
            err="""\
Activated service account credentials for: [admin@my-project.iam.gserviceaccount.com]
WARNING: commands go to http://localhost:PORT, but this key is from http://127.0.0.1:PORT. To follow the key, run `bonded config unset core/server`.
""",
        )
    )


@pytest.fixture(name="other_server")
def _other_server() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


def test_two_servers_may_have_an_account_of_the_same_address(
    registry: Registry, other_server: Registry, bonded: Terminal
) -> None:
    bonded.key_file.write_text(other_server.key_file())

    said = bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}")

    assert said.status == 0
    assert f"Updated property [core/server] to {other_server.url}" in said.err
    listed = bonded("auth", "list", "--format=value(server,status)").out.splitlines()
    assert sorted(listed) == sorted([f"{other_server.url}\tACTIVE", "http://127.0.0.1:PORT\t"])
    assert bonded("projects", "list").status == 0
    assert (len(other_server.requests), len(registry.requests)) == (2, 1)
    bonded("projects", "list", f"--server={registry.url}")
    assert (len(other_server.requests), len(registry.requests)) == (2, 2)


def test_an_account_of_several_servers_needs_to_know_which(
    registry: Registry, other_server: Registry, bonded: Terminal
) -> None:
    bonded.key_file.write_text(other_server.key_file())
    bonded("auth", "activate-service-account", f"--key-file={bonded.key_file}")
    bonded("config", "unset", "core/server")

    said = bonded("auth", "print-access-token")
    refused = bonded("auth", "revoke")
    revoked = bonded("auth", "revoke", f"--server={other_server.url}")

    assert "is signed in to several servers: http://127.0.0.1:" in said.err
    assert "Choose one with --server, BONDED_SERVER" in said.err
    assert refused.status == said.status == 1
    assert revoked.status == 0
    assert bonded("auth", "print-access-token").out == "token-1\n"


def test_a_token_goes_to_no_server_but_its_own(
    registry: Registry, other_server: Registry, bonded: Terminal
) -> None:
    said = bonded("projects", "list", f"--server={other_server.url}")

    assert "is signed in to http://127.0.0.1:PORT, not to http://127.0.0.1:" in said.err
    assert other_server.requests == []
    hosts = ("config", "set", "core/hosts", other_server.url.removeprefix("http://"))
    bonded("config", "unset", "core/server")
    assert "so they count for none" in bonded(*hosts).err
    bonded("projects", "list", f"--server={other_server.url}")
    assert other_server.requests == []
    bonded("config", "set", "core/server", registry.url)
    assert bonded(*hosts).err == "Updated property [core/hosts].\n"
    bonded("projects", "list", f"--server={other_server.url}")
    assert other_server.requests != []


def test_everything_kept_is_private(registry: Registry, bonded: Terminal) -> None:
    bonded("config", "set", "project", "x")
    files = [path for path in bonded.config.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_an_unreadable_configuration_is_named(registry: Registry, bonded: Terminal) -> None:
    (bonded.config / "configurations" / "default.ini").write_text("what is this")
    assert bonded("config", "list") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.config.list) DIR/config/configurations/default.ini is not a configuration file: File contains no section headers.
file: '<string>', line: 1
'what is this'
Correct it, or remove it and run `bonded config set` again.
""",
            status=1,
        )
    )


def test_an_account_acts_as_another_without_its_key(registry: Registry, bonded: Terminal) -> None:
    robot = "robot@my-project.iam.gserviceaccount.com"
    flag = f"--impersonate-service-account={robot}"

    said = [bonded("auth", "print-access-token", flag) for _ in range(2)]

    assert (
        said[0]
        == said[1]
        == snapshot(
            Said(
                out="token-of-another\n",
                err="WARNING: This command is using service account impersonation. All API calls will be executed as [robot@my-project.iam.gserviceaccount.com].\n",
            )
        )
    )
    path = f"/v1/projects/-/serviceAccounts/{robot}:generateAccessToken"
    assert registry.requests.count(f"POST {path}") == 1
    # What the account itself would be given is another token, kept elsewhere.
    assert bonded("auth", "print-access-token").out == "token-1\n"
    bonded("config", "set", "auth/impersonate_service_account", robot)
    assert bonded("auth", "print-access-token").out == "token-of-another\n"

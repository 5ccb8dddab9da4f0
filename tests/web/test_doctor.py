"""`bonded doctor` and a real server: who was let in, who could let themselves, what mends it."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Bonded, command_line
from support.server import Server, running_server

ACCOUNT = "{}@my-project.iam.gserviceaccount.com"
ADMIN = ACCOUNT.format("bonded-admin")
SERVER = ("organizations", "add-iam-policy-binding", "bonded")
REPOSITORY = "projects/my-project/locations/local/repositories/python"
OWNER = "--role=roles/owner"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("doctor") / "data") as server:
        yield server


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(server, tmp_path / "config", monkeypatch, capsys)


def done(bonded: Bonded, *line: str) -> str:
    said = bonded(*line, "--quiet")
    assert said.status == 0, said.err
    return said.err


def findings(bonded: Bonded) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        bonded("doctor", "--skip-upstreams", "--format=json").out
    )
    return found


def let_people_in(bonded: Bonded) -> None:
    """Grant what should not be granted, in every place that there is."""
    for name in ("robot-1", "second-1", "third-1"):
        done(bonded, "iam", "service-accounts", "create", name)
    done(bonded, "users", "create", "off@example.com")
    done(bonded, "users", "disable", "off@example.com")
    done(bonded, "users", "create", "invited@example.com")
    done(bonded, "groups", "create", "owners@example.com")
    for member in ("user:ghost@example.com", "user:invited@example.com"):
        done(bonded, "groups", "add-member", "owners@example.com", f"--member={member}")
    done(bonded, *SERVER, "--member=group:owners@example.com", OWNER)
    for name in ("second-1", "third-1"):
        done(bonded, *SERVER, f"--member=serviceAccount:{ACCOUNT.format(name)}", OWNER)
    robot = f"--member=serviceAccount:{ACCOUNT.format('robot-1')}"
    done(
        *(bonded, "iam", "service-accounts", "add-iam-policy-binding", ADMIN, robot),
        "--role=roles/iam.serviceAccountTokenCreator",
    )
    done(
        *(bonded, "iam", "service-accounts", "add-iam-policy-binding", ADMIN),
        *("--member=allAuthenticatedUsers", "--role=roles/iam.serviceAccountViewer"),
    )
    done(bonded, *SERVER, robot, "--role=roles/iam.roleAdmin")
    done(
        *(bonded, "iam", "roles", "create", "inviter", "--organization=bonded"),
        "--permissions=bonded.users.update",
    )
    done(bonded, *SERVER, robot, "--role=organizations/bonded/roles/inviter")
    expression = 'request.time < timestamp("2001-01-01T00:00:00Z")'
    done(
        *(bonded, "artifacts", "repositories", "add-iam-policy-binding", "python"),
        *("--location=local", "--member=user:off@example.com", "--role=roles/viewer"),
        f"--condition=expression={expression},title=it's over",
    )


def let_bindings_rot(server: Server, bonded: Bonded) -> None:
    """Grant what grants nothing: by roles that are gone, on conditions that can never hold."""
    grant = ("projects", "add-iam-policy-binding", "my-project", "--member=domain:example.com")
    project, role = "projects/my-project", "--role=roles/artifactregistry.reader"
    for name in ("gone", "lost"):
        made = ("iam", "roles", "create", name, "--project=my-project")
        done(bonded, *made, "--permissions=resourcemanager.projects.get")
        done(bonded, *grant, f"--role={project}/roles/{name}")
    done(bonded, "iam", "roles", "delete", "gone", "--project=my-project")
    for number, moment in enumerate(("2099-01-31T00:00:00Z", "2098-01-31T00:00:00Z")):
        expression = f'expression=request.time < timestamp("{moment}")'
        done(bonded, *grant, role, f"--condition={expression},title=until {number}")
    # As an earlier version of the server, and of a project, has left it.
    with closing(sqlite3.connect(server.data_dir / "bonded.sqlite3")) as database, database:
        database.execute("DELETE FROM roles WHERE name = ?", (f"{project}/roles/lost",))
        database.execute(
            "UPDATE policies SET bindings = replace(bindings, '2098-01', '2098-31') "
            "WHERE resource = ?",
            (project,),
        )


def test_what_doctor_finds_is_gone_when_its_advice_was_pasted(
    server: Server, bonded: Bonded
) -> None:
    before = bonded("doctor", "--skip-upstreams")
    let_people_in(bonded)
    let_bindings_rot(server, bonded)

    found = findings(bonded)
    pasted = [one["advice"].partition("#")[0] for one in found]
    commands = dict.fromkeys(part.strip() for line in pasted for part in line.split("&&"))
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "bonded"
        done(bonded, *words[1:])
    after = findings(bonded)

    assert (before.status, before.err) == (0, "Nothing to look after.\n")
    whole, account = "organizations/bonded", f"projects/my-project/serviceAccounts/{ADMIN}"
    assert sorted((one["finding"], one["resource"]) for one in found) == [
        ("BAD_CONDITION", "projects/my-project"),
        ("DISABLED_USER", REPOSITORY),
        ("EXPIRED_CONDITION", REPOSITORY),
        ("GROUP_OWNS", whole),
        ("LIKE_OWNER", whole),
        ("LIKE_OWNER", whole),
        ("LIKE_OWNER", account),
        ("NO_SUCH_ROLE", "projects/my-project"),
        ("NO_SUCH_USER", "groups/owners@example.com"),
        ("OWNER", whole),
        ("OWNER_CANNOT_SIGN_IN", whole),
        ("OWNER_CANNOT_SIGN_IN", whole),
        ("OWNER_CANNOT_SIGN_IN", whole),
        ("OWNER_CANNOT_SIGN_IN", whole),
        ("PUBLIC", account),
        ("ROLE_DELETED", "projects/my-project"),
    ]
    said = " ".join(one["what"] for one in found)
    assert f"serviceAccount:{ADMIN} and everybody with bonded.groups.update may say who" in said
    assert "user:ghost@example.com does not exist" in said
    assert "user:invited@example.com has no password or good key" in said
    assert "with bonded.users.update could become more than that" in said
    assert "domain:example.com: The expression is wrong at line 1, column 26: timestamp(" in said
    assert "domain:example.com has projects/my-project/roles/gone, which was deleted" in said
    # The group itself stays until somebody decides; nobody is in it any more but its maker.
    assert [one["finding"] for one in after] == ["GROUP_OWNS"]


def test_what_was_not_seen_is_not_called_healthy(bonded: Bonded, tmp_path: Path) -> None:
    key = tmp_path / "blind.json"
    email = ACCOUNT.format("blind-1")
    done(bonded, "iam", "service-accounts", "create", "blind-1")
    done(
        *(bonded, "iam", "service-accounts", "keys", "create", str(key)),
        f"--iam-account={email}",
    )
    done(bonded, "auth", "activate-service-account", f"--key-file={key}")

    blind = bonded("doctor", "--skip-upstreams", f"--account={email}")

    assert blind.status == 2
    assert "Skipped organizations/bonded: the account may not see it." in blind.err
    assert "Nothing to look after in what the account may see, but " in blind.err
    assert "Nothing to look after.\n" not in blind.err

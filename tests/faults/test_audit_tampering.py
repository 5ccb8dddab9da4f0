"""A real server, killed and tampered with, and what `bonded logging` and `doctor` say of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from support.command_line import Bonded, command_line
from support.loopback import GONE, Loopback
from support.server import Server
from support.wheels import make_wheel

PROJECT = "/v1/projects/my-project"
DAY_US = 86_400_000_000


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("audit") / "data", environment={"BONDED_AUDIT_STREAM": "stdout"}
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(server, tmp_path / "config", monkeypatch, capsys)


def in_database(server: Server, statement: str) -> None:
    path = server.data_dir / "bonded.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.execute(statement)


def test_after_kill_9_every_acknowledged_upload_is_in_a_chain_that_verifies(
    server: Server, bonded: Bonded
) -> None:
    acknowledged: set[str] = set()

    def upload(number: int) -> None:
        mine = Loopback(server)
        with suppress(*GONE):
            for version in range(1000):
                wheel = make_wheel(f"killed-{number}", f"1.{version}")
                assert mine.upload(wheel).status == 200
                acknowledged.add(wheel.filename)

    with ThreadPoolExecutor(3) as clients:
        for number in range(3):
            clients.submit(upload, number)
        while len(acknowledged) < 5:
            time.sleep(0.02)
        server.kill()
    server.start()

    read = bonded("logging", "read", "method=Python-UploadPackage", "--format=jsonl")
    verified = bonded("logging", "verify")

    entries = [json.loads(line) for line in read.out.splitlines()]
    assert acknowledged <= {entry["protoPayload"]["metadata"]["filename"] for entry in entries}
    assert (verified.status, verified.err[:8]) == (0, "Verified")
    assert bonded("logging", "verify", f"--expect={verified.out.strip()}").status == 0
    told = json.loads(bonded("logging", "verify", "--format=json").out)
    assert (told["problems"], told["checked"]) == ([], int(told["last"]["number"]))


def test_the_log_is_read_from_the_command_line_and_shipped_to_a_collector(
    server: Server, bonded: Bonded
) -> None:
    Loopback(server).upload(make_wheel("shown", "2.0"))

    table = bonded("logging", "read", "package=shown", "--limit=1", "--format=table")
    fresh = bonded("logging", "read", "package=shown", "--freshness=1h", "--format=value(severity)")
    document = bonded("logging", "read", "package=shown", "--project=my-project", "--order=asc")
    wrong = bonded("logging", "read", "package=")
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]

    header, row = table.out.splitlines()
    assert header.split() == ["TIMESTAMP", "PRINCIPAL", "METHOD", "RESOURCE", "PACKAGE", "CODE"]
    assert "bonded-admin@my-project.iam.gserviceaccount.com" in row
    assert row.endswith("shown==2.0  0")
    assert fresh.out == "INFO\n"
    assert document.out.startswith("---\ninsertId: ")
    assert (wrong.status, "malformed at position 9" in wrong.err) == (1, True)
    shipped = [json.loads(line)["protoPayload"]["methodName"] for line in lines]
    assert shipped[0] == "bonded.v1.Server.Found"
    assert "Python-UploadPackage" in shipped


def test_doctor_finds_what_endangers_the_registry(server: Server, bonded: Bonded) -> None:
    healthy = bonded("doctor", "--skip-upstreams")
    repository = "python"
    for account in ("idle-one", "disabled", "gone-one"):
        bonded("iam", "service-accounts", "create", account)
        member = f"serviceAccount:{account}@my-project.iam.gserviceaccount.com"
        bonded(
            *("artifacts", "repositories", "add-iam-policy-binding", repository),
            *("--location=local", "--role=roles/artifactregistry.reader", f"--member={member}"),
        )
    idle = "idle-one@my-project.iam.gserviceaccount.com"
    key_file = server.data_dir / "idle.json"
    bonded("iam", "service-accounts", "keys", "create", str(key_file), f"--iam-account={idle}")
    key_id = json.loads(key_file.read_text())["private_key_id"]
    in_database(
        server,
        f"UPDATE service_account_keys SET created_at = created_at - {100 * DAY_US} "
        f"WHERE id = '{key_id}'",
    )
    in_database(server, "UPDATE service_accounts SET is_disabled = 1 WHERE email LIKE 'disabled@%'")
    in_database(server, "DELETE FROM service_accounts WHERE email LIKE 'gone-one@%'")
    bonded(
        *("artifacts", "repositories", "add-iam-policy-binding", repository),
        *("--location=local", "--role=roles/artifactregistry.reader", "--member=allUsers"),
    )
    bonded(
        *("projects", "add-iam-policy-binding", "my-project"),
        *("--role=roles/owner", "--member=user:ada@example.com"),
    )
    over = 'expression=request.time < timestamp("2001-01-01T00:00:00Z"),title=over'
    bonded(
        *("artifacts", "repositories", "add-iam-policy-binding", repository, "--location=local"),
        *("--role=roles/viewer", "--member=user:ada@example.com", f"--condition={over}"),
    )
    in_database(server, "UPDATE audit_log SET principal = 'user:x@example.com' WHERE number = 2")

    ill = bonded("doctor", "--format=json", "--skip-upstreams")
    table = bonded("doctor", "--skip-upstreams")
    tampered = bonded("logging", "verify")

    found = json.loads(ill.out)
    assert (healthy.status, healthy.out, healthy.err) == (0, "", "Nothing to look after.\n")
    assert (ill.status, table.status, tampered.status) == (1, 1, 1)
    where = f"projects/my-project/locations/local/repositories/{repository}"
    assert {(one["finding"], one["resource"]) for one in found} == {
        ("KEY_OLD", f"projects/my-project/serviceAccounts/{idle}/keys/{key_id}"),
        ("KEY_NEVER_USED", f"projects/my-project/serviceAccounts/{idle}/keys/{key_id}"),
        ("DISABLED_ACCOUNT", where),
        ("NO_SUCH_ACCOUNT", where),
        ("PUBLIC", where),
        ("EXPIRED_CONDITION", where),
        ("NO_SUCH_USER", where),
        ("NO_SUCH_USER", "projects/my-project"),
        ("OWNER", "projects/my-project"),
        ("AUDIT_LOG", "entry 2"),
    }
    assert "Entry 2 would be found under other values than it has." in tampered.err
    assert all(one["advice"] for one in found)

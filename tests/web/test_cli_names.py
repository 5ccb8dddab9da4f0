"""Names that are mistyped: whoever may list what there is gets the nearest, on every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bonded.cli.guessing import nearest
from support.command_line import Bonded, command_line
from support.server import Server, running_server

DOMAIN = "my-project.iam.gserviceaccount.com"
READER = f"ci-reader@{DOMAIN}"
POOL = "--workload-identity-pool=ci-pol"
ROLE = "--role=roles/artifactregistry.reader"
REPOSITORIES = ("artifacts", "repositories")
PROVIDERS = ("iam", "workload-identity-pools", "providers")


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("names") / "data") as server:
        yield server


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    bonded = command_line(server, tmp_path / "config", monkeypatch, capsys)
    if bonded("iam", "service-accounts", "describe", READER).status:
        for line in (
            ("iam", "service-accounts", "create", "ci-reader"),
            ("users", "create", "ada@example.com"),
            ("groups", "create", "devs@example.com"),
            ("iam", "workload-identity-pools", "create", "ci-pool", "--location=global"),
        ):
            assert bonded(*line).status == 0
    return bonded


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("artifacts", "packages", "list", "--repository=pyton"), "Did you mean [python]?"),
        ((*REPOSITORIES, "delete", "pyton", "--quiet"), "Did you mean [python]?"),
        ((*REPOSITORIES, "get-iam-policy", "pyton"), "Did you mean [python]?"),
        (
            (*REPOSITORIES, "add-iam-policy-binding", "pyton", "--member=allUsers", ROLE),
            "Did you mean [python]?",
        ),
        (
            (*REPOSITORIES, "describe", "python", "--location=lokal"),
            "There is one in location [local]: say --location=local.",
        ),
        (("auth", "print-access-token", "--repository=pyton"), "Did you mean [python]?"),
        (
            ("iam", "service-accounts", "disable", f"ci-reder@{DOMAIN}"),
            f"Did you mean [{READER}]?",
        ),
        (
            ("iam", "service-accounts", "keys", "list", "--iam-account=ci-reader"),
            f"Did you mean [{READER}]? A service account is named by its e-mail address.",
        ),
        (
            ("iam", "service-accounts", "describe", "zzz"),
            "A service account is named by its e-mail address.",
        ),
        (("users", "disable", "adda@example.com"), "Did you mean [ada@example.com]?"),
        (
            ("groups", "add-member", "dev@example.com", "--member=user:ada@example.com"),
            "Did you mean [devs@example.com]?",
        ),
        (("iam", "workload-identity-pools", "describe", "ci-pol"), "Did you mean [ci-pool]?"),
        ((*PROVIDERS, "list", POOL), "Did you mean [ci-pool]?"),
        (("projects", "describe", "my-projct"), "Did you mean [my-project]?"),
    ],
    ids=lambda value: " ".join(value[1:4]) if isinstance(value, tuple) else "",
)
def test_a_name_that_is_mistyped_is_answered_with_the_nearest(
    bonded: Bonded, line: tuple[str, ...], hint: str
) -> None:
    said = bonded(*line)

    assert said.status == 1
    assert "NOT_FOUND" in said.err
    assert said.err.endswith(f"\n{hint}\n")
    assert said.out == ""


def test_a_name_that_is_like_none_is_answered_with_no_guess(bonded: Bonded) -> None:
    said = bonded("iam", "service-accounts", "describe", f"zzz@{DOMAIN}")

    assert said.err.endswith(f"NOT_FOUND: Service account zzz@{DOMAIN} does not exist.\n")


def test_who_may_not_know_what_there_is_is_told_nothing_and_gets_a_token_as_asked(
    bonded: Bonded, tmp_path: Path
) -> None:
    bonded(
        *REPOSITORIES, "add-iam-policy-binding", "python", f"--member=serviceAccount:{READER}", ROLE
    )
    key = tmp_path / "key.json"
    bonded("iam", "service-accounts", "keys", "create", str(key), f"--iam-account={READER}")
    bonded("auth", "activate-service-account", f"--key-file={key}")

    missing = bonded(*REPOSITORIES, "describe", "pyton")
    narrowed = bonded("auth", "print-access-token", "--repository=pyton")
    right = bonded("auth", "print-access-token", "--repository=python")

    assert missing.status == 1
    assert "python" not in missing.err
    assert f"--role=roles/artifactregistry.reader --member=serviceAccount:{READER}`" in missing.err
    assert (narrowed.status, narrowed.err, right.status) == (0, "", 0)
    assert narrowed.out.count(".") == right.out.count(".") == 2


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("pyton", ["python", "pypi"], "python"),
        ("zzz", ["python"], None),
        (
            "ci-reder@a.example",
            ["ci-reader@a.example", "deployer@a.example"],
            "ci-reader@a.example",
        ),
        ("zzz@a-long-domain.example", ["ci-reader@a-long-domain.example"], None),
        ("ci-reader", ["ci-reader@a-long-domain.example"], "ci-reader@a-long-domain.example"),
        ("ada@exmaple.com", ["ada@example.com"], "ada@example.com"),
        ("ada@example.com", [], None),
    ],
)
def test_what_is_before_the_domain_decides(name: str, names: list[str], near: str | None) -> None:
    assert nearest(name, names) == near

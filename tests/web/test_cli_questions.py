"""What the command line asks before somebody shuts themselves out, against a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command_line import Bonded, command_line
from support.server import Server, running_server

ACCOUNTS = ("iam", "service-accounts")
KEYS = (*ACCOUNTS, "keys")
OWNER = "--role=roles/owner"
HELD = "resourcemanager.projects.setIamPolicy,iam.roles.delete,iam.roles.update,iam.roles.get"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("questions") / "data") as server:
        yield server


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(server, tmp_path / "config", monkeypatch, capsys)


class Actor:
    """A service account of a project of its own, which acts with its only key."""

    def __init__(self, bonded: Bonded, directory: Path, project: str) -> None:
        self.bonded, self.project = bonded, project
        self.email = f"actor-1@{project}.iam.gserviceaccount.com"
        self.member = f"--member=serviceAccount:{self.email}"
        key = directory / f"{project}.json"
        admin = bonded("config", "get-value", "account").out.strip()
        self.must("projects", "create", project)
        self.must(*ACCOUNTS, "create", "actor-1", f"--project={project}")
        self.must(*KEYS, "create", str(key), f"--iam-account={self.email}")
        self.must("auth", "activate-service-account", f"--key-file={key}")
        self.must("config", "set", "account", admin)
        self.key_id = json.loads(key.read_text())["private_key_id"]

    def must(self, *line: str) -> None:
        """Run a line as the administrator."""
        said = self.bonded(*line)
        assert said.status == 0, said.err

    def own_project(self) -> None:
        """Own the project, by a binding of one's own."""
        self.must("projects", "add-iam-policy-binding", self.project, self.member, OWNER)

    def key(self, verb: str) -> tuple[str, ...]:
        self.own_project()
        return (*KEYS, verb, self.key_id, f"--iam-account={self.email}")

    def account(self, verb: str) -> tuple[str, ...]:
        self.own_project()
        return (*ACCOUNTS, verb, self.email)

    def home(self) -> tuple[str, ...]:
        self.own_project()
        return "projects", "delete", self.project

    def group(self, *line: str) -> tuple[str, ...]:
        """Own the project, and a group, by being an owner of that group."""
        group = f"{self.project}@example.com"
        self.must("groups", "create", group)
        self.must("groups", "add-member", group, self.member, "--role=owner")
        self.must(
            *("projects", "add-iam-policy-binding", self.project, OWNER), f"--member=group:{group}"
        )
        if line == ("delete",):
            admin = ("--role=roles/bonded.groupAdmin", f"--member=group:{group}")
            self.must("organizations", "add-iam-policy-binding", *admin)
            return "groups", "delete", group
        return "groups", *line, group, self.member

    def role(self, *line: str) -> tuple[str, ...]:
        """Have a custom role, and by it the right to change that."""
        where = f"--project={self.project}"
        self.must("iam", "roles", "create", "keeper", where, f"--permissions={HELD}")
        role = f"--role=projects/{self.project}/roles/keeper"
        self.must("projects", "add-iam-policy-binding", self.project, self.member, role)
        return "iam", "roles", *line[:1], "keeper", where, *line[1:]


ACTS: dict[str, tuple[Callable[[Actor], tuple[str, ...]], str]] = {
    "key-off": (lambda one: one.key("disable"), "is the key that you act with: you could not undo"),
    "key-gone": (lambda one: one.key("delete"), "is the key that you act with: you could not undo"),
    "account-off": (
        lambda one: one.account("disable"),
        "is the account that you act as: you could",
    ),
    "account-gone": (
        lambda one: one.account("delete"),
        "is the account that you act as: you could",
    ),
    "home-gone": (
        lambda one: one.home(),
        "holds actor-1@home-gone.iam.gserviceaccount.com, the ac",
    ),
    "group-left": (lambda one: one.group("remove-member"), "lose the right to change who is in"),
    "group-owned": (lambda one: one.group("add-member"), "lose the right to say who is in group"),
    "group-gone": (lambda one: one.group("delete"), "lose the right to change group [group-gone"),
    "role-gone": (lambda one: one.role("delete"), "lose the right to change role [keeper]"),
    "role-less": (
        lambda one: one.role("update", "--permissions=iam.roles.get"),
        "lose the right to change role [keeper]",
    ),
}
NO = (((), "\n"), ((), "n\n"), ((), "yep\n"), (("--quiet",), "y\n"))


@pytest.mark.parametrize(
    ("name", "yes"),
    [(name, ("--force", "y\ny\n")[number % 2]) for number, name in enumerate(ACTS)],
)
def test_who_would_shut_themselves_out_is_asked_and_silence_is_a_no(
    bonded: Bonded, tmp_path: Path, name: str, yes: str
) -> None:
    make_line, risk = ACTS[name]
    actor = Actor(bonded, tmp_path, name)
    acting = (f"--account={actor.email}", f"--project={actor.project}")
    line = (*make_line(actor), *acting)

    noes = [bonded(*line, *flags, typed=typed) for flags, typed in NO]
    done = bonded(*line, yes) if yes == "--force" else bonded(*line, typed=yes)
    again = bonded(*line, "--force")

    assert [said.status for said in noes] == [1] * len(NO)
    assert risk in noes[0].err
    assert noes[0].err.endswith("Nothing was changed.\nIf you mean it, add --force.\n")
    assert done.status == 0, done.err
    assert (risk in done.err, "continue" in done.err) == (yes != "--force",) * 2
    assert again.status == 1


def test_the_last_owner_is_told_no_whatever_they_answer(server: Server, bonded: Bonded) -> None:
    admin = json.loads((server.data_dir / "admin-key.json").read_text())
    email = admin["client_email"]
    lines = [
        (*KEYS, "disable", admin["private_key_id"], f"--iam-account={email}"),
        (*KEYS, "delete", admin["private_key_id"], f"--iam-account={email}"),
        (*ACCOUNTS, "disable", email),
        (*ACCOUNTS, "delete", email),
    ]

    asked = [bonded(*line) for line in lines]
    forced = [bonded(*line, "--force") for line in lines]

    assert ["Nothing was changed" in said.err for said in asked] == [True] * 4
    assert ["leave the server without an owner" in said.err for said in forced] == [True] * 4


def test_another_s_key_and_account_go_without_a_word_about_oneself(
    bonded: Bonded, tmp_path: Path
) -> None:
    actor = Actor(bonded, tmp_path, "somebody")
    own = f"--iam-account={actor.email}"

    said = [
        bonded(*KEYS, "disable", actor.key_id, own),
        bonded(*KEYS, "delete", actor.key_id, own, typed="y\n"),
        bonded(*ACCOUNTS, "disable", actor.email),
        bonded(*ACCOUNTS, "delete", actor.email, "--quiet"),
        bonded("projects", "delete", actor.project, "--quiet"),
    ]

    assert [(one.status, "undo" in one.err) for one in said] == [(0, False)] * 5

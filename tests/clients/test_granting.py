"""Access from the command line against a real server, and a public repository for pip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients.shelves import USER
from support.server import Server, running_server
from support.tools import Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

REPOSITORY = ("python", "--location=local", "--project=my-project")
READER = "--role=roles/artifactregistry.reader"


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data") as server:
        yield server


@pytest.fixture(name="admin")
def _admin(server: Server, desk: Desk) -> Desk:
    """A desk at which the administrator sits."""
    key = server.data_dir / "admin-key.json"
    bonded(desk, "auth", "activate-service-account", f"--key-file={key}")
    return desk


def bonded(desk: Desk, *arguments: str, fails: bool = False) -> str:
    """Run the command line; return all that it says."""
    command = (sys.executable, "-m", "bonded", *arguments, "--quiet")
    return desk.run(*command, fails=fails).output


def repositories(desk: Desk, command: str, *arguments: str, fails: bool = False) -> str:
    """Change or show the repository's policy."""
    group = ("artifacts", "repositories", command)
    return bonded(desk, *group, *REPOSITORY, *arguments, fails=fails)


def test_a_public_repository_opens_to_pip_and_nothing_else_opens(
    server: Server, admin: Desk
) -> None:
    wheel = make_wheel("demo", "1.0").write_to(admin.home)
    token = bonded(admin, "auth", "print-access-token").strip()
    upload = (tool("twine"), "upload", "--non-interactive", "--repository-url", server.repository)
    admin.run(*upload, wheel, TWINE_USERNAME=USER, TWINE_PASSWORD=token)
    index = f"--index-url={server.repository}simple/"
    python = admin.make_environment("nobody")

    admin.pip(python, "install", index, "demo", fails=True)
    repositories(admin, "add-iam-policy-binding", "--member=allUsers", READER)
    admin.pip(python, "install", index, "demo")
    refused = admin.run(*upload, wheel, fails=True, TWINE_USERNAME="nobody", TWINE_PASSWORD="")

    assert "401" in refused.output or "Unauthorized" in refused.output


def test_of_many_who_change_a_policy_at_once_nobody_loses_a_binding(admin: Desk) -> None:
    members = [f"user:u{number}@example.com" for number in range(4)]

    with ThreadPoolExecutor(len(members)) as pool:
        list(
            pool.map(
                lambda who: repositories(
                    admin, "add-iam-policy-binding", f"--member={who}", READER
                ),
                members,
            )
        )

    policy = repositories(admin, "get-iam-policy")
    assert all(member in policy for member in members)


def test_conditions_are_added_told_apart_and_removed(admin: Desk) -> None:
    ada = "--member=user:ada@example.com"
    condition = (
        '--condition=expression=resource.package in ["a", "b"] && request.ip != "",title=ours'
    )
    wrong = "--condition=expression=resource.pakage,title=wrong"

    repositories(admin, "add-iam-policy-binding", ada, READER, condition)
    repositories(admin, "add-iam-policy-binding", ada, READER)
    both = repositories(admin, "get-iam-policy")
    refused = repositories(admin, "add-iam-policy-binding", ada, READER, wrong, fails=True)
    repositories(admin, "remove-iam-policy-binding", ada, READER)
    repositories(admin, "remove-iam-policy-binding", ada, READER, fails=True)
    one = repositories(admin, "get-iam-policy")
    repositories(admin, "remove-iam-policy-binding", ada, READER, "--all")
    none = repositories(admin, "get-iam-policy")

    assert "at line 1, column 9: undeclared reference to 'resource.pakage'" in refused
    assert [text.count("user:ada@example.com") for text in (both, one, none)] == [2, 1, 0]
    assert [text.count("title: ours") for text in (both, one, none)] == [1, 1, 0]


def test_groups_roles_and_the_reason_why(admin: Desk) -> None:
    ada = "--member=user:ada@example.com"
    why = (
        *("policy-troubleshoot", "projects/my-project/locations/local/repositories/python"),
        "--principal=user:ada@example.com",
        "--permission=artifactregistry.repositories.get",
    )
    bonded(admin, "groups", "create", "devs@example.com")
    bonded(admin, "groups", "add-member", "devs@example.com", ada)
    roles = ("iam", "roles")
    listing = "--permissions=artifactregistry.repositories.list"
    bonded(admin, *roles, "create", "picker", "--project=my-project", listing)
    bound = ("--member=group:devs@example.com", "--role=projects/my-project/roles/picker")
    repositories(admin, "add-iam-policy-binding", *bound)
    before = bonded(admin, *why)
    more = "--add-permissions=artifactregistry.repositories.get"
    bonded(admin, *roles, "update", "picker", "--project=my-project", more)
    after = bonded(admin, *why)

    assert "none of the roles they have here holds the permission" in before
    assert "may: projects/my-project/roles/picker on projects/my-project" in after
    assert "group:devs@example.com" in after
    assert "user:ada" in bonded(admin, "groups", "list-members", "devs@example.com")
    bonded(admin, "groups", "delete", "devs@example.com")
    assert "NOT_GRANTED" in bonded(admin, *why)

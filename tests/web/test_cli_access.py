"""Access from the command line against a real server: what it asks, refuses and explains."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Bonded, command_line
from support.server import Server, running_server

ADA = "serviceAccount:ada-smith@my-project.iam.gserviceaccount.com"
BOB = "serviceAccount:bob-smith@my-project.iam.gserviceaccount.com"
OWNER = "--role=roles/owner"
READER = "--role=roles/artifactregistry.reader"
PYTHON = ("artifacts", "repositories")
WHERE = ("python", "--location=local", "--project=my-project")


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("access") / "data") as server:
        yield server


@pytest.fixture(name="bonded")
def _bonded(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    return command_line(server, tmp_path / "config", monkeypatch, capsys)


def shown(bonded: Bonded, *line: str) -> Any:
    """Run a line that must succeed; return what it shows."""
    said = bonded(*line, "--format=json")
    assert said.status == 0, said.err
    return json.loads(said.out)


@pytest.fixture(name="ada")
def _ada(server: Server, bonded: Bonded) -> list[str]:
    """The flags to act as somebody who owns the project, by a binding on it and by nothing else."""
    email, key = ADA.partition(":")[2], server.data_dir / "ada.json"
    if not key.exists():
        bonded("iam", "service-accounts", "create", "ada-smith")
        bonded("iam", "service-accounts", "keys", "create", str(key), f"--iam-account={email}")
    admin = bonded("config", "get-value", "account").out.strip()
    bonded("auth", "activate-service-account", f"--key-file={key}")
    bonded("config", "set", "account", admin)
    bonded("projects", "add-iam-policy-binding", "my-project", f"--member={ADA}", OWNER)
    return [f"--account={email}"]


@pytest.mark.parametrize("way", ["remove", "set"])
@pytest.mark.parametrize(
    ("flags", "typed", "is_done"),
    [
        ([], "", False),
        ([], "\n", False),
        ([], "n\n", False),
        ([], "yep\n", False),
        (["--quiet"], "y\n", False),
        ([], "y\n", True),
        (["--force"], "", True),
    ],
)
def test_who_would_lock_themselves_out_is_asked_and_silence_is_a_no(
    bonded: Bonded,
    ada: list[str],
    tmp_path: Path,
    way: str,
    flags: list[str],
    *,
    typed: str,
    is_done: bool,
) -> None:
    before = shown(bonded, "projects", "get-iam-policy", "my-project")
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"etag": before["etag"], "bindings": []}))
    lines = {
        "remove": ("remove-iam-policy-binding", "my-project", f"--member={ADA}", OWNER),
        "set": ("set-iam-policy", "my-project", str(file)),
    }

    said = bonded("projects", *lines[way], *ada, *flags, typed=typed)
    after = shown(bonded, "projects", "get-iam-policy", "my-project")

    if is_done:
        assert (said.status, after.get("bindings", [])) == (0, []), said.err
    else:
        assert (said.status, after) == (1, before)
        assert said.err.endswith("Nothing was changed.\nIf you mean it, add --force.\n")
    if flags != ["--force"]:
        assert "lose the right to change the IAM policy of project [my-project]" in said.err


@pytest.fixture(name="bob")
def _bob(server: Server, bonded: Bonded) -> list[str]:
    """The flags to act as somebody who may read one repository, and has no other role."""
    email, key = BOB.partition(":")[2], server.data_dir / "bob.json"
    if not key.exists():
        bonded("iam", "service-accounts", "create", "bob-smith")
        bonded("iam", "service-accounts", "keys", "create", str(key), f"--iam-account={email}")
        bonded(*PYTHON, "add-iam-policy-binding", *WHERE, f"--member={BOB}", READER)
    admin = bonded("config", "get-value", "account").out.strip()
    bonded("auth", "activate-service-account", f"--key-file={key}")
    bonded("config", "set", "account", admin)
    return [f"--account={email}"]


def test_a_role_on_one_repository_is_enough_to_set_up_ones_tools(
    bonded: Bonded, bob: list[str], tmp_path: Path
) -> None:
    settings = ("artifacts", "print-settings", "python", "--repository=python", "--tool=pip")
    configure = ("auth", "configure-pip", "--repository=python", f"--file={tmp_path / 'pip.conf'}")

    printed = bonded(*settings, *bob)
    configured = bonded(*configure, "--quiet", *bob)

    assert (printed.status, printed.err) == (0, "")
    assert "/my-project/python/simple/" in printed.out
    assert configured.status == 0, configured.err
    assert "/my-project/python/simple/" in (tmp_path / "pip.conf").read_text()


def test_who_may_not_list_repositories_is_told_how_to_go_on(bonded: Bonded, bob: list[str]) -> None:
    said = bonded(*PYTHON, "list", *bob)
    missing = bonded(*PYTHON, "describe", "pyhton", *bob)

    assert said.status == missing.status == 1
    assert "Permission 'artifactregistry.locations.list' denied" in said.err
    assert "bonded artifacts repositories describe REPOSITORY" in said.err
    assert "the role roles/artifactregistry.reader on the project" in said.err
    # Nothing is let slip about what is there instead.
    assert "python" not in missing.err.replace("pyhton", "")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("pyhton",), "Did you mean [python]?"),
        (("zzz",), "In location [local] there are: all, pypi, python."),
        (("python", "--location=eu"), "There is one in location [local]: say --location=local."),
        (("zzz", "--location=lokal"), "There is nothing in location [lokal]. Did you mean [local]"),
        (("zzz", "--location=eu"), "There is nothing in location [eu]. There are: local."),
    ],
)
@pytest.mark.parametrize("command", ["describe", "print-settings"])
def test_a_repository_that_is_not_there_brings_to_mind_what_is(
    bonded: Bonded, command: str, line: tuple[str, ...], hint: str
) -> None:
    name, *where = line
    if command == "describe":
        said = bonded(*PYTHON, "describe", name, *where)
    else:
        said = bonded("artifacts", "print-settings", "python", f"--repository={name}", *where)

    assert said.status == 1
    assert f"/repositories/{name} does not exist" in said.err
    assert hint in said.err


def test_what_one_has_from_elsewhere_is_taken_without_a_question(bonded: Bonded) -> None:
    admin = "--member=serviceAccount:" + bonded("config", "get-value", "account").out.strip()
    bonded("projects", "add-iam-policy-binding", "my-project", admin, OWNER)

    said = bonded("projects", "remove-iam-policy-binding", "my-project", admin, OWNER)

    assert (said.status, said.err) == (0, "Updated IAM policy for project [my-project].\n")


@pytest.mark.parametrize("flags", [[], ["--force"], ["--quiet"]])
def test_the_last_owner_stays_and_is_told_the_way_round(bonded: Bonded, flags: list[str]) -> None:
    admin = "--member=serviceAccount:" + bonded("config", "get-value", "account").out.strip()

    said = bonded("organizations", "remove-iam-policy-binding", admin, OWNER, *flags, typed="y\n")

    assert said.status == 1
    assert said.err == (
        "ERROR: (bonded.organizations.remove-iam-policy-binding) FAILED_PRECONDITION: This would "
        "leave the server without an owner (roles/owner on organizations/bonded) who can sign in. "
        "Grant that role first to another user who has a password, or to another service account "
        "that is enabled and has a key that is good for another day.\n"
    )


def condition(expression: str) -> str:
    return f"--condition=title=t,expression={expression}"


ADD = (*PYTHON, "add-iam-policy-binding", *WHERE)
MINE = "my-project"
GIVE = ("projects", "add-iam-policy-binding", "my-project")
ALL = "--member=allUsers"
WHY = ("policy-troubleshoot", "projects/my-project")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ((*ADD, ALL, "--role=roles/king"), "Role 'roles/king' does not exist. Use a predefined"),
        (
            (*ADD, "--member=user:ada@example.com", "--role=projects/my-project/roles/none"),
            "Role projects/my-project/roles/none does not exist",
        ),
        ((*ADD, "--member=ada", READER), "'ada' is not a valid member. Use user:ADDRESS"),
        (
            (*ADD, "--member=projectOwner:other", READER),
            "projectOwner:other may be named only below projects/other",
        ),
        (
            (*ADD, ALL, READER, condition("true && (1 <")),
            "line 1, column 13: Syntax error",
        ),
        (
            (*ADD, ALL, READER, condition("resource.nmae == ''")),
            "line 1, column 9: undeclared reference to 'resource.nmae'",
        ),
        ((*ADD, ALL, READER, "--condition=title=t"), "A condition has an expression, a title"),
        (
            ("iam", "roles", "create", "picker", "--project=my-project", "--permissions=a.b.c"),
            "Permission 'a.b.c' does not exist",
        ),
        (
            (*PYTHON, "add-iam-policy-binding", "pyhton", *WHERE[1:], ALL, READER),
            "/repositories/pyhton does not exist.\nDid you mean [python]?",
        ),
        (
            ("organizations", "get-iam-policy", "acme"),
            "There is no organization [acme] here: a server is its only one, which is called",
        ),
        (
            (*WHY, f"--principal={ADA}", "--permission=x"),
            "No route asks for the permission 'x'",
        ),
        (
            (*WHY, "--principal=ada", "--permission=resourcemanager.projects.get"),
            "'ada' is not a valid member. Use user:ADDRESS",
        ),
        *(
            (("policy-troubleshoot", name, f"--principal={ADA}", "--permission=x"), says)
            for name, says in (
                ("project/my-project", "No resource is called [project/my-project].\nDid you mean"),
                ("project/my-project", "Did you mean [projects/my-project]? Name organizations/bo"),
                ("my-project", "Did you mean [projects/my-project]? Name"),
                ("organisations/acme", "Did you mean [organizations/bonded]? Name"),
                ("projects/p/location/l/repository/r", "[projects/p/locations/l/repositories/r]?"),
                ("projects/p/repositories/r", "called [projects/p/repositories/r].\nName organi"),
            )
        ),
        (
            (
                *("policy-troubleshoot", f"projects/{MINE}/locations/local/repositories/pyhton"),
                *(f"--principal={ADA}", "--permission=resourcemanager.projects.get"),
            ),
            "repositories/pyhton does not exist.\nDid you mean [python]?",
        ),
        (
            (*WHY, "--permission=x"),
            "Name a principal, once.",
        ),
        (
            ("policy-troubleshoot", "why", "projects/p", f"--principal={ADA}", "--permission=x"),
            "Name one resource, not why, projects/p.",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    bonded: Bonded, line: tuple[str, ...], says: str
) -> None:
    before = shown(bonded, *PYTHON, "get-iam-policy", *WHERE)

    said = bonded(*line)

    assert (said.status, said.out) == (1, "")
    assert says in said.err
    assert shown(bonded, *PYTHON, "get-iam-policy", *WHERE) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"etag": "BwX="}, "ABORTED: There were concurrent policy changes. Read the policy again"),
        ({"bindings": "all"}, "holds no policy"),
        ({"bindings": [{"role": "roles/viewer", "members": "allUsers"}]}, "must be a list of str"),
        (
            {
                "bindings": [
                    {"role": "roles/viewer"},
                    {"role": "roles/viewer", "member": "allUsers"},
                ]
            },
            "policy.bindings[1] has the unknown field 'member'. Did you mean members?",
        ),
        (
            {"bindings": [{"role": "roles/viewer", "condition": {"expr": "true"}}]},
            "policy.bindings[0].condition has the unknown field 'expr'. There may be expres",
        ),
    ],
)
def test_a_wrong_policy_file_changes_nothing(
    bonded: Bonded, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    before = shown(bonded, "projects", "get-iam-policy", "my-project")
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(before | change))

    said = bonded("projects", "set-iam-policy", "my-project", str(file), "--quiet")

    assert said.status == 1
    assert says in said.err
    assert shown(bonded, "projects", "get-iam-policy", "my-project") == before


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ((*ADD, ALL, READER), ""),
        ((*ADD, "--member=domain:example.com", OWNER), ""),
        (
            (*ADD, "--member=domain:example.com", "--role=roles/iam.serviceAccountAdmin"),
            "WARNING: nothing that roles/iam.serviceAccountAdmin holds, such as iam.service",
        ),
        (
            (*ADD, "--member=user:nobody@example.com", READER),
            "WARNING: there is no user nobody@example.com yet. What they are given is theirs once",
        ),
        (
            (*GIVE, "--member=domain:example.com", "--role=roles/bonded.groupAdmin"),
            "is asked for on a project: grant it further up, or grant another role.",
        ),
        (
            (*GIVE, "--member=domain:example.com", "--role=projects/my-project/roles/empty"),
            "roles/empty holds no permission now: it lets nobody do anything.",
        ),
        (("groups", "add-member", "devs@example.com", f"--member={ADA}"), ""),
        (
            ("groups", "add-member", "devs@example.com", "--member=user:nobody@example.com"),
            "WARNING: there is no user nobody@example.com yet. What they are given is theirs once",
        ),
    ],
)
def test_what_is_given_and_will_do_nothing_is_warned_of(
    bonded: Bonded, ada: list[str], line: tuple[str, ...], warning: str
) -> None:
    bonded("groups", "create", "devs@example.com")
    bonded("iam", "roles", "create", "empty", "--project=my-project", "--title=Empty")

    said = bonded(*line)

    assert (said.status, bool(ada)) == (0, True), said.err
    assert (warning in said.err, "WARNING" in said.err) == (True, bool(warning))


def test_why_is_asked_in_gcloud_s_words_too(bonded: Bonded) -> None:
    permission = "--permission=resourcemanager.projects.get"
    at = "--time=2027-01-01T00:00:00Z"
    admin = bonded("config", "get-value", "account").out.strip()
    resource = "//cloudresourcemanager.googleapis.com/projects/my-project"

    ours = bonded(
        "policy-troubleshoot",
        "projects/my-project",
        f"--principal=serviceAccount:{admin}",
        permission,
        at,
    )
    google_s = bonded(
        "policy-troubleshoot", "iam", resource, f"--principal-email={admin}", permission, at
    )
    person = bonded(
        "policy-troubleshoot", "iam", resource, "--principal-email=ada@example.com", permission
    )

    assert ours.status == 0
    assert google_s == ours
    assert "user:ada@example.com may not" in person.err


@pytest.mark.parametrize(
    "group",
    [("projects", "my-project"), ("organizations", "bonded"), (*PYTHON, *WHERE)],
)
def test_policies_of_everything_are_shown_in_every_form(
    bonded: Bonded, group: tuple[str, ...]
) -> None:
    start = 2 if group[0] == "artifacts" else 1
    words, names = group[:start], group[start:]
    bonded(*words, "add-iam-policy-binding", *names, "--member=domain:example.com", READER)

    forms = {
        form: bonded(*words, "get-iam-policy", *names, f"--format={form}").out
        for form in ("json", "yaml", "value(etag)")
    }
    bonded(*words, "remove-iam-policy-binding", *names, "--member=domain:example.com", READER)

    policy = json.loads(forms["json"])
    assert "domain:example.com" in forms["json"]
    assert "- domain:example.com\n" in forms["yaml"]
    assert forms["value(etag)"] == f"{policy['etag']}\n"


def test_who_finds_nothing_because_of_a_mistyped_name_is_told_so(bonded: Bonded) -> None:
    filters = ("method=google.iam.admin.v1.CreateServiceAcount", "", "method:DeletePackage")
    where = ((), ("--project=my-projct",), ())

    method, project, nothing = (
        bonded("logging", "read", text, *more) for text, more in zip(filters, where, strict=True)
    )

    assert {(one.status, one.out) for one in (method, project, nothing)} == {(0, "")}
    assert "Did you mean google.iam.admin.v1.CreateServiceAccount?" in method.err
    assert "no project my-projct, or no more. Did you mean my-project?" in project.err
    assert nothing.err == ""

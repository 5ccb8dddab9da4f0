"""Projects, repositories, policies and service accounts through the command line."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import stat
from pathlib import Path

from inline_snapshot import snapshot

from support.cli_registry import EMAIL, Registry, Said, Terminal

PYTHON = "projects/my-project/locations/local/repositories/python"


def test_a_project_is_created_listed_described_and_deleted(
    registry: Registry, bonded: Terminal
) -> None:
    assert bonded("projects", "create", "team-one", "--name", "Team one") == snapshot(
        Said(
            out="",
            err="""\
Create in progress for [http://127.0.0.1:PORT/v1/projects/team-one].
Waiting for operation [operations/op-2] to finish...done.
""",
        )
    )
    assert bonded("projects", "list") == snapshot(
        Said(
            out="""\
PROJECT_ID  NAME      PROJECT_NUMBER
team-one    Team one  17
""",
            err="",
        )
    )
    assert bonded("projects", "describe", "team-one") == snapshot(
        Said(
            out="""\
createTime: '2026-01-02T03:04:05.123456789Z'
lifecycleState: ACTIVE
name: Team one
projectId: team-one
projectNumber: '17'
""",
            err="",
        )
    )
    assert bonded("projects", "delete", "team-one", "-q") == snapshot(
        Said(out="", err="Deleted [http://127.0.0.1:PORT/v1/projects/team-one].\n")
    )
    assert bonded("projects", "list") == snapshot(Said(out="", err="Listed 0 items.\n"))


def test_a_project_that_exists_is_not_created_again(registry: Registry, bonded: Terminal) -> None:
    bonded("projects", "create", "team-one")
    assert bonded("projects", "create", "team-one") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.projects.create) ALREADY_EXISTS: Requested entity already exists.\n",
            status=1,
        )
    )


def test_a_repository_is_created_as_gcloud_says_it(registry: Registry, bonded: Terminal) -> None:
    assert bonded(
        "artifacts",
        "repositories",
        "create",
        "python",
        "--repository-format=python",
        "--description=Our own: all",
        "--labels=a=b,c=d",
        "--location=eu",
    ) == snapshot(
        Said(
            out="",
            err="""\
Create request issued for: [python]
Waiting for operation [projects/my-project/locations/local/operations/op-1] to complete...done.
Created repository [python].
""",
        )
    )
    assert bonded(
        "artifacts", "repositories", "describe", "python", "--location", "eu"
    ) == snapshot(
        Said(
            out="""\
createTime: '2026-01-02T03:04:05.123456789Z'
description: 'Our own: all'
format: PYTHON
labels:
  a: b
  c: d
mode: STANDARD_REPOSITORY
name: projects/my-project/locations/eu/repositories/python
updateTime: '2026-01-02T03:04:05.123456789Z'
""",
            err="""\
Encryption: Storage default
Registry URL: http://127.0.0.1:PORT/my-project/python
Repository Size: 0.000MB
""",
        )
    )


def test_the_default_location_is_the_first_that_the_server_lists(
    registry: Registry, bonded: Terminal
) -> None:
    said = bonded(
        "artifacts",
        "repositories",
        "create",
        "python",
        "--repository-format=PYTHON",
        "--format=value(name)",
    )
    assert said.out == "projects/my-project/locations/local/repositories/python\n"


def test_creation_without_waiting_prints_the_operation(
    registry: Registry, bonded: Terminal
) -> None:
    assert bonded(
        "artifacts",
        "repositories",
        "create",
        "python",
        "--repository-format=python",
        "--async",
        "--format=value(name)",
    ) == snapshot(
        Said(
            out="projects/my-project/locations/local/operations/op-1\n",
            err="""\
Create request issued for: [python]
Operation [projects/my-project/locations/local/operations/op-1] is done.
""",
        )
    )


def test_repositories_of_all_locations_are_listed_over_all_pages(
    registry: Registry, bonded: Terminal
) -> None:
    registry.add_repository("one")
    registry.add_repository("two", "eu", sizeBytes="2621440", labels={"a": "b"})
    registry.add_repository("three")
    assert bonded("artifacts", "repositories", "list") == snapshot(
        Said(
            out="""\
                                                             ARTIFACT_REGISTRY
REPOSITORY  FORMAT  MODE                 DESCRIPTION  LOCATION  LABELS  ENCRYPTION       CREATE_TIME          UPDATE_TIME          SIZE (MB)
one         PYTHON  STANDARD_REPOSITORY               local             Storage default  2026-01-02T03:04:05  2026-01-02T03:04:05  0.000
three       PYTHON  STANDARD_REPOSITORY               local             Storage default  2026-01-02T03:04:05  2026-01-02T03:04:05  0.000
two         PYTHON  STANDARD_REPOSITORY               eu        a=b     Storage default  2026-01-02T03:04:05  2026-01-02T03:04:05  2.500
""",
            err="""\
Listing items under project my-project, across all locations.

""",
        )
    )
    assert bonded(
        "artifacts", "repositories", "list", "--location=eu", "--format=value(name)"
    ) == snapshot(
        Said(
            out="projects/my-project/locations/eu/repositories/two\n",
            err="""\
Listing items under project my-project, location eu.

""",
        )
    )
    assert bonded("artifacts", "repositories", "list", "--location=nowhere") == snapshot(
        Said(
            out="",
            err="""\
Listing items under project my-project, location nowhere.

Listed 0 items.
""",
        )
    )


def test_a_repository_is_described_by_its_full_name(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository("one", "eu", sizeBytes="2621440")
    assert bonded(
        "artifacts",
        "repositories",
        "describe",
        "projects/my-project/locations/eu/repositories/one",
    ) == snapshot(
        Said(
            out="""\
createTime: '2026-01-02T03:04:05.123456789Z'
format: PYTHON
mode: STANDARD_REPOSITORY
name: projects/my-project/locations/eu/repositories/one
sizeBytes: '2621440'
updateTime: '2026-01-02T03:04:05.123456789Z'
""",
            err="""\
Encryption: Storage default
Registry URL: http://127.0.0.1:PORT/my-project/one
Repository Size: 2.500MB
""",
        )
    )


def test_only_the_named_labels_change(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository(labels={"a": "b", "c": "d"})
    said = bonded(
        "artifacts",
        "repositories",
        "update",
        "python",
        "--update-labels=c=x,e=f",
        "--remove-labels=a",
    )
    assert said.err == "Updated repository [python].\n"
    assert registry.resources[PYTHON]["labels"] == {"c": "x", "e": "f"}
    bonded("artifacts", "repositories", "update", "python", "--clear-labels", "--description=new")
    assert registry.resources[PYTHON]["labels"] == {}
    assert registry.resources[PYTHON]["description"] == "new"


def test_an_update_of_nothing_says_what_to_give(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    assert bonded("artifacts", "repositories", "update", "python") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.update) Nothing to update.
Give --description, --update-labels, --remove-labels, --clear-labels or what the upstreams are to be.
""",
            status=1,
        )
    )
    assert bonded(
        "artifacts", "repositories", "update", "python", "--clear-labels", "--remove-labels=a"
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.update) At most one of --clear-labels | --remove-labels can be specified.
Usage: bonded artifacts repositories update [OPTIONS] REPOSITORY
For more, run `bonded artifacts repositories update --help`.
""",
            status=2,
        )
    )


def test_a_role_is_granted_and_taken(registry: Registry, bonded: Terminal) -> None:
    registry.add_repository()
    assert bonded(
        "artifacts",
        "repositories",
        "add-iam-policy-binding",
        "python",
        "--member=user:ada@example.com",
        "--role=roles/artifactregistry.reader",
    ) == snapshot(
        Said(
            out="""\
bindings:
- members:
  - user:ada@example.com
  role: roles/artifactregistry.reader
etag: BwXhqDVw=
version: 1
""",
            err="""\
Updated IAM policy for repository [python].
WARNING: there is no user ada@example.com yet. What they are given is theirs once they sign in \
through the identity provider, or are invited: bonded users create ada@example.com
""",
        )
    )
    assert bonded(
        "artifacts",
        "repositories",
        "get-iam-policy",
        "python",
        "--location=local",
        "--format=json",
    ) == snapshot(
        Said(
            out="""\
{
  "bindings": [
    {
      "members": [
        "user:ada@example.com"
      ],
      "role": "roles/artifactregistry.reader"
    }
  ],
  "etag": "BwXhqDVw=",
  "version": 1
}
""",
            err="",
        )
    )
    assert bonded(
        "artifacts",
        "repositories",
        "remove-iam-policy-binding",
        "python",
        "--member=user:ada@example.com",
        "--role=roles/artifactregistry.reader",
    ) == snapshot(
        Said(
            out="""\
bindings: []
etag: BwXhqDVw=
version: 1
""",
            err="Updated IAM policy for repository [python].\n",
        )
    )
    assert bonded(
        "artifacts",
        "repositories",
        "remove-iam-policy-binding",
        "python",
        "--member=user:ada@example.com",
        "--role=roles/artifactregistry.reader",
    ) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.artifacts.repositories.remove-iam-policy-binding) Policy binding with the specified principal, role, and condition not found!
get-iam-policy shows the bindings there are.
""",
            status=1,
        )
    )


def test_a_policy_that_others_changed_meanwhile_is_read_again(
    registry: Registry, bonded: Terminal
) -> None:
    registry.aborts = 2
    said = bonded(
        "projects",
        "add-iam-policy-binding",
        "my-project",
        "--member=user:ada@example.com",
        "--role=roles/owner",
    )
    assert said.status == 0
    assert registry.policies["projects/my-project"]["bindings"] == [
        {"role": "roles/owner", "members": ["user:ada@example.com"]}
    ]


def test_a_binding_with_a_condition_is_left_alone(registry: Registry, bonded: Terminal) -> None:
    conditional = {
        "role": "roles/owner",
        "members": ["user:b@example.com"],
        "condition": {"expression": "false"},
    }
    registry.policies["organizations/bonded"] = {"etag": "ACAB", "bindings": [conditional]}
    bonded(
        "organizations",
        "add-iam-policy-binding",
        "--member=user:a@example.com",
        "--role=roles/owner",
    )
    assert registry.policies["organizations/bonded"]["bindings"] == [
        conditional,
        {"role": "roles/owner", "members": ["user:a@example.com"]},
    ]


def test_a_printed_policy_can_be_edited_and_set_again(registry: Registry, bonded: Terminal) -> None:
    registry.policies["projects/my-project"] = {
        "etag": "BwX=",
        "bindings": [{"role": "roles/owner", "members": ["user:a@example.com"]}],
    }
    for form in ("yaml", "json"):
        printed = bonded("projects", "get-iam-policy", "my-project", "--format", form).out
        file = bonded.key_file.with_name(f"policy.{form}")
        file.write_text(printed.replace("user:a@", "user:b@"))
        said = bonded("projects", "set-iam-policy", "my-project", str(file))
        assert said.err == "Updated IAM policy for project [my-project].\n"
        assert registry.policies["projects/my-project"]["bindings"] == [
            {"role": "roles/owner", "members": ["user:b@example.com"]}
        ]


def test_a_stale_policy_file_is_refused(registry: Registry, bonded: Terminal) -> None:
    file = bonded.key_file.with_name("policy.yaml")
    file.write_text("etag: old\n")
    assert bonded("organizations", "set-iam-policy", "bonded", f"{file}") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.organizations.set-iam-policy) ABORTED: There were concurrent policy changes.\n",
            status=1,
        )
    )


def test_a_policy_file_without_an_etag_asks_first(registry: Registry, bonded: Terminal) -> None:
    file = bonded.key_file.with_name("policy.json")
    file.write_text("{}")
    bonded.answer("y\n")
    assert bonded("organizations", "set-iam-policy", "bonded", f"{file}") == snapshot(
        Said(
            out="""\
etag: BwXhqDVw=
version: 1
""",
            err="""\
The specified policy does not contain an "etag" field identifying a specific version to replace. Changing a policy without an "etag" can overwrite concurrent policy changes.

Do you want to continue (Y/n)?  \n\
Updated IAM policy for organization [bonded].
""",
        )
    )


def test_a_file_that_holds_no_policy_is_refused(registry: Registry, bonded: Terminal) -> None:
    file = bonded.key_file.with_name("policy.yaml")
    file.write_text("bindings: [{role: x}]\n")
    assert bonded("organizations", "set-iam-policy", "bonded", f"{file}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.organizations.set-iam-policy) Line 1 of DIR/policy.yaml is not YAML that Bonded reads: bindings: [{role: x}]
get-iam-policy prints one, with --format=json as JSON, to edit and set again.
""",
            status=1,
        )
    )
    file.write_text("- a\n")
    assert bonded("organizations", "set-iam-policy", "bonded", f"{file}") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.organizations.set-iam-policy) DIR/policy.yaml holds no policy.
get-iam-policy prints one, with --format=json as JSON, to edit and set again.
""",
            status=1,
        )
    )
    file.unlink()
    assert bonded("organizations", "set-iam-policy", "bonded", f"{file}") == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.organizations.set-iam-policy) There is no policy file at DIR/policy.yaml.\n",
            status=1,
        )
    )


def test_a_service_account_gets_a_key_that_only_its_owner_may_read(
    registry: Registry, bonded: Terminal
) -> None:
    file = bonded.key_file.with_name("ci.json")
    assert bonded(
        "iam", "service-accounts", "create", "ci-bot", "--display-name=CI bot"
    ) == snapshot(
        Said(
            out="",
            err="""\
Created service account [ci-bot].
Service account email: ci-bot@my-project.iam.gserviceaccount.com
""",
        )
    )
    assert bonded("iam", "service-accounts", "list") == snapshot(
        Said(
            out="""\
DISPLAY NAME  EMAIL                                      DISABLED  LAST_USED
CI bot        ci-bot@my-project.iam.gserviceaccount.com  False
""",
            err="",
        )
    )
    assert bonded(
        "iam", "service-accounts", "describe", "ci-bot@my-project.iam.gserviceaccount.com"
    ) == snapshot(
        Said(
            out="""\
displayName: CI bot
email: ci-bot@my-project.iam.gserviceaccount.com
name: projects/my-project/serviceAccounts/ci-bot@my-project.iam.gserviceaccount.com
""",
            err="",
        )
    )
    assert bonded(
        "iam",
        "service-accounts",
        "keys",
        "create",
        f"{file}",
        "--iam-account=ci-bot@my-project.iam.gserviceaccount.com",
    ) == snapshot(
        Said(
            out="",
            err="created key [k1] of type [json] as [DIR/ci.json] for [ci-bot@my-project.iam.gserviceaccount.com]\n",
        )
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert bonded("auth", "activate-service-account", f"--key-file={file}").status == 0
    assert bonded(
        "iam",
        "service-accounts",
        "keys",
        "list",
        "--iam-account=ci-bot@my-project.iam.gserviceaccount.com",
    ) == snapshot(
        Said(
            out="""\
KEY_ID  CREATED_AT            EXPIRES_AT            DISABLED  LAST_USED
k1      2026-01-02T03:04:05Z  9999-12-31T23:59:59Z  False
""",
            err="",
        )
    )
    # Of what one acts with oneself, one would be asked more.
    assert bonded("config", "set", "account", EMAIL).status == 0
    bonded.answer("\n")
    assert bonded(
        "iam",
        "service-accounts",
        "keys",
        "delete",
        "k1",
        "--iam-account=ci-bot@my-project.iam.gserviceaccount.com",
    ) == snapshot(
        Said(
            out="",
            err="""\
You are about to delete key [k1] for service account [ci-bot@my-project.iam.gserviceaccount.com].

Do you want to continue (Y/n)?  \n\
deleted key [k1] for service account [ci-bot@my-project.iam.gserviceaccount.com]
""",
        )
    )
    assert bonded(
        "iam",
        "service-accounts",
        "delete",
        "ci-bot@my-project.iam.gserviceaccount.com",
        "--force",
    ) == snapshot(
        Said(out="", err="deleted service account [ci-bot@my-project.iam.gserviceaccount.com]\n")
    )


def test_a_key_is_not_made_where_it_could_not_be_kept(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    said = bonded(
        "iam", "service-accounts", "keys", "create", str(tmp_path), f"--iam-account={EMAIL}"
    )
    assert said == snapshot(
        Said(
            out="",
            err="ERROR: (bonded.iam.service-accounts.keys.create) Cannot write DIR: it is a directory.\n",
            status=1,
        )
    )
    assert not any(request.endswith("/keys") for request in registry.requests)


def test_a_file_that_is_there_is_replaced_only_when_asked(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "ci.json"
    path.write_text("precious")
    line = ("iam", "service-accounts", "keys", "create", str(path), f"--iam-account={EMAIL}")

    assert bonded(*line) == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.iam.service-accounts.keys.create) DIR/ci.json is there already.
Choose another name. With --overwrite it is replaced: a key in it that is kept nowhere else is lost, though it still works.
""",
            status=1,
        )
    )
    assert path.read_text() == "precious"
    assert not any(request.endswith("/keys") for request in registry.requests)
    assert bonded(*line, "--overwrite").status == 0
    assert "private_key" in path.read_text()


def test_a_name_cannot_reach_another_resource(registry: Registry, bonded: Terminal) -> None:
    said = bonded("projects", "describe", "x/../../operations?y#z:getIamPolicy")
    assert said.status == 1
    path = "/v1/projects/x%2F..%2F..%2Foperations%3Fy%23z%3AgetIamPolicy"
    # The second asks what else may have been meant.
    assert registry.requests[-2:] == [f"GET {path}", "GET /v1/projects"]

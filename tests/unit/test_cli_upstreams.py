"""Remote and virtual repositories through the command line."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from bonded.cli.artifacts.contents import _versions
from support.cli_registry import Registry, Said, Terminal

PARENT = "projects/my-project/locations/local/repositories"
POLICIES = [
    {"id": "own", "repository": f"{PARENT}/python", "priority": 100},
    {"id": "pypi", "repository": f"{PARENT}/pypi", "priority": 50},
]


def create(bonded: Terminal, mode: str, *flags: str) -> Said:
    return bonded(
        *("artifacts", "repositories", "create", "new", "--repository-format=python"),
        f"--mode={mode}-repository",
        *flags,
    )


def update(bonded: Terminal, *flags: str) -> Said:
    return bonded("artifacts", "repositories", "update", "new", *flags)


@pytest.mark.parametrize(
    ("upstream", "sent"),
    [
        ("pypi", {"pythonRepository": {"publicRepository": "PYPI"}}),
        ("https://nexus.test/simple/", {"commonRepository": {"uri": "https://nexus.test/simple/"}}),
        (f"{PARENT}/python", {"commonRepository": {"uri": f"{PARENT}/python"}}),
    ],
)
def test_a_remote_repository_is_created_as_gcloud_sends_it(
    registry: Registry, bonded: Terminal, upstream: str, sent: dict[str, Any]
) -> None:
    said = create(bonded, "remote", f"--remote-python-repo={upstream}")

    assert said.err.endswith("Created repository [new].\n")
    made = registry.resources[f"{PARENT}/new"]
    assert (made["mode"], made["remoteRepositoryConfig"]) == ("REMOTE_REPOSITORY", sent)


def test_a_remote_repository_takes_all_its_settings(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("PEM")

    create(
        bonded,
        "remote",
        "--remote-python-repo=PYPI",
        "--remote-repo-config-desc=Everything",
        "--remote-username=ada",
        "--remote-password-secret-version=env:NEXUS",
        "--disable-remote-validation",
        f"--remote-ca-file={certificates}",
        "--remote-proxy=http://proxy.test:3128",
        "--remote-allow-private-addresses",
        "--remote-page-freshness=5s",
        "--remote-stale-limit=1d12h",
        "--remote-cache-size=1000000",
    )

    assert registry.resources[f"{PARENT}/new"]["remoteRepositoryConfig"] == {
        "description": "Everything",
        "disableUpstreamValidation": True,
        "pythonRepository": {"publicRepository": "PYPI"},
        "upstreamCredentials": {
            "usernamePasswordCredentials": {
                "username": "ada",
                "passwordSecretVersion": "env:NEXUS",
            }
        },
        "bonded": {
            "caCertificates": "PEM",
            "proxy": "http://proxy.test:3128",
            "allowPrivateAddresses": True,
            "pageFreshness": "5s",
            "staleLimit": "129600s",
            "cacheSizeLimitBytes": "1000000",
        },
    }


@pytest.mark.parametrize("form", ["json", "yaml", "short names"])
def test_a_virtual_repository_is_created_from_a_file(
    registry: Registry, bonded: Terminal, tmp_path: Path, form: str
) -> None:
    policies = tmp_path / "policies"
    match form:
        case "json":
            policies.write_text(json.dumps(POLICIES))
        case "yaml":
            policies.write_text(
                f"- id: own\n  repository: {PARENT}/python\n  priority: 100\n"
                f"- id: pypi\n  repository: {PARENT}/pypi\n  priority: 50\n"
            )
        case _:
            short = [
                one | {"repository": str(one["repository"]).split("/")[-1]} for one in POLICIES
            ]
            policies.write_text(json.dumps(short))

    create(
        bonded,
        "virtual",
        f"--upstream-policy-file={policies}",
        "--reserved-packages=acme-*=own,acme=own",
        "--merged-packages=torch*",
    )

    made = registry.resources[f"{PARENT}/new"]
    assert made["mode"] == "VIRTUAL_REPOSITORY"
    assert made["virtualRepositoryConfig"] == {
        "upstreamPolicies": POLICIES,
        "bonded": {
            "mergedPackages": ["torch*"],
            "reservedPackages": [
                {"pattern": "acme-*", "upstream": "own"},
                {"pattern": "acme", "upstream": "own"},
            ],
        },
    }


def test_a_virtual_repository_is_described_with_its_upstreams(
    registry: Registry, bonded: Terminal
) -> None:
    registry.add_repository(
        "new", mode="VIRTUAL_REPOSITORY", virtualRepositoryConfig={"upstreamPolicies": POLICIES[:1]}
    )

    assert bonded("artifacts", "repositories", "describe", "new").out == snapshot("""\
createTime: '2026-01-02T03:04:05.123456789Z'
format: PYTHON
mode: VIRTUAL_REPOSITORY
name: projects/my-project/locations/local/repositories/new
updateTime: '2026-01-02T03:04:05.123456789Z'
virtualRepositoryConfig:
  upstreamPolicies:
  - id: own
    priority: 100
    repository: projects/my-project/locations/local/repositories/python
""")


def test_an_update_keeps_what_it_does_not_name(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    remote = {"pythonRepository": {"publicRepository": "PYPI"}, "description": "Before"}
    registry.add_repository("new", mode="REMOTE_REPOSITORY", remoteRepositoryConfig=remote)

    said = update(bonded, "--remote-repo-config-desc=After", "--remote-page-freshness=5s")

    assert said.err == "Updated repository [new].\n"
    assert registry.requests[-1].endswith("/new?updateMask=remoteRepositoryConfig")
    assert registry.resources[f"{PARENT}/new"]["remoteRepositoryConfig"] == {
        "pythonRepository": {"publicRepository": "PYPI"},
        "description": "After",
        "bonded": {"pageFreshness": "5s"},
    }

    policies = tmp_path / "policies.json"
    policies.write_text(json.dumps({"upstreamPolicies": POLICIES}))
    virtual = {"upstreamPolicies": POLICIES[:1]}
    registry.add_repository("new", mode="VIRTUAL_REPOSITORY", virtualRepositoryConfig=virtual)

    update(bonded, f"--upstream-policy-file={policies}", "--merged-packages=")

    assert registry.resources[f"{PARENT}/new"]["virtualRepositoryConfig"] == {
        "upstreamPolicies": POLICIES,
        "bonded": {"mergedPackages": []},
    }


def errors(said: Said) -> str:
    assert said.status
    return said.err.partition("\n")[0]


def test_flags_that_do_not_fit_are_refused_before_anything_is_sent(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.json"
    nothing.write_text('"text"')
    nameless = tmp_path / "nameless.yaml"
    nameless.write_text("- id: own\n  priority: 1\n")
    flow = tmp_path / "flow.yaml"
    flow.write_text("[{id: own}]\n")
    before = len(registry.requests)

    said = [
        errors(create(bonded, "remote")),
        errors(create(bonded, "remote", "--remote-python-repo=nexus.test")),
        errors(create(bonded, "standard", "--remote-python-repo=PYPI")),
        errors(create(bonded, "standard", "--remote-username=ada")),
        errors(create(bonded, "remote", "--remote-python-repo=PYPI", "--merged-packages=a")),
        errors(create(bonded, "virtual", f"--upstream-policy-file={nothing}")),
        errors(create(bonded, "virtual", f"--upstream-policy-file={tmp_path / 'none'}")),
        errors(create(bonded, "virtual", f"--upstream-policy-file={nameless}")),
        errors(create(bonded, "virtual", f"--upstream-policy-file={flow}")),
        errors(create(bonded, "virtual", "--reserved-packages=acme-*")),
    ]

    assert said == snapshot(
        [
            "ERROR: (bonded.artifacts.repositories.create) --remote-python-repo is required with --mode=remote-repository",
            "ERROR: (bonded.artifacts.repositories.create) Custom remote repository URI must start with 'http://' or 'https://'. Or give PYPI, or projects/…/locations/…/repositories/….",
            "ERROR: (bonded.artifacts.repositories.create) --remote-python-repo is for --mode=remote-repository",
            "ERROR: (bonded.artifacts.repositories.create) --remote-… are for a remote repository.",
            "ERROR: (bonded.artifacts.repositories.create) --upstream-policy-file and --…-packages are for a virtual repository.",
            "ERROR: (bonded.artifacts.repositories.create) DIR/nothing.json holds no upstream policies.",
            "ERROR: (bonded.artifacts.repositories.create) There is no upstream policy file at DIR/none.",
            "ERROR: (bonded.artifacts.repositories.create) DIR/nameless.yaml holds an upstream policy without a repository: {'id': 'own', 'priority': 1}",
            "ERROR: (bonded.artifacts.repositories.create) Line 1 of DIR/flow.yaml is not YAML that Bonded reads: [{id: own}]",
            "ERROR: (bonded.artifacts.repositories.create) Bad syntax for dict arg: [acme-*]. Write PATTERN=UPSTREAM.",
        ]
    )
    assert not [one for one in registry.requests[before:] if one.startswith(("POST", "PATCH"))]


def test_a_policy_file_that_cannot_be_read_is_answered_with_one_that_can(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text("upstreams: [python, pypi]\n")
    said = create(bonded, "virtual", f"--upstream-policy-file={path}")
    example = said.err.partition("such as:\n\n")[2].partition("\n\n")[0]
    assert "get-iam-policy" not in said.err

    path.write_text(example)
    assert create(bonded, "virtual", f"--upstream-policy-file={path}").status == 0

    policies = registry.resources[f"{PARENT}/new"]["virtualRepositoryConfig"]["upstreamPolicies"]
    assert policies == [
        {"id": "own", "repository": f"{PARENT}/python", "priority": 100},
        {"id": "public", "repository": f"{PARENT}/pypi", "priority": 50},
    ]


def test_help_names_every_way_to_tell_a_secret(bonded: Terminal) -> None:
    # Without any space: where lines break is nobody's business.
    text = "".join(bonded("artifacts", "repositories", "create", "--help").out.split())

    for form in ("file:NAME", "command:NAME", "env:NAME", "projects/P/secrets/NAME/versions/"):
        assert form in text
    assert "--remote-username=reader--remote-password-secret-version=file:nexus." in text


@pytest.mark.parametrize(
    ("versions", "shown"),
    [
        ([], ""),
        (["1.0"], "1, last 1.0"),
        # In whatever order the index has them.
        (["1.10", "2.0rc1", "1.9"], "3, last 2.0rc1"),
        (["1.10", "1.9", "banana"], "3, last 1.10"),
        (["banana"], "1, last banana"),
    ],
)
def test_the_last_version_is_the_greatest(versions: list[str], shown: str) -> None:
    assert _versions({"versions": versions}) == shown

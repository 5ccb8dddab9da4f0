"""Pools, providers and trusted publishers on the command line: what is asked, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from bonded.cli.iam.providers import Mapping
from support.cli_registry import Registry, Terminal

PROVIDER = "projects/17/locations/global/workloadIdentityPools/ci-pool/providers/builds"
POOLS = ("iam", "workload-identity-pools")
CREATE = (*POOLS, "create-cred-config", PROVIDER, "--output-file=-")
TRUST = ("artifacts", "trusted-publishers", "create", "--location=local")


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("google.subject=assertion.sub", {"google.subject": "assertion.sub"}),
        (
            "google.subject=assertion.sub, attribute.a=assertion.a == 'x' ? 'y' : 'z'",
            {"google.subject": "assertion.sub", "attribute.a": "assertion.a == 'x' ? 'y' : 'z'"},
        ),
        (
            "google.subject=assertion.sub.extract('a,{b}'),google.groups=['x', 'y']",
            {"google.subject": "assertion.sub.extract('a,{b}')", "google.groups": "['x', 'y']"},
        ),
        ("^;^google.subject=a,b;attribute.x=c", {"google.subject": "a,b", "attribute.x": "c"}),
    ],
)
def test_a_comma_within_an_expression_separates_nothing(text: str, mapping: object) -> None:
    assert Mapping().convert(text, None, None) == mapping


def test_a_mapping_without_expressions_is_refused() -> None:
    with pytest.raises(click.BadParameter, match="Write KEY=EXPRESSION"):
        Mapping().convert("google.subject", None, None)


def test_a_file_names_the_server_and_holds_no_secret(bonded: Terminal, registry: Registry) -> None:
    said = bonded(
        *CREATE,
        "--credential-source-file=/var/run/token",
        "--service-account=ci@my-project.iam.gserviceaccount.com",
        "--service-account-token-lifetime-seconds=600",
    )

    assert json.loads(said.out.replace("PORT", bonded.port)) == {
        "type": "external_account",
        "audience": "//iam.googleapis.com/17/locations/global/workloadIdentityPools/ci-pool"
        "/providers/builds",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{registry.url}/v1/token",
        "token_info_url": f"{registry.url}/v1/introspect",
        "credential_source": {"file": "/var/run/token"},
        "service_account_impersonation_url": f"{registry.url}/v1/projects/my-project"
        "/serviceAccounts/ci@my-project.iam.gserviceaccount.com:generateAccessToken",
        "service_account_impersonation": {"token_lifetime_seconds": 600},
    }


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "Exactly one of (--credential-source-file | --credential-source-url"),
        (
            ("--credential-source-file=a", "--executable-command=b"),
            "Exactly one of (--credential-source-file | --credential-source-url",
        ),
        (
            ("--credential-source-file=a", "--credential-source-type=json"),
            "--credential-source-field-name must be specified",
        ),
        (
            ("--credential-source-file=a", "--credential-source-field-name=a"),
            "needs --credential-source-type=json",
        ),
        (
            ("--credential-source-url=a", "--credential-source-headers=a"),
            "Bad syntax for dict arg: [a].",
        ),
    ],
)
def test_a_source_that_google_s_library_would_not_take_is_refused(
    bonded: Terminal, flags: tuple[str, ...], says: str
) -> None:
    said = bonded(*CREATE, *flags)

    assert said.status == 1
    assert says in said.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ((*POOLS, "list", "--location=eu"), "Use --location=global"),
        ((*POOLS, "update", "ci-pool"), "Nothing to update"),
        (
            (*POOLS, "providers", "create-oidc", "x", "--workload-identity-pool=y"),
            "Missing the required argument [--issuer-uri]",
        ),
        ((*POOLS, "create-cred-config", "x", "--output-file=-"), "[x] is not the name of a"),
        ((*TRUST, "--provider=github"), "Failed to find attribute [repository]"),
        (
            (*TRUST, "--provider=buildkite", "--repository=python", "--source=acme"),
            "Write ORGANIZATION/NAME",
        ),
        (
            (*TRUST, "--provider=oidc", "--repository=python", "--claim=x"),
            "Write --claim NAME=TEXT",
        ),
    ],
)
def test_a_line_that_says_too_little_is_refused_before_anything_is_asked(
    bonded: Terminal, registry: Registry, line: tuple[str, ...], says: str
) -> None:
    registry.requests.clear()

    said = bonded(*line)

    assert said.status != 0
    assert says in said.err
    assert [one for one in registry.requests if "/token" not in one] == []


@pytest.fixture(name="workload")
def _workload(terminal: Terminal, registry: Registry, tmp_path: Path) -> Terminal:
    """Sign in by the provider, as the file says it that create-cred-config writes."""
    (tmp_path / "subject-token").write_text("proof of a job")
    fields = {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{PROVIDER.removeprefix('projects/')}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{registry.url}/v1/token",
        "credential_source": {"file": str(tmp_path / "subject-token")},
    }
    path = tmp_path / "workload.json"
    path.write_text(json.dumps(fields))
    assert terminal("auth", "login", f"--cred-file={path}").status == 0
    for name in ("ci-pool", "ci-pool/providers/builds", "ci", "ci-pool/providers/build"):
        pool = f"locations/global/workloadIdentityPools/{name}"
        # A change is answered with the same, so it says that it is done.
        named = {"name": f"projects/17/{pool}", "done": True}
        registry.resources[f"projects/my-project/{pool}"] = named
    return terminal


BUILDS = ("builds", "--workload-identity-pool=ci-pool")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (("delete", "ci-pool"), "Workload identity pool [ci-pool]"),
        (("update", "ci-pool", "--disabled"), "Workload identity pool [ci-pool]"),
        (("providers", "delete", *BUILDS), "Provider [builds]"),
        (("providers", "update-oidc", *BUILDS, "--disabled"), "Provider [builds]"),
    ],
)
@pytest.mark.parametrize(
    ("flags", "typed", "is_done"),
    [([], "\n", False), (["--quiet"], "y\n", False), ([], "y\ny\n", True), (["--force"], "", True)],
)
def test_whoever_came_by_a_provider_is_asked_before_they_close_it(
    workload: Terminal,
    registry: Registry,
    line: tuple[str, ...],
    what: str,
    flags: list[str],
    *,
    typed: str,
    is_done: bool,
) -> None:
    workload.answer(typed)
    before = str(registry.resources)

    said = workload(*POOLS, *line, *flags, "--project=my-project")

    risk = f"{what} is what you came by: you could not undo this yourself.\n"
    assert (said.status, str(registry.resources) == before) == (1 - is_done, not is_done), said.err
    assert said.err.startswith(risk) == (flags != ["--force"])
    if not is_done:
        assert said.err.endswith("Nothing was changed.\nIf you mean it, add --force.\n")


@pytest.mark.parametrize(
    "line",
    [
        ("delete", "ci"),
        ("update", "ci-pool", "--no-disabled"),
        ("update", "ci-pool", "--display-name=CI"),
        ("providers", "delete", "build", "--workload-identity-pool=ci-pool"),
    ],
)
def test_what_closes_nothing_for_oneself_is_no_risk(
    workload: Terminal, line: tuple[str, ...]
) -> None:
    said = workload(*POOLS, *line, "--quiet", "--project=my-project")

    assert (said.status, "undo" in said.err) == (0, False), said.err

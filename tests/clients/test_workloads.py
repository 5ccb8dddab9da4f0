"""Machines that store no secret: google-auth with outside identities, and uv from CI."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from bonded.server.core.clock import system_clock
from support.clock import SetClock
from support.issuer import FakeIssuer, running_issuer
from support.oidc_provider import running_oidc_provider
from support.server import Server, free_port, running_server
from support.tls_front import TlsFront, tls_front
from support.tools import UV, Desk
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

BONDED = (sys.executable, "-m", "bonded")
POOL = "--workload-identity-pool=ci-pool"
READER = "roles/artifactregistry.reader"
# What a program does that knows nothing of Bonded: default credentials, and one refresh.
ASK = """\
import google.auth, google.auth.transport.requests
credentials, project = google.auth.default(
    scopes=["https://www.googleapis.com/auth/cloud-platform"]
)
credentials.refresh(google.auth.transport.requests.Request())
print(credentials.token)
"""


class RealClock(SetClock):
    """The time it is, for an issuer whose tokens a real server reads."""

    def __call__(self) -> datetime:
        return system_clock()


@dataclass(frozen=True)
class Works:
    """A registry behind TLS that believes an issuer, with its administrator signed in."""

    server: Server
    front: TlsFront
    issuer: FakeIssuer
    desk: Desk
    host: str

    def bonded(self, *arguments: str) -> str:
        """Run a command line; return what it printed."""
        return self.desk.run(*BONDED, *arguments).output


@pytest.fixture(name="works", scope="module")
def _works(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Works]:
    directory = tmp_path_factory.mktemp("works")
    home = directory / "home"
    home.mkdir()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", free_port())))
        host = f"localhost:{listener.getsockname()[1]}"
        settings = {"BONDED_PRIVATE_ISSUERS": "true", "BONDED_PUBLIC_URL": f"https://{host}"}
        server = stack.enter_context(running_server(directory / "data", environment=settings))
        front = stack.enter_context(tls_front(listener, server.port, ["localhost"], directory))
        issuer = stack.enter_context(running_issuer(RealClock()))
        desk = Desk(
            home,
            {
                "BONDED_CONFIG": str(home / "bonded"),
                "NO_GCE_CHECK": "true",
                "REQUESTS_CA_BUNDLE": str(front.certificates),
                "SSL_CERT_FILE": str(front.certificates),
                # Whoever asks somebody else than the registry and the issuer fails.
                "HTTPS_PROXY": "http://127.0.0.1:1",
                "NO_PROXY": "localhost,127.0.0.1",
            },
        )
        works = Works(server, front, issuer, desk, host)
        key = server.data_dir / "admin-key.json"
        works.bonded("auth", "activate-service-account", f"--key-file={key}")
        pools = ("iam", "workload-identity-pools")
        works.bonded(*pools, "create", "ci-pool", "--location=global")
        works.bonded(
            *pools,
            *("providers", "create-oidc", "builds", POOL, "--location=global"),
            f"--issuer-uri={issuer.url}",
            "--attribute-mapping=google.subject=assertion.sub,attribute.team=assertion.team",
            "--attribute-condition=assertion.team in ['web', 'ops']",
        )
        yield works


@pytest.fixture(name="provider", scope="module")
def _provider(works: Works) -> str:
    """Let the team read; return the provider's name, which the issuer's tokens are meant for."""
    described = works.bonded(
        *("iam", "workload-identity-pools", "providers", "describe", "builds", POOL),
        "--format=value(name)",
    )
    name = described.strip()
    pool = name.partition("/providers/")[0]
    works.bonded(
        *("artifacts", "repositories", "add-iam-policy-binding", "python", f"--role={READER}"),
        f"--member=principalSet://iam.googleapis.com/{pool}/attribute.team/web",
    )
    works.issuer.claims = {
        "sub": "job-7",
        "team": "web",
        "aud": f"https://iam.googleapis.com/{name}",
    }
    return name


def source_of(works: Works, kind: str, directory: Path) -> tuple[str, ...]:
    """Prepare a place where the job's token is; return the flags that say where."""
    token = works.issuer.sign()
    if kind == "file":
        (directory / "token").write_text(token)
        return (f"--credential-source-file={directory / 'token'}",)
    if kind == "url":
        works.issuer.raw = {"/job-token": (200, json.dumps({"value": token}).encode())}
        return (
            f"--credential-source-url={works.issuer.url}/job-token?audience=x",
            "--credential-source-headers=Authorization=Bearer of-the-job",
            "--credential-source-type=json",
            "--credential-source-field-name=value",
        )
    answer = {"version": 1, "success": True, "expiration_time": 4_000_000_000, "id_token": token}
    answer["token_type"] = "urn:ietf:params:oauth:token-type:id_token"
    script = directory / "ask.sh"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    script.chmod(0o700)
    return (f"--executable-command={script}",)


@pytest.mark.parametrize("kind", ["file", "url", "executable"])
def test_google_s_own_library_signs_in_with_what_create_cred_config_writes(
    works: Works, provider: str, tmp_path: Path, kind: str
) -> None:
    config = tmp_path / "credentials.json"
    extra = ("--subject-token-type=urn:ietf:params:oauth:token-type:id_token",)
    works.bonded(
        *("iam", "workload-identity-pools", "create-cred-config", provider),
        f"--output-file={config}",
        *source_of(works, kind, tmp_path),
        *(extra if kind == "executable" else ()),
    )

    token = works.desk.run(
        *(sys.executable, "-c", ASK),
        GOOGLE_APPLICATION_CREDENTIALS=str(config),
        GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES="1",
    ).output.strip()
    page = works.desk.run(
        *("curl", "-sS", "--fail", "-u", f"oauth2accesstoken:{token}"),
        f"{works.server.url}/my-project/python/simple/",
    ).output

    assert "<!DOCTYPE html>" in page
    works.issuer.raw = {}


def test_our_keyring_backend_signs_in_with_the_file_and_needs_no_sign_in_to_write_it(
    works: Works, provider: str, tmp_path: Path
) -> None:
    config = tmp_path / "credentials.json"
    # As a job does, on a machine where nobody has ever signed in.
    job = replace(
        works.desk,
        settings={
            **works.desk.settings,
            "BONDED_CONFIG": str(tmp_path / "bonded"),
            "GOOGLE_APPLICATION_CREDENTIALS": str(config),
            "PYTHON_KEYRING_BACKEND": "bonded.client.keyring_backend.BondedKeyring",
        },
    )
    job.run(
        *(*BONDED, "iam", "workload-identity-pools", "create-cred-config", provider),
        *(f"--server=https://{works.host}", f"--output-file={config}"),
        *source_of(works, "file", tmp_path),
    )
    index = f"https://{works.host}/my-project/python/simple/"

    password = job.run(
        *(sys.executable, "-m", "keyring", "get", index, "oauth2accesstoken")
    ).output.strip()
    page = job.run("curl", "-sS", "--fail", "-u", f"oauth2accesstoken:{password}", index).output

    assert "<!DOCTYPE html>" in page


@pytest.mark.parametrize(
    ("claims", "says", "advises"),
    [
        ({"aud": "somebody"}, "is for the audience 'somebody'", "Ask the issuer for one for"),
        ({"team": "sales"}, "refused by the attribute condition", "Sign in from where"),
        ({"exp": 1}, "The identity token has expired", "have a new one issued"),
        ({"nbf": 4_000_000_000}, "is from the future", "Check the clocks"),
        (None, "was not found", "Look whether the job's token is where"),
    ],
    ids=["audience", "condition", "expired", "clock", "missing"],
)
def test_a_bad_token_of_a_job_is_not_blamed_on_the_file_that_says_where_it_is(
    works: Works,
    provider: str,
    tmp_path: Path,
    *,
    claims: dict[str, object] | None,
    says: str,
    advises: str,
) -> None:
    config, usual = tmp_path / "credentials.json", works.issuer.claims
    job = replace(
        works.desk,
        settings={
            **works.desk.settings,
            "BONDED_CONFIG": str(tmp_path / "bonded"),
            "GOOGLE_APPLICATION_CREDENTIALS": str(config),
            "PYTHON_KEYRING_BACKEND": "bonded.client.keyring_backend.BondedKeyring",
        },
    )
    works.issuer.claims = usual | (claims or {})
    source = source_of(works, "file", tmp_path)
    works.issuer.claims = usual
    if claims is None:
        (tmp_path / "token").unlink()
    job.run(
        *(*BONDED, "iam", "workload-identity-pools", "create-cred-config", provider),
        *(f"--server=https://{works.host}", f"--output-file={config}", *source),
    )
    index = f"https://{works.host}/my-project/python/simple/"

    said = job.run(*(sys.executable, "-m", "keyring", "get", index, "x"), fails=True).output

    assert said.count("\n") == 1
    assert says in said
    assert advises in said
    assert "Replace" not in said
    assert "unset" not in said


@pytest.mark.parametrize("acts_as", ["itself", "account"])
def test_a_workload_signs_the_command_line_in_and_out(
    works: Works, provider: str, tmp_path: Path, acts_as: str
) -> None:
    email = "deployer@my-project.iam.gserviceaccount.com"
    pool = provider.partition("/providers/")[0]
    config = tmp_path / "credentials.json"
    settings = {**works.desk.settings, "BONDED_CONFIG": str(tmp_path / "bonded")}
    settings["PYTHON_KEYRING_BACKEND"] = "bonded.client.keyring_backend.BondedKeyring"
    job = replace(works.desk, settings=settings)
    works.bonded(
        *("iam", "workload-identity-pools", "create-cred-config", provider),
        *(f"--output-file={config}", *source_of(works, "file", tmp_path)),
        *((f"--service-account={email}",) if acts_as == "account" else ()),
    )
    name = f"principal://iam.googleapis.com/{pool}/subject/job-7"
    if acts_as == "account":
        let_act_as(works, email, pool)
        name = email

    said = job.run(*BONDED, "auth", "login", f"--cred-file={config}").output
    listed = job.run(*BONDED, "auth", "list", "--format=value(account,status)").output
    token = job.run(*BONDED, "auth", "print-access-token").output.strip()
    index = f"https://{works.host}/my-project/python/simple/"
    by_keyring = job.run(*(sys.executable, "-m", "keyring", "get", index, "x")).output.strip()
    page = job.run("curl", "-sS", "-u", f"oauth2accesstoken:{token}", index).output
    job.run(*BONDED, "auth", "revoke", "--quiet")
    after = job.run(*BONDED, "auth", "print-access-token", fails=True).output

    assert f"Authenticated with external account credentials for: [{name}]." in said
    assert listed == f"{name}\tACTIVE\n"
    assert by_keyring == token
    assert ("<!DOCTYPE html>" in page) == (acts_as == "itself")
    assert ("for serviceAccount:" in page) == (acts_as == "account")
    assert "do not currently have an active account" in after
    assert list((tmp_path / "bonded").rglob("*.json")) == []


def let_act_as(works: Works, email: str, pool: str) -> None:
    """Let the job act as a new service account."""
    works.bonded("iam", "service-accounts", "create", email.partition("@")[0])
    works.bonded(
        *("projects", "add-iam-policy-binding", "my-project"),
        "--role=roles/iam.workloadIdentityUser",
        f"--member=principal://iam.googleapis.com/{pool}/subject/job-7",
    )


def test_a_provider_that_nobody_here_wrote_vouches_for_a_job(
    works: Works, provider: str, tmp_path: Path
) -> None:
    # It and its keys are found by discovery, and its tokens are not of our making.
    audience = "https://packages.example/"
    config = tmp_path / "credentials.json"
    with running_oidc_provider(audience) as outside:
        works.bonded(
            *("iam", "workload-identity-pools", "providers", "create-oidc", "outside", POOL),
            *(f"--issuer-uri={outside.url}", f"--allowed-audiences={audience}"),
            "--attribute-mapping=google.subject=assertion.sub,attribute.team=assertion.team",
        )
        (tmp_path / "token").write_text(outside.job_token())
        works.bonded(
            *("iam", "workload-identity-pools", "create-cred-config"),
            provider.replace("/providers/builds", "/providers/outside"),
            *(f"--output-file={config}", f"--credential-source-file={tmp_path / 'token'}"),
        )

        token = works.desk.run(
            *(sys.executable, "-c", ASK), GOOGLE_APPLICATION_CREDENTIALS=str(config)
        ).output.strip()
    page = works.desk.run(
        *("curl", "-sS", "--fail", "-u", f"oauth2accesstoken:{token}"),
        f"{works.server.url}/my-project/python/simple/",
    ).output

    assert "<!DOCTYPE html>" in page


def test_a_workload_acts_as_a_service_account_that_lets_it(
    works: Works, provider: str, tmp_path: Path
) -> None:
    email = "helper@my-project.iam.gserviceaccount.com"
    pool = provider.partition("/providers/")[0]
    config = tmp_path / "credentials.json"
    let_act_as(works, email, pool)
    works.bonded(
        *("iam", "workload-identity-pools", "create-cred-config", provider),
        *(f"--output-file={config}", f"--service-account={email}"),
        *source_of(works, "file", tmp_path),
    )

    token = works.desk.run(
        *(sys.executable, "-c", ASK), GOOGLE_APPLICATION_CREDENTIALS=str(config)
    ).output.strip()
    refusal = works.desk.run(
        *("curl", "-sS", "-u", f"oauth2accesstoken:{token}"),
        f"{works.server.url}/my-project/python/simple/",
    ).output

    # The account may nothing yet: but the server knows that it is the account.
    assert f"for serviceAccount:{email}" in refusal


def wheel_of(directory: Path, name: str) -> Path:
    wheel = make_wheel(name)
    path = directory / wheel.filename
    path.write_bytes(wheel.data)
    return path


GITHUB: dict[str, object] = {
    "sub": "repo:acme/web:ref:refs/heads/main",
    "repository": "acme/web",
    "job_workflow_ref": "acme/web/.github/workflows/publish.yml@refs/heads/main",
    "repository_owner_id": "11",
    "repository_id": "12",
}
GITLAB: dict[str, object] = {
    "sub": "project_path:acme/web:ref_type:branch:ref:main",
    "project_path": "acme/web",
    "namespace_id": "11",
    "project_id": "12",
}


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_uv_publishes_from_ci_with_nothing_stored(works: Works, tmp_path: Path, ci: str) -> None:
    package = f"from-{ci}"
    publisher = works.bonded(
        *("artifacts", "trusted-publishers", "create", "--repository=python", f"--provider={ci}"),
        "--format=value(name)",
        *("--source=acme/web", f"--packages={package}", f"--issuer-uri={works.issuer.url}"),
        f"--workflow={'publish.yml' if ci == 'github' else '.gitlab-ci.yml'}",
    )
    host = works.issuer.url.removeprefix("http://")
    works.issuer.claims = {"aud": works.host, "jti": f"of-{ci}"} | GITHUB
    if ci == "gitlab":
        ref = f"{host}/acme/web//.gitlab-ci.yml@refs/heads/main"
        works.issuer.claims = {"aud": works.host, "ci_config_ref_uri": ref} | GITLAB
    token = works.issuer.sign()
    works.issuer.raw = {"/job-token": (200, json.dumps({"value": token}).encode())}
    variables = {
        "github": {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{works.issuer.url}/job-token?api-version=2",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        },
        # The audience in capitals, and what no name of a variable may hold as `_`.
        "gitlab": {"GITLAB_CI": "true", variable_of(works.host): token},
    }[ci]
    command = (UV, "publish", "--trusted-publishing=always", "--no-attestations")
    url = f"--publish-url=https://{works.host}/my-project/python/"

    job = replace(works.desk, settings={**works.desk.settings, **variables})

    published = job.run(*command, url, wheel_of(tmp_path, package))
    other = job.run(*command, url, wheel_of(tmp_path, "other"), fails=True)

    assert f"Uploading {package.replace('-', '_')}" in published.output
    assert "warning" not in published.output.lower()
    # The same assertion again: it was good for one exchange.
    assert "was exchanged before" in other.flat
    listed = works.bonded("artifacts", "trusted-publishers", "list", "--repository=python")
    assert package in listed
    described = works.bonded(
        *("artifacts", "trusted-publishers", "describe", "--repository=python"),
        publisher.strip().rpartition("/")[2],
    )
    assert "pinnedClaims:" in described
    works.issuer.raw = {}


def variable_of(audience: str) -> str:
    """Return the variable that uv reads GitLab's token for an audience from."""
    return f"{''.join(c if c.isalnum() else '_' for c in audience.upper())}_ID_TOKEN"

"""Service accounts from the command line and from Google's own library, against a real server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from google.auth import impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from joserfc import jwt
from joserfc.jwk import KeySet

from support.server import Server, free_port, running_server

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
ROBOT = "the-robot@my-project.iam.gserviceaccount.com"
HERE = "projects/my-project/locations/local/repositories/python"


class Line:
    """The `bonded` command, signed in as the server's owner, in a home of its own."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.home = home
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}  # noqa: TID251 - a child inherits it
        self.environment = kept | {"HOME": str(home), "BONDED_CONFIG": str(home / "config")}
        self("auth", "activate-service-account", f"--key-file={server.data_dir}/admin-key.json")

    def __call__(self, *arguments: str) -> str:
        """Run one line that must succeed; return what it printed."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one line."""
        command = [sys.executable, "-m", "bonded", *arguments]
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def status(self, token: str, method: str = "GET", path: str = "simple/") -> int:
        """Ask the repository with a token."""
        headers = {"authorization": f"Bearer {token}"}
        url = f"{self.server.repository}{path}"
        return requests.request(method, url, headers=headers, timeout=30).status_code


@pytest.fixture(name="bonded", scope="module")
def _bonded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A command line, and a robot that reads the repository and that its owner may act as."""
    home = tmp_path_factory.mktemp("home")
    with running_server(tmp_path_factory.mktemp("server") / "data") as server:
        bonded = Line(server, home)
        bonded("iam", "service-accounts", "create", "the-robot", "--display-name=Robot")
        reader = "--role=roles/artifactregistry.reader"
        add = ("artifacts", "repositories", "add-iam-policy-binding", "python", "--location=local")
        bonded(*add, f"--member=serviceAccount:{ROBOT}", reader)
        yield bonded


def make_key(bonded: Line, name: str, *flags: str) -> dict[str, str]:
    path = bonded.home / name
    bonded("iam", "service-accounts", "keys", "create", str(path), f"--iam-account={ROBOT}", *flags)
    key: dict[str, str] = json.loads(path.read_text())
    return key


def google(key: dict[str, str]) -> Any:
    """Return Google's credentials for a key file."""
    build = service_account.Credentials.from_service_account_info
    return build(key, scopes=[CLOUD_PLATFORM])  # type: ignore[no-untyped-call]


def test_an_account_is_changed_disabled_and_enabled(bonded: Line) -> None:
    accounts = ("iam", "service-accounts")
    token = bonded("auth", "print-access-token", f"--impersonate-service-account={ROBOT}")

    bonded(*accounts, "update", ROBOT, "--description=Tests")
    bonded(*accounts, "disable", ROBOT)
    stopped = bonded.status(token)
    bonded(*accounts, "enable", ROBOT)

    assert (stopped, bonded.status(token)) == (401, 200)
    described = json.loads(bonded(*accounts, "describe", ROBOT, "--format=json"))
    assert (described["displayName"], described["description"]) == ("Robot", "Tests")


def test_a_key_is_made_with_an_end_disabled_and_enabled(bonded: Line) -> None:
    keys = ("iam", "service-accounts", "keys")
    account = f"--iam-account={ROBOT}"
    key = make_key(bonded, "ending.json", "--expires=30d")
    credentials = google(key)
    credentials.refresh(Request())

    bonded(*keys, "disable", key["private_key_id"], account)
    stopped = bonded.status(credentials.token)
    bonded(*keys, "enable", key["private_key_id"], account)

    assert (stopped, bonded.status(credentials.token)) == (401, 200)
    listed = json.loads(bonded(*keys, "list", account, "--format=json"))
    (shown,) = [one for one in listed if one["name"].endswith(key["private_key_id"])]
    assert shown["validBeforeTime"] < "9999"
    refused = bonded.attempt(*keys, "create", "x.json", account, "--expires=soon")
    assert refused.returncode == 1
    assert "[soon] is not a duration.\nWrite it as 90s" in refused.stderr


def test_googles_library_signs_offline_and_a_key_of_ones_own_works(bonded: Line) -> None:
    key = make_key(bonded, "offline.json", "--universe-domain=packages.example.com")
    credentials = google(key)
    credentials.refresh(None)
    pem = bonded.home / "public.pem"
    own = make_key(bonded, "own.json")
    command = ["openssl", "pkey", "-pubout", "-out", str(pem)]
    subprocess.run(command, input=own["private_key"].encode(), check=True)

    uploaded = json.loads(
        bonded(
            *("iam", "service-accounts", "keys", "upload", str(pem)),
            *(f"--iam-account={ROBOT}", "--format=json"),
        )
    )

    mine = google(own | {"private_key_id": uploaded["name"].rpartition("/")[2]})
    mine.refresh(Request())
    assert (bonded.status(credentials.token), bonded.status(mine.token)) == (200, 200)
    assert uploaded["keyOrigin"] == "USER_PROVIDED"


def test_a_limited_token_is_good_for_what_was_said(bonded: Line) -> None:
    limits = ("--repository=python", "--location=local", "--read-only", "--lifetime=15m")

    token = bonded("auth", "print-access-token", *limits)

    assert (bonded.status(token), bonded.status(token, "POST", "")) == (200, 403)
    about = requests.post(f"{bonded.server.url}/v1/introspect", {"token": token}, timeout=30).json()
    assert (about["limits"]["repositories"], about["limits"]["readOnly"]) == ([HERE], True)
    assert about["exp"] - about["iat"] == 900
    requests.post(f"{bonded.server.url}/revoke", {"token": token}, timeout=30)
    assert bonded.status(token) == 401


@contextmanager
def attached(bonded: Line, *flags: str) -> Iterator[dict[str, str]]:
    """Run a metadata server; yield the variables that make clients find it."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "bonded", "metadata-server", f"--listen={address}", *flags]
    with subprocess.Popen(
        command, env=bonded.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            while "export GCE_METADATA_HOST" not in (line := process.stderr.readline()):
                assert line, "the metadata server has ended"
            yield {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address}
        finally:
            process.terminate()


def ask(bonded: Line, program: str, variables: dict[str, str]) -> str:
    """Run a program that knows google-auth and nothing of Bonded."""
    found = "import google.auth, google.oauth2.id_token\n"
    found += "from google.auth.transport.requests import Request\n"
    done = subprocess.run(
        [sys.executable, "-c", found + program],
        env={"HOME": str(bonded.home)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.strip() or done.stderr


def test_a_machine_may_do_what_was_said_and_no_more(bonded: Line) -> None:
    program = "c, _ = google.auth.default(); c.refresh(Request()); print(c.token)"
    proof = "print(google.oauth2.id_token.fetch_id_token(Request(), 'https://a.test'))"
    limits = ("--repository=python", "--location=local", "--read-only")

    with attached(bonded, *limits, f"--key-file={bonded.server.data_dir}/admin-key.json") as there:
        token = ask(bonded, program, there)
        nothing = ask(bonded, proof, there)
    other = bonded.server.repository.replace("/python/", "/all/")

    assert (bonded.status(token), bonded.status(token, "POST", "")) == (200, 403)
    headers = {"authorization": f"Bearer {token}"}
    assert requests.get(f"{other}simple/", headers=headers, timeout=30).status_code == 403
    assert "This machine gives no identity tokens" in nothing


@pytest.mark.parametrize("flag", ["--key-file", "--impersonate-service-account"])
def test_a_machine_says_to_others_who_it_is(bonded: Line, flag: str) -> None:
    key = bonded.server.data_dir / "admin-key.json"
    value = str(key) if flag == "--key-file" else ROBOT
    proof = "print(google.oauth2.id_token.fetch_id_token(Request(), 'https://a.test'))"

    with attached(bonded, f"{flag}={value}", "--project=my-project") as there:
        token = ask(bonded, proof, there)

    keys = requests.get(f"{bonded.server.url}/.well-known/jwks.json", timeout=30).json()
    claims = jwt.decode(token, KeySet.import_key_set(keys)).claims
    email = bonded.server.admin_key["client_email"] if flag == "--key-file" else ROBOT
    assert (claims["email"], claims["aud"]) == (email, "https://a.test")


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="there is no gcloud of Google's here")
def test_googles_own_gcloud_finds_who_the_machine_is(bonded: Line) -> None:
    with attached(
        bonded,
        f"--key-file={bonded.server.data_dir}/admin-key.json",
        # It works in no other universe unless it is told.
        "--universe-domain=googleapis.com",
    ) as there:
        environment = bonded.environment | {
            "CLOUDSDK_CONFIG": str(bonded.home / "gcloud"),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "GCE_METADATA_ROOT": there["GCE_METADATA_HOST"],
        }
        done = subprocess.run(
            ["gcloud", "auth", "print-access-token"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert bonded.status(done.stdout.strip()) == 200, done.stderr


def test_googles_library_and_ours_act_as_an_account(bonded: Line) -> None:
    source = google(bonded.server.admin_key)
    override = f"{bonded.server.url}/v1/projects/-/serviceAccounts/{ROBOT}:generateAccessToken"
    acting = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=source,
        target_principal=ROBOT,
        target_scopes=[CLOUD_PLATFORM],
        lifetime=600,
        iam_endpoint_override=override,
    )

    acting.refresh(Request())  # type: ignore[no-untyped-call]
    whoami = bonded(
        *("auth", "print-identity-token", "--audiences=https://a.test", "--include-email"),
        f"--impersonate-service-account={ROBOT}",
    )

    assert bonded.status(str(acting.token)) == 200
    keys = requests.get(f"{bonded.server.url}/.well-known/jwks.json", timeout=30).json()
    claims = jwt.decode(whoami, KeySet.import_key_set(keys)).claims
    assert (claims["email"], claims["aud"], claims["iss"]) == (
        ROBOT,
        "https://a.test",
        bonded.server.url,
    )


def test_who_may_not_act_as_an_account_is_told_what_they_lack(bonded: Line) -> None:
    key = make_key(bonded, "plain.json")
    token = google(key)
    token.refresh(Request())
    accounts = ("iam", "service-accounts")
    path = f"/v1/projects/-/serviceAccounts/{ROBOT}:generateAccessToken"

    def act() -> requests.Response:
        headers = {"authorization": f"Bearer {token.token}"}
        return requests.post(bonded.server.url + path, json={}, headers=headers, timeout=30)

    before = act()
    binding = (f"--member=serviceAccount:{ROBOT}", "--role=roles/iam.serviceAccountTokenCreator")
    bonded(*accounts, "add-iam-policy-binding", ROBOT, *binding)

    assert (before.status_code, act().status_code) == (403, 200)
    assert "iam.serviceAccounts.getAccessToken" in before.json()["error"]["message"]
    policy = json.loads(bonded(*accounts, "get-iam-policy", ROBOT, "--format=json"))
    assert policy["bindings"] == [
        {"role": "roles/iam.serviceAccountTokenCreator", "members": [f"serviceAccount:{ROBOT}"]}
    ]
    assert base64.b64decode(policy["etag"])

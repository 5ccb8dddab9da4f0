"""A desk in a network of its own, where the registry answers as Google's does, or as anybody's.

The registry is `us-central1-python.pkg.dev` there, over TLS with a private authority. Every name at
Google's that the clients could try is this machine too, without a certificate for it: what is asked
for there is seen, and gets nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from clients.shelves import PROJECT, Shelf, make_shelf, sign_in
from clients.views import View
from support.clock import SetClock
from support.enclave import Enclave, open_enclave
from support.issuer import running_issuer
from support.person import browse
from support.server import running_server
from support.tls_front import TlsFront, tls_front
from support.tools import ROOT, Desk, tool

GOOGLES_HOST = "us-central1-python.pkg.dev"
OTHER_HOST = "packages.example.com"
LOCATION = "us-central1"
METADATA = "127.0.0.1:8091"
_TOKENS = ("/token", "/v1/token", "/v1/oauthtoken")
ELSEWHERE = (
    "accounts.google.com",
    "artifactregistry.googleapis.com",
    "metadata.google.internal",
    "cloudresourcemanager.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "www.googleapis.com",
)


@dataclass(frozen=True, slots=True)
class Stage(View):
    """A desk inside the enclave, and the registry as it looks from there."""

    front: TlsFront

    @property
    def host(self) -> str:
        return self.origin.removeprefix("https://")

    @property
    def tokens(self) -> int:
        """How many tokens were asked for."""
        return sum(self.front.count(f"POST {path} ") for path in _TOKENS)

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the control plane as the administrator."""
        request = urllib.request.Request(
            f"{self.shelf.server.url}/v1/{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.shelf.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def key_file(self, **changes: str) -> Path:
        """Write the administrator's key file, as made for this host."""
        key = self.shelf.server.admin_key | {"token_uri": f"https://{self.host}/token"}
        path = self.desk.home / "key.json"
        path.write_text(json.dumps(key | changes))
        return path

    def with_settings(self, **settings: str) -> Stage:
        return replace(self, desk=replace(self.desk, settings={**self.desk.settings, **settings}))


@dataclass(frozen=True, slots=True)
class Theatre:
    """An enclave with a registry in it."""

    enclave: Enclave
    front: TlsFront
    make_shelf: Callable[[], Shelf]

    def set_stage(self, host: str, desk: Desk, **settings: str) -> Stage:
        """Return a desk inside, which knows the registry as *host*, and an empty repository."""
        certificates = str(self.front.certificates)
        settings = {
            "BONDED_CONFIG": str(desk.home / "bonded"),
            "NO_GCE_CHECK": "true",
            "PATH": f"{tool('keyring').parent}:/usr/bin:/bin",
            "PIP_CERT": certificates,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
            "REQUESTS_CA_BUNDLE": certificates,
            "SSL_CERT_FILE": certificates,
            **settings,
        }
        self.front.names.clear()
        self.front.requests.clear()
        inside = Desk(desk.home, settings, self.enclave.wrapper)
        return Stage(f"https://{host}", inside, self.make_shelf(), self.front)


@contextmanager
def open_theatre(directory: Path) -> Iterator[Theatre]:
    """Open an enclave with a registry in it."""
    hosts = (GOOGLES_HOST, OTHER_HOST)
    with ExitStack() as stack:
        enclave = stack.enter_context(open_enclave((*hosts, *ELSEWHERE), [443], directory))
        settings = {"BONDED_DEFAULT_LOCATION": LOCATION, "BONDED_PRIVATE_ISSUERS": "true"}
        server = stack.enter_context(running_server(directory / "data", environment=settings))
        listener = enclave.listeners[443]
        front = stack.enter_context(tls_front(listener, server.port, hosts, directory))
        token = sign_in(server)
        numbers = count(1)
        yield Theatre(
            enclave, front, lambda: make_shelf(server, token, f"shelf-{next(numbers)}", LOCATION)
        )


@contextmanager
def key_file(stage: Stage) -> Iterator[Stage]:
    yield stage.with_settings(GOOGLE_APPLICATION_CREDENTIALS=str(stage.key_file()))


@contextmanager
def offline_key_file(stage: Stage) -> Iterator[Stage]:
    path = stage.key_file(universe_domain="packages.example.com")
    yield stage.with_settings(GOOGLE_APPLICATION_CREDENTIALS=str(path))


@contextmanager
def metadata_server(stage: Stage) -> Iterator[Stage]:
    command = (sys.executable, "-m", "bonded", "metadata-server", f"--listen={METADATA}")
    environment = {**stage.desk.settings, "HOME": str(stage.desk.home)}
    with subprocess.Popen(
        [*stage.desk.wrapper, *command, f"--key-file={stage.key_file()}"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "This machine is" in process.stderr.readline()
        try:
            yield stage.with_settings(
                GCE_METADATA_HOST=METADATA,
                GCE_METADATA_IP=METADATA,
                NO_GCE_CHECK="false",
                BONDED_ATTACHED_IDENTITY_HOSTS=stage.host,
            )
        finally:
            process.terminate()


@contextmanager
def account(stage: Stage) -> Iterator[Stage]:
    """The account of our command line, which Google's plugin finds as `gcloud`."""
    programs = stage.desk.home / "bin"
    programs.mkdir()
    (programs / "gcloud").symlink_to(Path(sys.executable).with_name("bonded"))
    stage = stage.with_settings(PATH=f"{programs}:{stage.desk.settings['PATH']}")
    stage.desk.run("gcloud", "auth", "activate-service-account", f"--key-file={stage.key_file()}")
    yield stage


@contextmanager
def workload(stage: Stage) -> Iterator[Stage]:
    """A job that an issuer of OpenID Connect vouches for, and that holds no secret of ours."""
    clock = SetClock()
    clock.now = datetime.fromtimestamp(time.time(), UTC)
    with running_issuer(clock) as issuer:
        pools = f"projects/{PROJECT}/locations/global/workloadIdentityPools"
        made = stage.call(f"{pools}?workloadIdentityPoolId={stage.shelf.name}", {})
        # As everywhere at Google's, the project is a number there.
        pool = made["response"]["name"]
        provider = {
            "attributeMapping": {"google.subject": "assertion.sub"},
            "oidc": {"issuerUri": issuer.url},
        }
        stage.call(f"{pool}/providers?workloadIdentityPoolProviderId=builds", provider)
        member = f"principal://iam.googleapis.com/{pool}/subject/repo:acme/web"
        let_write(stage, member)
        name = f"iam.googleapis.com/{pool}/providers/builds"
        subject_token = stage.desk.home / "subject-token"
        subject_token.write_text(issuer.sign(sub="repo:acme/web", aud=f"https://{name}"))
        path = stage.desk.home / "credentials.json"
        fields = {
            "type": "external_account",
            "audience": f"//{name}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"https://{stage.host}/v1/token",
            "token_info_url": f"https://{stage.host}/v1/introspect",
            "credential_source": {"file": str(subject_token)},
        }
        path.write_text(json.dumps(fields))
        yield stage.with_settings(
            GOOGLE_APPLICATION_CREDENTIALS=str(path),
            # For an audience in a project, google-auth asks Google for the project's name.
            GOOGLE_CLOUD_PROJECT=PROJECT,
        )


def let_write(stage: Stage, member: str) -> None:
    """Let *member*, and nobody else, publish to the repository of the stage."""
    binding = {"role": "roles/artifactregistry.writer", "members": [member]}
    repository = f"projects/{PROJECT}/locations/{LOCATION}/repositories/{stage.shelf.name}"
    stage.call(f"{repository}:setIamPolicy", {"policy": {"bindings": [binding]}})


def new_person(stage: Stage) -> tuple[str, str]:
    """Return the address and the password of somebody who may publish."""
    address, password = f"ada-{stage.shelf.name}@example.com", "correct horse battery staple"
    made = stage.call("users", {"address": address})
    browse(made["invitation"]["uri"], {"password": password, "again": password})
    let_write(stage, f"user:{address}")
    return address, password


@contextmanager
def person(stage: Stage) -> Iterator[Stage]:
    """Somebody who has signed in by a browser, for whatever finds credentials as Google's do."""
    address, password = new_person(stage)
    stage.desk.run(
        *(sys.executable, "-m", "bonded", "auth", "application-default", "login"),
        f"--server=https://{stage.host}",
        BROWSER=f"{sys.executable} {ROOT / 'tests' / 'support' / 'person.py'} %s &",
        PERSON_TYPES=json.dumps({"address": address, "password": password}),
    )
    yield stage


Credential = Callable[[Stage], AbstractContextManager[Stage]]

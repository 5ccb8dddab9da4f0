"""Google's own plugin and libraries, unmodified, against a server that answers as Google's does.

In a network of its own the registry is `us-central1-python.pkg.dev`, over TLS with a private
authority. Every name at Google's that the clients could try is this machine too, without a
certificate for it: what is asked for there is seen, and gets nothing. The same again with Bonded's
own backend, on a host name that could be anybody's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clients.shelves import PROJECT, USER, Shelf, make_shelf, sign_in
from clients.views import View
from support.clock import SetClock
from support.enclave import Enclave, open_enclave
from support.issuer import running_issuer
from support.person import browse
from support.server import running_server
from support.tls_front import TlsFront, tls_front
from support.tools import ROOT, Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

GOOGLES_HOST = "us-central1-python.pkg.dev"
OTHER_HOST = "packages.example.com"
LOCATION = "us-central1"
METADATA = "127.0.0.1:8091"
_TOKENS = ("/token", "/v1/token", "/v1/oauthtoken")
ELSEWHERE = (
    "accounts.google.com",
    "metadata.google.internal",
    "cloudresourcemanager.googleapis.com",
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


@pytest.fixture(name="set_up", scope="module")
def _set_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Enclave, TlsFront, Callable[[], Shelf]]]:
    """Open an enclave with a registry in it."""
    directory = tmp_path_factory.mktemp("enclave")
    hosts = (GOOGLES_HOST, OTHER_HOST)
    with ExitStack() as stack:
        enclave = stack.enter_context(open_enclave((*hosts, *ELSEWHERE), [443], directory))
        settings = {"BONDED_DEFAULT_LOCATION": LOCATION, "BONDED_PRIVATE_ISSUERS": "true"}
        server = stack.enter_context(running_server(directory / "data", environment=settings))
        listener = enclave.listeners[443]
        front = stack.enter_context(tls_front(listener, server.port, hosts, directory))
        token = sign_in(server)
        numbers = iter(range(1000))
        yield (
            enclave,
            front,
            lambda: make_shelf(server, token, f"shelf-{next(numbers)}", LOCATION),
        )


@pytest.fixture(name="stage", params=["googles", "ours"])
def _stage(
    request: pytest.FixtureRequest,
    set_up: tuple[Enclave, TlsFront, Callable[[], Shelf]],
    desk: Desk,
    plugin: str,
) -> Stage:
    enclave, front, make = set_up
    certificates = str(front.certificates)
    settings = {
        "BONDED_CONFIG": str(desk.home / "bonded"),
        "NO_GCE_CHECK": "true",
        "PATH": f"{tool('keyring').parent}:/usr/bin:/bin",
        "PIP_CERT": certificates,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
        "REQUESTS_CA_BUNDLE": certificates,
        "SSL_CERT_FILE": certificates,
    }
    host = GOOGLES_HOST
    if request.param == "ours":
        settings["PYTHONPATH"] = plugin
        host = OTHER_HOST
    front.names.clear()
    front.requests.clear()
    return Stage(f"https://{host}", Desk(desk.home, settings, enclave.wrapper), make(), front)


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
        binding = {"role": "roles/artifactregistry.writer", "members": [member]}
        repository = f"projects/{PROJECT}/locations/{LOCATION}/repositories/{stage.shelf.name}"
        stage.call(f"{repository}:setIamPolicy", {"policy": {"bindings": [binding]}})
        name = f"iam.googleapis.com/{pool}/providers/builds"
        subject_token = stage.desk.home / "subject-token"
        subject_token.write_text(issuer.sign(sub="repo:acme/web", aud=f"https://{name}"))
        path = stage.desk.home / "credentials.json"
        fields = {
            "type": "external_account",
            "audience": f"//{name}",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"https://{stage.host}/v1/token",
            "credential_source": {"file": str(subject_token)},
        }
        path.write_text(json.dumps(fields))
        yield stage.with_settings(
            GOOGLE_APPLICATION_CREDENTIALS=str(path),
            # For an audience in a project, google-auth asks Google for the project's name.
            GOOGLE_CLOUD_PROJECT=PROJECT,
        )


@contextmanager
def person(stage: Stage) -> Iterator[Stage]:
    """Somebody who has signed in by a browser, for whatever finds credentials as Google's do."""
    address = f"ada-{stage.shelf.name}@example.com"
    made = stage.call("users", {"address": address})
    password = "correct horse battery staple"
    browse(made["invitation"]["uri"], {"password": password, "again": password})
    binding = {"role": "roles/artifactregistry.writer", "members": [f"user:{address}"]}
    repository = f"projects/{PROJECT}/locations/{LOCATION}/repositories/{stage.shelf.name}"
    stage.call(f"{repository}:setIamPolicy", {"policy": {"bindings": [binding]}})
    stage.desk.run(
        *(sys.executable, "-m", "bonded", "auth", "application-default", "login"),
        f"--server=https://{stage.host}",
        BROWSER=f"{sys.executable} {ROOT / 'tests' / 'support' / 'person.py'} %s &",
        PERSON_TYPES=json.dumps({"address": address, "password": password}),
    )
    yield stage


Credential = Callable[[Stage], AbstractContextManager[Stage]]


@pytest.mark.parametrize(
    ("credential", "tokens"),
    [
        (key_file, 1),
        (offline_key_file, 0),
        (metadata_server, 1),
        (account, 1),
        (workload, 1),
        (person, 1),
    ],
    ids=["key-file", "offline-key-file", "metadata-server", "account", "workload", "person"],
)
def test_publishing_and_installing_need_no_password(
    stage: Stage, credential: Credential, tokens: int, tmp_path: Path
) -> None:
    wheels = [make_wheel(name, "1.0").write_to(tmp_path) for name in ("by-twine", "by-uv")]
    with credential(stage) as ready:
        publish(ready, *wheels)
        install(ready, is_thorough=credential is key_file)

    assert list(stage.shelf.list_files("by-uv")) == [wheels[1].name]
    assert stage.front.names == {stage.host}
    # Google's plugin caches nothing, and asks again for every look-up.
    if stage.host == OTHER_HOST:
        assert stage.tokens == tokens


def publish(stage: Stage, by_twine: Path, by_uv: Path) -> None:
    """Publish one wheel with twine and one with uv."""
    desk, url = stage.desk, stage.upload_url
    twine = (tool("keyring", "twine"), "upload", "--non-interactive", "--username", USER)
    desk.run(*twine, "--repository-url", url, by_twine)
    uv = ("publish", "--keyring-provider", "subprocess", "--username", USER)
    desk.uv(*uv, "--publish-url", url, by_uv)


def install(stage: Stage, *, is_thorough: bool) -> None:
    """Install by pip and by uv; thoroughly, by either way in which pip asks keyring."""
    desk, url = stage.desk, stage.index_url
    python = desk.make_environment("empty")
    pip = (tool("keyring", "python"), "-m", "pip", "download", "--no-cache-dir", "by-twine")
    desk.run(*pip, "--index-url", url, "--keyring-provider", "import")
    if is_thorough:
        by_command = ("install", "by-twine", "--index-url", stage.index_url_of_user)
        desk.pip(python, *by_command, "--keyring-provider", "subprocess")
    uv = ("pip", "install", "--python", python, "--keyring-provider", "subprocess", "by-uv")
    desk.uv(*uv, "--default-index", stage.index_url_of_user)
    assert desk.run(python, "-c", "import by_uv").output == ""


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="there is no gcloud of Google's here")
@pytest.mark.parametrize("stage", ["googles"], indirect=True)
def test_googles_own_gcloud_is_a_fallback_too(stage: Stage, tmp_path: Path) -> None:
    wheel = make_wheel("by-twine", "1.0").write_to(tmp_path)
    certificates = str(stage.front.certificates)
    stage = stage.with_settings(
        CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=certificates,
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="1",
        CLOUDSDK_CORE_CHECK_GCE_METADATA="0",
        CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="1",
    )
    key = stage.key_file()
    stage.desk.run("gcloud", "auth", "activate-service-account", f"--key-file={key}")
    twine = (tool("keyring", "twine"), "upload", "--non-interactive", "--username", USER)
    stage.desk.run(*twine, "--repository-url", stage.upload_url, wheel)

    assert list(stage.shelf.list_files("by-twine")) == [wheel.name]
    assert stage.front.names == {stage.host}

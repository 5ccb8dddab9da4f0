"""The metadata server: what google-auth asks it, and what it refuses to be asked."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request

from bonded.cli.metadata_server import parse_listen
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable
from bonded.client.metadata_server import Identity, MetadataServer
from bonded.client.tokens import SCOPE, AccessToken

EMAIL = "builder@my-project.iam.gserviceaccount.com"
FLAVOR = {"Metadata-Flavor": "Google"}
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"


class Tokens:
    """A source of one token, or of one error."""

    account = EMAIL

    def __init__(self) -> None:
        self.error: ClientError | None = None

    def get_token(self) -> AccessToken:
        if self.error:
            raise self.error
        return AccessToken("the-secret", time.time() + 1800.5)

    def forget(self) -> None:
        """Nothing is kept."""


class Machine:
    """A metadata server and what it said."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.said: list[str] = []
        identity = Identity(EMAIL, "my-project", "registry.example", self.tokens)
        hosts = frozenset({"sidecar.example"})
        self.server = MetadataServer(("127.0.0.1", 0), identity, hosts, self.said.append)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def ask(
        self, path: str, headers: Mapping[str, str] = FLAVOR, method: str = "GET"
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=5)
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def running() -> Iterator[Machine]:
    machine = Machine()
    with machine.server:
        thread = threading.Thread(target=machine.server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield machine
        finally:
            machine.server.shutdown()
            thread.join()


@pytest.fixture(name="machine")
def _machine() -> Iterator[Machine]:
    with running() as machine:
        yield machine


def test_google_auth_finds_who_the_machine_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # google-auth reads one variable when it is imported and the other when it asks.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", machine.address)
    monkeypatch.setenv("GCE_METADATA_IP", machine.address)
    credentials = compute_engine.Credentials()  # type: ignore[no-untyped-call]
    request = Request()

    is_there = _metadata.ping(request)  # type: ignore[no-untyped-call]
    credentials.refresh(request)  # type: ignore[no-untyped-call]

    assert is_there
    assert credentials.token == "the-secret"
    assert credentials.service_account_email == EMAIL
    assert credentials.universe_domain == "registry.example"
    assert _metadata.get_project_id(request) == "my-project"  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "computeMetadata/\n"),
        ("/computeMetadata/v1/", "instance/\nproject/\nuniverse/\n"),
        ("/computeMetadata/v1/instance/service-accounts/", f"default/\n{EMAIL}/\n"),
        (
            "/computeMetadata/v1/instance/service-accounts/default/",
            "aliases\nemail\nscopes\ntoken\n",
        ),
        (f"/computeMetadata/v1/instance/service-accounts/{EMAIL}/email", EMAIL),
        ("/computeMetadata/v1/instance/service-accounts/default/scopes", f"{SCOPE}\n"),
        ("/computeMetadata/v1/project/project-id", "my-project"),
        ("/computeMetadata/v1/universe/universe-domain", "registry.example"),
        (
            "/computeMetadata/v1/instance/service-accounts/default/?recursive=true",
            json.dumps({"aliases": ["default"], "email": EMAIL, "scopes": [SCOPE]}),
        ),
    ],
)
def test_what_is_known_is_told(machine: Machine, path: str, text: str) -> None:
    assert machine.ask(path) == (200, text)
    assert machine.said == []


def test_a_token_is_told_with_the_life_it_has_left(machine: Machine) -> None:
    for path in (TOKEN, TOKEN.replace("default", EMAIL), f"{TOKEN}?scopes=anything"):
        status, text = machine.ask(path)

        assert status == 200
        assert json.loads(text) == {
            "access_token": "the-secret",
            "expires_in": 1800,
            "token_type": "Bearer",
        }


@pytest.mark.parametrize(
    ("path", "headers", "method", "status"),
    [
        (TOKEN, {}, "GET", 403),
        (TOKEN, {"Metadata-Flavor": "google"}, "GET", 403),
        ("/", {}, "GET", 403),
        (TOKEN, FLAVOR | {"X-Forwarded-For": "10.0.0.1"}, "GET", 403),
        (TOKEN, FLAVOR | {"Host": "rebound.example"}, "GET", 403),
        (TOKEN, FLAVOR | {"Host": "127.0.0.1.rebound.example:80"}, "GET", 403),
        (TOKEN, FLAVOR | {"Host": ""}, "GET", 403),
        (f"http://elsewhere.example{TOKEN}", FLAVOR, "GET", 400),
        (TOKEN, FLAVOR, "POST", 501),
        (TOKEN, FLAVOR, "OPTIONS", 501),
        ("/computeMetadata/v1/instance/service-accounts/other@x/token", FLAVOR, "GET", 404),
        ("/computeMetadata/v1/instance/service-accounts/default/token/x", FLAVOR, "GET", 404),
        ("/computeMetadata/v1beta1/project/project-id", FLAVOR, "GET", 404),
        ("/etc/passwd", FLAVOR, "GET", 404),
    ],
)
def test_what_no_library_would_send_gets_nothing(
    machine: Machine, path: str, headers: dict[str, str], method: str, status: int
) -> None:
    answered, text = machine.ask(path, headers, method)

    assert answered == status
    assert "the-secret" not in text + "".join(machine.said)


@pytest.mark.parametrize(
    "host", ["localhost:8091", "metadata.google.internal", "METADATA", "[::1]:1", "sidecar.example"]
)
def test_it_answers_to_the_names_that_it_has(machine: Machine, host: str) -> None:
    assert machine.ask(TOKEN, FLAVOR | {"Host": host})[0] == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotSignedIn("The session was revoked.", hint="Run `bonded auth login`."), 403),
        (Unreachable("Nobody answers."), 503),
    ],
)
def test_why_there_is_no_token_is_told_to_both_sides(
    machine: Machine, error: ClientError, status: int
) -> None:
    machine.tokens.error = error

    assert machine.ask(TOKEN) == (status, str(error))
    assert machine.said == [f"{status} {TOKEN!r}: {error}"]


@pytest.mark.parametrize("listen", ["8091", "[::1", "127.0.0.1", "127.0.0.1:x", "a:1/b", "u@h:1"])
def test_an_address_that_cannot_be_one_is_refused_with_how_to_write_it(listen: str) -> None:
    with pytest.raises(Misconfigured, match=r"no address(?s:.*)Write it as 127\.0\.0\.1:8091"):
        parse_listen(listen)


def test_an_address_that_is_taken_is_a_sentence(machine: Machine) -> None:
    address = ("127.0.0.1", machine.server.server_port)

    with pytest.raises(Misconfigured, match="Cannot listen on"):
        MetadataServer(address, machine.server.identity, frozenset(), print)


def test_a_client_that_hangs_up_or_says_nonsense_ends_nothing(machine: Machine) -> None:
    import socket  # noqa: PLC0415 - for this test alone

    for sent in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", machine.server.server_port)) as line:
            line.sendall(sent)

    assert machine.ask(TOKEN)[0] == 200

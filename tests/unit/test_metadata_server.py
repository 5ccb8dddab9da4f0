"""The metadata server: what google-auth asks it, and what it refuses to be asked."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest

from bonded.cli.metadata_server import parse_listen
from bonded.client.errors import ClientError, Misconfigured, NotSignedIn, Unreachable
from bonded.client.metadata_server import (
    CONNECTIONS_MAX,
    REQUEST_TIMEOUT_S,
    Identity,
    MetadataServer,
)
from bonded.client.tokens import SCOPE, AccessToken

EMAIL = "builder@my-project.iam.gserviceaccount.com"
FLAVOR = {"Metadata-Flavor": "Google"}
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
IDENTITY_PATH = TOKEN.replace("/token", "/identity")


# Signed by nobody: google-auth reads when it expires, and its reader verifies it.
IDENTITY = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
    for part in ({"alg": "none"}, {"exp": 4_000_000_000, "aud": "https://reader.example"}, "")
)
ASK = """\
import json, google.auth, google.oauth2.id_token
from google.auth.transport.requests import Request
credentials, project = google.auth.default()
credentials.refresh(Request())
print(json.dumps({
    "type": type(credentials).__module__,
    "token": credentials.token,
    "email": credentials.service_account_email,
    "universe": credentials.universe_domain,
    "project": project,
    "identity": google.oauth2.id_token.fetch_id_token(Request(), "https://reader.example"),
}))
"""


class Tokens:
    """A source of one token, or of one error."""

    account = EMAIL

    def __init__(self) -> None:
        self.error: ClientError | None = None

    def find_mark(self) -> str:
        return ""

    def get_token(self) -> AccessToken:
        if self.error:
            raise self.error
        return AccessToken("the-secret", time.time() + 1800.5)

    def forget(self) -> None:
        """Nothing is kept."""


class Machine:
    """A metadata server and what it said."""

    def __init__(self, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self.tokens = Tokens()
        self.said: list[str] = []
        identity = Identity(
            EMAIL, "my-project", "registry.example", self.tokens, self.identify_to, "17"
        )
        hosts = frozenset({"sidecar.example"})
        self.server = MetadataServer(
            ("127.0.0.1", 0), identity, hosts, self.said.append, request_timeout_s
        )

    def identify_to(self, audience: str) -> str:
        """Return an ID token, for one reader."""
        if audience != "https://reader.example":
            raise NotSignedIn(f"Nobody knows {audience}.")
        return IDENTITY

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def ask(
        self,
        path: str,
        headers: Mapping[str, str] = FLAVOR,
        method: str = "GET",
        timeout_s: float = 5,
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.server_port, timeout=timeout_s
        )
        try:
            connection.request(method, path, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


@contextmanager
def running(request_timeout_s: float = REQUEST_TIMEOUT_S) -> Iterator[Machine]:
    machine = Machine(request_timeout_s)
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


def test_google_auth_finds_who_the_machine_is(machine: Machine) -> None:
    # In a process of its own: google-auth reads a variable when it is imported.
    variables = ("GCE_METADATA_HOST", "GCE_METADATA_IP")
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=dict.fromkeys(variables, machine.address) | {"HOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert json.loads(done.stdout) == {
        "type": "google.auth.compute_engine.credentials",
        "token": "the-secret",
        "email": EMAIL,
        "universe": "registry.example",
        "project": "my-project",
        "identity": IDENTITY,
    }
    assert machine.said == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "computeMetadata/\n"),
        ("/computeMetadata/v1/", "instance/\nproject/\nuniverse/\n"),
        ("/computeMetadata/v1/instance/service-accounts/", f"default/\n{EMAIL}/\n"),
        (
            "/computeMetadata/v1/instance/service-accounts/default/",
            "aliases\nemail\nscopes\nidentity\ntoken\n",
        ),
        (f"/computeMetadata/v1/instance/service-accounts/{EMAIL}/email", EMAIL),
        ("/computeMetadata/v1/instance/service-accounts/default/scopes", f"{SCOPE}\n"),
        ("/computeMetadata/v1/project/project-id", "my-project"),
        ("/computeMetadata/v1/project/numeric-project-id", "17"),
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
        (IDENTITY_PATH, FLAVOR, "GET", 400),
        (f"{IDENTITY_PATH}?audience=https://other.example", FLAVOR, "GET", 403),
        ("/etc/passwd", FLAVOR, "GET", 404),
    ],
)
def test_what_no_library_would_send_gets_nothing(
    machine: Machine, path: str, headers: dict[str, str], method: str, status: int
) -> None:
    answered, text = machine.ask(path, headers, method)

    assert answered == status
    assert "the-secret" not in text + "".join(machine.said)


def test_who_can_prove_themselves_to_nobody_give_no_identity_tokens(machine: Machine) -> None:
    machine.server.identity = replace(machine.server.identity, get_identity_token=None)

    status, text = machine.ask(f"{IDENTITY_PATH}?audience=https://reader.example")

    assert (status, text.split(":")[0]) == (404, "This machine gives no identity tokens")


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
    for sent in (b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", machine.server.server_port)) as line:
            line.sendall(sent)

    assert machine.ask(TOKEN)[0] == 200


def test_whoever_sends_a_request_byte_by_byte_keeps_no_place_from_others() -> None:
    with running(request_timeout_s=1) as machine, ExitStack() as stack:
        address = ("127.0.0.1", machine.server.server_port)
        lines = [
            stack.enter_context(socket.create_connection(address)) for _ in range(CONNECTIONS_MAX)
        ]
        stop = threading.Event()
        dripping = threading.Thread(target=_drip, args=(lines, stop))
        dripping.start()
        try:
            # Much less than those who drip have left to send.
            status, _ = machine.ask(TOKEN, timeout_s=30)
        finally:
            stop.set()
            dripping.join()

    assert status == 200


def _drip(lines: list[socket.socket], stop: threading.Event) -> None:
    """Send a byte of a request on every line, again and again, faster than any piece is due."""
    for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 10_000:
        for line in lines:
            with suppress(OSError):
                line.send(bytes((byte,)))
        if stop.wait(0.05):
            return

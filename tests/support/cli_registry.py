"""A tiny registry in memory that speaks the control plane's REST contract over real HTTP."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bonded.cli.program import run
from bonded.client.accounts import CLIENT_ID, CLIENT_SECRET
from support.cli_people import OAuthAnswer, People, fault

Body = dict[str, Any]
CREATED = "2026-01-02T03:04:05.123456789Z"
TOKEN_WAIT_MAX_S = 30
OPERATION = "projects/my-project/locations/local/operations/op-1"
# Variables that would have tools here do as they do for whoever runs the tests.
_OF_TOOLS = (
    *("APPDATA", "BONDED_", "BROWSER", "CLOUDSDK_", "DISPLAY", "GCE_", "GOOGLE_", "NETRC"),
    *("PIP_", "PYTHON_KEYRING_", "WAYLAND_DISPLAY", "XDG_CONFIG_HOME"),
)
EMAIL = "admin@my-project.iam.gserviceaccount.com"

_PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


class Fault(Exception):
    """An error answer in Google's envelope."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class Registry:
    """What the server knows, and what it saw."""

    def __init__(self) -> None:
        self.url = ""
        self.people = People()
        self.workload = "principal://iam.googleapis.com/the-pool/subject/job-7"
        self.requests: list[str] = []
        self.token_requests = 0
        # Whoever asks first waits for this; everybody else is answered at once.
        self.first_token = threading.Event()
        self.first_token.set()
        self.token_life_s = 3600
        self.tokens: set[str] = set()
        self.locations = ["local", "eu"]
        self.projects: dict[str, Body] = {}
        self.resources: dict[str, Body] = {}
        self.policies: dict[str, Body] = {}
        self.aborts = 0
        self.date: str | None = None
        # What to answer to every call, or to every request for a token, whatever is asked.
        self.raw: tuple[int, bytes, dict[str, str]] | None = None
        self.raw_token: tuple[int, bytes, dict[str, str]] | None = None

    def key_file(self, email: str = EMAIL, **changes: str) -> str:
        """Return the text of a key file for this server."""
        fields = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "k1",
            "private_key": _PEM,
            "client_email": email,
            "token_uri": f"{self.url}/token",
        }
        return json.dumps(fields | changes)

    def add_repository(self, name: str = "python", location: str = "local", **more: Any) -> None:
        """Add a repository, as if somebody had created it."""
        full = f"projects/my-project/locations/{location}/repositories/{name}"
        self.resources[full] = {
            "name": full,
            "format": "PYTHON",
            "mode": "STANDARD_REPOSITORY",
            "createTime": CREATED,
            "updateTime": CREATED,
            **more,
        }

    def answer(  # noqa: PLR0911 - a table of what there is
        self, method: str, path: str, query: dict[str, str], body: Body
    ) -> Body:
        """Answer one call of the control plane."""
        name, _, verb = path.removeprefix("/v1/").partition(":")
        name = unquote(name)
        if verb == "generateAccessToken":
            self.tokens.add("token-of-another")
            return {"accessToken": "token-of-another", "expireTime": "2999-01-01T00:00:00Z"}
        if verb == "limit":
            self.tokens.add("token-of-less")
            return {"accessToken": "token-of-less", "expireTime": "2999-01-01T00:00:00Z"}
        if verb and verb != "listUpstreamFiles":
            return self._policy(method, name, verb, body)
        parent, _, last = name.rpartition("/")
        if last == "locations":
            return {"locations": [{"locationId": location} for location in self.locations]}
        if name == "projects" or parent == "projects":
            return self._projects(method, last, body)
        match method, last:
            case "POST", "repositories":
                return self._create_repository(f"{name}/{query['repositoryId']}", body)
            case "POST", "serviceAccounts":
                return self._create_account(name, body)
            case "POST", "keys":
                return self._create_key(name)
            case "GET", ("repositories" | "serviceAccounts" | "keys" | "packages" | "files"):
                return self._list(name, last, query)
            case _:
                return self._one(method, name, query, body)

    def _one(self, method: str, name: str, query: dict[str, str], body: Body) -> Body:
        found = self.resources.get(name)
        if found is None:
            raise Fault(404, "NOT_FOUND", "Requested entity was not found.")
        if method == "PATCH":
            found |= {key: body[key] for key in query["updateMask"].split(",")}
        elif method == "DELETE":
            del self.resources[name]
            return {"name": OPERATION, "done": True, "response": {}}
        return found

    def _list(self, name: str, field: str, query: dict[str, str]) -> Body:
        # Pages of one item, so that every list is a test of pages.
        field = "accounts" if field == "serviceAccounts" else field
        inside = [k for k in sorted(self.resources) if k.rpartition("/")[0] == name]
        start = int(query.get("pageToken", "0"))
        page: Body = {field: [self.resources[key] for key in inside[start : start + 1]]}
        if start + 1 < len(inside):
            page["nextPageToken"] = str(start + 1)
        return page

    def _projects(self, method: str, name: str, body: Body) -> Body:
        if method == "POST":
            if body["projectId"] in self.projects:
                raise Fault(409, "ALREADY_EXISTS", "Requested entity already exists.")
            project = {
                "projectId": body["projectId"],
                "name": body["name"],
                "projectNumber": "17",
                "lifecycleState": "ACTIVE",
                "createTime": CREATED,
            }
            self.projects[body["projectId"]] = project
            return {"name": "operations/op-2", "done": True, "response": project}
        if name == "projects":
            return {"projects": list(self.projects.values())}
        if name not in self.projects:
            raise Fault(403, "PERMISSION_DENIED", f"Permission denied on project '{name}'.")
        return self.projects.pop(name) and {} if method == "DELETE" else self.projects[name]

    def _create_repository(self, name: str, body: Body) -> Body:
        parts = name.split("/")
        self.add_repository(parts[-1], parts[3], **{k: v for k, v in body.items() if v})
        return {"name": OPERATION, "done": True, "response": self.resources[name]}

    def _create_account(self, parent: str, body: Body) -> Body:
        email = f"{body['accountId']}@my-project.iam.gserviceaccount.com"
        name = f"{parent}/{email}"
        self.resources[name] = {"name": name, "email": email, **body["serviceAccount"]}
        return self.resources[name]

    def _create_key(self, parent: str) -> Body:
        email = parent.split("/")[3]
        name = f"{parent}/k{len(self.resources)}"
        key = {
            "name": name,
            "keyType": "USER_MANAGED",
            "validAfterTime": "2026-01-02T03:04:05Z",
            "validBeforeTime": "9999-12-31T23:59:59Z",
        }
        self.resources[name] = key
        data = base64.b64encode(self.key_file(email).encode()).decode()
        return key | {"privateKeyData": data}

    def _policy(self, method: str, name: str, verb: str, body: Body) -> Body:
        assert (method == "GET") == (verb == "getIamPolicy" and "/repositories/" in name)
        policy = self.policies.setdefault(name, {"etag": "ACAB"})
        if verb == "getIamPolicy":
            return policy
        if self.aborts or body["policy"].get("etag", policy["etag"]) != policy["etag"]:
            self.aborts -= 1
            raise Fault(409, "ABORTED", "There were concurrent policy changes.")
        self.policies[name] = body["policy"] | {"etag": "BwXhqDVw=", "version": 1}
        return self.policies[name]

    def route(self, method: str, path: str, query: str, content: bytes, authorization: str) -> Body:
        """Answer one request, of OAuth or of the control plane."""
        client = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if path == "/v1/oauthtoken" and authorization != f"Basic {client}":
            raise fault("invalid_client", "There is no such OAuth client.", 401)
        if (given := self.answer_oauth(path, _flat(content.decode() or query))) is not None:
            return given
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise Fault(401, "UNAUTHENTICATED", "The token is not valid.")
        body = json.loads(content) if content else {}
        return self.answer(method, path, _flat(query), body)

    def answer_oauth(self, path: str, form: dict[str, str]) -> Body | None:
        """Answer a request of OAuth; None if it is none."""
        match path:
            case "/token" | "/v1/oauthtoken" | "/v1/token":
                return self.token(form)
            case "/authorize":
                self.people.authorize(form, self.url)
            case "/device_authorization":
                return self.people.start(self.url)
            case "/v1/introspect":
                return {"active": True, "username": self.workload}
            case "/revoke":
                return self.people.revoke(form)
            case "/.well-known/oauth-authorization-server":
                return self.people.describe(self.url)
            case _:
                pass
        return None

    def token(self, form: dict[str, str]) -> Body:
        """Answer a request for a token."""
        more = self.people.check(form)
        self.token_requests += 1
        if self.token_requests == 1:
            self.first_token.wait(TOKEN_WAIT_MAX_S)
        token = f"token-{self.token_requests}"
        self.tokens.add(token)
        given = {"access_token": token, "expires_in": self.token_life_s, "token_type": "Bearer"}
        return given | more


@contextmanager
def running_registry() -> Iterator[Registry]:
    """Run a registry on a free port of loopback."""
    registry = Registry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _flat(form: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(form).items()}


def _handler(registry: Registry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            content = self.rfile.read(size)
            url = urlsplit(self.path)
            registry.requests.append(f"{self.command} {self.path}")
            raw = registry.raw_token if url.path == "/token" else registry.raw
            if raw:
                self._send(*raw)
                return
            try:
                credential = self.headers.get("authorization", "")
                message = registry.route(self.command, url.path, url.query, content, credential)
                self._send(200, json.dumps(message).encode(), {})
            except OAuthAnswer as answer:
                self._send(answer.status, json.dumps(answer.body).encode(), answer.headers)
            except Fault as wrong:
                error = {"code": wrong.code, "message": str(wrong), "status": wrong.status}
                self._send(wrong.code, json.dumps({"error": error}).encode(), {})

        def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(code)
            self.send_header("date", registry.date or self.date_time_string())
            self.send_header("content-length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: the tests look at what was asked."""

    return Handler


@dataclass(frozen=True, slots=True)
class Said:
    """What a command line said, and how it ended."""

    out: str
    err: str
    status: int = 0


class Door(Protocol):
    """A registry to sign in to: the tiny one, or a server."""

    @property
    def url(self) -> str: ...
    def key_file(self, email: str) -> str: ...


class Terminal:
    """Runs command lines against a registry, with a configuration directory of their own."""

    def __init__(
        self,
        registry: Door,
        directory: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.config = directory / "config"
        self.key_file = directory / "key.json"
        self._registry = registry
        self._directory = directory
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith(_OF_TOOLS)]:  # noqa: TID251
            monkeypatch.delenv(name)
        monkeypatch.setenv("BONDED_CONFIG", str(self.config))
        monkeypatch.setenv("HOME", str(directory))
        # Secrets go into files here, wherever these tests run.
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        self.answer("")

    def __call__(self, *arguments: str) -> Said:
        """Run one line; ports and paths of this run read PORT and DIR."""
        self._capsys.readouterr()
        status = run(arguments)
        captured = self._capsys.readouterr()
        return Said(self._steady(captured.out), self._steady(captured.err), status)

    def answer(self, text: str) -> None:
        """Have *text* typed at the prompts of the next lines, and then the end of the input."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(text))

    @property
    def port(self) -> str:
        """The port of this run."""
        return self._registry.url.rpartition(":")[2]

    def sign_in(self, email: str = EMAIL) -> None:
        """Activate a key of *email*."""
        self.key_file.write_text(self._registry.key_file(email))
        assert self("auth", "activate-service-account", f"--key-file={self.key_file}").status == 0

    def _steady(self, text: str) -> str:
        return text.replace(self.port, "PORT").replace(str(self._directory), "DIR")

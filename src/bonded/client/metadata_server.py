"""The metadata server that google-auth asks who a machine is, for machines that are not Google's.

It answers the part of the instance metadata protocol that leads to an access token (gar.md §5.8).
Whoever reaches it gets one. So it listens on loopback unless told otherwise, and refuses what a
browser or a proxy could be talked into sending: a request without `Metadata-Flavor`, one that was
forwarded, and one for a host it is not called (DNS rebinding).
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6, socket
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bonded.client.errors import ClientError, Misconfigured, Unreachable
from bonded.client.tokens import SCOPE, TokenSource

REQUEST_TIMEOUT_S = 10.0
"""In which a whole request must have come, or who sends it byte by byte would keep a place."""
CONNECTIONS_MAX = 64
FLAVOR = "Google"
ROOT = "/computeMetadata/v1"
# The names by which Google's machines and their libraries call it.
WELL_KNOWN_HOSTS = frozenset({"metadata", "metadata.google.internal", "169.254.169.254"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

Node = str | tuple[str, ...] | Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this machine is to be, and where the tokens come from that prove it."""

    email: str
    project: str
    universe: str
    tokens: TokenSource = field(repr=False)
    get_identity_token: Callable[[str], str] | None = field(default=None, repr=False)
    """Returns a token that says to an audience who this machine is, if that can be had."""
    project_number: str = ""
    """By whether this is known gcloud tells whether it is on a machine of Google's."""
    limits: str = ""
    """What the tokens open, if that is not all that the account may do."""

    def tree(self) -> Mapping[str, Node]:
        """Return what can be asked, apart from tokens."""
        # Ours: who keeps tokens must not take those that do less for those that did more.
        limits = {"bonded-limits": self.limits} if self.limits else {}
        account: Node = {
            "aliases": ("default",),
            "email": self.email,
            "scopes": (SCOPE,),
            **limits,
        }
        number = {"numeric-project-id": self.project_number} if self.project_number else {}
        return {
            "instance": {"service-accounts": {"default": account, self.email: account}},
            "project": {**number, "project-id": self.project},
            "universe": {"universe-domain": self.universe},
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: a status, and text of a media type."""

    status: HTTPStatus
    text: str = field(repr=False)
    media_type: str = "application/text"


class MetadataServer(ThreadingHTTPServer):
    """Answers as the instance metadata server does, on one address, until it is shut down."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(
        self,
        address: tuple[str, int],
        identity: Identity,
        hosts: frozenset[str],
        say: Callable[[str], None],
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.identity = identity
        self.request_timeout_s = request_timeout_s
        self.hosts = hosts | WELL_KNOWN_HOSTS | LOOPBACK_HOSTS | {address[0]}
        self.say = say
        self._refreshing = threading.Lock()
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        if ":" in address[0]:
            self.address_family = AF_INET6
        try:
            super().__init__(address, _Handler)
        except (OSError, OverflowError) as error:
            raise Misconfigured(
                f"Cannot listen on {address[0]} port {address[1]}: {error}.",
                hint="Choose another address with --listen.",
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread; more than the limit wait in the kernel's queue."""
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Say nothing of a client that hung up: nobody is left to answer."""
        del request, client_address

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Answer:
        """Answer a request that is allowed to ask."""
        if path == "/":
            return Answer(HTTPStatus.OK, "computeMetadata/\n")
        if path != ROOT and not path.startswith(f"{ROOT}/"):
            return _missing(path)
        names = [unquote(part) for part in path.removeprefix(ROOT).split("/") if part]
        accounts = ("default", self.identity.email)
        match names:
            case ["instance", "service-accounts", account, "token"] if account in accounts:
                return self._answer_token()
            case ["instance", "service-accounts", account, "identity"] if account in accounts:
                return self._answer_identity(query.get("audience", [""])[0])
            case _:
                node = _find(self.identity.tree(), names)
                is_recursive = query.get("recursive", [""])[0].lower() == "true"
                return _missing(path) if node is None else _shown(node, is_recursive=is_recursive)

    def _answer_token(self) -> Answer:
        try:
            with self._refreshing:
                token = self.identity.tokens.get_token()
        except ClientError as error:
            return _refused(error)
        fields = {
            "access_token": token.secret,
            "expires_in": int(token.expires_at - time.time()),
            "token_type": "Bearer",
        }
        return Answer(HTTPStatus.OK, json.dumps(fields), "application/json")

    def _answer_identity(self, audience: str) -> Answer:
        if self.identity.get_identity_token is None:
            return Answer(
                HTTPStatus.NOT_FOUND,
                "This machine gives no identity tokens: it is a service account without limits "
                "that does.",
            )
        if not audience:
            return Answer(HTTPStatus.BAD_REQUEST, "Say with ?audience= who will read the token.")
        try:
            return Answer(HTTPStatus.OK, self.identity.get_identity_token(audience))
        except ClientError as error:
            return _refused(error)


class _Timed(io.RawIOBase):
    """What a client sends, until its time is over: the socket's own timeout is for each piece."""

    def __init__(self, connection: socket, timeout_s: float) -> None:
        self._connection = connection
        self._until = time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("The request took too long")
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One request; the answer closes the connection."""

    server: MetadataServer
    server_version = "Bonded"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Timed(self.connection, self.server.request_timeout_s))

    def do_GET(self) -> None:
        self.connection.settimeout(self.server.request_timeout_s)
        refusal = self._find_refusal()
        url = urlsplit(self.path)
        answer = refusal or self.server.answer(url.path, parse_qs(url.query))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            # The path alone: a query may hold anything.
            self.server.say(f"{answer.status.value} {url.path!r}: {answer.text}")
        content = answer.text.encode()
        self.send_response(answer.status)
        self.send_header("Metadata-Flavor", FLAVOR)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def _find_refusal(self) -> Answer | None:
        """Say why this request gets nothing, if it gets nothing."""
        if not self.path.startswith("/"):
            return Answer(HTTPStatus.BAD_REQUEST, "Ask for a path: this is no proxy.")
        if self.headers.get_all("X-Forwarded-For"):
            return Answer(HTTPStatus.FORBIDDEN, "The request was forwarded (X-Forwarded-For).")
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or _hostname(hosts[0]) not in self.server.hosts:
            return Answer(
                HTTPStatus.FORBIDDEN,
                f"The request is for another host: {', '.join(hosts)!r}. If this server is meant, "
                "start it with --host=NAME.",
            )
        if self.headers.get("Metadata-Flavor") != FLAVOR:
            return Answer(HTTPStatus.FORBIDDEN, f"Missing header: Metadata-Flavor: {FLAVOR}.")
        return None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing here: refusals are said with their reason."""


def _find(node: Node, names: list[str]) -> Node | None:
    """Return what stands at the path *names* below *node*."""
    for name in names:
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node


def _shown(node: Node, *, is_recursive: bool) -> Answer:
    """Return *node* as the protocol shows it: a directory as a list, or whole as JSON."""
    if isinstance(node, str):
        return Answer(HTTPStatus.OK, node)
    if isinstance(node, tuple):
        return Answer(HTTPStatus.OK, "".join(f"{line}\n" for line in node))
    if is_recursive:
        return Answer(HTTPStatus.OK, json.dumps(node), "application/json")
    names = [f"{name}/" if isinstance(each, Mapping) else name for name, each in node.items()]
    if "email" in node:
        names += ["identity", "token"]
    return Answer(HTTPStatus.OK, "".join(f"{name}\n" for name in names))


def _refused(error: ClientError) -> Answer:
    # google-auth asks again after the first, and after no other.
    status = HTTPStatus.FORBIDDEN
    if isinstance(error, Unreachable):
        status = HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, str(error))


def _missing(path: str) -> Answer:
    return Answer(HTTPStatus.NOT_FOUND, f"Nothing is known here of {path!r}.")


def _hostname(text: str) -> str | None:
    """Return the host of a `Host` header without its port, in lower case."""
    try:
        return urlsplit(f"//{text}").hostname
    except ValueError:
        return None

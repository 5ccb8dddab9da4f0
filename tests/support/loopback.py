"""A client of a real server on loopback, in domain words; and the raw socket when words do not do.

Blocking, so that many can run as threads beside a server that dies.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from support.server import Server
from support.site import JSON, basic, encode, form_of, sign_assertion
from support.wheels import Distribution

TIMEOUT_S = 30

GONE = (OSError, HTTPException)
"""What a request raises whose server died."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Return the body of a 200, parsed."""
        assert self.status == 200, self.text
        return json.loads(self.body)


@dataclass
class Loopback:
    """The administrator of a running server. Every request is a connection of its own."""

    server: Server

    @cached_property
    def credential(self) -> str:
        """The value of an Authorization header; good for an hour, over restarts too."""
        assertion = sign_assertion(self.server.admin_key)
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        form = urlencode({"grant_type": grant, "assertion": assertion}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = self.ask("POST", "/token", form, headers)
        return basic("oauth2accesstoken", answer.json()["access_token"])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request. Raises one of GONE when the server dies."""
        port = self.server.port
        with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def upload(self, distribution: Distribution) -> Answer:
        """Upload as twine does."""
        body, content_type = encode(form_of(distribution))
        headers = {"authorization": self.credential, "content-type": content_type}
        return self.ask("POST", "/my-project/python/", body, headers)

    def get(self, path: str, **headers: str) -> Answer:
        """GET below the repository."""
        headers = {"authorization": self.credential} | headers
        return self.ask("GET", f"/my-project/python/{path}", headers=headers)

    def listed(self) -> dict[str, tuple[str, str]]:
        """Return what every page lists: filename → package, sha256."""
        found = {}
        for project in self.get("simple/", accept=JSON).json()["projects"]:
            page = self.get(f"simple/{project['name']}/", accept=JSON).json()
            for file in page["files"]:
                found[file["filename"]] = (project["name"], file["hashes"]["sha256"])
        return found

    def check(self) -> dict[str, str]:
        """Download every listed file; fail on one that is broken; return filename → sha256."""
        intact = {}
        for filename, (package, sha256) in self.listed().items():
            answer = self.get(f"{package}/{filename}")
            assert answer.status == 200, (filename, answer.text)
            assert hashlib.sha256(answer.body).hexdigest() == sha256, filename
            if filename.endswith(".whl"):
                assert self.get(f"{package}/{filename}.metadata").status == 200, filename
            intact[filename] = sha256
        return intact

    def staging(self) -> list[str]:
        """Return the names of what is in the stage."""
        return [path.name for path in (self.server.data_dir / "staging").iterdir()]

    def open_upload(self, distribution: Distribution, sent: float) -> tuple[socket.socket, bytes]:
        """Begin an upload and send that share of its body; return the connection and the rest."""
        body, content_type = encode(form_of(distribution))
        half = int(len(body) * sent)
        head = (
            f"POST /my-project/python/ HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\n"
            f"Authorization: {self.credential}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        connection = socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT_S)
        connection.sendall(head.encode() + body[:half])
        return connection, body[half:]

    def read_bytes(self) -> int:
        """Return how much the server's process has read in its life, from files and clients."""
        assert self.server.process is not None
        with open(f"/proc/{self.server.process.pid}/io", encoding="ascii") as counts:  # noqa: PTH123 - not a path of ours
            (read,) = (line.split()[1] for line in counts if line.startswith("rchar:"))
        return int(read)

    def memory_peak_bytes(self) -> int:
        """Return the most memory that the server's process has ever held."""
        assert self.server.process is not None
        with open(f"/proc/{self.server.process.pid}/status", encoding="ascii") as status:  # noqa: PTH123 - not a path of ours
            (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
        return int(peak) * 1024


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.02)

"""An OpenID Connect provider on loopback, real HTTP, that does wrong what a test wants wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from support.clock import SetClock

CLIENT = "bonded"
SECRET = "the client's secret"
ACCESS_TOKEN = "for-userinfo-alone"


@dataclass
class FakeIssuer:
    """What the provider says, and what it was asked."""

    clock: SetClock
    url: str = ""
    keys: list[Key] = field(default_factory=lambda: [_make_key("first")])
    claims: dict[str, object] = field(default_factory=dict)
    """Of the person who signs in: laid over what a correct token says; None leaves one out."""
    userinfo: dict[str, object] | None = None
    """What the userinfo endpoint says; None for a provider that has none."""
    configuration: dict[str, object] = field(default_factory=dict)
    """Laid over the discovery document."""
    header: dict[str, str] = field(default_factory=dict)
    signer: Key | None = None
    """Signs in place of the newest key."""
    raw: Mapping[str, tuple[int, bytes]] = field(default_factory=dict)
    """By path: the status and body to answer whatever is asked."""
    wait_s: float = 0
    requests: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rotate(self) -> None:
        """Sign with a new key from now on, and forget the old ones."""
        self.keys = [_make_key(f"key-{len(self.requests)}")]

    def sign(self, **claims: object) -> str:
        """Return an identity token."""
        now = int(self.clock().timestamp())
        said: dict[str, object] = {
            "iss": self.url,
            "sub": "7",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada",
        }
        said |= claims | self.claims
        key = self.signer or self.keys[-1]
        algorithm = "ES256" if isinstance(key, ECKey) else "RS256"
        header = {"alg": algorithm, "kid": str(key.kid)} | self.header
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(header, kept, key, algorithms=[algorithm])

    def authorize(self, url: str) -> dict[str, str]:
        """Let the person sign in at the address they were sent to; return the answer's query."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def answer(self, path: str, headers: Mapping[str, str], body: str) -> tuple[int, object]:
        """Answer one request."""
        if path == "/.well-known/openid-configuration":
            more = {} if self.userinfo is None else {"userinfo_endpoint": f"{self.url}/userinfo"}
            return 200, {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
            } | more | self.configuration
        if path == "/userinfo":
            is_known = headers.get("authorization") == f"Bearer {ACCESS_TOKEN}"
            return (200, self.userinfo) if is_known else (401, {})
        if path == "/jwks":
            return 200, {"keys": [key.as_dict(private=False) for key in self.keys]}
        if path == "/token":
            return self._token(headers, {n: v[0] for n, v in parse_qs(body).items()})
        return 404, {}

    def _token(self, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[int, object]:
        expected = base64.b64encode(f"{CLIENT}:the+client%27s+secret".encode()).decode()
        if headers.get("authorization") != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self.sign(nonce=asked["nonce"]), "access_token": ACCESS_TOKEN}


@contextmanager
def running_issuer(clock: SetClock) -> Iterator[FakeIssuer]:
    """Run a provider on a free port of loopback."""
    issuer = FakeIssuer(clock)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(issuer))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _make_key(key_id: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": key_id, "use": "sig"})


def _handler(issuer: FakeIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            path = urlsplit(self.path).path
            issuer.requests.append(f"{self.command} {path}")
            time.sleep(issuer.wait_s)
            status, content = issuer.raw.get(path, (0, b""))
            if not status:
                lower = {name.lower(): value for name, value in self.headers.items()}
                status, value = issuer.answer(path, lower, body)
                content = json.dumps(value).encode()
            # Whoever asked may have given up waiting.
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: the tests look at what was asked."""

    return Handler

"""A whole registry for a test: every layer real, HTTP in process, with domain words on top."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.jwk import RSAKey

from bonded.server.app import Registry, build
from bonded.server.core.clock import Clock
from bonded.server.settings import Settings
from support.clock import SetClock
from support.wheels import Distribution

URL = "http://registry.test"
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"

Parts = Sequence[tuple[str, str | tuple[str, bytes]]]
"""The parts of a form in order: a value, or a filename with its bytes."""


@dataclass
class Site:
    """A registry, and an administrator who speaks to it over HTTP."""

    registry: Registry
    http: httpx2.AsyncClient
    clock: SetClock
    data_dir: Path
    admin_key: Mapping[str, str]
    admin: str = ""
    """The administrator's access token."""
    repository: str = "/my-project/python"
    rest: str = "/v1/projects/my-project/locations/local/repositories/python"
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, token: str | None = None, **headers: str) -> httpx2.Response:
        """GET with a token (the administrator's unless said; "" for none); `_` in names is `-`."""
        return await self.http.get(path, headers=self._headers(token, headers))

    async def call(
        self, method: str, path: str, body: object = None, token: str | None = None
    ) -> httpx2.Response:
        """Send JSON."""
        content = None if body is None else json.dumps(body)
        headers = self._headers(token, {})
        return await self.http.request(method, path, content=content, headers=headers)

    def _headers(self, token: str | None, headers: Mapping[str, str]) -> dict[str, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        token = self.admin if token is None else token
        return sent | ({"authorization": basic("oauth2accesstoken", token)} if token else {})

    async def upload(
        self, parts: Parts | Distribution, token: str | None = None, path: str | None = None
    ) -> httpx2.Response:
        """Upload a distribution as twine does, or exactly these parts."""
        if isinstance(parts, Distribution):
            parts = form_of(parts)
        body, content_type = encode(parts)
        headers = self._headers(token, {"content-type": content_type})
        return await self.http.post(path or f"{self.repository}/", content=body, headers=headers)

    async def page(self, package: str, token: str | None = None) -> dict[str, Any]:
        """Return a package's page, parsed."""
        response = await self.get(f"{self.repository}/simple/{package}/", token, accept=JSON)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    async def make_account(self, account_id: str, project: str = "my-project") -> dict[str, str]:
        """Create a service account and return its key file."""
        accounts = f"/v1/projects/{project}/serviceAccounts"
        made = await self.call("POST", accounts, {"accountId": account_id})
        assert made.status_code == 200, made.text
        issued = await self.call("POST", f"{accounts}/{made.json()['email']}/keys", {})
        assert issued.status_code == 200, issued.text
        key: dict[str, str] = json.loads(base64.b64decode(issued.json()["privateKeyData"]))
        return key

    async def grant(
        self,
        role: str,
        member: str,
        resource: str | None = None,
        condition: Mapping[str, str] | None = None,
    ) -> None:
        """Add a binding to the policy of *resource*, a path under /v1 (the repository's)."""
        resource = resource or self.rest
        options = {"options": {"requestedPolicyVersion": 3}}
        policy = (await self.call("POST", f"{resource}:getIamPolicy", options)).json()
        binding: dict[str, object] = {"role": role, "members": [member]}
        binding |= {"condition": condition} if condition else {}
        policy.setdefault("bindings", []).append(binding)
        policy["version"] = 3
        answer = await self.call("POST", f"{resource}:setIamPolicy", {"policy": policy})
        assert answer.status_code == 200, answer.text

    async def delete_repository(self) -> None:
        """Delete the repository, and the virtual one before it that has it as an upstream."""
        for path in (self.rest.replace("/python", "/all"), self.rest):
            answer = await self.call("DELETE", path)
            assert answer.status_code == 200, answer.text

    async def sign_in(self, key: Mapping[str, str]) -> str:
        """Exchange an assertion for an access token, as google-auth does."""
        response = await self.exchange(sign_assertion(key, self.clock))
        assert response.status_code == 200, response.text
        token: str = response.json()["access_token"]
        return token

    async def exchange(self, assertion: str, **form: str) -> httpx2.Response:
        """POST to the token endpoint."""
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return await self.http.post(
            "/token", data={"grant_type": grant, "assertion": assertion} | form
        )


@asynccontextmanager
async def open_site(data_dir: Path, **changes: Any) -> AsyncIterator[Site]:
    """Build a registry on *data_dir* (again, if it has one) and sign its administrator in."""
    clock = SetClock()
    # A real password takes a twentieth of a second and 64 MiB, on purpose; tests have many.
    cheap = Settings(
        data_dir=data_dir,
        public_url=URL,
        password_memory_kib=64,
        # Where the indexes of tests are; their files must be there too, or be refused.
        upstream_private_hosts="127.0.0.0/8",
    )
    settings = replace(cheap, **changes)
    registry = await build(settings, clock)
    transport = httpx2.ASGITransport(registry.application)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url=URL) as http:
            key = json.loads((data_dir / "admin-key.json").read_text())
            site = Site(registry, http, clock, data_dir, key)
            site.admin = await site.sign_in(key)
            yield site
    finally:
        await registry.close()


def sign_assertion(
    key: Mapping[str, str],
    clock: Clock | None = None,
    *,
    header: Mapping[str, str] | None = None,
    **claims: object,
) -> str:
    """Sign the assertion that google-auth sends; by None, *claims* are omitted."""
    now = int(time.time() if clock is None else clock().timestamp())
    said: dict[str, object] = {
        "iat": now,
        "exp": now + 3600,
        "iss": key["client_email"],
        "aud": TOKEN_AUDIENCE,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    } | claims
    said = {name: value for name, value in said.items() if value is not None}
    heading = {"typ": "JWT", "alg": "RS256", "kid": key["private_key_id"]} | dict(header or {})
    return jwt.encode(heading, said, RSAKey.import_key(key["private_key"]), algorithms=["RS256"])


def basic(user: str, password: str) -> str:
    """Return a Basic credential."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def form_of(distribution: Distribution, **changes: str | None) -> Parts:
    """Return the parts that twine sends for *distribution*; a change of None leaves a field out."""
    name, version, *_ = distribution.filename.removesuffix(".tar.gz").split("-")
    fields: dict[str, str | None] = {
        "metadata_version": "2.4",
        "name": name,
        "version": version,
        "filetype": distribution.filetype,
        "pyversion": "source" if distribution.filetype == "sdist" else "py3",
        "sha256_digest": distribution.sha256,
        ":action": "file_upload",
        "protocol_version": "1",
        **changes,
    }
    said = [(name, value) for name, value in fields.items() if value is not None]
    return [*said, ("content", (distribution.filename, distribution.data))]


def encode(parts: Parts, boundary: str = "d74496d66958873e") -> tuple[bytes, str]:
    """Return a multipart body and its content type."""
    body = bytearray()
    for name, value in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if isinstance(value, str):
            body += b"\r\n\r\n" + value.encode()
        else:
            filename, data = value
            body += f'; filename="{filename}"\r\n'.encode()
            body += b"Content-Type: application/octet-stream\r\n\r\n" + data
        body += b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"

"""A real OpenID Connect provider on loopback, which nobody here wrote: npm's oidc-provider."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import requests

from support.server import free_port
from support.tools import node_tool

START_MAX_S = 20
PAGES_MAX = 5
CLIENT, SECRET = "bonded", "of: the registry"
"""The registry, as a client of the provider."""
_JOB = base64.b64encode(b"job-7:of-the-job").decode()


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """The provider, as a job sees it that has credentials of its own there."""

    url: str

    def job_token(self) -> str:
        """Return the job's token (client credentials, a JWT for the provider's one audience)."""
        request = urllib.request.Request(
            f"{self.url}/token",
            data=b"grant_type=client_credentials",
            headers={"Authorization": f"Basic {_JOB}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            token: str = json.load(response)["access_token"]
        return token

    def is_ready(self) -> bool:
        """Say whether it answers."""
        try:
            address = f"{self.url}/.well-known/openid-configuration"
            with urllib.request.urlopen(address, timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def sign_in(self, person: requests.Session, page: requests.Response, name: str) -> str:
        """Sign somebody in at the provider's page that *page* is; return the last page elsewhere.

        They say yes to whatever the provider asks of them.
        """
        for _ in range(PAGES_MAX):
            if not page.url.startswith(self.url):
                return page.text
            action = re.search(r'action="([^"]+)"', page.text)
            prompt = re.search(r'name="prompt" value="([a-z]+)"', page.text)
            assert action, page.text
            assert prompt, page.text
            typed = {"prompt": prompt[1], "login": name, "password": "any will do here"}
            page = person.post(urljoin(page.url, action[1]), typed, timeout=10)
        raise AssertionError(f"the provider's pages do not end: {page.url}")


@contextmanager
def running_oidc_provider(
    audience: str, redirect_uri: str = "", port: int = 0
) -> Iterator[OidcProvider]:
    """Run a provider whose tokens for jobs are meant for *audience*. Skips the test without Node.

    With a *redirect_uri* it has a client for people too, `bonded`. Each run has keys of its own.
    """
    port = port or free_port()
    process = subprocess.Popen(
        ["node", "serve.mjs", str(port), audience, redirect_uri],
        cwd=node_tool("oidc-provider"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        provider = OidcProvider(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + START_MAX_S
        while not provider.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("oidc-provider did not start")
            time.sleep(0.05)
        yield provider
    finally:
        process.kill()
        process.wait()

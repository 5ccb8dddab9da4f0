"""A real OpenID Connect provider on loopback, which nobody here wrote: npm's oidc-provider."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support.server import free_port
from support.tools import node_tool

START_MAX_S = 20
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


@contextmanager
def running_oidc_provider(audience: str) -> Iterator[OidcProvider]:
    """Run a provider whose tokens are meant for *audience*. Skips the test without Node."""
    port = free_port()
    process = subprocess.Popen(
        ["node", "serve.mjs", str(port), audience],
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

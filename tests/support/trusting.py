"""Trusted publishing, as administrators set it up and jobs use it."""

from __future__ import annotations

from typing import Any

import httpx2

from support.issuer import FakeIssuer
from support.site import Site

GITHUB: dict[str, Any] = {"repository": "Acme/web", "workflow": "publish.yml"}
CLAIMS = {
    "sub": "repo:acme/web:environment:release",
    "aud": "registry.test",
    "repository": "acme/Web",
    "repository_owner_id": "17",
    "job_workflow_ref": "acme/Web/.github/workflows/publish.yml@refs/heads/main",
    "ref": "refs/heads/main",
    "environment": "release",
}


async def trust(
    site: Site,
    issuer: FakeIssuer,
    claims: dict[str, Any] | None = None,
    provider: str = "github",
    *packages: str,
    rest: str | None = None,
) -> str:
    """Create a trusted publisher; return its name."""
    body = {"provider": provider, "issuerUri": issuer.url, "claims": claims or GITHUB}
    path = f"{rest or site.rest}/trustedPublishers"
    made = await site.call("POST", path, body | {"packages": list(packages)})
    assert made.status_code == 200, made.text
    name: str = made.json()["name"]
    return name


def numbered(issuer: FakeIssuer) -> str:
    """Return another assertion of the issuer's, as every job is given its own."""
    issuer.claims["jti"] = f"assertion-{len(issuer.codes)}-{id(object())}"
    issuer.codes[str(len(issuer.codes))] = {}
    return issuer.sign()


async def mint(site: Site, assertion: str) -> httpx2.Response:
    return await site.http.post("/_/oidc/mint-token", json={"token": assertion})


async def minted(site: Site, issuer: FakeIssuer) -> str:
    answer = await mint(site, numbered(issuer))
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["token"]
    return token

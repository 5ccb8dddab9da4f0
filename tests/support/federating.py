"""Workload identity federation, as administrators set it up and jobs use it."""

from __future__ import annotations

from typing import Any

import httpx2

from support.issuer import FakeIssuer
from support.site import Site

POOLS = "/v1/projects/my-project/locations/global/workloadIdentityPools"
PROVIDERS = f"{POOLS}/ci-pool/providers"
MAPPING = {
    "google.subject": "assertion.sub",
    "google.groups": "assertion.groups",
    "attribute.repository": "assertion.repository",
}


async def make_provider(site: Site, issuer: FakeIssuer, **changes: Any) -> str:
    """Create a pool and a provider; return the provider's name."""
    made = await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", {})
    assert made.status_code in (200, 409), made.text
    oidc = {"issuerUri": issuer.url} | changes.pop("oidc", {})
    body = {"attributeMapping": MAPPING, "oidc": oidc} | changes
    made = await site.call("POST", f"{PROVIDERS}?workloadIdentityPoolProviderId=builds", body)
    assert made.status_code == 200, made.text
    name: str = made.json()["response"]["name"]
    issuer.claims.setdefault("aud", f"https://iam.googleapis.com/{name}")
    return name


async def exchange(site: Site, audience: str, token: str, **form: str) -> httpx2.Response:
    """Ask for a token as google-auth does."""
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": audience,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    } | form
    return await site.http.post("/v1/token", data=fields)


async def token_of(site: Site, issuer: FakeIssuer, name: str) -> str:
    answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token

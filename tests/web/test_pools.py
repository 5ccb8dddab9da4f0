"""Workload identity pools and providers over REST, in Google's shapes."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from inline_snapshot import snapshot

from support.site import Site

POOLS = "/v1/projects/my-project/locations/global/workloadIdentityPools"
PROVIDERS = f"{POOLS}/ci-pool/providers"
CREATE = f"{PROVIDERS}?workloadIdentityPoolProviderId"
GOOD: dict[str, Any] = {
    "attributeMapping": {"google.subject": "assertion.sub"},
    "oidc": {"issuerUri": "https://issuer.example"},
}


async def make_pool(site: Site) -> str:
    """Create a pool; return the number of its project."""
    made = await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", {})
    assert made.status_code == 200, made.text
    number: str = made.json()["response"]["name"].split("/")[1]
    return number


def redacted(answer: httpx2.Response) -> Any:
    """Return an answer without what differs every time."""
    assert answer.status_code == 200, answer.text
    text = re.sub(r"projects/\d+/locations/global/workloadIdentityPools", "POOLS", answer.text)
    return httpx2.Response(200, text=re.sub(r"[0-9a-f]{24}", "HEX", text)).json()


async def test_a_pool_s_whole_life(site: Site) -> None:
    described = {"displayName": "Builds", "description": "What runs our builds"}
    created = await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", described)
    updated = await site.call(
        "PATCH",
        f"{POOLS}/ci-pool?updateMask=description,disabled",
        {"disabled": True, "displayName": "ignored: the mask does not name it"},
    )
    shown = await site.call("GET", f"{POOLS}/ci-pool")
    listed = await site.call("GET", POOLS)
    deleted = await site.call("DELETE", f"{POOLS}/ci-pool")
    gone = await site.call("GET", f"{POOLS}/ci-pool")

    assert redacted(created) == snapshot(
        {
            "name": "POOLS/ci-pool/operations/HEX",
            "metadata": {
                "@type": "type.googleapis.com/google.iam.v1.WorkloadIdentityPoolOperationMetadata"
            },
            "done": True,
            "response": {
                "@type": "type.googleapis.com/google.iam.v1.WorkloadIdentityPool",
                "name": "POOLS/ci-pool",
                "state": "ACTIVE",
                "displayName": "Builds",
                "description": "What runs our builds",
            },
        }
    )
    assert updated.json()["response"].items() >= shown.json().items()
    assert redacted(shown) == snapshot(
        {
            "name": "POOLS/ci-pool",
            "state": "ACTIVE",
            "displayName": "Builds",
            "disabled": True,
        }
    )
    assert listed.json() == {"workloadIdentityPools": [shown.json()]}
    assert deleted.json()["response"]["state"] == "DELETED"
    assert gone.status_code == 404


async def test_a_provider_s_whole_life(site: Site) -> None:
    number = await make_pool(site)
    body = {
        "displayName": "GitHub",
        "attributeMapping": {
            "google.subject": "assertion.sub",
            "attribute.repository": "assertion.repository",
        },
        "attributeCondition": "assertion.repository_owner == 'acme'",
        "oidc": {
            "issuerUri": "https://token.actions.githubusercontent.com",
            "allowedAudiences": ["packages"],
        },
    }
    created = await site.call("POST", f"{CREATE}=github", body)
    changed = await site.call(
        "PATCH",
        f"{PROVIDERS}/github?updateMask=oidc.allowedAudiences,attributeCondition",
        {"attributeCondition": "assertion.ref == 'main'", "oidc": {"issuerUri": "ignored"}},
    )
    # Google's answers name the project by its number; whoever goes on from there finds it too.
    shown = await site.call("GET", f"/v1/{created.json()['response']['name']}")
    listed = await site.call("GET", PROVIDERS.replace("my-project", number))
    deleted = await site.call("DELETE", f"{PROVIDERS}/github")

    assert redacted(created) == snapshot(
        {
            "name": "POOLS/ci-pool/providers/github/operations/HEX",
            "metadata": {
                "@type": "type.googleapis.com/google.iam.v1"
                ".WorkloadIdentityPoolProviderOperationMetadata"
            },
            "done": True,
            "response": {
                "@type": "type.googleapis.com/google.iam.v1.WorkloadIdentityPoolProvider",
                "name": "POOLS/ci-pool/providers/github",
                "state": "ACTIVE",
                "attributeMapping": {
                    "google.subject": "assertion.sub",
                    "attribute.repository": "assertion.repository",
                },
                "oidc": {
                    "issuerUri": "https://token.actions.githubusercontent.com",
                    "allowedAudiences": ["packages"],
                },
                "attributeCondition": "assertion.repository_owner == 'acme'",
                "displayName": "GitHub",
            },
        }
    )
    assert changed.status_code == 200, changed.text
    assert redacted(shown) == snapshot(
        {
            "name": "POOLS/ci-pool/providers/github",
            "state": "ACTIVE",
            "attributeMapping": {
                "google.subject": "assertion.sub",
                "attribute.repository": "assertion.repository",
            },
            "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
            "attributeCondition": "assertion.ref == 'main'",
            "displayName": "GitHub",
        }
    )
    assert listed.json() == {"workloadIdentityPoolProviders": [shown.json()]}
    assert deleted.json()["response"]["state"] == "DELETED"
    assert (await site.call("GET", f"{PROVIDERS}/github")).status_code == 404


async def test_lists_come_in_pages(site: Site) -> None:
    await make_pool(site)
    await site.call("POST", f"{POOLS}?workloadIdentityPoolId=a-pool", {})
    for name in ("a-provider", "b-provider"):
        assert (await site.call("POST", f"{CREATE}={name}", GOOD)).status_code == 200

    for path, field in (
        (POOLS, "workloadIdentityPools"),
        (PROVIDERS, "workloadIdentityPoolProviders"),
    ):
        first = (await site.call("GET", f"{path}?pageSize=1")).json()
        second = await site.call("GET", f"{path}?pageSize=1&pageToken={first['nextPageToken']}")
        assert len(first[field]) == len(second.json()[field]) == 1
        assert first[field] != second.json()[field]


KEYS = '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no mapping": ({"attributeMapping": {}}, "must say what google.subject is"),
    "unknown key": (
        {"attributeMapping": {"google.subject": "assertion.sub", "google.email": "'x'"}},
        "unknown key 'google.email'",
    ),
    "wrong expression": (
        {"attributeMapping": {"google.subject": "assertion.sub +"}},
        "at line 1, column 16: Syntax error",
    ),
    "no expression": ({"attributeMapping": {"google.subject": 7}}, "must be a string"),
    "no object": ({"attributeMapping": "sub"}, "must be an object"),
    "long expression": (
        {"attributeMapping": {"google.subject": f"'{'x' * 2048}'"}},
        "longer than 2048",
    ),
    "wrong condition": ({"attributeCondition": "sub == 'x'"}, "undeclared reference to 'sub'"),
    "condition no question": ({"attributeCondition": "'x'"}, "It must be true or false"),
    "no issuer": ({"oidc": {}}, "is not an address"),
    "issuer in the clear": (
        {"oidc": {"issuerUri": "http://x.example"}},
        "must be asked over https",
    ),
    "issuer with a query": ({"oidc": {"issuerUri": "https://x.example?a"}}, "no query, fragment"),
    "issuer malformed": ({"oidc": {"issuerUri": "https://[x"}}, "is not an address"),
    "everybody's issuer": (
        {"oidc": {"issuerUri": "https://token.actions.githubusercontent.com"}},
        "signs tokens for everybody: the provider needs a condition",
    ),
    "keys no JSON": (
        {"oidc": GOOD["oidc"] | {"jwksJson": "x"}},
        "no JSON Web Key Set",
    ),
    "keys no list": ({"oidc": GOOD["oidc"] | {"jwksJson": "{}"}}, "not a list of at most"),
    "secret keys": ({"oidc": GOOD["oidc"] | {"jwksJson": KEYS}}, "holds no key that signatures"),
    "audiences no list": (
        {"oidc": GOOD["oidc"] | {"allowedAudiences": "x"}},
        "must be a list of at most 10",
    ),
    "another kind": ({"aws": {"accountId": "1"}}, "kind aws is not available; use oidc"),
    "long name": ({"displayName": "x" * 33}, "displayName may have 32 characters"),
    "disabled no bool": ({"disabled": "yes"}, "disabled must be true or false"),
}


@pytest.mark.parametrize("title", REFUSED)
async def test_a_provider_that_could_not_work_is_refused(site: Site, title: str) -> None:
    await make_pool(site)
    changes, says = REFUSED[title]

    answer = await site.call("POST", f"{CREATE}=builds", GOOD | changes)

    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert says in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["abc", "UPPER", "gcp-pool", "x" * 33, "", "a_b_c"])
async def test_a_malformed_id_is_refused(site: Site, name: str) -> None:
    await make_pool(site)

    pool = await site.call("POST", f"{POOLS}?workloadIdentityPoolId={name}", {})
    provider = await site.call("POST", f"{CREATE}={name}", GOOD)

    assert (pool.status_code, provider.status_code) == (400, 400)
    assert "Use 4 to 32 lower-case letters" in pool.text


async def test_what_is_taken_is_a_conflict_and_what_is_absent_not_found(site: Site) -> None:
    await make_pool(site)
    await site.call("POST", f"{CREATE}=builds", GOOD)

    taken = await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", {})
    taken_too = await site.call("POST", f"{CREATE}=builds", GOOD)
    absent = await site.call("POST", f"{CREATE.replace('ci-pool', 'other')}=builds", GOOD)
    unknown = await site.call("GET", POOLS.replace("my-project", "999999999999999999"))

    assert (taken.status_code, taken_too.status_code, absent.status_code) == (409, 409, 404)
    assert unknown.status_code == 404

"""Access tokens: what they hang on, and what narrows them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bonded.server.core.iam import TokenLimits
from bonded.server.identity.tokens import TokenIssuer
from support.site import Site
from support.wheels import make_wheel

READER = "roles/artifactregistry.reader"
HERE = "projects/my-project/locations/local/repositories/python"
ELSEWHERE = "projects/my-project/locations/local/repositories/other"


def issuer_of(site: Site) -> TokenIssuer:
    return TokenIssuer(site.registry.signing_keys, site.clock, timedelta(hours=1))


def admin_token(site: Site, **more: Any) -> str:
    key = site.admin_key
    member, origin = f"serviceAccount:{key['client_email']}", f"key:{key['private_key_id']}"
    return issuer_of(site).issue(member, origin, **more)[0]


LIMITED: dict[str, tuple[TokenLimits, tuple[int, int, int]]] = {
    "nothing": (TokenLimits(), (200, 200, 200)),
    "this repository": (TokenLimits((HERE,)), (200, 200, 403)),
    "reading": (TokenLimits(read_only=True), (200, 403, 200)),
    "reading this repository": (TokenLimits((HERE,), read_only=True), (200, 403, 403)),
    "another repository": (TokenLimits((ELSEWHERE,)), (403, 403, 403)),
}


@pytest.mark.parametrize("title", LIMITED)
async def test_a_token_is_good_within_its_limits_only(site: Site, title: str) -> None:
    limits, expected = LIMITED[title]
    token = admin_token(site, limits=limits)

    read = await site.get(f"{site.repository}/simple/", token)
    written = await site.upload(make_wheel("demo", "1.0"), token)
    above = await site.get("/v1/projects/my-project", token)

    assert (read.status_code, written.status_code, above.status_code) == expected


async def test_a_refusal_says_what_the_token_is_limited_to(site: Site) -> None:
    token = admin_token(site, limits=TokenLimits((HERE,), read_only=True))

    refused = await site.upload(make_wheel("demo", "1.0"), token)

    assert refused.text == (
        "Permission 'artifactregistry.repositories.uploadArtifacts' denied on resource "
        f"'{HERE}': the access token is limited to reading in {HERE}. "
        "Use a token with other limits, or with none.\n"
    )


async def test_a_token_counts_as_the_groups_it_carries(site: Site) -> None:
    key = await site.make_account("member")
    member, origin = f"serviceAccount:{key['client_email']}", f"key:{key['private_key_id']}"
    await site.grant(READER, "group:team@example.com")
    alone, _ = issuer_of(site).issue(member, origin)
    together, _ = issuer_of(site).issue(member, origin, also=["group:team@example.com"])

    refused = await site.get(f"{site.repository}/simple/", alone)
    answered = await site.get(f"{site.repository}/simple/", together)

    assert (refused.status_code, answered.status_code) == (403, 200)


@pytest.mark.parametrize(
    ("member", "origin"),
    [
        ("user:ada@example.com", "nothing:we-know"),
        ("user:ada@example.com", ""),
        ("serviceAccount:somebody@else", "key:{key}"),
        ("serviceAccount:somebody@else", "account:{email}"),
        ("serviceAccount:absent@my-project", "account:absent@my-project"),
        ("serviceAccount:{email}", "key:0000"),
    ],
)
async def test_a_token_without_a_live_origin_proves_nobody(
    site: Site, member: str, origin: str
) -> None:
    names = {"email": site.admin_key["client_email"], "key": site.admin_key["private_key_id"]}
    token, _ = issuer_of(site).issue(member.format(**names), origin.format(**names))

    refused = await site.get(f"{site.repository}/simple/", token)

    assert refused.status_code == 401


async def test_a_token_lives_as_long_as_it_was_asked_to(site: Site) -> None:
    token = admin_token(site, life=timedelta(minutes=15))
    site.clock.forward(minutes=14, seconds=59)
    answered = await site.get(f"{site.repository}/simple/", token)
    site.clock.forward(seconds=1)

    refused = await site.get(f"{site.repository}/simple/", token)

    assert (answered.status_code, refused.status_code) == (200, 401)

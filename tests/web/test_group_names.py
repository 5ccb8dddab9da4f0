"""One name, two places: groups of this server and those of the identity provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.site import Site, open_site

SERVER = "/v1/organizations/bonded"
ADMINS = "group:admins@idp.example"
PROVIDER = {
    "oidc_issuer": "https://idp.example",
    "oidc_client_id": "bonded",
    "oidc_client_secret": "not so secret",
}


async def make_groups_with(site: Site) -> str:
    """Let somebody create groups and nothing else; return their token."""
    key = await site.make_account("group-maker")
    role = {"roleId": "maker", "role": {"includedPermissions": ["bonded.groups.create"]}}
    assert (await site.call("POST", f"{SERVER}/roles", role)).status_code == 200
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("organizations/bonded/roles/maker", member, SERVER)
    return await site.sign_in(key)


async def create(site: Site, address: str, token: str | None = None) -> Any:
    """Create a group."""
    return await site.call("POST", "/v1/groups", {"email": address}, token)


async def test_nobody_becomes_an_owner_by_making_the_provider_s_group(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", **PROVIDER) as site:
        await site.grant("roles/owner", ADMINS, SERVER)
        token = await make_groups_with(site)

        refused = await create(site, "Admins@IdP.example", token)
        other = await create(site, "admins@other.example", token)
        policy = await site.call("POST", f"{SERVER}:getIamPolicy", {}, token)

    assert (refused.status_code, other.status_code, policy.status_code) == (400, 200, 403)
    assert "of the domain of the identity provider's groups" in refused.text


@pytest.mark.parametrize("place", ["a policy", "a group"])
async def test_an_address_that_was_the_provider_s_is_not_taken_while_it_is_named(
    tmp_path: Path, place: str
) -> None:
    async with open_site(tmp_path / "data", **PROVIDER) as site:
        if place == "a policy":
            await site.grant("roles/owner", ADMINS, SERVER)
        else:
            await create(site, "owners@other.example")
            path = "/v1/groups/owners@other.example/members"
            put = await site.call("POST", path, {"member": ADMINS})
            assert put.status_code == 200, put.text

    async with open_site(tmp_path / "data") as site:
        token = await make_groups_with(site)
        refused = await create(site, "admins@idp.example", token)
        near = await create(site, "admin%@idp.example", token)

    assert (refused.status_code, near.status_code) == (409, 200)
    assert "is named by a policy or a group already" in refused.text


async def test_a_policy_names_groups_that_are_absent_of_the_provider_s_domain_only(
    tmp_path: Path,
) -> None:
    answers = []
    async with open_site(tmp_path / "data", **PROVIDER) as site:
        for member in (ADMINS, "group:admins@idp.example.org", "group:admins@sub.idp.example"):
            bindings = [{"role": "roles/artifactregistry.reader", "members": [member]}]
            body = {"policy": {"bindings": bindings}}
            answers.append(await site.call("POST", f"{site.rest}:setIamPolicy", body))

    assert [one.status_code for one in answers] == [200, 400, 400]

"""Whoever asks to be kept from it cannot take the right to set a policy from themselves."""

from __future__ import annotations

from typing import Any

import pytest

from support.site import Site

ORGANIZATION = "/v1/organizations/bonded"
PROJECT = "/v1/projects/my-project"
OWNER = "roles/owner"
ADMIN = "roles/artifactregistry.admin"
ACCOUNT = f"{PROJECT}/serviceAccounts/robot-1@my-project.iam.gserviceaccount.com"
LATER = {"title": "later", "expression": "request.time > timestamp('2999-01-01T00:00:00Z')"}


@pytest.fixture(name="ada")
async def _ada(site: Site) -> tuple[str, str]:
    """Somebody with no role yet: as a member of policies, and their token."""
    key = await site.make_account("ada-smith")
    await site.make_account("robot-1")
    return f"serviceAccount:{key['client_email']}", await site.sign_in(key)


async def read(site: Site, resource: str) -> dict[str, Any]:
    """Read a policy as the administrator."""
    body = {"options": {"requestedPolicyVersion": 3}}
    policy: dict[str, Any] = (await site.call("POST", f"{resource}:getIamPolicy", body)).json()
    return policy


async def write(
    site: Site, resource: str, bindings: list[Any], token: str, **more: object
) -> tuple[int, str]:
    """Replace a policy's bindings; return the status of the answer, and its message."""
    policy = await read(site, resource) | {"bindings": bindings, "version": 3}
    answer = await site.call("POST", f"{resource}:setIamPolicy", {"policy": policy} | more, token)
    return answer.status_code, answer.json().get("error", {}).get("message", "")


@pytest.mark.parametrize(
    ("resource", "role", "permission"),
    [
        (ORGANIZATION, OWNER, "resourcemanager.organizations.setIamPolicy"),
        (PROJECT, OWNER, "resourcemanager.projects.setIamPolicy"),
        (ACCOUNT, "roles/iam.serviceAccountAdmin", "iam.serviceAccounts.setIamPolicy"),
        (
            f"{PROJECT}/locations/local/repositories/python",
            ADMIN,
            "artifactregistry.repositories.setIamPolicy",
        ),
    ],
)
async def test_nobody_locks_themselves_out_unless_they_mean_it(
    site: Site, ada: tuple[str, str], resource: str, role: str, permission: str
) -> None:
    member, token = ada
    before = (await read(site, resource)).get("bindings", [])
    await site.grant(role, member, resource)
    granted = await read(site, resource)

    kept = await write(site, resource, before, token, keepAccess=True)
    unchanged = await read(site, resource)
    meant = await write(site, resource, before, token)
    too_late = await write(site, resource, before, token)

    says = f"take from {member}, who asks for it, the permission '{permission}' on "
    assert kept[0] == 412
    assert f"{says}{resource.removeprefix('/v1/')}: they could not undo it." in kept[1]
    assert unchanged == granted
    assert (meant[0], too_late[0]) == (200, 403)


@pytest.mark.parametrize(
    ("left", "status"),
    [
        ({"role": OWNER}, 200),
        ({"role": "projects/my-project/roles/granter"}, 200),
        ({"role": OWNER, "members": ["group:devs@example.com"]}, 200),
        ({"role": "roles/viewer"}, 412),
        ({"role": OWNER, "members": ["user:bob@example.com"]}, 412),
        ({"role": OWNER, "condition": LATER}, 412),
        ({"role": OWNER, "condition": LATER | {"expression": "true"}}, 200),
    ],
)
async def test_what_is_left_counts_however_it_is_had(
    site: Site, ada: tuple[str, str], left: dict[str, object], status: int
) -> None:
    member, token = ada
    await site.call("POST", "/v1/groups", {"email": "devs@example.com"})
    await site.call("POST", "/v1/groups/devs@example.com/members", {"member": member})
    role = {"includedPermissions": ["resourcemanager.projects.setIamPolicy"]}
    await site.call("POST", f"{PROJECT}/roles", {"roleId": "granter", "role": role})
    await site.grant(OWNER, member, PROJECT)

    answer = await write(site, PROJECT, [{"members": [member], **left}], token, keepAccess=True)

    assert answer[0] == status


async def test_what_a_resource_above_gives_is_kept(site: Site) -> None:
    assert await write(site, PROJECT, [], site.admin, keepAccess=True) == (200, "")


async def test_the_last_owner_is_told_the_way_round_whatever_they_mean(site: Site) -> None:
    for more in ({}, {"keepAccess": True}):
        status, message = await write(site, ORGANIZATION, [], site.admin, **more)

        assert status == 400
        assert message.startswith("This would leave the server without an owner (roles/owner on ")
        assert message.endswith(
            "another service account that is enabled and has a key that is good for another day."
        )


async def test_keep_access_is_a_yes_or_a_no(site: Site) -> None:
    assert await write(site, PROJECT, [], site.admin, keepAccess="yes") == (
        400,
        "keepAccess must be true or false.",
    )

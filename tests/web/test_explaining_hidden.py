"""Why, for whoever may not see everything: nothing is told that they could not read."""

from __future__ import annotations

from typing import Any

import pytest

from support.browsing import invite, join
from support.site import Site

SERVER = "/v1/organizations/bonded"
OTHER = "/v1/projects/other-proj"
ADA, GHOST = "user:ada@example.com", "user:ghost@example.com"
DELETE = "resourcemanager.projects.delete"


@pytest.fixture(name="tenant")
async def _tenant(site: Site) -> str:
    """Return the token of who owns one project and sees nothing else; others own the server."""
    key = await site.make_account("tenant-1")
    assert (await site.call("POST", "/v1/projects", {"projectId": "other-proj"})).is_success
    await site.grant("roles/owner", f"serviceAccount:{key['client_email']}", OTHER)
    await join(site, "ada@example.com")
    await invite(site, "bob@example.com")
    await site.call("POST", "/v1/groups", {"email": "own@example.com"})
    await site.call("POST", "/v1/groups/own@example.com/members", {"member": ADA})
    await site.grant("roles/owner", "group:own@example.com", SERVER)
    return await site.sign_in(key)


async def explain(site: Site, member: str, token: str | None = None) -> Any:
    body = {"principal": member, "permission": DELETE}
    answer = await site.call("POST", f"{OTHER}:troubleshootIamPolicy", body, token)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_whoever_sees_one_project_hears_the_same_of_everybody_it_does_not_name(
    site: Site, tenant: str
) -> None:
    admin = f"serviceAccount:{site.admin_key['client_email']}"
    absent = admin.replace("bonded-admin", "no-such-admin")
    answers = {
        one: await explain(site, one, tenant)
        for one in (ADA, GHOST, "user:bob@example.com", admin, absent)
    }

    ghost, nobody = str(answers[GHOST]), str(answers[absent])
    assert str(answers[ADA]).replace("ada", "ghost") == ghost
    assert str(answers["user:bob@example.com"]).replace("bob", "ghost") == ghost
    assert str(answers[admin]).replace("bonded-admin", "no-such-admin") == nobody
    for one in answers.values():
        assert one["access"] == one["principalState"] == "UNKNOWN_INFO_DENIED"
        assert one["explainedBindings"] == []
        assert "bonded.groups.get on organizations/bonded" in one["deniedPermissions"]
        assert "what you may not see" in one["summary"]


async def test_what_one_may_see_still_answers(site: Site, tenant: str) -> None:
    await site.grant("roles/owner", GHOST, OTHER)

    granted = await explain(site, GHOST, tenant)
    everything = await explain(site, ADA)

    assert (granted["access"], granted["principalState"]) == ("GRANTED", "UNKNOWN_INFO_DENIED")
    assert [one["resource"] for one in granted["explainedBindings"]] == ["projects/other-proj"]
    assert (everything["access"], everything["principalState"]) == ("GRANTED", "ABLE")
    assert everything["explainedBindings"][0]["through"] == ["group:own@example.com"]
    assert "deniedPermissions" not in everything


async def test_who_may_not_see_what_exists_hears_the_same_of_what_does_not(site: Site) -> None:
    key = await site.make_account("helper-1")
    role = {"includedPermissions": ["bonded.policies.troubleshoot"]}
    await site.call("POST", f"{SERVER}/roles", {"roleId": "helper", "role": role})
    assert (await site.call("POST", "/v1/projects", {"projectId": "other-proj"})).is_success
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("organizations/bonded/roles/helper", member, SERVER)
    token = await site.sign_in(key)
    body = {"principal": GHOST, "permission": DELETE}

    answers = [
        await site.call("POST", f"{path}:troubleshootIamPolicy", body, token)
        for path in (OTHER, OTHER.replace("other", "absent"))
    ]
    unheard = await site.call("POST", f"{OTHER}:troubleshootIamPolicy", body, await _nobody(site))

    assert [answer.status_code for answer in answers] == [200, 200]
    texts = [str(answer.json() | {"time": ""}) for answer in answers]
    assert texts[0] == texts[1].replace("absent-proj", "other-proj")
    assert "That is so if projects/other-proj exists, which you may not see." in texts[0]
    assert (unheard.status_code, "(or it may not exist)" in unheard.text) == (403, True)


async def _nobody(site: Site) -> str:
    return await site.sign_in(await site.make_account("nobody-1"))

"""Groups over REST: who is in them, who owns them, how deep they go, and that it bites at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from support.site import Site
from support.wheels import make_wheel

READER = "roles/artifactregistry.reader"
PAGE = "/my-project/python/simple/demo/"


async def make_group(site: Site, name: str) -> str:
    """Make a group; return its path."""
    made = await site.call("POST", "/v1/groups", {"email": f"{name}@example.com"})
    assert made.status_code == 200, made.text
    return f"/v1/groups/{name}@example.com"


async def put(
    site: Site, group: str, member: str, role: str = "MEMBER", token: str | None = None
) -> Any:
    """Put a member into a group."""
    return await site.call("POST", f"{group}/members", {"member": member, "role": role}, token)


async def somebody(site: Site, name: str = "somebody") -> tuple[str, str]:
    """Make an account; return its member and a token."""
    key = await site.make_account(name)
    return f"serviceAccount:{key['client_email']}", await site.sign_in(key)


async def test_a_member_may_what_the_group_may_from_the_next_request_on(site: Site) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    group = await make_group(site, "devs")
    await site.grant(READER, "group:devs@example.com")

    before = await site.get(PAGE, token)
    await put(site, group, member)
    inside = await site.get(PAGE, token)
    await site.call("DELETE", f"{group}/members/{member}")
    after = await site.get(PAGE, token)

    assert (before.status_code, inside.status_code, after.status_code) == (403, 200, 403)


async def test_ten_groups_may_be_in_each_other_and_no_more(site: Site) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    groups = [await make_group(site, f"level-{number}") for number in range(11)]
    await put(site, groups[0], member)
    answers = [
        await put(site, outer, f"group:{inner.rpartition('/')[2]}")
        for inner, outer in pairwise(groups)
    ]
    await site.grant(READER, "group:level-9@example.com")

    assert [answer.status_code for answer in answers] == [200] * 9 + [409]
    assert "up to 10 levels deep; this would make 11" in answers[-1].text
    assert (await site.get(PAGE, token)).status_code == 200


async def test_no_group_is_in_itself_however_far_around(site: Site) -> None:
    first, second = await make_group(site, "first"), await make_group(site, "second")
    await put(site, first, "group:second@example.com")

    around = await put(site, second, "group:first@example.com")
    itself = await put(site, first, "group:first@example.com")

    assert (around.status_code, itself.status_code) == (409, 409)
    assert "group:first@example.com cannot be in group:second@example.com" in around.text


async def test_an_owner_says_who_is_in_the_group_and_nobody_else_does(site: Site) -> None:
    group = await make_group(site, "devs")
    other = await make_group(site, "others")
    owner, token = await somebody(site, "group-owner")
    await put(site, group, owner, "OWNER")
    member, other_token = await somebody(site, "plain-member")

    added = await put(site, group, member, token=token)
    listed = await site.get(f"{group}/members", token)
    statuses = [
        (await put(site, other, member, token=token)).status_code,
        (await put(site, group, owner, token=other_token)).status_code,
        (await site.call("DELETE", group, token=token)).status_code,
        (await site.get("/v1/groups", token)).status_code,
    ]

    assert added.json() == {"member": member, "role": "MEMBER"}
    assert {"member": owner, "role": "OWNER"} in listed.json()["members"]
    assert statuses == [403, 403, 403, 403]


async def test_a_group_made_again_has_none_of_the_old_grants(site: Site) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    group = await make_group(site, "devs")
    await site.grant(READER, "group:devs@example.com")
    await site.call("DELETE", group)

    await put(site, await make_group(site, "devs"), member)

    assert (await site.get(PAGE, token)).status_code == 403


async def test_an_account_that_is_deleted_leaves_its_groups(site: Site) -> None:
    member, _ = await somebody(site)
    group = await make_group(site, "devs")
    await put(site, group, member)

    await site.call("DELETE", f"/v1/projects/my-project/serviceAccounts/{member.split(':')[1]}")

    members = (await site.get(f"{group}/members")).json()["members"]
    assert member not in [one["member"] for one in members]


@pytest.mark.parametrize(
    ("member", "status", "text"),
    [
        ("allUsers", 400, "allUsers cannot be a member of a group"),
        ("ada", 400, "'ada' is not a valid member"),
        ("", 400, "member is missing"),
        ("group:absent@example.com", 400, "group:absent@example.com does not exist"),
        # Whoever makes accounts in that project would be in the group.
        (
            "serviceAccount:ghost@other-proj.iam.gserviceaccount.com",
            400,
            "ghost@other-proj.iam.gserviceaccount.com does not exist. Create it first",
        ),
    ],
)
async def test_what_cannot_be_a_member_is_refused(
    site: Site, member: str, status: int, text: str
) -> None:
    group = await make_group(site, "devs")

    answer = await put(site, group, member)

    assert (answer.status_code, text in answer.text) == (status, True)


async def test_a_group_is_there_once_and_has_an_address(site: Site) -> None:
    await make_group(site, "devs")

    again = await site.call("POST", "/v1/groups", {"email": "Devs@example.com"})
    nameless = await site.call("POST", "/v1/groups", {"email": "devs"})

    assert (again.status_code, nameless.status_code) == (409, 400)


async def test_whoever_owns_the_project_owns_what_names_them_so(site: Site) -> None:
    member, token = await somebody(site)
    await site.grant("roles/viewer", member, "/v1/projects/my-project")
    delete = "artifactregistry.repositories.delete"

    async def held() -> Any:
        asked = {"permissions": [delete]}
        return (await site.call("POST", f"{site.rest}:testIamPermissions", asked, token)).json()

    before = await held()
    await site.grant("roles/artifactregistry.admin", "projectViewer:my-project")
    after = await held()
    elsewhere = await site.call(
        "POST",
        f"{site.rest}:setIamPolicy",
        {"policy": {"bindings": [{"role": READER, "members": ["projectOwner:other-project"]}]}},
    )

    assert (before, after) == ({}, {"permissions": [delete]})
    assert "may be named only below projects/other-project" in elsewhere.text

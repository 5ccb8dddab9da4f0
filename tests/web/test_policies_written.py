"""What may be written into a policy, and what whoever writes is kept from doing to themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from bonded.server.core.iam import Binding, Policy
from bonded.server.metadata.groups import Membership
from support.site import Site, open_site

PROJECT = "/v1/projects/my-project"
WRITER = "roles/artifactregistry.writer"
READER = "roles/artifactregistry.reader"
PICKER = "projects/my-project/roles/picker"
GROUP = "/v1/groups/devs@example.com"
ROBOT = "serviceAccount:robot-1@my-project.iam.gserviceaccount.com"


async def write(site: Site, *bindings: dict[str, Any], path: str = "") -> httpx2.Response:
    """Replace the repository's policy."""
    policy = {"version": 3, "bindings": list(bindings)}
    return await site.call("POST", f"{path or site.rest}:setIamPolicy", {"policy": policy})


def bind(role: str, *members: str, expression: str = "") -> dict[str, Any]:
    condition = {"condition": {"title": "t", "expression": expression}} if expression else {}
    return {"role": role, "members": list(members)} | condition


def message(answer: httpx2.Response) -> str:
    text: str = answer.json()["error"]["message"]
    return text


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        (bind(READER, ROBOT), f"{ROBOT} does not exist. Create it first"),
        (bind(READER, "group:none@example.com"), "group:none@example.com does not exist. Create"),
        (bind("roles/artifactregistry.raeder", "allUsers"), f"exist. Did you mean {READER}?"),
        (bind("roles/king", "allUsers"), "exist. Use a predefined role"),
        (
            bind(READER, "allUsers", expression="inIpRange(request.ip, '10.0.0/8')"),
            "inIpRange asks about '10.0.0/8', which is no network. Write it as in 10.0.0.0/8",
        ),
        (
            bind(READER, "allUsers", expression='true || inIpRange((request.ip), r"localhost")'),
            "inIpRange asks about 'localhost', which is no network",
        ),
    ],
)
async def test_what_does_not_exist_is_refused_by_name(
    shared: Site, binding: dict[str, Any], says: str
) -> None:
    answer = await write(shared, binding)

    assert answer.status_code == 400
    assert says in message(answer)


@pytest.mark.parametrize(
    "binding",
    [
        bind(READER, "user:invited-later@example.com"),
        bind(READER, "domain:example.com"),
        bind(READER, "allUsers", expression="inIpRange(request.ip, '2001:db8::/32')"),
        bind(READER, "allUsers", expression="inIpRange(request.ip, '10.1.2.3')"),
    ],
)
async def test_who_may_come_later_can_be_granted_something(
    shared: Site, binding: dict[str, Any]
) -> None:
    assert (await write(shared, binding)).status_code == 200


async def test_groups_of_a_provider_need_not_be_known_here(tmp_path: Path) -> None:
    async with open_site(
        tmp_path / "data",
        oidc_issuer="https://id.example",
        oidc_client_id="bonded",
        oidc_client_secret="of the registry",
    ) as site:
        theirs = await write(site, bind(READER, "group:team@id.example"))
        nobody = await write(site, bind(READER, ROBOT))

    assert (theirs.status_code, nobody.status_code) == (200, 400)


async def test_a_role_that_was_deleted_keeps_nothing_else_from_being_changed(site: Site) -> None:
    role = {"includedPermissions": ["artifactregistry.repositories.get"]}
    await site.call("POST", f"{PROJECT}/roles", {"roleId": "picker", "role": role})
    await site.make_account("robot-1")
    old = bind(PICKER, "user:ada@example.com")
    before = await write(site, old)
    await site.call("DELETE", f"{PROJECT}/roles/picker")

    beside = await write(site, old, bind(READER, ROBOT))
    more = await write(site, bind(PICKER, "user:ada@example.com", ROBOT))
    without = await write(site, bind(READER, ROBOT))
    again = await write(site, old)

    statuses = [one.status_code for one in (before, beside, more, without, again)]
    assert statuses == [200, 200, 400, 200, 400]
    assert f"Role {PICKER} does not exist" in message(more)


STORED = "user:a;id@x.example"
"""Whom an older server took, and this one refuses."""


async def test_a_member_whom_an_older_server_took_keeps_nothing_else_from_being_changed(
    site: Site,
) -> None:
    resource = site.rest.removeprefix("/v1/")
    async with site.registry.metadata.transaction() as tx:
        await tx.policies.set(Policy(resource, (Binding(READER, (STORED,)),)))

    beside = await write(site, bind(READER, STORED.upper().replace("USER", "user"), "allUsers"))
    moved = await write(site, bind(WRITER, STORED), bind(READER, "user:o'brien@x.example"))
    other = await write(site, bind(READER, STORED, "user:b;id@x.example"))
    without = await write(site, bind(READER, "allUsers"))
    again = await write(site, bind(READER, STORED))

    statuses = [one.status_code for one in (beside, moved, other, without, again)]
    assert statuses == [200, 200, 400, 200, 400]
    assert beside.json()["bindings"][0]["members"] == [STORED, "allUsers"]
    assert "'user:b;id@x.example' is not a valid member. Use user:ADDRESS" in message(other)


async def test_a_member_whom_an_older_server_took_can_be_taken_out_of_a_group(site: Site) -> None:
    await site.call("POST", "/v1/groups", {"email": "devs@example.com"})
    async with site.registry.metadata.transaction() as tx:
        await tx.groups.put_member("devs@example.com", Membership(STORED, is_owner=False))
    path = f"{GROUP}/members/{quote(STORED)}"

    refused = await site.call("POST", f"{GROUP}/members", {"member": STORED})
    answers = [await site.call("DELETE", path) for _ in range(2)]
    never = await site.call("DELETE", f"{GROUP}/members/user:a%00@x.example")
    left = await site.call("GET", f"{GROUP}/members")

    statuses = [one.status_code for one in (refused, *answers, never)]
    assert statuses == [400, 200, 404, 400]
    assert STORED not in left.text


async def test_a_permission_that_is_misspelt_is_guessed(shared: Site) -> None:
    role = {"includedPermissions": ["artifactregistry.repository.get"]}

    answer = await shared.call("POST", f"{PROJECT}/roles", {"roleId": "typo", "role": role})

    assert message(answer).endswith("Did you mean artifactregistry.repositories.get?")


@pytest.fixture(name="grace")
async def _grace(site: Site) -> tuple[str, str]:
    """Somebody who owns a group, and has a role by which they change it: a member, and a token."""
    key = await site.make_account("grace-h")
    member = f"serviceAccount:{key['client_email']}"
    await site.call("POST", "/v1/groups", {"email": "devs@example.com"})
    await site.call("POST", f"{GROUP}/members", {"member": member, "role": "OWNER"})
    held = {"includedPermissions": ["iam.roles.update", "iam.roles.delete", "iam.roles.undelete"]}
    await site.call("POST", f"{PROJECT}/roles", {"roleId": "picker", "role": held})
    await site.grant(PICKER, "group:devs@example.com", PROJECT)
    return member, await site.sign_in(key)


@pytest.mark.parametrize("act", ["leave", "delete the role", "change the role"])
async def test_nobody_takes_from_themselves_what_they_could_not_take_back(
    site: Site, grace: tuple[str, str], act: str
) -> None:
    member, token = grace
    requests: dict[str, tuple[str, str, object]] = {
        "leave": ("DELETE", f"{GROUP}/members/{member}", None),
        "delete the role": ("DELETE", f"{PROJECT}/roles/picker", None),
        "change the role": (
            "PATCH",
            f"{PROJECT}/roles/picker?updateMask=includedPermissions",
            {"includedPermissions": []},
        ),
    }
    method, path, body = requests[act]
    joined = "&" if "?" in path else "?"

    kept = await site.call(method, f"{path}{joined}keepAccess=true", body, token)
    wrong = await site.call(method, f"{path}{joined}keepAccess=maybe", body, token)
    by_admin = await site.call("GET", f"{PROJECT}/roles/picker")
    meant = await site.call(method, path, body, token)
    too_late = await site.call(method, path, body, token)

    assert (kept.status_code, wrong.status_code) == (412, 400)
    assert f"take from {member}, who asks for it, the permission" in message(kept)
    assert by_admin.json()["includedPermissions"]
    assert (meant.status_code, too_late.status_code) == (200, 403)


async def test_who_keeps_access_from_elsewhere_is_not_stopped(
    site: Site, grace: tuple[str, str]
) -> None:
    member, _ = grace

    answers = [
        await site.call("DELETE", f"{path}?keepAccess=true")
        for path in (f"{GROUP}/members/{member}", GROUP, f"{PROJECT}/roles/picker")
    ]

    assert [one.status_code for one in answers] == [200] * 3


async def test_a_group_is_put_into_another_by_who_may_see_it(
    site: Site, grace: tuple[str, str]
) -> None:
    member, token = grace
    await site.call("POST", "/v1/groups", {"email": "hidden@example.com"})
    await site.call("POST", "/v1/groups", {"email": "own@example.com"})
    own = {"member": member, "role": "OWNER"}
    await site.call("POST", "/v1/groups/own@example.com/members", own)

    answers = {
        name: await site.call(
            "POST", f"{GROUP}/members", {"member": f"group:{name}@example.com"}, token
        )
        for name in ("hidden", "absent", "own")
    }

    assert [one.status_code for one in answers.values()] == [403, 403, 200]
    hidden, absent = (message(answers[name]) for name in ("hidden", "absent"))
    assert hidden.replace("hidden", "absent") == absent


async def test_nothing_is_kept_that_nobody_had_before(site: Site) -> None:
    key = await site.make_account("linus-1")
    member, token = f"serviceAccount:{key['client_email']}", await site.sign_in(key)
    await site.call("POST", "/v1/groups", {"email": "own@example.com"})
    remover = {"roleId": "remover", "role": {"includedPermissions": ["bonded.groups.delete"]}}
    await site.call("POST", "/v1/organizations/bonded/roles", remover)
    await site.grant("organizations/bonded/roles/remover", member, "/v1/organizations/bonded")
    for name, held in (("old", ["artifactregistry.files.get"]), ("deleter", ["iam.roles.delete"])):
        body = {"roleId": name, "role": {"includedPermissions": held}}
        await site.call("POST", f"{PROJECT}/roles", body)
    await site.grant("projects/my-project/roles/deleter", member, PROJECT)

    # They may delete both, and could neither make the group again nor undelete the role before.
    group = await site.call("DELETE", "/v1/groups/own@example.com?keepAccess=true", None, token)
    role = await site.call("DELETE", f"{PROJECT}/roles/old?keepAccess=true", None, token)

    assert (group.status_code, role.status_code) == (200, 200), group.text + role.text

    # The role by which they delete roles is another matter.
    own = await site.call("DELETE", f"{PROJECT}/roles/deleter?keepAccess=true", None, token)

    assert own.status_code == 412, own.text

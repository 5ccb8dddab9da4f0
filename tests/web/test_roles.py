"""Custom roles, and the answer to why somebody may or may not."""

from __future__ import annotations

from typing import Any

import pytest

from support.browsing import join
from support.site import Site
from support.wheels import make_wheel

DOWNLOAD = "artifactregistry.repositories.downloadArtifacts"
UPLOAD = "artifactregistry.repositories.uploadArtifacts"
PROJECT = "/v1/projects/my-project"
ORGANIZATION = "/v1/organizations/bonded"
PAGE = "/my-project/python/simple/demo/"


async def make_role(site: Site, parent: str = PROJECT, *permissions: str) -> Any:
    """Create the role `picker`."""
    role = {"title": "Picker", "includedPermissions": list(permissions or (DOWNLOAD,))}
    return await site.call("POST", f"{parent}/roles", {"roleId": "picker", "role": role})


async def somebody(site: Site) -> tuple[str, str]:
    """Make an account; return its member and a token."""
    key = await site.make_account("somebody")
    return f"serviceAccount:{key['client_email']}", await site.sign_in(key)


@pytest.mark.parametrize("parent", [PROJECT, ORGANIZATION])
async def test_a_role_counts_as_it_is_now_wherever_it_is_bound(site: Site, parent: str) -> None:
    await site.upload(make_wheel())
    member, token = await somebody(site)
    made = await make_role(site, parent)
    path = f"{parent}/roles/picker"
    await site.grant(path.removeprefix("/v1/"), member)

    async def status() -> int:
        return (await site.get(PAGE, token)).status_code

    statuses = [await status()]
    for method, where, body in (
        ("PATCH", f"{path}?updateMask=includedPermissions", {"includedPermissions": [UPLOAD]}),
        ("PATCH", f"{path}?updateMask=includedPermissions", {"includedPermissions": [DOWNLOAD]}),
        ("DELETE", path, None),
        ("POST", f"{path}:undelete", {}),
        ("PATCH", f"{path}?updateMask=stage", {"stage": "DISABLED"}),
    ):
        changed = await site.call(method, where, body)
        assert changed.status_code == 200, changed.text
        statuses.append(await status())

    assert made.json()["includedPermissions"] == [DOWNLOAD]
    assert statuses == [200, 403, 200, 403, 200, 403]


async def test_roles_are_listed_without_those_that_are_deleted(site: Site) -> None:
    await make_role(site)

    listed = (await site.get(f"{PROJECT}/roles")).json()["roles"]
    await site.call("DELETE", f"{PROJECT}/roles/picker")
    left = (await site.get(f"{PROJECT}/roles")).json()
    shown = (await site.get(f"{PROJECT}/roles?showDeleted=true&view=FULL")).json()["roles"]

    assert [role["name"] for role in listed] == ["projects/my-project/roles/picker"]
    assert left == {"roles": []}
    assert [(role["deleted"], role["includedPermissions"]) for role in shown] == [
        (True, [DOWNLOAD])
    ]


async def test_predefined_roles_are_told_to_everybody(site: Site) -> None:
    listed = (await site.get("/v1/roles", "")).json()["roles"]
    reader = (await site.get("/v1/roles/artifactregistry.reader", "")).json()
    absent = await site.get("/v1/roles/absent", "")

    assert "roles/artifactregistry.reader" in [role["name"] for role in listed]
    assert DOWNLOAD in reader["includedPermissions"]
    assert absent.status_code == 404


@pytest.mark.parametrize(
    ("role_id", "role", "status", "text"),
    [
        ("x", {}, 400, "'x' is not a valid id of a role"),
        ("a-b-c", {}, 400, "'a-b-c' is not a valid id of a role"),
        ("good", {"includedPermissions": ["a.b.c"]}, 400, "Permission 'a.b.c' does not exist"),
        ("good", {"includedPermissions": "all"}, 400, "includedPermissions must be a list"),
        ("good", {"stage": "soon"}, 400, "stage must be one of"),
        ("good", {"title": "x" * 101}, 400, "A role's title may have 100 characters"),
        ("picker", {}, 409, "already exists"),
    ],
)
async def test_a_wrong_role_is_refused(
    site: Site, role_id: str, role: dict[str, Any], status: int, text: str
) -> None:
    await make_role(site)

    answer = await site.call("POST", f"{PROJECT}/roles", {"roleId": role_id, "role": role})

    assert (answer.status_code, text in answer.text) == (status, True), answer.text


async def test_a_role_changed_meanwhile_is_not_overwritten(site: Site) -> None:
    stale = (await make_role(site)).json()
    path = f"{PROJECT}/roles/picker"
    await site.call("PATCH", f"{path}?updateMask=title", {"title": "Other"})

    answer = await site.call("PATCH", f"{path}?updateMask=title", stale)

    assert (answer.status_code, answer.json()["error"]["status"]) == (409, "ABORTED")


async def test_a_project_s_role_counts_in_that_project_and_only_if_it_exists(site: Site) -> None:
    await make_role(site)
    await site.call("POST", "/v1/projects", {"projectId": "other-project"})

    def bind(resource: str, role: str) -> Any:
        bindings = [{"role": role, "members": ["user:ada@example.com"]}]
        body = {"policy": {"bindings": bindings}}
        return site.call("POST", f"{resource}:setIamPolicy", body)

    elsewhere = await bind("/v1/projects/other-project", "projects/my-project/roles/picker")
    absent = await bind(PROJECT, "projects/my-project/roles/absent")

    assert (elsewhere.status_code, absent.status_code) == (400, 400)
    assert "does not exist, or not for projects/other-project" in elsewhere.text


async def explain(site: Site, member: str, permission: str = DOWNLOAD, **request: str) -> Any:
    """Ask why."""
    body = {"principal": member, "permission": permission, "request": request}
    return (await site.call("POST", f"{site.rest}:troubleshootIamPolicy", body)).json()


async def test_why_names_binding_group_role_and_condition(site: Site) -> None:
    ada = "user:ada@example.com"
    await join(site, "ada@example.com")
    for name in ("devs", "all"):
        await site.call("POST", "/v1/groups", {"email": f"{name}@example.com"})
    await site.call("POST", "/v1/groups/devs@example.com/members", {"member": ada})
    await site.call(
        "POST", "/v1/groups/all@example.com/members", {"member": "group:devs@example.com"}
    )
    nobody = await explain(site, ada)
    await site.grant("roles/bonded.uploader", ada, PROJECT)
    lacks = await explain(site, ada)
    condition = {"title": "ours", "expression": 'resource.package.startsWith("acme-")'}
    reader = "roles/artifactregistry.reader"
    await site.grant(reader, "group:all@example.com", None, condition)
    fails = await explain(site, ada, time="2026-01-01T00:00:00Z", package="demo")
    holds = await explain(site, ada, time="2026-01-01T00:00:00Z", package="Acme_x")

    assert "no binding here or above names them" in nobody["summary"]
    assert "none of the roles they have here holds the permission" in lacks["summary"]
    assert lacks["explainedBindings"][0]["rolePermission"] == "NOT_INCLUDED"
    assert reader in lacks["rolesWithPermission"]
    assert "has a condition that fails" in fails["summary"]
    (failed,) = [one for one in fails["explainedBindings"] if one["role"] == reader]
    assert failed["through"] == ["group:devs@example.com", "group:all@example.com"]
    assert failed["conditions"][0]["result"] == "FALSE"
    assert "is false" in failed["conditions"][0]["reason"]
    assert (fails["access"], holds["access"]) == ("NOT_GRANTED", "GRANTED")
    assert f"{reader} on projects/my-project/locations/local" in holds["summary"]


async def test_why_is_asked_about_a_principal_and_a_permission_that_exist(site: Site) -> None:
    wrong = await explain(site, "user:ada@example.com", "a.b.c")
    nobody = await explain(site, "ada")
    late = await explain(site, "allUsers", time="soon")

    assert "No route asks for the permission 'a.b.c'" in wrong["error"]["message"]
    assert "'ada' is not a valid member" in nobody["error"]["message"]
    assert "request.time 'soon' is no time" in late["error"]["message"]

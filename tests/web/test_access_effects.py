"""What a grant and its end do: at once, on its resource and below, and to nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.site import Site, basic
from support.wheels import make_wheel

ORGANIZATION = "/v1/organizations/bonded"
PROJECT = "/v1/projects/my-project"
REPOSITORY = "/v1/projects/my-project/locations/local/repositories/python"
ACCOUNT = "/v1/projects/my-project/serviceAccounts/bonded-admin@my-project.iam.gserviceaccount.com"
READER = "roles/artifactregistry.reader"


@pytest.mark.parametrize("resource", ["repository", "project", "server"])
async def test_a_binding_counts_on_its_resource_and_below_and_ends_at_once(
    site: Site, resource: str
) -> None:
    await site.upload(make_wheel())
    path = {"repository": site.rest, "project": PROJECT, "server": "/v1/organizations/bonded"}
    key = await site.make_account("reader-1")
    token = await site.sign_in(key)
    page = f"{site.repository}/simple/demo/"
    policy: dict[str, Any] = (await site.call("POST", f"{path[resource]}:getIamPolicy")).json()

    before = await site.get(page, token=token)
    await site.grant(READER, f"serviceAccount:{key['client_email']}", path[resource])
    granted = await site.get(page, token=token)
    del policy["etag"]
    await site.call("POST", f"{path[resource]}:setIamPolicy", {"policy": policy})
    revoked = await site.get(page, token=token)

    assert (before.status_code, granted.status_code, revoked.status_code) == (403, 200, 403)


@pytest.mark.parametrize("what", ["key", "account"])
@pytest.mark.parametrize("credential", ["token", "key file"])
async def test_deleting_a_key_or_account_bites_on_the_next_request(
    site: Site, what: str, credential: str
) -> None:
    key = await site.make_account("reader-1")
    await site.grant(READER, f"serviceAccount:{key['client_email']}")
    if credential == "token":
        header = f"Bearer {await site.sign_in(key)}"
    else:
        header = basic("_json_key", json.dumps(key))
    path = f"{PROJECT}/serviceAccounts/{key['client_email']}"
    path += f"/keys/{key['private_key_id']}" if what == "key" else ""

    before = await site.http.get(f"{site.repository}/simple/", headers={"authorization": header})
    await site.call("DELETE", path)
    after = await site.http.get(f"{site.repository}/simple/", headers={"authorization": header})

    assert (before.status_code, after.status_code) == (200, 401)


async def test_an_account_made_again_does_not_inherit_its_predecessor_s_token(site: Site) -> None:
    key = await site.make_account("reader-1")
    token = await site.sign_in(key)
    await site.grant(READER, f"serviceAccount:{key['client_email']}")
    await site.call("DELETE", f"{PROJECT}/serviceAccounts/{key['client_email']}")

    await site.make_account("reader-1")

    assert (await site.get(site.rest, token=token)).status_code == 401


async def test_what_is_public_needs_no_credential_and_what_all_know_needs_any(site: Site) -> None:
    await site.upload(make_wheel())
    token = await site.sign_in(await site.make_account("somebody"))
    page = f"{site.repository}/simple/demo/"

    await site.grant(READER, "allAuthenticatedUsers")
    known = [(await site.get(page, token=one)).status_code for one in ("", token)]
    await site.grant(READER, "allUsers")
    public = [(await site.get(page, token=one)).status_code for one in ("", token)]

    assert (known, public) == ([401, 200], [200, 200])


async def test_a_refusal_names_principal_permission_and_resource(site: Site) -> None:
    key = await site.make_account("somebody")
    token = await site.sign_in(key)

    data = await site.get(f"{site.repository}/simple/", token=token)
    control = await site.call("DELETE", PROJECT, token=token)

    assert data.text == (
        "Permission 'artifactregistry.repositories.downloadArtifacts' denied on resource "
        "'//artifactregistry.googleapis.com/projects/my-project/locations/local/repositories/"
        "python' (or it may not exist) for "
        "serviceAccount:somebody@my-project.iam.gserviceaccount.com.\n"
    )
    assert control.json()["error"] == {
        "code": 403,
        "status": "PERMISSION_DENIED",
        "message": (
            "Permission 'resourcemanager.projects.delete' denied on resource "
            "'//cloudresourcemanager.googleapis.com/projects/my-project' (or it may not exist) "
            "for serviceAccount:somebody@my-project.iam.gserviceaccount.com."
        ),
        "details": [],
    }


async def test_what_is_absent_looks_the_same_as_what_is_hidden(site: Site) -> None:
    token = await site.sign_in(await site.make_account("somebody"))

    hidden = await site.get(f"{site.repository}/simple/", token=token)
    absent = await site.get("/my-project/absent/simple/", token=token)

    assert (hidden.status_code, absent.status_code) == (403, 403)
    assert absent.text == hidden.text.replace("/python'", "/absent'")


async def test_an_encoded_slash_cannot_move_the_question_to_another_resource(site: Site) -> None:
    key = await site.make_account("other-admin")
    token = await site.sign_in(key)
    await site.call("POST", "/v1/projects", {"projectId": "other-project"})
    await site.grant(
        "roles/owner", f"serviceAccount:{key['client_email']}", "/v1/projects/other-project"
    )

    for path in (
        "/other-project%2F..%2Fmy-project/python/simple/",
        "/other-project/..%2F..%2Fmy-project%2Fpython/simple/",
        "/other-project/../my-project/python/simple/",
        "/my-project/python%2F..%2Fother/simple/",
        "/other-project/%252e%252e/python/simple/",
    ):
        answer = await site.get(path, token=token)
        assert answer.status_code in (403, 404), path


async def test_a_project_made_again_gives_its_accounts_none_of_the_old_grants(site: Site) -> None:
    await site.call("POST", "/v1/projects", {"projectId": "tenant-a"})
    key = await site.make_account("deployer", "tenant-a")
    await site.grant("roles/owner", f"serviceAccount:{key['client_email']}", ORGANIZATION)
    deleted = await site.call("DELETE", "/v1/projects/tenant-a")
    await site.call("POST", "/v1/projects", {"projectId": "tenant-a"})

    reborn = await site.sign_in(await site.make_account("deployer", "tenant-a"))

    answer = await site.get(f"{ORGANIZATION}:getIamPolicy", reborn)
    assert (deleted.status_code, answer.status_code) == (200, 403)


async def test_the_last_owner_of_the_server_cannot_be_lost(site: Site) -> None:
    admin = site.admin_key["client_email"]
    policy = (await site.get(f"{ORGANIZATION}:getIamPolicy")).json()

    by_policy = await site.call(
        "POST", f"{ORGANIZATION}:setIamPolicy", {"policy": policy | {"bindings": []}}
    )
    account = f"/v1/projects/my-project/serviceAccounts/{admin}"
    by_account = await site.call("DELETE", account)
    by_key = await site.call("DELETE", f"{account}/keys/{site.admin_key['private_key_id']}")

    for refused in (by_policy, by_account, by_key):
        assert refused.status_code == 400
        assert "without an owner" in refused.json()["error"]["message"]
    assert (await site.get(f"{ORGANIZATION}:getIamPolicy")).json() == policy


async def test_an_owner_may_go_when_another_one_stays(site: Site) -> None:
    key = await site.make_account("second-owner")
    await site.grant("roles/owner", f"serviceAccount:{key['client_email']}", ORGANIZATION)
    second = await site.sign_in(key)
    admin = site.admin_key["client_email"]

    deleted = await site.call(
        "DELETE", f"/v1/projects/my-project/serviceAccounts/{admin}", token=second
    )

    assert deleted.status_code == 200
    assert (await site.get(f"{ORGANIZATION}:getIamPolicy")).status_code == 401
    assert (await site.get(f"{ORGANIZATION}:getIamPolicy", second)).status_code == 200


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers"])
@pytest.mark.parametrize(
    ("resource", "role", "status"),
    [
        (ACCOUNT, "roles/iam.serviceAccountTokenCreator", 400),
        (ACCOUNT, "roles/iam.workloadIdentityUser", 400),
        (ACCOUNT, "roles/iam.serviceAccountKeyAdmin", 400),
        (ORGANIZATION, "roles/owner", 400),
        (ORGANIZATION, "roles/editor", 400),
        ("/v1/projects/my-project", "roles/iam.serviceAccountTokenCreator", 400),
        ("/v1/projects/my-project", "projects/my-project/roles/looker", 400),
        (REPOSITORY, "roles/artifactregistry.admin", 400),
        (REPOSITORY, "roles/artifactregistry.repoAdmin", 400),
        (REPOSITORY, "roles/artifactregistry.reader", 200),
    ],
)
async def test_everybody_can_only_be_let_read(
    site: Site, member: str, resource: str, role: str, status: int
) -> None:
    held = {"includedPermissions": ["artifactregistry.repositories.get"]}
    await site.call("POST", "/v1/projects/my-project/roles", {"roleId": "looker", "role": held})
    policy = (await site.call("POST", f"{resource}:getIamPolicy", {})).json()
    policy["bindings"] = [*policy.get("bindings", []), {"role": role, "members": [member]}]

    answer = await site.call("POST", f"{resource}:setIamPolicy", {"policy": policy})

    assert answer.status_code == status
    if status == 400:
        assert f"{member} cannot have {role}" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "role",
    [
        "roles/viewer",
        "roles/logging.viewer",
        "roles/iam.serviceAccountViewer",
        "roles/bonded.groupViewer",
        "roles/artifactregistry.viewer",
    ],
)
@pytest.mark.parametrize(("member", "status"), [("allUsers", 400), ("allAuthenticatedUsers", 200)])
async def test_who_is_nobody_reads_packages_and_nothing_else(
    site: Site, role: str, member: str, status: int
) -> None:
    policy = (await site.call("POST", f"{ORGANIZATION}:getIamPolicy", {})).json()
    policy["bindings"] = [*policy["bindings"], {"role": role, "members": [member]}]

    answer = await site.call("POST", f"{ORGANIZATION}:setIamPolicy", {"policy": policy})

    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("member", "status"), [("allUsers", 400), ("allAuthenticatedUsers", 200)])
async def test_only_who_has_signed_in_can_be_let_upload_with_everybody(
    site: Site, member: str, status: int
) -> None:
    bindings = [{"role": "roles/artifactregistry.writer", "members": [member]}]

    answer = await site.call(
        "POST", f"{REPOSITORY}:setIamPolicy", {"policy": {"bindings": bindings}}
    )

    assert answer.status_code == status


async def test_the_policy_of_a_repository_does_not_come_back_by_its_etag(site: Site) -> None:
    await site.grant(READER, "allUsers")
    old = (await site.call("POST", f"{site.rest}:getIamPolicy", {})).json()
    await site.delete_repository()
    repositories = site.rest.rpartition("/")[0]
    made = await site.call("POST", f"{repositories}?repositoryId=python", {"format": "PYTHON"})
    assert made.status_code == 200, made.text

    stale = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": old})
    fresh = (await site.call("POST", f"{site.rest}:getIamPolicy", {})).json()
    again = await site.call(
        "POST", f"{site.rest}:setIamPolicy", {"policy": old | {"etag": fresh["etag"]}}
    )

    assert (stale.status_code, again.status_code) == (409, 200)

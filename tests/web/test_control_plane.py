"""The control plane over REST: repositories, projects, accounts, policies, in Google's words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from dirty_equals import IsStr
from inline_snapshot import snapshot

from support.site import Site
from support.wheels import make_wheel

PROJECT = "/v1/projects/my-project"
REPOSITORIES = f"{PROJECT}/locations/local/repositories"
ADMIN = "bonded-admin@my-project.iam.gserviceaccount.com"


def redacted(value: object) -> Any:
    """Return JSON without what differs every time: ids, numbers, etags, keys."""
    if isinstance(value, dict):
        return {key: redacted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [redacted(one) for one in value]
    if isinstance(value, str):
        value = value.replace("my-project.iam.gserviceaccount.com", "DOMAIN")
        value = value.replace("projects/my-project/locations/local/repositories", "REPOSITORIES")
        value = re.sub(r"\b[0-9a-f]{24,40}\b", "HEX", value)
        value = re.sub(r"\b1?\d{12,20}\b", "NUMBER", value)
        return re.sub(r"^[A-Za-z0-9+/]{11}=$", "ETAG", value)
    return value


async def test_a_repository_s_whole_life(site: Site) -> None:
    created = await site.call(
        "POST",
        f"{REPOSITORIES}?repositoryId=team",
        {"format": "PYTHON", "description": "Ours", "labels": {"team": "core"}},
    )
    site.clock.forward(hours=1)
    site.admin = await site.sign_in(site.admin_key)
    updated = await site.call(
        "PATCH", f"{REPOSITORIES}/team?updateMask=description", {"description": "Yours"}
    )
    shown = await site.call("GET", f"{REPOSITORIES}/team")
    deleted = await site.call("DELETE", f"{REPOSITORIES}/team")
    gone = await site.call("GET", f"{REPOSITORIES}/team")

    assert redacted(created.json()) == snapshot(
        {
            "name": "projects/my-project/locations/local/operations/HEX",
            "metadata": {
                "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"
            },
            "done": True,
            "response": {
                "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.Repository",
                "name": "REPOSITORIES/team",
                "format": "PYTHON",
                "mode": "STANDARD_REPOSITORY",
                "description": "Ours",
                "labels": {"team": "core"},
                "createTime": "2026-11-22T12:00:00.000000Z",
                "updateTime": "2026-11-22T12:00:00.000000Z",
                "sizeBytes": "0",
                "registryUri": "registry.test/my-project/team",
            },
        }
    )
    assert updated.json() == shown.json()
    assert redacted(shown.json()) == snapshot(
        {
            "name": "REPOSITORIES/team",
            "format": "PYTHON",
            "mode": "STANDARD_REPOSITORY",
            "description": "Yours",
            "labels": {"team": "core"},
            "createTime": "2026-11-22T12:00:00.000000Z",
            "updateTime": "2026-11-22T13:00:00.000000Z",
            "sizeBytes": "0",
            "registryUri": "registry.test/my-project/team",
        }
    )
    assert redacted(deleted.json()) == snapshot(
        {
            "name": "projects/my-project/locations/local/operations/HEX",
            "metadata": {
                "@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"
            },
            "done": True,
            "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
        }
    )
    assert gone.status_code == 404
    assert redacted(gone.json()["error"]) == snapshot(
        {
            "code": 404,
            "message": "Repository REPOSITORIES/team does not exist.",
            "status": "NOT_FOUND",
            "details": [],
        }
    )


async def test_a_project_s_whole_life(site: Site) -> None:
    created = await site.call(
        "POST", "/v1/projects", {"projectId": "second", "name": "The second", "labels": {"a": "b"}}
    )
    shown = await site.call("GET", "/v1/projects/second")
    listed = await site.call("GET", "/v1/projects")
    deleted = await site.call("DELETE", "/v1/projects/second")
    gone = await site.call("GET", "/v1/projects/second")

    assert redacted(created.json()) == snapshot(
        {
            "name": "operations/HEX",
            "metadata": {
                "@type": "type.googleapis.com/google.cloudresourcemanager.v1.ProjectCreationStatus"
            },
            "done": True,
            "response": {
                "@type": "type.googleapis.com/google.cloudresourcemanager.v1.Project",
                "projectNumber": "NUMBER",
                "projectId": "second",
                "lifecycleState": "ACTIVE",
                "name": "The second",
                "createTime": "2026-11-22T12:00:00.000000Z",
                "labels": {"a": "b"},
            },
        }
    )
    assert redacted(shown.json()) == snapshot(
        {
            "projectNumber": "NUMBER",
            "projectId": "second",
            "lifecycleState": "ACTIVE",
            "name": "The second",
            "createTime": "2026-11-22T12:00:00.000000Z",
            "labels": {"a": "b"},
        }
    )
    assert [one["projectId"] for one in listed.json()["projects"]] == ["my-project", "second"]
    assert (deleted.status_code, deleted.json()) == (200, {})
    assert gone.status_code == 404


async def test_an_account_s_and_a_key_s_whole_life(site: Site) -> None:
    accounts = f"{PROJECT}/serviceAccounts"
    created = await site.call(
        "POST",
        accounts,
        {"accountId": "robot-1", "serviceAccount": {"displayName": "R", "description": "Builds"}},
    )
    email = created.json()["email"]
    key = await site.call("POST", f"{accounts}/{email}/keys", {})
    keys = await site.call("GET", f"{accounts}/{email}/keys")
    key_id = keys.json()["keys"][0]["name"].rpartition("/")[2]
    deleted_key = await site.call("DELETE", f"{accounts}/{email}/keys/{key_id}")
    no_keys = await site.call("GET", f"{accounts}/{email}/keys")
    deleted = await site.call("DELETE", f"{accounts}/{email}")
    gone = await site.call("GET", f"{accounts}/{email}")

    assert redacted(created.json()) == snapshot(
        {
            "name": "projects/my-project/serviceAccounts/robot-1@DOMAIN",
            "projectId": "my-project",
            "uniqueId": "NUMBER",
            "email": "robot-1@DOMAIN",
            "displayName": "R",
            "description": "Builds",
            "oauth2ClientId": "NUMBER",
        }
    )
    assert redacted(key.json() | {"privateKeyData": "SECRET"}) == snapshot(
        {
            "name": "projects/my-project/serviceAccounts/robot-1@DOMAIN/keys/HEX",
            "validAfterTime": "2026-11-22T12:00:00.000000Z",
            "validBeforeTime": "9999-12-31T23:59:59Z",
            "keyAlgorithm": "KEY_ALG_RSA_2048",
            "keyOrigin": "GOOGLE_PROVIDED",
            "keyType": "USER_MANAGED",
            "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
            "privateKeyData": "SECRET",
        }
    )
    assert key.headers["cache-control"] == "no-store"
    assert "privateKeyData" not in keys.json()["keys"][0]
    assert (deleted_key.json(), no_keys.json(), deleted.json()) == ({}, {"keys": []}, {})
    assert gone.status_code == 404


async def test_an_account_has_at_most_ten_keys(site: Site) -> None:
    keys = f"{PROJECT}/serviceAccounts/{ADMIN}/keys"

    answers = [(await site.call("POST", keys, {})).status_code for _ in range(10)]

    assert answers == [200] * 9 + [400]


async def test_any_project_may_be_written_as_a_hyphen_for_an_account(site: Site) -> None:
    response = await site.call("GET", f"/v1/projects/-/serviceAccounts/{ADMIN}")

    assert response.json()["email"] == ADMIN


async def test_policies_are_read_and_written_with_etags(site: Site) -> None:
    await site.make_account("robot-1")
    member = "serviceAccount:Robot-1@My-Project.iam.gserviceaccount.com"
    never = await site.call("POST", f"{site.rest}:getIamPolicy")
    policy = never.json() | {
        "bindings": [{"role": "roles/artifactregistry.reader", "members": [member, member]}]
    }
    written = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": policy})
    read = await site.call("GET", f"{site.rest}:getIamPolicy")
    stale = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": policy})
    blind = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": {}})

    assert never.json() == {"version": 1, "etag": "ACAB"}
    assert redacted(written.json()) == snapshot(
        {
            "version": 1,
            "etag": "ETAG",
            "bindings": [
                {
                    "role": "roles/artifactregistry.reader",
                    "members": ["serviceAccount:robot-1@DOMAIN"],
                }
            ],
        }
    )
    assert read.json() == written.json()
    assert (stale.status_code, stale.json()["error"]["status"]) == (409, "ABORTED")
    assert blind.json() == {"version": 1, "etag": IsStr()}


@pytest.mark.parametrize("path", [PROJECT, "/v1/organizations/bonded"])
async def test_projects_and_the_server_have_policies_too(site: Site, path: str) -> None:
    before = (await site.call("POST", f"{path}:getIamPolicy", {})).json()
    bindings = [
        *before.get("bindings", []),
        {"role": "roles/artifactregistry.reader", "members": ["user:ada@example.com"]},
    ]

    written = await site.call(
        "POST", f"{path}:setIamPolicy", {"policy": {**before, "bindings": bindings}}
    )

    assert written.json()["bindings"] == bindings


@pytest.mark.parametrize(
    "body",
    [
        {"format": "PYTHON"},
        {"format": "python"},
        {"format": "Python", "mode": "standard-repository"},
        {"format": 8, "mode": 1},
        {"format": 8, "mode": 0},
        {"format": 8, "mode": None},
        {"format": 8, "mode": "MODE_UNSPECIFIED", "description": None, "labels": None},
        {"format": 8, "name": "ignored", "cleanupPolicies": {}, "unknownField": True},
    ],
)
async def test_enums_may_be_numbers_and_in_any_case(site: Site, body: dict[str, object]) -> None:
    response = await site.call("POST", f"{REPOSITORIES}?repositoryId=team", body)

    repository = response.json()["response"]
    assert (repository["format"], repository["mode"]) == ("PYTHON", "STANDARD_REPOSITORY")


@pytest.mark.parametrize(
    ("mask", "description", "labels"),
    [
        ("?updateMask=description", "new", {"old": "1"}),
        ("?update_mask=description", "new", {"old": "1"}),
        ("?updateMask=labels", "old", {"new": "2"}),
        ("?updateMask=description,labels", "new", {"new": "2"}),
        ("?updateMask=description%2C%20labels", "new", {"new": "2"}),
        ("?updateMask=*", "new", {"new": "2"}),
        ("", "new", {"new": "2"}),
    ],
)
async def test_a_mask_says_what_of_the_whole_resource_counts(
    site: Site, mask: str, description: str, labels: dict[str, str]
) -> None:
    old = {"description": "old", "labels": {"old": "1"}}
    whole = (await site.call("PATCH", site.rest, old)).json()
    whole |= {"description": "new", "labels": {"new": "2"}}

    response = await site.call("PATCH", f"{site.rest}{mask}", whole)

    changed = response.json()
    assert (changed["description"], changed["labels"]) == (description, labels)


@pytest.mark.parametrize("field", ["name", "create_time", "createTime", "mode", "sizeBytes"])
async def test_a_fixed_field_cannot_be_masked(site: Site, field: str) -> None:
    response = await site.call("PATCH", f"{site.rest}?updateMask={field}", {})

    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("location", ["local", "-"])
async def test_lists_come_in_pages(site: Site, location: str) -> None:
    for name in ("a", "b", "c", "a-b"):
        await site.call("POST", f"{REPOSITORIES}?repositoryId={name}", {"format": 8})
    path = f"{PROJECT}/locations/{location}/repositories?pageSize=1"
    found, token = [], ""

    while True:
        page = (await site.call("GET", f"{path}&pageToken={token}")).json()
        found += [one["name"].rpartition("/")[2] for one in page["repositories"]]
        token = page.get("nextPageToken", "")
        if not token:
            break

    assert found == ["a", "a-b", "all", "b", "c", "pypi", "python"]


@pytest.mark.parametrize(
    ("path", "field"), [("/v1/projects", "projects"), (f"{PROJECT}/serviceAccounts", "accounts")]
)
async def test_other_lists_come_in_pages_too(site: Site, path: str, field: str) -> None:
    for name in ("second", "third1"):
        await site.call("POST", "/v1/projects", {"projectId": name})
        await site.call("POST", f"{PROJECT}/serviceAccounts", {"accountId": name})

    whole = (await site.call("GET", path)).json()[field]
    first = (await site.call("GET", f"{path}?pageSize=2")).json()
    second = await site.call("GET", f"{path}?page_size=2&page_token={first['nextPageToken']}")

    assert len(whole) == 3
    assert first[field] + second.json()[field] == whole
    assert "nextPageToken" not in second.json()


async def test_an_address_may_be_encoded_and_encoded_again(site: Site) -> None:
    once = await site.call("GET", f"{PROJECT}/serviceAccounts/{ADMIN.replace('@', '%40')}")
    twice = await site.call("GET", site.rest.replace("python", "pyth%256Fn"))

    assert once.json()["email"] == ADMIN
    assert twice.status_code == 404  # only a slash is ever encoded twice (gar.md)


async def test_locations_are_the_default_and_those_in_use(site: Site) -> None:
    await site.call(
        "POST", f"{PROJECT}/locations/us-west1/repositories?repositoryId=x", {"format": 8}
    )

    listed = await site.call("GET", f"{PROJECT}/locations")
    one = await site.call("GET", f"{PROJECT}/locations/us-west1")
    none = await site.call("GET", f"{PROJECT}/locations/mars")

    assert [place["locationId"] for place in listed.json()["locations"]] == ["local", "us-west1"]
    assert one.json() == {
        "name": "projects/my-project/locations/us-west1",
        "locationId": "us-west1",
    }
    assert none.status_code == 404


async def test_a_repository_shows_how_much_it_holds(site: Site) -> None:
    wheel = make_wheel()
    await site.upload(wheel)

    response = await site.call("GET", site.rest)

    assert response.json()["sizeBytes"] == str(len(wheel.data))


async def test_a_repository_made_again_is_empty_and_nobody_s(site: Site) -> None:
    await site.upload(make_wheel())
    await site.grant("roles/artifactregistry.reader", "allUsers")
    await site.delete_repository()

    await site.call("POST", f"{REPOSITORIES}?repositoryId=python", {"format": 8})

    listed = await site.get(f"{site.repository}/simple/", accept="application/json")
    assert "demo" not in listed.text
    assert (await site.get(f"{site.repository}/simple/", token="")).status_code == 401

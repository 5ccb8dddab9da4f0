"""A PATCH changes what its mask names and nothing else, at every route that has one."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from support.site import Site

PROJECT = "/v1/projects/my-project"
REPOSITORIES = f"{PROJECT}/locations/local/repositories"
POOLS = f"{PROJECT}/locations/global/workloadIdentityPools"
PROVIDERS = f"{POOLS}/masks-pool/providers"
ACCOUNT = f"{PROJECT}/serviceAccounts/masks-bot@my-project.iam.gserviceaccount.com"
KEYS = [json.dumps({"keys": [RSAKey.generate_key(2048).as_dict(private=False)]}) for _ in range(2)]
CREDENTIALS = {
    "username": "ada",
    "passwordSecretVersion": "projects/my-project/secrets/nexus/versions/latest",
}
REMOTE: dict[str, Any] = {
    "description": "Nexus",
    "pythonRepository": {"customRepository": {"uri": "https://nexus.test/simple/"}},
    "upstreamCredentials": {"usernamePasswordCredentials": CREDENTIALS},
    "disableUpstreamValidation": True,
    "bonded": {"proxy": "http://proxy.test:3128", "staleLimit": "3600s"},
}
VIRTUAL: dict[str, Any] = {
    "upstreamPolicies": [
        {"id": "own", "repository": REPOSITORIES.removeprefix("/v1/") + "/python", "priority": 10}
    ],
    "bonded": {"mergedPackages": ["torch-*"]},
}
PROVIDER: dict[str, Any] = {
    "displayName": "GitHub",
    "attributeMapping": {"google.subject": "assertion.sub"},
    "attributeCondition": "assertion.x == 'y'",
    "oidc": {
        "issuerUri": "https://issuer.example",
        "allowedAudiences": ["only-this"],
        "jwksJson": KEYS[0],
    },
}
ROLE: dict[str, Any] = {
    "title": "Masks",
    "description": "Old",
    "includedPermissions": ["artifactregistry.files.get"],
}
DESCRIBED = {"displayName": "Old", "description": "Stays"}
MADE: list[tuple[str, dict[str, Any]]] = [
    (f"{REPOSITORIES}?repositoryId=masks-remote",
     {"format": 8, "description": "Old", "mode": 3, "remoteRepositoryConfig": REMOTE}),
    (f"{REPOSITORIES}?repositoryId=masks-virtual",
     {"format": 8, "labels": {"team": "core"}, "mode": 2, "virtualRepositoryConfig": VIRTUAL}),
    (f"{POOLS}?workloadIdentityPoolId=masks-pool", DESCRIBED),
    (f"{PROVIDERS}?workloadIdentityPoolProviderId=masks", PROVIDER),
    (f"{PROJECT}/serviceAccounts", {"accountId": "masks-bot", "serviceAccount": DESCRIBED}),
    (f"{PROJECT}/roles", {"roleId": "masks", "role": ROLE}),
    ("/v1/organizations/bonded/roles", {"roleId": "masks", "role": ROLE}),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One field of one resource, and what it is to be."""

    path: str
    field: str
    value: Any


FAR, VIEW = f"{REPOSITORIES}/masks-remote", f"{REPOSITORIES}/masks-virtual"
OURS, SERVERS = f"{PROJECT}/roles/masks", "/v1/organizations/bonded/roles/masks"
CASES = [
    Case(FAR, "description", "New"),
    Case(FAR, "remoteRepositoryConfig.description", "Artifactory"),
    Case(FAR, "remoteRepositoryConfig.bonded.staleLimit", "60s"),
    Case(
        FAR,
        "remoteRepositoryConfig.upstreamCredentials.usernamePasswordCredentials.username",
        "bob",
    ),
    Case(VIEW, "labels", {"team": "data"}),
    Case(VIEW, "virtualRepositoryConfig.bonded.mergedPackages", ["jax-*"]),
    Case(f"{POOLS}/masks-pool", "displayName", "New"),
    Case(f"{PROVIDERS}/masks", "displayName", "New"),
    Case(f"{PROVIDERS}/masks", "attributeCondition", "assertion.x == 'z'"),
    Case(f"{PROVIDERS}/masks", "attributeMapping", {"google.subject": "assertion.x"}),
    Case(f"{PROVIDERS}/masks", "oidc.issuerUri", "https://other.example"),
    Case(f"{PROVIDERS}/masks", "oidc.allowedAudiences", ["only-that"]),
    Case(f"{PROVIDERS}/masks", "oidc.jwksJson", KEYS[1]),
    Case(ACCOUNT, "displayName", "New"),
    Case(OURS, "includedPermissions", ["artifactregistry.files.list"]),
    Case(SERVERS, "title", "New"),
]


async def before(site: Site, path: str) -> dict[str, Any]:
    """Return the resource at *path*, made on first use with all the others."""
    if (await site.get(f"{REPOSITORIES}/masks-remote")).status_code == 404:
        for url, body in MADE:
            made = await site.call("POST", url, body)
            assert made.status_code == 200, made.text
    return described((await site.get(path)).json())


def described(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource without what every change changes."""
    return {name: said for name, said in resource.items() if name not in ("updateTime", "etag")}


def snake(field: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", field)


def nested(field: str, value: object) -> dict[str, Any]:
    """Return the object in which *field*, a path, has *value*."""
    top, _, below = field.partition(".")
    return {top: nested(below, value) if below else value}


def changed(resource: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    result = deepcopy(resource)
    *above, last = field.split(".")
    place = result
    for name in above:
        place = place[name]
    place[last] = value
    return result


async def test_every_route_that_patches_is_in_the_table(shared: Site) -> None:
    patterns = [
        re.sub(r"\{[^}]+\}", "[^/]+", row.path)
        for row in shared.registry.routes.endpoints
        if row.method == "PATCH"
    ]

    for pattern in patterns:
        assert any(re.fullmatch(pattern, case.path) for case in CASES), pattern


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path[-14:]} {case.field}")
@pytest.mark.parametrize("parameter", ["updateMask", "update_mask"])
@pytest.mark.parametrize("spelled", [str, snake], ids=["camelCase", "snake_case"])
async def test_what_the_mask_names_changes_and_all_else_stays(
    shared: Site, case: Case, parameter: str, spelled: Any
) -> None:
    was = await before(shared, case.path)
    path = f"{case.path}?{parameter}={spelled(case.field)}"
    body = nested(spelled(case.field), case.value)
    if case.path == ACCOUNT:
        body = {spelled("serviceAccount"): body}

    answer = await shared.call("PATCH", path, body)
    now = described((await shared.get(case.path)).json())

    assert answer.status_code == 200, answer.text
    assert now == changed(was, case.field, case.value)
    await restore(shared, case, was)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.field.count(".") < 2],
    ids=lambda case: f"{case.path[-14:]} {case.field}",
)
@pytest.mark.parametrize("spelled", [str, snake], ids=["camelCase", "snake_case"])
async def test_without_a_mask_what_the_body_holds_changes_and_all_else_stays(
    shared: Site, case: Case, spelled: Any
) -> None:
    was = await before(shared, case.path)
    body = nested(spelled(case.field), case.value)

    answer = await shared.call(
        "PATCH", case.path, {spelled("serviceAccount"): body} if case.path == ACCOUNT else body
    )
    now = described((await shared.get(case.path)).json())

    assert answer.status_code == 200, answer.text
    assert now == changed(was, case.field, case.value)
    await restore(shared, case, was)


async def restore(site: Site, case: Case, was: dict[str, Any]) -> None:
    """Give the field back what it was."""
    value: Any = was
    for name in case.field.split("."):
        value = value[name]
    body = nested(case.field, value)
    again = await site.call(
        "PATCH",
        f"{case.path}?updateMask={case.field}",
        {"serviceAccount": body} if case.path == ACCOUNT else body,
    )
    assert again.status_code == 200, again.text
    assert described((await site.get(case.path)).json()) == was


UNKNOWN = "updateMask names the unknown field "
PART = "updateMask names a part of "
REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "unknown part": (
        *(f"{PROVIDERS}/masks", "updateMask=oidc.issuer", {}),
        f"{UNKNOWN}'oidc.issuer'. oidc has issuerUri, allowedAudiences, jwksJson.",
    ),
    "part of a part": (
        *(f"{PROVIDERS}/masks", "updateMask=oidc.jwksJson.keys", {}),
        f"{PART}oidc.jwksJson, which only changes as a whole. Name oidc.jwksJson, and send all",
    ),
    "key of a map": (
        *(f"{PROVIDERS}/masks", "updateMask=attribute_mapping.google", {}),
        f"{PART}attributeMapping, which only changes as a whole.",
    ),
    "unknown part of a repository": (
        *(FAR, "updateMask=remoteRepositoryConfig.uri", {}),
        f"{UNKNOWN}'remoteRepositoryConfig.uri'. remoteRepositoryConfig has description, ",
    ),
    "way through a text": (
        *(FAR, "updateMask=remoteRepositoryConfig.description.x", {}),
        f"{PART}description, which only changes as a whole.",
    ),
    "two spellings in the body": (
        *(OURS, "updateMask=title", {"includedPermissions": [], "included_permissions": []}),
        "The request has includedPermissions and included_permissions, which is one.",
    ),
    "two spellings, neither of them camelCase": (
        *(OURS, "updateMask=title", {"included__permissions": [], "included_permissions": []}),
        "The request has included__permissions and included_permissions, which is one.",
    ),
    "two masks": (
        *(OURS, "updateMask=title&update_mask=stage", {"title": "x", "stage": "GA"}),
        "The parameter updateMask is given as update_mask, too.",
    ),
    "nothing after a comma": (OURS, "updateMask=title,", {"title": "x"}, f"{UNKNOWN}''."),
    "fixed": (ACCOUNT, "updateMask=email", {}, "The field email cannot be changed."),
    "all of it, and no issuer": (f"{PROVIDERS}/masks", "updateMask=*", {"displayName": "x"}, ""),
}


@pytest.mark.parametrize("title", REFUSED)
async def test_a_mask_that_cannot_be_followed_changes_nothing(shared: Site, title: str) -> None:
    path, query, body, says = REFUSED[title]
    was = await before(shared, path)

    answer = await shared.call("PATCH", f"{path}?{query}", body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(says)
    assert described((await shared.get(path)).json()) == was


async def test_a_mask_of_everything_replaces_everything(shared: Site) -> None:
    path = f"{POOLS}/masks-pool"
    await before(shared, path)

    everything = await shared.call("PATCH", f"{path}?updateMask=*", {"description": "Only this"})
    whole_beside_part = await shared.call(
        "PATCH", f"{PROVIDERS}/masks?updateMask=oidc.issuerUri,oidc", {"oidc": PROVIDER["oidc"]}
    )

    shown = everything.json()["response"]
    assert (shown.get("displayName"), shown["description"]) == (None, "Only this")
    assert whole_beside_part.json()["response"]["oidc"] == PROVIDER["oidc"]
    restored = await shared.call("PATCH", path, DESCRIBED)
    assert restored.status_code == 200


async def test_what_is_made_is_spelled_either_way_too(shared: Site) -> None:
    await before(shared, POOLS)
    body = {snake(name): value for name, value in PROVIDER.items()}
    body["oidc"] = {snake(name): value for name, value in PROVIDER["oidc"].items()}

    made = await shared.call("POST", f"{PROVIDERS}?workloadIdentityPoolProviderId=snake", body)

    assert made.json()["response"].items() >= PROVIDER.items()

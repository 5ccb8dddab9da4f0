"""Every route for every kind of caller, generated from the route table: none is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.client import NOT_IMPLEMENTED
from typing import Any

import pytest

from bonded.server.core.iam import ROLES, Permission
from bonded.server.web.routing import Endpoint, Open
from support.site import Site, basic
from support.wheels import make_wheel

ORGANIZATION = "/v1/organizations/bonded"

PROJECT = "/v1/projects/my-project"
READER = "roles/artifactregistry.reader"
OTHER = f"{PROJECT}/locations/local/repositories/other"
PLACES = {
    "project": "my-project",
    "repository": "python",
    "location": "local",
    "package": "absent",
    "filename": "absent-1.0-py3-none-any.whl",
    "account": "absent@my-project.iam.gserviceaccount.com",
    "key": "0" * 40,
    "pool": "absent-pool",
    "publisher": "absent",
    "provider": "absent-provider",
    "version": "1.0",
    "file": "absent%2Fabsent-1.0-py3-none-any.whl",
    "release": "absent:1.0",
    "role": "absent",
    "group": "absent@example.com",
    "member": "user:absent@example.com",
    "user": "absent@example.com",
    "session": "absent",
    "name": "absent",
}

# Who calls → the role they have on the server; None: no role that counts here.
NAMED: dict[str, str | None] = {
    "reader": READER,
    "writer": "roles/artifactregistry.writer",
    "repoAdmin": "roles/artifactregistry.repoAdmin",
    "admin": "roles/artifactregistry.admin",
    "curator": "roles/bonded.curator",
    "uploader": "roles/bonded.uploader",
    "pool viewer": "roles/iam.workloadIdentityPoolViewer",
    "pool admin": "roles/iam.workloadIdentityPoolAdmin",
    "owner": "roles/owner",
    "log viewer": "roles/logging.viewer",
    "other repository's reader": None,
    "nobody's friend": None,
}
CONDITIONS = {
    "owner while it holds": "true",
    "owner who has been": "request.time < timestamp('2001-01-01T00:00:00Z')",
}
CALLERS: dict[str, str | None] = {
    **NAMED,
    **{role: role for role in ROLES if role not in NAMED.values()},
    "owner while it holds": "roles/owner",
    "owner who has been": None,
}
# What proves nobody, wherever it is presented.
UNPROVEN = ("anonymous", "expired token", "deleted key", "deleted account", "garbage")

Tokens = dict[str, str]
Row = tuple[str, str, str]


@pytest.fixture(name="tokens", scope="module")
async def _tokens(shared: Site) -> Tokens:
    """A token for every caller."""
    await shared.call("POST", f"{OTHER.rpartition('/')[0]}?repositoryId=other", {"format": 8})
    tokens = {"anonymous": "", "garbage": "garbage"}
    keys = {}
    for number, (caller, role) in enumerate(CALLERS.items()):
        keys[caller] = await shared.make_account(f"caller-{number}")
        member = f"serviceAccount:{keys[caller]['client_email']}"
        if caller in CONDITIONS:
            condition = {"title": caller, "expression": CONDITIONS[caller]}
            await shared.grant("roles/owner", member, ORGANIZATION, condition)
        elif role is not None:
            await shared.grant(role, member, ORGANIZATION)
        elif caller == "other repository's reader":
            await shared.grant(READER, member, OTHER)
    await _bury(shared, tokens)
    tokens["expired token"] = await shared.sign_in(keys["owner"])
    shared.clock.forward(hours=2)
    shared.admin = await shared.sign_in(shared.admin_key)
    return tokens | {caller: await shared.sign_in(key) for caller, key in keys.items()}


async def _bury(site: Site, tokens: Tokens) -> None:
    """Sign in two owners of the server, then delete the key of one and the account of the other."""
    accounts = f"{PROJECT}/serviceAccounts"
    for caller in ("deleted key", "deleted account"):
        key = await site.make_account(caller.replace(" ", "-"))
        email = key["client_email"]
        await site.grant("roles/owner", f"serviceAccount:{email}", "/v1/organizations/bonded")
        tokens[caller] = await site.sign_in(key)
        assert (await site.get(site.rest, token=tokens[caller])).status_code == 200
        path = f"{accounts}/{email}"
        path += f"/keys/{key['private_key_id']}" if caller == "deleted key" else ""
        assert (await site.call("DELETE", path)).status_code == 200


def outcome(endpoint: Endpoint, caller: str) -> str:
    """Return what the rules say: open, unproven, denied or allowed."""
    if endpoint.permission is Open.SELF:
        return "unproven" if caller in UNPROVEN else "allowed"
    if isinstance(endpoint.permission, Open) and endpoint.permission is not Open.SOMEBODY:
        return "open"
    if caller in UNPROVEN:
        return "unproven"
    if endpoint.permission is Open.SOMEBODY:
        return "open"
    role = CALLERS[caller]
    return "allowed" if role is not None and endpoint.permission in ROLES[role] else "denied"


def address(endpoint: Endpoint) -> str:
    """Return a path that fits; where that is possible, of something absent."""
    return re.sub(r"\{([a-z]+)\}", lambda match: PLACES[match[1]], endpoint.path)


STATUS_OF = {"unproven": {401}, "denied": {403}}


@pytest.mark.parametrize("caller", [*CALLERS, *UNPROVEN])
async def test_every_route_lets_in_exactly_whom_its_permission_says(
    shared: Site, tokens: Tokens, caller: str
) -> None:
    wrong = []
    for endpoint in shared.registry.routes.endpoints:
        expected = outcome(endpoint, caller)
        if expected == "allowed" and endpoint.method == "DELETE" and "absent" not in endpoint.path:
            # It would succeed and take away what the other rows need: asked of what is absent.
            path = address(endpoint).replace("/python", "/absent")
            path = path if path != PROJECT else "/v1/projects/absent"
        else:
            path = address(endpoint)

        answer = await shared.call(endpoint.method, path, [], token=tokens[caller])

        refused = answer.status_code in (401, 403)
        is_right = (
            answer.status_code in STATUS_OF[expected] if expected in STATUS_OF else not refused
        )
        # What this server does not do by design, it says so after the permission.
        has_failed = answer.status_code >= 500 and answer.status_code != NOT_IMPLEMENTED
        if not is_right or has_failed:
            wrong.append((endpoint.method, path, expected, answer.status_code))

    assert wrong == []


async def test_head_asks_for_what_get_asks_for(shared: Site, tokens: Tokens) -> None:
    for endpoint in shared.registry.routes.endpoints:
        if endpoint.method == "GET":
            for caller in ("anonymous", "nobody's friend", "reader"):
                get = await shared.call("GET", address(endpoint), token=tokens[caller])
                head = await shared.call("HEAD", address(endpoint), token=tokens[caller])

                assert (head.status_code, head.content) == (get.status_code, b"")


def _table(endpoints: tuple[Endpoint, ...]) -> Iterator[Row]:
    for endpoint in endpoints:
        allowed = [caller for caller in NAMED if outcome(endpoint, caller) in ("allowed", "open")]
        if outcome(endpoint, "anonymous") == "open":
            allowed.append("anonymous")
        yield endpoint.method, endpoint.path, ", ".join(allowed)


ALL = "reader, writer, repoAdmin, admin, curator, owner"
SEES_PROJECTS = "reader, writer, repoAdmin, admin, curator, pool viewer, pool admin, owner"
UPLOADERS = "writer, repoAdmin, admin, uploader, owner"
CURATORS = "repoAdmin, admin, curator, owner"
EVERYBODY = "reader, writer, repoAdmin, admin, curator, uploader, pool viewer, pool admin, owner"
ANYBODY = f"{EVERYBODY}, log viewer, other repository's reader, nobody's friend"
PUBLIC = f"{ANYBODY}, anonymous"
U = "/v1/users/{user}"
R = "/v1/projects/{project}/locations/{location}/repositories/{repository}"
W = "/v1/projects/{project}/locations/global/workloadIdentityPools"
A = "/v1/projects/{project}/serviceAccounts/{account}"
P = "/v1/projects/{project}"
O = "/v1/organizations/bonded"  # noqa: E741
D = "/{project}/{repository}"


async def test_the_access_table_reads_as_we_mean_it(shared: Site) -> None:
    assert set(_table(shared.registry.routes.endpoints)) == {
        ("GET", "/healthz", PUBLIC),
        ("GET", "/readyz", PUBLIC),
        ("POST", "/token", PUBLIC),
        ("POST", "/v1/introspect", PUBLIC),
        ("POST", "/v1/tokens:limit", PUBLIC.removesuffix(", anonymous")),
        ("POST", "/revoke", PUBLIC),
        ("GET", "/.well-known/jwks.json", PUBLIC),
        ("GET", "/.well-known/oauth-authorization-server", PUBLIC),
        ("GET", "/.well-known/openid-configuration", PUBLIC),
        ("POST", "/v1/token", PUBLIC),
        ("GET", "/_/oidc/audience", PUBLIC),
        ("POST", "/_/oidc/mint-token", PUBLIC),
        ("POST", "/_/oidc/burn-token", PUBLIC),
        ("POST", f"{R}/trustedPublishers", "admin, owner"),
        ("GET", f"{R}/trustedPublishers", "admin, owner"),
        ("GET", f"{R}/trustedPublishers/{{publisher}}", "admin, owner"),
        ("DELETE", f"{R}/trustedPublishers/{{publisher}}", "admin, owner"),
        ("POST", "/v1/oauthtoken", PUBLIC),
        ("GET", "/authorize", PUBLIC),
        ("POST", "/authorize", PUBLIC),
        ("POST", "/device_authorization", PUBLIC),
        ("GET", "/device", PUBLIC),
        ("POST", "/device", PUBLIC),
        ("GET", "/sign-in", PUBLIC),
        ("POST", "/sign-in", PUBLIC),
        ("POST", "/sign-out", PUBLIC),
        ("POST", "/_/second-factor", PUBLIC),
        ("GET", "/_/provider", PUBLIC),
        ("GET", "/_/provider/callback", PUBLIC),
        ("GET", "/_/invitation", PUBLIC),
        ("POST", "/_/invitation", PUBLIC),
        ("GET", "/account", PUBLIC),
        ("POST", "/_/account/password", PUBLIC),
        ("POST", "/_/account/sessions", PUBLIC),
        ("GET", "/_/account/second-factor", PUBLIC),
        ("POST", "/_/account/second-factor", PUBLIC),
        ("POST", "/_/account/second-factor/remove", PUBLIC),
        ("GET", "/_/static/{name}", PUBLIC),
        ("GET", "/v1/users/me", ANYBODY),
        ("GET", "/v1/users/me/sessions", ANYBODY),
        ("DELETE", "/v1/users/me/sessions/{session}", ANYBODY),
        ("POST", "/v1/users", "owner"),
        ("GET", "/v1/users", "owner"),
        ("GET", U, "owner"),
        ("DELETE", U, "owner"),
        ("POST", f"{U}:disable", "owner"),
        ("POST", f"{U}:enable", "owner"),
        ("POST", f"{U}:invite", "owner"),
        ("POST", f"{U}:forgetSecondFactor", "owner"),
        ("GET", f"{U}/sessions", "owner"),
        ("DELETE", f"{U}/sessions/{{session}}", "owner"),
        ("GET", f"{D}/", ALL),
        ("GET", f"{D}/simple", ALL),
        ("GET", f"{D}/simple/", ALL),
        ("GET", f"{D}/simple/{{package}}/", ALL),
        ("GET", f"{D}/{{package}}/{{filename}}", ALL),
        ("POST", D, UPLOADERS),
        ("POST", f"{D}/", UPLOADERS),
        ("POST", f"{D}/simple", UPLOADERS),
        ("POST", f"{D}/simple/", UPLOADERS),
        ("POST", f"{D}/legacy", UPLOADERS),
        ("POST", f"{D}/legacy/", UPLOADERS),
        ("POST", f"{O}:testIamPermissions", PUBLIC),
        ("POST", f"{P}:testIamPermissions", PUBLIC),
        ("POST", f"{R}:testIamPermissions", PUBLIC),
        ("POST", f"{A}:testIamPermissions", PUBLIC),
        ("POST", f"{R}:refresh", "admin, owner"),
        ("POST", f"{R}/packages/{{package}}:refresh", "admin, owner"),
        ("GET", "/v1/roles", PUBLIC),
        ("GET", "/v1/roles/{role}", PUBLIC),
        *(
            (method, f"{parent}/roles{rest}", "owner")
            for parent in (O, P)
            for method, rest in (
                *(("POST", ""), ("GET", ""), ("GET", "/{role}"), ("PATCH", "/{role}")),
                *(("DELETE", "/{role}"), ("POST", "/{role}:undelete")),
            )
        ),
        *(("POST", f"{resource}:troubleshootIamPolicy", "owner") for resource in (O, P, R)),
        ("POST", "/v1/groups", "owner"),
        ("GET", "/v1/groups", "owner"),
        ("GET", "/v1/groups/{group}", "owner"),
        ("DELETE", "/v1/groups/{group}", "owner"),
        ("GET", "/v1/groups/{group}/members", "owner"),
        ("POST", "/v1/groups/{group}/members", "owner"),
        ("DELETE", "/v1/groups/{group}/members/{member}", "owner"),
        ("POST", "/v1/projects", "owner"),
        ("GET", "/v1/projects", "owner"),
        ("GET", P, SEES_PROJECTS),
        ("DELETE", P, "owner"),
        ("GET", f"{P}:getIamPolicy", "owner"),
        ("POST", f"{P}:getIamPolicy", "owner"),
        ("POST", f"{P}:setIamPolicy", "owner"),
        ("GET", f"{O}:getIamPolicy", "owner"),
        ("POST", f"{O}:getIamPolicy", "owner"),
        ("POST", f"{O}:setIamPolicy", "owner"),
        ("GET", f"{P}/locations", ALL),
        ("GET", f"{P}/locations/{{location}}", ALL),
        ("POST", f"{P}/locations/{{location}}/repositories", "admin, owner"),
        ("GET", f"{P}/locations/{{location}}/repositories", ALL),
        ("GET", R, ALL),
        ("PATCH", R, "admin, owner"),
        ("DELETE", R, "admin, owner"),
        ("GET", f"{R}/packages", ALL),
        ("GET", f"{R}/packages/{{package}}", ALL),
        ("GET", f"{R}/packages/{{package}}:explain", ALL),
        ("GET", f"{R}/packages/{{package}}/versions", ALL),
        ("GET", f"{R}/packages/{{package}}/versions/{{version}}", ALL),
        ("GET", f"{R}/files", ALL),
        ("GET", f"{R}/files/{{file}}", ALL),
        *(
            ("POST", f"{R}/{what}:{verb}", CURATORS)
            for what in ("packages/{package}/versions/{version}", "files/{file}")
            for verb in ("yank", "unyank")
        ),
        ("GET", f"{R}/pythonPackages", ALL),
        ("GET", f"{R}/pythonPackages/{{release}}", ALL),
        ("GET", f"{R}:getIamPolicy", "admin, owner"),
        ("POST", f"{R}:getIamPolicy", "admin, owner"),
        ("POST", f"{R}:setIamPolicy", "admin, owner"),
        ("POST", "/v2/entries:list", "owner, log viewer"),
        ("POST", "/v2/projects/{project}/entries:list", "owner, log viewer"),
        ("POST", "/v2/entries:verify", "owner, log viewer"),
        ("POST", f"{P}/serviceAccounts", "owner"),
        ("GET", f"{P}/serviceAccounts", "owner"),
        ("GET", A, "owner"),
        ("DELETE", A, "owner"),
        ("POST", f"{A}/keys", "owner"),
        ("GET", f"{A}/keys", "owner"),
        ("DELETE", f"{A}/keys/{{key}}", "owner"),
        ("PATCH", A, "owner"),
        ("POST", f"{A}:disable", "owner"),
        ("POST", f"{A}:enable", "owner"),
        ("GET", f"{A}:getIamPolicy", "owner"),
        ("POST", f"{A}:getIamPolicy", "owner"),
        ("POST", f"{A}:setIamPolicy", "owner"),
        ("POST", f"{A}:generateAccessToken", "owner"),
        ("POST", f"{A}:generateIdToken", "owner"),
        ("POST", f"{A}:signBlob", "owner"),
        ("POST", f"{A}:signJwt", "owner"),
        ("POST", f"{A}/keys:upload", "owner"),
        ("GET", f"{A}/keys/{{key}}", "owner"),
        ("POST", f"{A}/keys/{{key}}:disable", "owner"),
        ("POST", f"{A}/keys/{{key}}:enable", "owner"),
        ("POST", W, "pool admin, owner"),
        ("GET", W, "pool viewer, pool admin, owner"),
        ("GET", f"{W}/{{pool}}", "pool viewer, pool admin, owner"),
        ("PATCH", f"{W}/{{pool}}", "pool admin, owner"),
        ("DELETE", f"{W}/{{pool}}", "pool admin, owner"),
        ("POST", f"{W}/{{pool}}/providers", "pool admin, owner"),
        ("GET", f"{W}/{{pool}}/providers", "pool viewer, pool admin, owner"),
        ("GET", f"{W}/{{pool}}/providers/{{provider}}", "pool viewer, pool admin, owner"),
        ("PATCH", f"{W}/{{pool}}/providers/{{provider}}", "pool admin, owner"),
        ("DELETE", f"{W}/{{pool}}/providers/{{provider}}", "pool admin, owner"),
    }


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


async def test_every_permission_of_a_route_exists(shared: Site) -> None:
    for endpoint in shared.registry.routes.endpoints:
        assert isinstance(endpoint.permission, Permission | Open)


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
        assert refused.status_code == 409
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

"""Every route for every kind of caller, generated from the route table: none is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.client import NOT_IMPLEMENTED

import pytest

from bonded.server.core.iam import ROLES, Permission
from bonded.server.web.routing import Endpoint, Open
from support.issuer import running_issuer
from support.site import Site
from support.trusting import CLAIMS, GITHUB, minted, trust

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
    "other project's owner": None,
}
# What proves nobody, wherever it is presented.
UNPROVEN = (
    *("anonymous", "garbage", "expired token", "revoked token"),
    *("deleted key", "deleted account"),
)
REPOSITORIES = f"{PROJECT}/locations/local/repositories".removeprefix("/v1/")
# The owner of the server, with a token narrowed to this.
LIMITED: dict[str, dict[str, object]] = {
    "owner who only reads": {"readOnly": True},
    # The absent one, because that is what deleting is asked of.
    "owner for this repository": {
        "repositories": [f"{REPOSITORIES}/python", f"{REPOSITORIES}/absent"]
    },
    "owner for another repository": {"repositories": [f"{REPOSITORIES}/other"]},
}
TRUSTED = {
    "trusted publisher": "python",
    "trusted publisher of another repository": "other",
}
"""Whose token only uploads → to which repository."""
READING = (":getIamPolicy", "/entries:list", "/entries:verify")
"""What is asked by POST and changes nothing."""

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
        elif caller == "other project's owner":
            await shared.call("POST", "/v1/projects", {"projectId": "other-project"})
            await shared.grant("roles/owner", member, "/v1/projects/other-project")
    await _bury(shared, tokens)
    tokens["expired token"] = await shared.sign_in(keys["owner"])
    shared.clock.forward(hours=2)
    shared.admin = await shared.sign_in(shared.admin_key)
    tokens["revoked token"] = await shared.sign_in(keys["owner"])
    await shared.http.post("/revoke", data={"token": tokens["revoked token"]})
    tokens |= {caller: await shared.sign_in(key) for caller, key in keys.items()}
    for caller, limits in LIMITED.items():
        limited = await shared.call("POST", "/v1/tokens:limit", limits, tokens["owner"])
        tokens[caller] = limited.json()["accessToken"]
    await _publish_from_jobs(shared, tokens)
    return tokens


async def _publish_from_jobs(site: Site, tokens: Tokens) -> None:
    """Mint the token of a job for each of two repositories that trust it."""
    with running_issuer(site.clock) as issuer:
        for caller, repository in TRUSTED.items():
            environment = f"to-{repository}"
            claims = GITHUB | {"environment": environment}
            await trust(site, issuer, claims, rest=f"/v1/{REPOSITORIES}/{repository}")
            issuer.claims = {**CLAIMS, "environment": environment}
            tokens[caller] = await minted(site, issuer)


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
    permission = endpoint.permission
    if isinstance(permission, Open) and permission not in (Open.SELF, Open.SOMEBODY):
        return "open"
    if caller in UNPROVEN:
        return "unproven"
    if permission is Open.SOMEBODY:
        return "open"
    return "allowed" if is_allowed(endpoint, caller) else "denied"


def is_allowed(endpoint: Endpoint, caller: str) -> bool:
    """Say whether somebody who has proved who they are may use a route that asks for that."""
    if endpoint.permission is Open.SELF:
        return caller not in LIMITED and caller not in TRUSTED
    if caller in TRUSTED:
        is_upload = endpoint.permission is Permission.REPOSITORY_UPLOAD
        return is_upload and TRUSTED[caller] == PLACES["repository"]
    if caller in LIMITED:
        return is_within(endpoint, caller)
    role = CALLERS[caller]
    return role is not None and endpoint.permission in ROLES[role]


def is_within(endpoint: Endpoint, caller: str) -> bool:
    """Say whether an owner's limited token is good for a route, by what the path shows."""
    if caller == "owner who only reads":
        return endpoint.method == "GET" or endpoint.path.endswith(READING)
    if caller != "owner for this repository" or "{repository}" not in endpoint.path:
        return False
    # Who writes packages reads and uploads them; who may is none of such a token's business.
    return (
        endpoint.permission in ROLES["roles/artifactregistry.writer"]
        and endpoint.permission is not Permission.REPOSITORY_GET_POLICY
    )


def address(endpoint: Endpoint) -> str:
    """Return a path that fits; where that is possible, of something absent."""
    return re.sub(r"\{([a-z]+)\}", lambda match: PLACES[match[1]], endpoint.path)


STATUS_OF = {"unproven": {401}, "denied": {403}}


@pytest.mark.parametrize("caller", [*CALLERS, *UNPROVEN, *LIMITED, *TRUSTED])
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
        ("GET", f"{R}/packages/{{package}}:listUpstreamFiles", ALL),
        ("GET", f"{R}/packages/{{package}}:explain", ALL),
        ("GET", f"{R}/packages/{{package}}/versions", ALL),
        ("GET", f"{R}/packages/{{package}}/versions/{{version}}", ALL),
        ("GET", f"{R}/files", ALL),
        ("GET", f"{R}/files/{{file}}", ALL),
        *(
            ("POST", f"{R}/{what}:{verb}", CURATORS)
            for what in ("packages/{package}/versions/{version}", "files/{file}")
            for verb in ("yank", "unyank", "undelete")
        ),
        ("POST", f"{R}/packages/{{package}}:undelete", CURATORS),
        ("DELETE", f"{R}/packages/{{package}}", "repoAdmin, admin, owner"),
        ("DELETE", f"{R}/packages/{{package}}/versions/{{version}}", "repoAdmin, admin, owner"),
        ("DELETE", f"{R}/files/{{file}}", "repoAdmin, admin, owner"),
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
        ("POST", f"{A}:troubleshootIamPolicy", "owner"),
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


async def test_every_permission_of_a_route_exists(shared: Site) -> None:
    for endpoint in shared.registry.routes.endpoints:
        assert isinstance(endpoint.permission, Permission | Open)

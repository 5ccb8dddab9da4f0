"""Access tokens: what they hang on, and what narrows them."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from httpx2 import Response

from bonded.server.core.iam import Permission, TokenLimits
from bonded.server.identity.tokens import ANCESTORS_MAX, TokenIssuer
from support.site import Site
from support.wheels import make_wheel

READER = "roles/artifactregistry.reader"
HERE = "projects/my-project/locations/local/repositories/python"
ELSEWHERE = "projects/my-project/locations/local/repositories/other"


def issuer_of(site: Site) -> TokenIssuer:
    return TokenIssuer(site.registry.signing_keys, site.clock, timedelta(hours=1))


def admin_token(site: Site, **more: Any) -> str:
    key = site.admin_key
    member, origin = f"serviceAccount:{key['client_email']}", f"key:{key['private_key_id']}"
    return issuer_of(site).issue(member, origin, **more)[0]


LIMITED: dict[str, tuple[TokenLimits, tuple[int, int, int]]] = {
    "nothing": (TokenLimits(), (200, 200, 200)),
    "this repository": (TokenLimits((HERE,)), (200, 200, 403)),
    "reading": (TokenLimits(read_only=True), (200, 403, 200)),
    "reading this repository": (TokenLimits((HERE,), read_only=True), (200, 403, 403)),
    "another repository": (TokenLimits((ELSEWHERE,)), (403, 403, 403)),
}


@pytest.mark.parametrize("title", LIMITED)
async def test_a_token_is_good_within_its_limits_only(site: Site, title: str) -> None:
    limits, expected = LIMITED[title]
    token = admin_token(site, limits=limits)

    read = await site.get(f"{site.repository}/simple/", token)
    written = await site.upload(make_wheel("demo", "1.0"), token)
    above = await site.get("/v1/projects/my-project", token)

    assert (read.status_code, written.status_code, above.status_code) == expected


async def test_a_token_of_a_repository_does_not_administer_it(site: Site) -> None:
    token = admin_token(site, limits=TokenLimits((HERE,)))
    rest = f"/v1/{HERE}"
    publisher = {"provider": "oidc", "issuerUri": "https://i.example", "claims": {"sub": "x"}}

    shown = await site.get(rest, token)
    listed = await site.get(f"{rest}/packages", token)
    refused = [
        await site.call("POST", f"{rest}:setIamPolicy", {"policy": {"bindings": []}}, token),
        await site.call("POST", f"{rest}:getIamPolicy", {}, token),
        await site.call("POST", f"{rest}/trustedPublishers", publisher, token),
        await site.call("PATCH", rest, {"description": "mine"}, token),
        await site.call("DELETE", rest, None, token),
    ]

    assert (shown.status_code, listed.status_code) == (200, 200)
    assert [one.status_code for one in refused] == [403] * 5
    assert "is limited to reading and uploading packages in projects/" in refused[0].text


async def test_a_refusal_says_what_the_token_is_limited_to(site: Site) -> None:
    token = admin_token(site, limits=TokenLimits((HERE,), read_only=True))

    refused = await site.upload(make_wheel("demo", "1.0"), token)

    assert refused.text == (
        "Permission 'artifactregistry.repositories.uploadArtifacts' denied on resource "
        f"'{HERE}': the access token is limited to reading packages in {HERE}. "
        "Use a token with other limits, or with none.\n"
    )


async def test_a_token_counts_as_the_groups_it_carries(site: Site) -> None:
    key = await site.make_account("member")
    member, origin = f"serviceAccount:{key['client_email']}", f"key:{key['private_key_id']}"
    await site.call("POST", "/v1/groups", {"email": "team@example.com"})
    await site.grant(READER, "group:team@example.com")
    alone, _ = issuer_of(site).issue(member, origin)
    together, _ = issuer_of(site).issue(member, origin, also=["group:team@example.com"])

    refused = await site.get(f"{site.repository}/simple/", alone)
    answered = await site.get(f"{site.repository}/simple/", together)

    assert (refused.status_code, answered.status_code) == (403, 200)


@pytest.mark.parametrize(
    ("member", "origin"),
    [
        ("user:ada@example.com", "nothing:we-know"),
        ("user:ada@example.com", ""),
        ("serviceAccount:somebody@else", "key:{key}"),
        ("serviceAccount:somebody@else", "account:{number}"),
        # As the first servers wrote it: an address, which another account may get.
        ("serviceAccount:{email}", "account:{email}"),
        ("serviceAccount:absent@my-project", "account:absent@my-project"),
        ("serviceAccount:{email}", "key:0000"),
    ],
)
async def test_a_token_without_a_live_origin_proves_nobody(
    site: Site, member: str, origin: str
) -> None:
    key = site.admin_key
    names = {"email": key["client_email"], "key": key["private_key_id"], "number": key["client_id"]}
    token, _ = issuer_of(site).issue(member.format(**names), origin.format(**names))

    refused = await site.get(f"{site.repository}/simple/", token)

    assert refused.status_code == 401


async def test_a_token_lives_as_long_as_it_was_asked_to(site: Site) -> None:
    token = admin_token(site, life=timedelta(minutes=15))
    site.clock.forward(minutes=14, seconds=59)
    answered = await site.get(f"{site.repository}/simple/", token)
    site.clock.forward(seconds=1)

    refused = await site.get(f"{site.repository}/simple/", token)

    assert (answered.status_code, refused.status_code) == (200, 401)


async def narrowed(site: Site, token: str, **body: object) -> Response:
    return await site.call("POST", "/v1/tokens:limit", body, token)


async def introspected(site: Site, token: str) -> dict[str, Any]:
    answer = await site.http.post("/v1/introspect", data={"token": token})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_whoever_holds_a_token_gets_narrower_ones_and_never_wider_ones(site: Site) -> None:
    here = (await narrowed(site, site.admin, repositories=[HERE])).json()["accessToken"]
    reading = (await narrowed(site, here, readOnly=True, lifetime="900s")).json()
    token = reading["accessToken"]

    wider = await narrowed(site, here, repositories=[HERE, ELSEWHERE])
    longer = (await narrowed(site, token, lifetime="7200s")).json()
    written = await site.upload(make_wheel("demo", "1.0"), token)
    acting = await site.call(
        "POST",
        f"/v1/projects/-/serviceAccounts/{site.admin_key['client_email']}:generateAccessToken",
        {},
        token,
    )

    assert reading["expireTime"] == longer["expireTime"] == "2026-11-22T12:15:00.000000Z"
    assert (await introspected(site, longer["accessToken"]))["limits"] == {
        "repositories": [HERE],
        "readOnly": True,
        "uploadOnly": False,
        "uploads": [],
    }
    assert (wider.status_code, wider.json()["error"]["message"]) == (
        400,
        (
            f"Your own token is limited to {HERE}. "
            f"Leave out {ELSEWHERE}, or start from a token without that limit."
        ),
    )
    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 200
    assert (written.status_code, acting.status_code) == (403, 403)


async def test_a_token_ends_with_the_one_that_it_was_narrowed_from(site: Site) -> None:
    first = await site.sign_in(site.admin_key)
    second = (await narrowed(site, first, repositories=[HERE])).json()["accessToken"]
    third = (await narrowed(site, second, readOnly=True)).json()["accessToken"]
    page = f"{site.repository}/simple/"
    before = await site.get(page, third)

    await site.http.post("/revoke", data={"token": second})

    assert before.status_code == 200
    assert [(await site.get(page, one)).status_code for one in (first, second, third)] == [
        *(200, 401, 401)
    ]
    assert await introspected(site, third) == {"active": False}


async def test_a_token_is_narrowed_a_few_times_and_not_for_ever(site: Site) -> None:
    token = site.admin

    for _ in range(ANCESTORS_MAX):
        token = (await narrowed(site, token)).json()["accessToken"]
    refused = await narrowed(site, token)

    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 200
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        (
            "The token would hang on 5 others; 4 are allowed. "
            "Start from a token that was made with fewer."
        ),
    )


async def test_a_chosen_life_is_a_limit_for_whatever_is_made_with_the_token(site: Site) -> None:
    key = site.admin_key
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    short = (await narrowed(site, site.admin, lifetime="900s")).json()
    token = short["accessToken"]
    acting = await site.call("POST", f"{path}:generateAccessToken", {"lifetime": "43200s"}, token)
    further = (await narrowed(site, acting.json()["accessToken"], lifetime="7200s")).json()
    said = await site.call(
        "POST", f"{path}:generateIdToken", {"audience": "https://other.example"}, token
    )
    lasting = [
        await site.call("POST", f"{path}/keys", {}, one)
        for one in (token, acting.json()["accessToken"], further["accessToken"])
    ]

    claims = json.loads(base64.urlsafe_b64decode(said.json()["token"].split(".")[1] + "=="))
    assert short["expireTime"] == further["expireTime"] == "2026-11-22T12:15:00.000000Z"
    assert acting.json()["expireTime"] == "2026-11-22T12:15:00Z"
    assert claims["exp"] - claims["iat"] == 900
    assert [one.status_code for one in lasting] == [403, 403, 403]
    assert "the access token is limited to what ends with it" in lasting[0].text
    assert (await site.call("GET", f"{path}/keys", None, token)).status_code == 200


async def test_a_token_of_a_chosen_life_puts_no_repository_before_others_for_good(
    site: Site,
) -> None:
    token = (await narrowed(site, site.admin, lifetime="900s")).json()["accessToken"]
    place = site.rest.rpartition("/")[0]
    through = {"priority": 1, "repository": site.rest.removeprefix("/v1/")}
    virtual = {
        "format": "PYTHON",
        "mode": "VIRTUAL_REPOSITORY",
        "virtualRepositoryConfig": {"upstreamPolicies": [through | {"id": "own"}]},
    }
    made = [
        await site.call("POST", f"{place}?repositoryId=open", virtual, one)
        for one in (token, site.admin)
    ]
    changed = await site.call(
        "PATCH", f"{place}/open?updateMask=virtualRepositoryConfig", virtual, token
    )

    assert [one.status_code for one in (*made, changed)] == [403, 200, 403]
    assert "the access token is limited to what ends with it" in changed.text


def test_what_gives_lasting_access_is_not_for_a_token_of_a_chosen_life() -> None:
    limits = TokenLimits(ends_at=1.0)

    refused = {str(one) for one in Permission if not limits.allow(one, "projects/p")}

    # Whatever sets a policy, makes a credential, or says who somebody is or what a role holds.
    ways = ("setIamPolicy", "create", "update", "enable", "undelete")
    of_access = ("Policy", "iam.", "bonded.", "trustedPublishers", "artifactregistry.repositories.")
    ends_by_itself = {
        *("iam.serviceAccounts.create", "iam.serviceAccounts.update"),
        *("bonded.files.undelete", "bonded.packages.undelete", "bonded.versions.undelete"),
    }
    assert (
        refused
        == {
            str(one)
            for one in Permission
            if one.rpartition(".")[2] in ways and any(word in one for word in of_access)
        }
        - ends_by_itself
    )


async def test_however_often_an_account_is_acted_as_all_of_it_ends_in_half_a_day(
    site: Site,
) -> None:
    email = site.admin_key["client_email"]
    token, made = site.admin, 0
    asked = f"/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    while True:
        answer = await site.call("POST", asked, {"lifetime": "43200s"}, token)
        if answer.status_code != 200:
            break
        made += 1
        token = answer.json()["accessToken"]
        assert answer.json()["expireTime"] == "2026-11-23T00:00:00Z"
        site.clock.forward(minutes=30)

    # Not for being too old, but because so many may hang on each other.
    assert (made, answer.status_code) == (ANCESTORS_MAX, 400)
    site.clock.forward(hours=9)
    assert (await introspected(site, token))["active"]
    assert not (await introspected(site, site.admin))["active"]
    site.clock.forward(hours=1)
    assert not (await introspected(site, token))["active"]


@pytest.mark.parametrize("state", ["expired", "disabled"])
async def test_a_token_that_is_not_good_now_is_revoked_with_what_was_made_with_it(
    site: Site, state: str
) -> None:
    key = await site.make_account("the-caller")
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/iam.serviceAccountTokenCreator", member, path)
    token = await site.sign_in(key)
    asked = await site.call("POST", f"{path}:generateAccessToken", {"lifetime": "43200s"}, token)
    if state == "expired":
        site.clock.forward(minutes=61)
    else:
        await site.call("POST", f"{path}/keys/{key['private_key_id']}:disable", {})

    revoked = await site.http.post("/revoke", data={"token": token})
    if state == "disabled":
        await site.call("POST", f"{path}/keys/{key['private_key_id']}:enable", {})

    assert revoked.status_code == 200
    for one in (token, asked.json()["accessToken"]):
        assert await introspected(site, one) == {"active": False}


LIMITS: list[tuple[dict[str, object], str]] = [
    ({"repositories": ["python"]}, "'python' is not a repository. Use projects/PROJECT/"),
    ({"repositories": ["projects/P/locations/l/repositories/r"]}, "'P' is not a valid project ID"),
    ({"repositories": HERE}, "repositories must be a list of strings"),
    ({"repositories": [HERE] * 51}, "A token may name 50 repositories, not 51"),
    ({"readOnly": "yes"}, "readOnly must be true or false"),
    ({"lifetime": "soon"}, "lifetime must be seconds such as 900s"),
    ({"lifetime": "90000s"}, "lifetime must not be more than 43200s"),
]


@pytest.mark.parametrize(("body", "says"), LIMITS)
async def test_malformed_limits_are_refused(
    shared: Site, body: dict[str, object], says: str
) -> None:
    refused = await narrowed(shared, shared.admin, **body)

    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(says)


@pytest.mark.parametrize("token", ["", "garbage"])
async def test_nobody_gets_a_narrower_token_of_nobody(shared: Site, token: str) -> None:
    assert (await narrowed(shared, token)).status_code == 401


async def test_introspection_tells_whose_a_token_is_and_until_when(site: Site) -> None:
    now = int(site.clock.now.timestamp())

    found = await introspected(site, site.admin)

    assert found.pop("jti")
    assert found == {
        "active": True,
        "token_type": "Bearer",
        "sub": f"serviceAccount:{site.admin_key['client_email']}",
        "username": site.admin_key["client_email"],
        "iat": now,
        "exp": now + 3600,
    }
    site.clock.forward(hours=1)
    for dead in (site.admin, "garbage", "a.b.c"):
        assert await introspected(site, dead) == {"active": False}


async def test_a_revoked_token_stops_at_once_and_no_other_does(site: Site) -> None:
    other = await site.sign_in(site.admin_key)
    token = site.admin

    first = await site.http.post("/revoke", data={"token": token, "token_type_hint": "x"})
    again = await site.http.post("/revoke", data={"token": token})
    garbage = await site.http.post("/revoke", data={"token": "garbage"})
    nothing = await site.http.post("/revoke", data={"a": "b"})

    refused = await site.get(f"{site.repository}/simple/", token)
    assert (refused.status_code, refused.text) == (
        401,
        "The access token has been revoked. Fetch a new one.\n",
    )
    assert (await site.get(f"{site.repository}/simple/", other)).status_code == 200
    assert await introspected(site, token) == {"active": False}
    assert [one.status_code for one in (first, again, garbage, nothing)] == [200, 200, 200, 400]
    assert nothing.json() == {"error": "invalid_request", "error_description": "token is missing"}


async def test_revoked_tokens_are_forgotten_when_nothing_made_with_them_can_be_alive(
    site: Site,
) -> None:
    await site.http.post("/revoke", data={"token": site.admin})
    # Its own hour, and eleven more: so long lives what may have been made with it.
    site.clock.forward(hours=12)
    fresh = await site.sign_in(site.admin_key)

    await site.http.post("/revoke", data={"token": fresh})

    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database:
        (count,) = database.execute("SELECT count(*) FROM revoked_tokens").fetchone()
    assert count == 1


async def test_the_last_use_of_a_key_and_its_account_is_shown_and_costs_requests_nothing(
    site: Site,
) -> None:
    key = await site.make_account("worker")
    path = f"/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    token = await site.sign_in(key)
    site.clock.forward(minutes=5)
    await site.get(f"{site.repository}/simple/", token)
    (serial,) = await site.registry.metadata.serials.read("access")

    unwritten = (await site.get(path)).json()
    await site.registry.uses.write()

    written = (await site.get(path)).json()
    (shown,) = (await site.get(f"{path}/keys")).json()["keys"]
    assert "lastAuthenticatedTime" not in unwritten
    assert written["lastAuthenticatedTime"] == "2026-11-22T12:05:00.000000Z"
    assert shown["lastAuthenticatedTime"] == written["lastAuthenticatedTime"]
    # What everybody's requests have remembered is still good.
    assert await site.registry.metadata.serials.read("access") == (serial,)

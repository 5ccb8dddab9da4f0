"""Trusted publishing over HTTP: publishers, and the token that each assertion is good for once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsInt, IsStr
from inline_snapshot import snapshot
from joserfc.jwk import RSAKey

from bonded.server.identity.issuers import SKEW_S
from bonded.server.identity.publishers import LIFE
from support.clock import SetClock
from support.issuer import FakeIssuer, running_issuer
from support.site import Site, open_site
from support.trusting import CLAIMS, GITHUB, mint, minted, numbered, trust
from support.wheels import make_wheel

FROM_NOW = SetClock().now.timestamp()


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    """A registry that may ask issuers on loopback."""
    async with open_site(tmp_path / "data", private_issuers=True) as site:
        yield site


@pytest.fixture(name="issuer")
def _issuer(site: Site) -> Iterator[FakeIssuer]:
    """An issuer whose tokens say what GitHub's do."""
    with running_issuer(site.clock) as issuer:
        issuer.claims = dict(CLAIMS)
        yield issuer


async def test_the_audience_is_the_server_s_own_name(site: Site) -> None:
    answer = await site.http.get("/_/oidc/audience")

    assert (answer.status_code, answer.json()) == (200, {"audience": "registry.test"})


async def test_an_assertion_is_exchanged_for_a_token_that_uploads(
    site: Site, issuer: FakeIssuer
) -> None:
    await trust(site, issuer)

    answer = await mint(site, issuer.sign())
    token = answer.json()["token"]
    uploaded = await site.upload(make_wheel(), token)

    assert answer.json() == {"success": True, "token": IsStr(), "expires": IsInt()}
    assert answer.json()["expires"] == FROM_NOW + LIFE.total_seconds()
    assert answer.headers["cache-control"] == "no-store"
    assert uploaded.status_code == 200, uploaded.text


async def test_a_minted_token_does_nothing_but_upload_to_its_repository(
    site: Site, issuer: FakeIssuer
) -> None:
    rest = site.rest.replace("/python", "/other")
    made = await site.call("POST", f"{rest[:-6]}?repositoryId=other", {"format": "PYTHON"})
    assert made.status_code == 200, made.text
    await trust(site, issuer)
    token = await minted(site, issuer)

    elsewhere = await site.upload(make_wheel(), token, path="/my-project/other/")
    reading = await site.get(f"{site.repository}/simple/", token)
    granting = await site.call("POST", f"{site.rest}:getIamPolicy", {}, token)

    assert [one.status_code for one in (elsewhere, reading, granting)] == [403, 403, 403]
    assert "the access token is limited to uploading projects/my-project" in reading.text


async def test_a_publisher_of_named_packages_uploads_no_others_and_they_need_not_exist(
    site: Site, issuer: FakeIssuer
) -> None:
    await trust(site, issuer, None, "github", "Demo_Package")
    token = await minted(site, issuer)

    pending = await site.upload(make_wheel("demo-package"), token)
    other = await site.upload(make_wheel("other"), token)

    assert (pending.status_code, other.status_code) == (200, 403)
    assert "may not upload other to" in other.text
    assert "/packages/demo-package" in other.text


async def test_a_token_counts_for_every_publisher_that_fits(site: Site, issuer: FakeIssuer) -> None:
    rest = site.rest.replace("/python", "/other")
    await site.call("POST", f"{rest[:-6]}?repositoryId=other", {"format": "PYTHON"})
    await trust(site, issuer, None, "github", "demo")
    await trust(site, issuer, GITHUB | {"environment": "elsewhere"})
    await trust(site, issuer, rest=rest)
    token = await minted(site, issuer)

    answers = [
        await site.upload(make_wheel("demo"), token),
        await site.upload(make_wheel("other"), token),
        await site.upload(make_wheel("other"), token, path="/my-project/other/"),
    ]

    assert [one.status_code for one in answers] == [200, 403, 200]


OWNED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "github": (GITHUB, {}, "repository_owner_id", "repository_id"),
    "gitlab": (
        {"project_path": "acme/web", "workflow": ".gitlab-ci.yml"},
        {"project_path": "acme/web", "ci_config_ref_uri": "HOST/acme/web//.gitlab-ci.yml@x"},
        "namespace_id",
        "project_id",
    ),
}


@pytest.mark.parametrize("kind", OWNED)
async def test_whoever_takes_over_the_name_of_a_repository_does_not_take_over_its_publisher(
    site: Site, issuer: FakeIssuer, kind: str
) -> None:
    condition, said, owner, source = OWNED[kind]
    host = issuer.url.removeprefix("http://")
    issuer.claims |= {name: str(text).replace("HOST", host) for name, text in said.items()}
    issuer.claims |= {owner: "17", source: 4}
    name = await trust(site, issuer, condition, kind)
    first = await mint(site, numbered(issuer))
    shown = (await site.get(f"/v1/{name}")).json()["pinnedClaims"]

    issuer.claims[owner] = "18"
    taken = await mint(site, numbered(issuer))
    issuer.claims |= {owner: "17", source: 5}
    remade = await mint(site, numbered(issuer))
    del issuer.claims[source]
    silent = await mint(site, numbered(issuer))
    issuer.claims[source] = 4
    still = await mint(site, numbered(issuer))

    assert shown == {owner: "17", source: "4"}
    assert [one.status_code for one in (first, taken, remade, silent, still)] == [
        *(200, 422, 422, 422, 200)
    ]
    assert (
        f"{owner} is not 17, as when it first published; if that has rightly changed, "
        "delete the publisher and create it again" in taken.json()["errors"][0]["description"]
    )
    await site.call("DELETE", f"/v1/{name}")
    await trust(site, issuer, condition, kind)
    issuer.claims[owner] = "18"
    assert (await mint(site, numbered(issuer))).status_code == 200


async def test_an_assertion_is_good_for_one_exchange(site: Site, issuer: FakeIssuer) -> None:
    await trust(site, issuer)
    issuer.claims["jti"] = "once"
    first = await mint(site, issuer.sign())
    again = await mint(site, issuer.sign(exp=FROM_NOW + 301))
    del issuer.claims["jti"]
    nameless = issuer.sign()
    answers = [await mint(site, nameless), await mint(site, nameless)]

    assert (first.status_code, again.status_code) == (200, 422)
    assert [one.status_code for one in answers] == [200, 422]
    assert again.json() == snapshot(
        {
            "message": "Token request failed",
            "errors": [
                {
                    "code": "invalid-reuse-token",
                    "description": "The identity token was exchanged before. Ask the issuer for "
                    "another: each is good for one exchange.",
                }
            ],
        }
    )


async def test_a_minted_token_that_is_narrowed_keeps_its_limits_and_ends_with_it(
    site: Site, issuer: FakeIssuer
) -> None:
    await trust(site, issuer, None, "github", "demo")
    token = await minted(site, issuer)

    made = await site.call("POST", "/v1/tokens:limit", {}, token)
    narrow = made.json()["accessToken"]
    told = await site.http.post("/v1/introspect", data={"token": narrow})
    answers = [await site.upload(make_wheel(name, "1.0"), narrow) for name in ("demo", "victim")]
    reading = await site.get(f"{site.repository}/simple/", narrow)
    await site.http.post("/_/oidc/burn-token", json={"token": token})
    burned = await site.upload(make_wheel("demo", "2.0"), narrow)

    assert [one.status_code for one in answers] == [200, 403]
    assert (reading.status_code, burned.status_code) == (403, 401)
    assert told.json()["limits"] == {
        "repositories": [site.rest.removeprefix("/v1/")],
        "readOnly": False,
        "uploadOnly": True,
        "uploads": [f"{site.rest.removeprefix('/v1/')}/packages/demo"],
    }


@pytest.mark.parametrize("how", ["burned", "publisher deleted", "repository deleted", "expired"])
async def test_a_minted_token_ends(site: Site, issuer: FakeIssuer, how: str) -> None:
    name = await trust(site, issuer)
    token = await minted(site, issuer)
    assert (await site.upload(make_wheel("first"), token)).status_code == 200

    if how == "burned":
        for _ in range(2):
            burned = await site.http.post("/_/oidc/burn-token", json={"token": token})
            assert (burned.status_code, burned.json()) == (202, {"message": "Accepted"})
    elif how == "publisher deleted":
        assert (await site.call("DELETE", f"/v1/{name}")).status_code == 200
    elif how == "repository deleted":
        await site.delete_repository()
    else:
        site.clock.forward(minutes=15)

    assert (await site.upload(make_wheel("second"), token)).status_code == 401


async def test_nobody_burns_what_was_not_minted(site: Site) -> None:
    for token in ("garbage", site.admin):
        answer = await site.http.post("/_/oidc/burn-token", json={"token": token})
        assert answer.status_code == 202

    assert (await site.get(site.rest)).status_code == 200


def said(**claims: object) -> Callable[[FakeIssuer], str]:
    def make(issuer: FakeIssuer) -> str:
        issuer.claims |= claims
        return issuer.sign()

    return make


REFUSED: dict[str, tuple[Callable[[FakeIssuer], str], str, str]] = {
    "garbage": (lambda _: "garbage", "invalid-token", "is not a signed JWT"),
    "enormous": (lambda _: "x" * 20_000, "invalid-token", "longer than 16384"),
    "unsigned": (
        lambda issuer: f"eyJhbGciOiJub25lIn0.{issuer.sign().split('.')[1]}.",
        "invalid-token",
        "an algorithm that proves nothing",
    ),
    "unknown issuer": (
        said(iss="https://other.example"),
        "invalid-publisher",
        "or oidc:repo:acme/web:environment:release of the issuer https://other.example. Create one",
    ),
    "another repository": (said(repository="acme/other"), "invalid-publisher", "No trusted"),
    "another workflow": (
        said(job_workflow_ref="acme/Web/.github/workflows/other.yml@refs/heads/main"),
        "invalid-publisher",
        ": workflow is not publish.yml. Publish from where it does",
    ),
    "a workflow of another repository": (
        said(job_workflow_ref="evil/Web/.github/workflows/publish.yml@refs/heads/main"),
        "invalid-publisher",
        "workflow is not publish.yml",
    ),
    "another environment": (
        said(environment="test"),
        "invalid-publisher",
        "environment is not release",
    ),
    "another audience": (
        said(aud="pypi"),
        "invalid-token",
        "is for the audience 'pypi'. Ask the issuer for one for registry.test",
    ),
    "expired": (said(exp=FROM_NOW - SKEW_S), "invalid-token", "has expired"),
    "future": (said(iat=FROM_NOW + SKEW_S + 1), "invalid-token", "from the future"),
    "unknown key": (
        lambda issuer: (issuer.header.update(kid="other"), issuer.sign())[1],
        "invalid-token",
        "not signed with a key of its issuer",
    ),
}


@pytest.mark.parametrize("title", REFUSED)
async def test_an_assertion_that_fits_no_publisher_is_refused_with_what_to_do(
    site: Site, issuer: FakeIssuer, title: str
) -> None:
    await trust(site, issuer, GITHUB | {"environment": "release"})
    make, code, says = REFUSED[title]

    answer = await mint(site, make(issuer))

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["code"] == code
    assert says in error["description"]


async def test_no_issuer_is_asked_before_a_publisher_is_found(
    site: Site, issuer: FakeIssuer
) -> None:
    answer = await mint(site, issuer.sign())

    assert answer.json()["errors"][0]["code"] == "invalid-publisher"
    assert issuer.requests == []


async def test_a_stranger_does_not_learn_who_publishes_here(site: Site, issuer: FakeIssuer) -> None:
    await trust(site, issuer)
    issuer.signer = RSAKey.generate_key(2048, {"kid": "first"})
    answers = []
    for repository in ("acme/web", "acme/other"):
        issuer.claims["repository"] = repository
        answers.append((await mint(site, issuer.sign())).json())

    assert answers[0] == answers[1]
    assert "is not signed with a key of its issuer" in answers[0]["errors"][0]["description"]


async def test_an_issuer_that_does_not_work_is_said_to_be(site: Site, issuer: FakeIssuer) -> None:
    await trust(site, issuer)
    issuer.raw = {"/jwks": (500, b"{}")}

    answer = await mint(site, issuer.sign())

    assert answer.status_code == 503
    assert "answered 500" in answer.json()["errors"][0]["description"]


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"token": 7}', "garbage"])
async def test_a_request_that_is_none_is_refused_as_the_others_are(site: Site, body: str) -> None:
    for path in ("mint-token", "burn-token"):
        answer = await site.http.post(f"/_/oidc/{path}", content=body)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "invalid-payload"


KINDS: dict[str, tuple[dict[str, str], dict[str, object], dict[str, object]]] = {
    "gitlab": (
        {"project_path": "Acme/web", "workflow": ".gitlab-ci.yml", "ref_protected": "true"},
        {
            "project_path": "acme/web",
            "ci_config_ref_uri": "HOST/acme/web//.gitlab-ci.yml@refs/heads/main",
            "ref_protected": True,
        },
        {"ci_config_ref_uri": "HOST/acme/web//other.yml@refs/heads/main"},
    ),
    "buildkite": (
        {"organization_slug": "acme", "pipeline_slug": "web", "build_branch": "main"},
        {"organization_slug": "acme", "pipeline_slug": "web", "build_branch": "main"},
        {"build_branch": "other"},
    ),
    "activestate": (
        {"organization": "acme", "project": "web"},
        {"organization": "acme", "project": "web"},
        {"project": "other"},
    ),
    "oidc": (
        {"sub": "system:serviceaccount:ci:builder"},
        {"sub": "system:serviceaccount:ci:builder"},
        {"sub": "system:serviceaccount:ci:other"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_recipe_lets_in_whom_it_says_and_nobody_else(
    site: Site, issuer: FakeIssuer, kind: str
) -> None:
    conditions, claims, other = KINDS[kind]
    host = issuer.url.removeprefix("http://")
    await trust(site, issuer, conditions, kind)
    answers = []
    for one in (claims, claims | other):
        issuer.claims = {"aud": "registry.test", "sub": "s"} | {
            name: value.replace("HOST", host) if isinstance(value, str) else value
            for name, value in one.items()
        }
        answers.append(await mint(site, numbered(issuer)))

    assert [answer.status_code for answer in answers] == [200, 422]
    assert answers[1].json()["errors"][0]["code"] == "invalid-publisher"


async def test_a_publisher_s_whole_life(site: Site, issuer: FakeIssuer) -> None:
    name = await trust(site, issuer, None, "github", "demo")
    shown = await site.call("GET", f"/v1/{name}")
    listed = await site.call("GET", f"{site.rest}/trustedPublishers")
    deleted = await site.call("DELETE", f"/v1/{name}")
    gone = await site.call("GET", f"/v1/{name}")

    assert shown.json() == {
        "name": IsStr(regex=rf"{site.rest[4:]}/trustedPublishers/[0-9a-f]{{16}}"),
        "provider": "github",
        "issuerUri": issuer.url,
        "claims": GITHUB,
        "createTime": "2026-11-22T12:00:00.000000Z",
        "packages": ["demo"],
    }
    assert listed.json() == {"trustedPublishers": [shown.json()]}
    assert (deleted.status_code, gone.status_code) == (200, 404)


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown recipe": ({"provider": "svn"}, "is unknown; use github, gitlab"),
    "no workflow": ({"claims": {"repository": "a/b"}}, "must say its workflow"),
    "no repository": ({"claims": {"workflow": "x"}}, "must say its repository"),
    "no claims": ({"claims": None}, "claims must be an object"),
    "claim no text": ({"claims": GITHUB | {"ref": True}}, "The claim 'ref' must be a text"),
    "no issuer": ({"provider": "oidc", "claims": {"sub": "x"}}, "is not an address"),
    "issuer in the clear": ({"issuerUri": "http://x.example"}, "must be asked over https"),
    "packages no list": ({"packages": "demo"}, "packages must be a list of at most 50"),
    "package no name": ({"packages": ["-x-"]}, "'-x-' is not a valid package name"),
    "workflow of an issuer without": (
        {"provider": "oidc", "issuerUri": "https://x.example", "claims": {"sub": "x"} | GITHUB},
        "knows no workflow",
    ),
}


@pytest.mark.parametrize("title", MALFORMED)
async def test_a_malformed_publisher_is_refused(site: Site, title: str) -> None:
    changes, says = MALFORMED[title]
    body = {"provider": "github", "claims": GITHUB} | changes

    answer = await site.call("POST", f"{site.rest}/trustedPublishers", body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


async def test_no_policy_can_name_publishers(site: Site) -> None:
    member = f"trustedPublishers:{site.rest[4:]}"
    policy = {"bindings": [{"role": "roles/owner", "members": [member]}]}

    answer = await site.call("POST", f"{site.rest}:setIamPolicy", {"policy": policy})

    assert answer.status_code == 400


async def test_a_token_that_is_no_text_is_no_token(site: Site) -> None:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    header = part('{"alg":"RS256","kid":"x"}')
    for claims in ('{"iss":"\\ud800","sub":"x","aud":"x"}', "[" * 5000):
        token = f"{header}.{part(claims)}.AAAA"
        answer = await site.http.post("/_/oidc/mint-token", json={"token": token})

        assert answer.status_code == 422, answer.text
        assert "not a signed JWT" in answer.text

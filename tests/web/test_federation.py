"""Workload identity federation over HTTP: pools, providers, and the exchange of tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from dirty_equals import IsStr
from joserfc.jwk import RSAKey

from bonded.server.identity.issuers import AGAIN_S, SKEW_S
from support.clock import SetClock
from support.federating import POOLS, PROVIDERS, exchange, make_provider, token_of
from support.issuer import FakeIssuer, running_issuer
from support.site import Site, open_site

READER = "roles/artifactregistry.reader"
FROM_NOW = SetClock().now.timestamp()


@pytest.fixture(name="issuer")
def _issuer(site: Site) -> Iterator[FakeIssuer]:
    """An issuer whose tokens say what a build's token says."""
    with running_issuer(site.clock) as issuer:
        issuer.claims = {
            "sub": "repo:acme/web:ref:refs/heads/main",
            "repository": "acme/web",
            "groups": ["dev", "ops"],
        }
        yield issuer


@pytest.fixture(name="site")
async def _site(tmp_path: Path) -> AsyncIterator[Site]:
    """A registry that may ask issuers on loopback."""
    async with open_site(tmp_path / "data", private_issuers=True) as site:
        yield site


async def test_an_exchange_answers_as_google_s_does(site: Site, issuer: FakeIssuer) -> None:
    name = await make_provider(site, issuer)

    answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())

    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "access_token": IsStr(regex=r"ey[\w.-]+"),
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 3600,
    }


async def test_introspection_names_an_outside_identity_as_policies_do(
    site: Site, issuer: FakeIssuer
) -> None:
    name = await make_provider(site, issuer)
    pool = name.partition("/providers/")[0]
    token = await token_of(site, issuer, name)

    told = (await site.http.post("/v1/introspect", data={"token": token})).json()

    subject = "repo:acme/web:ref:refs/heads/main"
    assert told["sub"] == f"principal://iam.googleapis.com/{pool}/subject/{subject}"
    assert told["username"] == told["sub"]


@pytest.mark.parametrize(
    "kind", ["subject", "group", "second group", "attribute", "everybody", "nobody", "all"]
)
async def test_a_token_counts_as_what_the_mapping_gives(
    site: Site, issuer: FakeIssuer, kind: str
) -> None:
    name = await make_provider(site, issuer)
    pool = f"//iam.googleapis.com/{name.partition('/providers/')[0]}"
    members = {
        "subject": f"principal:{pool}/subject/repo:acme/web:ref:refs/heads/main",
        "group": f"principalSet:{pool}/group/dev",
        "second group": f"principalSet:{pool}/group/ops",
        "attribute": f"principalSet:{pool}/attribute.repository/acme/web",
        "everybody": f"principalSet:{pool}/*",
        "nobody": f"principalSet:{pool}/attribute.repository/acme/other",
        "all": "allAuthenticatedUsers",
    }
    token = await token_of(site, issuer, name)
    before = await site.get(f"{site.repository}/simple/", token)

    await site.grant(READER, members[kind])
    after = await site.get(f"{site.repository}/simple/", token)

    assert before.status_code == 403
    assert "principal://iam.googleapis.com/projects/" in before.text
    # Federated identities are not "all authenticated users" (gar.md §3.3).
    assert after.status_code == (403 if kind in ("nobody", "all") else 200)


@pytest.mark.parametrize("spelling", ["number", "id", "without projects", "with https"])
async def test_a_provider_is_named_in_every_way_that_clients_name_it(
    site: Site, issuer: FakeIssuer, spelling: str
) -> None:
    name = await make_provider(site, issuer)
    number = name.split("/")[1]
    audience = {
        "number": f"//iam.googleapis.com/{name}",
        "id": f"//iam.googleapis.com/{name.replace(number, 'my-project')}",
        "without projects": f"//iam.googleapis.com/{name.removeprefix('projects/')}",
        "with https": f"https://iam.googleapis.com/{name}",
    }[spelling]

    assert (await exchange(site, audience, issuer.sign())).status_code == 200


END: dict[str, tuple[str, str, object]] = {
    "provider deleted": ("DELETE", f"{PROVIDERS}/builds", None),
    "provider disabled": ("PATCH", f"{PROVIDERS}/builds?updateMask=disabled", {"disabled": True}),
    "pool deleted": ("DELETE", f"{POOLS}/ci-pool", None),
    "pool disabled": ("PATCH", f"{POOLS}/ci-pool?updateMask=disabled", {"disabled": True}),
}
OIDC = f"{PROVIDERS}/builds?updateMask=oidc"
CHANGED: dict[str, tuple[str, dict[str, object], bool]] = {
    "issuer": (f"{OIDC}.issuerUri", {"oidc": {"issuerUri": "https://new.example"}}, True),
    "audiences": (f"{OIDC}.allowedAudiences", {"oidc": {"allowedAudiences": ["x"]}}, True),
    "keys": (f"{OIDC}.jwksJson", {"oidc": {"jwksJson": "KEYS"}}, True),
    "condition": (
        f"{PROVIDERS}/builds?updateMask=attributeCondition",
        {"attributeCondition": "attribute.repository == 'acme/other'"},
        True,
    ),
    "mapping": (
        f"{PROVIDERS}/builds?updateMask=attributeMapping",
        {"attributeMapping": {"google.subject": "assertion.repository"}},
        True,
    ),
    "display name": (
        f"{PROVIDERS}/builds?updateMask=displayName",
        {"displayName": "Builds"},
        False,
    ),
}


@pytest.mark.parametrize("what", CHANGED)
async def test_what_a_provider_let_in_ends_when_it_would_let_in_others(
    site: Site, issuer: FakeIssuer, what: str
) -> None:
    path, body, ends = CHANGED[what]
    keys = {"keys": [key.as_dict(private=False) for key in issuer.keys]}
    text = json.dumps(body).replace('"KEYS"', json.dumps(json.dumps(keys)))
    name = await make_provider(site, issuer)
    token = await token_of(site, issuer, name)
    pool = name.partition("/providers/")[0]
    await site.grant(READER, f"principalSet://iam.googleapis.com/{pool}/*")
    before = await site.get(f"{site.repository}/simple/", token)

    changed = await site.call("PATCH", path, json.loads(text))
    after = await site.get(f"{site.repository}/simple/", token)

    assert changed.status_code == 200, changed.text
    assert (before.status_code, after.status_code) == (200, 401 if ends else 200)
    assert not ends or "was changed since the access token was issued. Exchange" in after.text


@pytest.mark.parametrize("how", END)
async def test_what_ends_a_provider_ends_its_tokens_on_the_next_request(
    site: Site, issuer: FakeIssuer, how: str
) -> None:
    name = await make_provider(site, issuer)
    token = await token_of(site, issuer, name)
    pool = name.partition("/providers/")[0]
    await site.grant(READER, f"principalSet://iam.googleapis.com/{pool}/*")
    before = await site.get(f"{site.repository}/simple/", token)

    ended = await site.call(*END[how])
    after = await site.get(f"{site.repository}/simple/", token)
    again = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())

    assert ended.status_code == 200, ended.text
    assert (before.status_code, after.status_code, again.status_code) == (200, 401, 400)
    assert again.json()["error"] == "invalid_target"
    assert "does not exist or is disabled" in again.json()["error_description"]


async def test_a_provider_made_again_does_not_revive_tokens(site: Site, issuer: FakeIssuer) -> None:
    name = await make_provider(site, issuer)
    token = await token_of(site, issuer, name)
    await site.grant(READER, "allUsers")
    await site.call("DELETE", f"{PROVIDERS}/builds")
    site.clock.forward(seconds=5)

    await make_provider(site, issuer)

    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 401


async def test_a_pool_made_again_does_not_inherit_grants(site: Site, issuer: FakeIssuer) -> None:
    name = await make_provider(site, issuer)
    pool = name.partition("/providers/")[0]
    await site.grant(READER, f"principalSet://iam.googleapis.com/{pool}/*")
    await site.call("DELETE", f"{POOLS}/ci-pool")

    await make_provider(site, issuer)
    token = await token_of(site, issuer, name)

    assert (await site.get(f"{site.repository}/simple/", token)).status_code == 403


async def test_an_assertion_may_be_exchanged_until_it_expires(
    site: Site, issuer: FakeIssuer
) -> None:
    name = await make_provider(site, issuer)
    audience, assertion = f"//iam.googleapis.com/{name}", issuer.sign()

    first = await exchange(site, audience, assertion)
    second = await exchange(site, audience, assertion)

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["access_token"] != second.json()["access_token"]


def with_header(**header: str) -> Callable[[FakeIssuer], str]:
    def make(issuer: FakeIssuer) -> str:
        issuer.header = header
        return issuer.sign()

    return make


def unsigned(issuer: FakeIssuer) -> str:
    return f"eyJhbGciOiJub25lIn0.{issuer.sign().split('.')[1]}."


def forged(issuer: FakeIssuer) -> str:
    issuer.signer = RSAKey.generate_key(2048, {"kid": "first"})
    return issuer.sign()


def said(**claims: object) -> Callable[[FakeIssuer], str]:
    def make(issuer: FakeIssuer) -> str:
        issuer.claims |= claims
        return issuer.sign()

    return make


BAD: dict[str, tuple[Callable[[FakeIssuer], str], str]] = {
    "garbage": (lambda _: "garbage", "is not a signed JWT"),
    "enormous": (lambda _: "x" * 20_000, "longer than 16384"),
    "alg none": (unsigned, "algorithm that proves nothing"),
    "unknown kid": (with_header(kid="other"), "not signed with a key of its issuer"),
    "forged": (forged, "not signed with a key of its issuer"),
    "another issuer": (said(iss="https://other.example"), "from 'https://other.example', not from"),
    "another audience": (said(aud="sts"), "for the audience 'sts', which the provider"),
    "no audience": (said(aud=None), "for the audience 'None'"),
    "expired": (said(exp=FROM_NOW - SKEW_S), "has expired. Sign in again, or have a new one"),
    "no end": (said(exp=None), "does not say when it expires"),
    "no beginning": (said(iat=None), "does not say when it was issued"),
    "future": (said(iat=FROM_NOW + SKEW_S + 1), "from the future. Check the clocks"),
    "lives too long": (said(exp=FROM_NOW + 25 * 3600), "lives longer than 24 hours"),
    "no subject": (said(sub=None), "The mapping of google.subject gives nothing: The expression"),
    "empty subject": (said(sub=""), "gives 0 bytes; 1 to 127 are allowed. Map a shorter claim"),
    "long subject": (said(sub="x" * 128), "gives 128 bytes"),
    "subject of two lines": (said(sub="a\nb"), "cannot be printed"),
    "subject no string": (said(sub=7), "The mapping of google.subject gives no string"),
    "groups no list": (said(groups=7), "The mapping of google.groups gives no list"),
    "groups of numbers": (said(groups=[7]), "something else than strings"),
    "far too many groups": (
        said(groups=[f"group-{number}" for number in range(100)]),
        "has 100 groups and 1 attributes, more than an access token can hold. Map fewer",
    ),
}


@pytest.mark.parametrize("title", BAD)
async def test_an_assertion_that_proves_nobody_is_refused_with_what_to_do(
    site: Site, issuer: FakeIssuer, title: str
) -> None:
    name = await make_provider(site, issuer)
    make, says = BAD[title]

    answer = await exchange(site, f"//iam.googleapis.com/{name}", make(issuer))

    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_grant", "error_description": IsStr()}
    assert says in answer.json()["error_description"]


async def test_clocks_may_differ_by_a_minute(site: Site, issuer: FakeIssuer) -> None:
    name = await make_provider(site, issuer)
    for claims in ({"exp": FROM_NOW - SKEW_S + 1, "iat": FROM_NOW - 300}, {"iat": FROM_NOW + 60}):
        issuer.claims |= claims

        answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())

        assert answer.status_code == 200, answer.text
        del issuer.claims["iat"]
        issuer.claims.pop("exp", None)


async def test_a_condition_that_is_not_met_is_named(site: Site, issuer: FakeIssuer) -> None:
    condition = "attribute.repository == 'acme/web' && 'ops' in google.groups"
    name = await make_provider(site, issuer, attributeCondition=condition)
    audience = f"//iam.googleapis.com/{name}"

    met = await exchange(site, audience, issuer.sign())
    issuer.claims["repository"] = "acme/other"
    unmet = await exchange(site, audience, issuer.sign())

    assert (met.status_code, unmet.status_code) == (200, 400)
    assert unmet.json()["error_description"] == (
        f"The identity is refused by the attribute condition of {name}: The expression "
        f"`{condition}` is false. Sign in from where the condition holds, or have it changed."
    )


async def test_keys_that_rotate_are_fetched_when_a_token_names_them(
    site: Site, issuer: FakeIssuer
) -> None:
    name = await make_provider(site, issuer)
    await token_of(site, issuer, name)
    issuer.rotate()
    site.clock.forward(seconds=AGAIN_S)

    await token_of(site, issuer, name)

    assert issuer.requests.count("GET /jwks") == 2


async def test_an_issuer_that_cannot_be_asked_is_unavailable_and_left_alone_for_a_while(
    site: Site, issuer: FakeIssuer
) -> None:
    name = await make_provider(site, issuer)
    issuer.raw = {"/jwks": (500, b"{}")}
    answers = [
        await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign()) for _ in range(5)
    ]

    assert {answer.status_code for answer in answers} == {503}
    assert answers[-1].json()["error"] == "temporarily_unavailable"
    assert "answered 500 for" in answers[-1].json()["error_description"]
    assert issuer.requests.count("GET /jwks") == 1
    issuer.raw = {}
    site.clock.forward(seconds=AGAIN_S)
    await token_of(site, issuer, name)


async def test_keys_that_were_uploaded_are_asked_of_nobody(site: Site, issuer: FakeIssuer) -> None:
    keys = [key.as_dict(private=False) for key in issuer.keys]
    oidc = {"jwksJson": httpx2.Response(200, json={"keys": keys}).text}
    name = await make_provider(site, issuer, oidc=oidc)

    await token_of(site, issuer, name)
    assert issuer.requests == []

    issuer.rotate()
    answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())
    assert "not signed with a key of its issuer" in answer.json()["error_description"]


async def test_audiences_that_a_provider_names_replace_its_own_name(
    site: Site, issuer: FakeIssuer
) -> None:
    issuer.claims["aud"] = ["sts", "packages"]
    name = await make_provider(site, issuer, oidc={"allowedAudiences": ["packages"]})

    await token_of(site, issuer, name)

    issuer.claims["aud"] = f"https://iam.googleapis.com/{name}"
    answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())
    assert "Ask the issuer for one for packages." in answer.json()["error_description"]


FORMS: dict[str, tuple[dict[str, str], str, str]] = {
    "another grant": ({"grant_type": "password"}, "invalid_request", "grant_type must be"),
    "another kind of token": (
        {"subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"},
        "invalid_request",
        "subject_token_type must be",
    ),
    "asks for a refresh token": (
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        "invalid_request",
        "requested_token_type must be",
    ),
    "no subject token": ({"subject_token": ""}, "invalid_request", "subject_token is missing"),
    "no audience": ({"audience": ""}, "invalid_request", "audience is missing"),
    "no provider": ({"audience": "//bonded/x"}, "invalid_request", "names no provider. Use //iam"),
    "an absent provider": (
        {"audience": f"//iam.googleapis.com{POOLS[3:]}/ci-pool/providers/absent"},
        "invalid_target",
        "does not exist or is disabled. Compare it with `bonded iam workload",
    ),
    "an absent project": (
        {"audience": f"//iam.googleapis.com{PROVIDERS[3:]}/builds".replace("my-project", "17")},
        "invalid_target",
        "does not exist",
    ),
}


@pytest.mark.parametrize("title", FORMS)
async def test_a_wrong_request_is_refused_in_the_words_of_oauth(
    site: Site, issuer: FakeIssuer, title: str
) -> None:
    name = await make_provider(site, issuer)
    changes, code, says = FORMS[title]

    fields = {"audience": f"//iam.googleapis.com/{name}", "token": issuer.sign()} | changes
    answer = await exchange(site, fields.pop("audience"), fields.pop("token"), **fields)

    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert says in answer.json()["error_description"]


async def test_no_issuer_at_a_private_address_is_asked_unless_a_setting_allows(
    tmp_path: Path,
) -> None:
    async with open_site(tmp_path / "strict") as site:
        await site.call("POST", f"{POOLS}?workloadIdentityPoolId=ci-pool", {})
        path = f"{PROVIDERS}?workloadIdentityPoolProviderId=builds"
        body = {"attributeMapping": {"google.subject": "assertion.sub"}}

        in_the_clear = await site.call(
            "POST", path, body | {"oidc": {"issuerUri": "http://127.0.0.1:1"}}
        )
        private = await site.call(
            "POST", path, body | {"oidc": {"issuerUri": "https://127.0.0.1:1"}}
        )
        with running_issuer(site.clock) as issuer:
            name = private.json()["response"]["name"]
            answer = await exchange(site, f"//iam.googleapis.com/{name}", issuer.sign())

        assert in_the_clear.status_code == 400
        assert "must be asked over https" in in_the_clear.text
        assert answer.status_code == 503
        assert "127.0.0.1 is not a public address (loopback)" in answer.text
        assert "private_issuers" in answer.text


async def test_life_is_that_of_every_access_token(site: Site, issuer: FakeIssuer) -> None:
    # Google's are, too: what is left of the assertion's life does not matter.
    issuer.claims["exp"] = FROM_NOW + 60
    name = await make_provider(site, issuer)
    token = await token_of(site, issuer, name)
    site.clock.forward(seconds=59 * 60)
    living = await site.get(f"{site.repository}/simple/", token)
    site.clock.forward(minutes=2)
    dead = await site.get(f"{site.repository}/simple/", token)

    assert (living.status_code, dead.status_code) == (403, 401)

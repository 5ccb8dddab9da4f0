"""Credentials: every form that is accepted, and everything that proves nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from dirty_equals import IsStr
from joserfc import jwt
from joserfc.jwk import KeySet

from bonded.server.identity.credentials import PresentedKeyFile, PresentedToken
from bonded.server.identity.keys import make_key_pair
from bonded.server.web.messages import Call
from support.clock import SetClock
from support.site import TOKEN_AUDIENCE, URL, Site, basic, open_site, sign_assertion
from support.wheels import make_wheel

API_AUDIENCE = "https://artifactregistry.googleapis.com/"
Key = Mapping[str, str]


def encoded(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def self_signed(key: Key, clock: SetClock, **claims: object) -> str:
    """Return the bearer token that Google's client libraries make without asking anybody."""
    said = {"aud": API_AUDIENCE, "sub": key["client_email"], "scope": None} | claims
    return sign_assertion(key, clock, header=None, **said)


CREDENTIALS: dict[str, Callable[[Site], str]] = {
    "oauth2accesstoken and a token": lambda site: basic("oauth2accesstoken", site.admin),
    "__token__ and a token": lambda site: basic("__token__", site.admin),
    "token and a token": lambda site: basic("token", site.admin),
    "no user and a token": lambda site: basic("", site.admin),
    "anybody and a token": lambda site: basic("ada", site.admin),
    "Bearer and a token": lambda site: f"Bearer {site.admin}",
    "bearer in lower case": lambda site: f"bearer {site.admin}",
    "_json_key_base64 and a key file": lambda site: basic(
        "_json_key_base64", base64.b64encode(json.dumps(dict(site.admin_key)).encode()).decode()
    ),
    "_json_key_base64 with line breaks": lambda site: basic(
        "_json_key_base64", base64.encodebytes(json.dumps(dict(site.admin_key)).encode()).decode()
    ),
    "_json_key and a key file": lambda site: basic(
        "_json_key", json.dumps(dict(site.admin_key), indent=2)
    ),
    "anybody and a key file": lambda site: basic("ada", json.dumps(dict(site.admin_key))),
    "Bearer and a self-signed JWT": lambda site: (
        f"Bearer {self_signed(site.admin_key, site.clock)}"
    ),
    "oauth2accesstoken and a self-signed JWT": lambda site: basic(
        "oauth2accesstoken", self_signed(site.admin_key, site.clock)
    ),
    "a self-signed JWT with a scope and no audience": lambda site: (
        f"Bearer {self_signed(site.admin_key, site.clock, aud=None, scope='cloud-platform')}"
    ),
}


@pytest.mark.parametrize("title", CREDENTIALS)
async def test_every_form_of_a_credential_opens_the_data_and_the_control_plane(
    shared: Site, title: str
) -> None:
    headers = {"authorization": CREDENTIALS[title](shared)}

    data = await shared.http.get(f"{shared.repository}/simple/", headers=headers)
    control = await shared.http.get(shared.rest, headers=headers)

    assert (data.status_code, control.status_code) == (200, 200)


OTHER_ID = {"private_key_id": "0" * 40}
NEW_KEY = "Create another with `bonded iam service-accounts keys create`."
NOT_THIS_API = "Invalid JWT: the audience is not this API."
NO_KEY_FILE = "The password is not a service-account key file."

REFUSED: dict[str, tuple[Callable[[Site], str], str]] = {
    "a user with an empty password": (lambda _: basic("ada", ""), "The password is empty."),
    "nothing at all": (lambda _: basic("", ""), "The password is empty."),
    "no colon": (
        lambda _: "Basic " + base64.b64encode(b"ada").decode(),
        "The password is empty.",
    ),
    "not base64": (
        lambda _: "Basic !!!!",
        "The Basic credential is not base64 of user:password.",
    ),
    "not ASCII": (lambda _: "Basic é", "The Basic credential is not base64 of user:password."),
    "not UTF-8": (
        lambda _: "Basic " + base64.b64encode(b"ada:\xff").decode(),
        "The Basic credential is not base64 of user:password.",
    ),
    "another scheme": (
        lambda _: "Digest username=ada",
        "The Authorization header is neither Basic nor Bearer.",
    ),
    "Bearer and nothing": (lambda _: "Bearer", "The token is empty."),
    "a password": (
        lambda _: basic("ada", "secret"),
        "The access token is not valid. Fetch a new one.",
    ),
    "three parts of nonsense": (
        lambda _: "Bearer eyJ.a.b",
        "The access token is not valid. Fetch a new one.",
    ),
    "an enormous header": (
        lambda _: basic("ada", "x" * 20_000),
        "The Authorization header is too long.",
    ),
    "a token that was changed": (
        lambda site: f"Bearer {site.admin[:-6]}AAAAAA",
        "The access token is not valid. Fetch a new one.",
    ),
    "an unsigned token": (
        lambda site: (
            "Bearer " + encoded({"alg": "none", "typ": "at+jwt"}) + f".{site.admin.split('.')[1]}."
        ),
        "The access token is not valid. Fetch a new one.",
    ),
    "a key file that is none": (
        lambda _: basic("_json_key", '{"type": "service_account"}'),
        f"{NO_KEY_FILE} With user _json_key_base64 the password is the whole key file in base64.",
    ),
    "a key file with other types": (
        lambda site: basic("_json_key", json.dumps(dict(site.admin_key) | {"private_key": 1})),
        NO_KEY_FILE,
    ),
    "a key file that nests": (
        lambda _: basic("_json_key", '{"a":' + "[" * 10_000),
        f"{NO_KEY_FILE} With user _json_key_base64 the password is the whole key file in base64.",
    ),
    "a key file with half a character": (
        lambda site: basic(
            "_json_key", json.dumps(dict(site.admin_key) | {"private_key_id": "\ud800"})
        ),
        NO_KEY_FILE,
    ),
    "a key file without its key": (
        lambda site: basic("_json_key", json.dumps(dict(site.admin_key) | {"private_key": "x"})),
        "The service-account key is not valid.",
    ),
    "a key file of somebody else's name": (
        lambda site: basic("_json_key", json.dumps(dict(site.admin_key) | {"client_email": "x"})),
        "The service-account key is not valid.",
    ),
    "a key file with another private key": (
        lambda site: basic(
            "_json_key",
            json.dumps(dict(site.admin_key) | {"private_key": make_key_pair().private_key_pem}),
        ),
        "The service-account key is not valid.",
    ),
    "a key file that nobody knows": (
        lambda site: basic("_json_key", json.dumps(dict(site.admin_key) | OTHER_ID)),
        f"The service-account key does not exist any more. {NEW_KEY}",
    ),
    "a self-signed JWT for the token endpoint": (
        lambda site: f"Bearer {sign_assertion(site.admin_key, site.clock)}",
        f"{NOT_THIS_API} Sign it for {API_AUDIENCE}, or exchange it at /token.",
    ),
    "a self-signed JWT that has expired": (
        lambda site: "Bearer " + self_signed(site.admin_key, site.clock, iat=1, exp=3601),
        "Invalid JWT: it has expired. Sign another, and check the clock of the client.",
    ),
}


@pytest.mark.parametrize("title", REFUSED)
async def test_what_proves_nobody_is_401_with_a_challenge(shared: Site, title: str) -> None:
    credential, says = REFUSED[title]
    header = credential(shared).encode("latin-1")

    response = await shared.http.get(
        f"{shared.repository}/simple/", headers={b"authorization": header}
    )

    assert (response.status_code, response.text) == (401, f"{says}\n")
    assert response.headers["www-authenticate"] == 'Basic realm="Bonded", charset="UTF-8"'
    assert response.headers["cache-control"] == "no-store"


def hmac_signed(key: Key, clock: SetClock) -> str:
    """Sign with HS256, taking the public key for the secret."""
    private = serialization.load_pem_private_key(key["private_key"].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = sign_assertion(key, clock).split(".")[1]
    signed = encoded({"alg": "HS256", "kid": key["private_key_id"]}) + f".{claims}"
    return f"{signed}.{encoded(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def unsigned(key: Key, clock: SetClock) -> str:
    claims = sign_assertion(key, clock).split(".")[1]
    return encoded({"alg": "none", "kid": key["private_key_id"]}) + f".{claims}."


def changed(key: Key, clock: SetClock) -> str:
    heading, _, signature = sign_assertion(key, clock).split(".")
    return f"{heading}.{encoded({'iss': key['client_email']})}.{signature}"


WRONG_ALGORITHM = (
    "Invalid JWT: it must be signed with RS256 and name its key. Sign it with the service "
    "account's key file, and write the key's ID as kid."
)
NO_SUCH_KEY = f"Invalid JWT Signature. The key does not exist any more. {NEW_KEY}"
WRONG_SIGNATURE = "Invalid JWT Signature. Sign it with the private key whose ID it names."
OTHER_ACCOUNT = "Invalid JWT: the key belongs to another account. Write "
WRONG_AUDIENCE = (
    "Invalid JWT: the audience is not this server's token endpoint. Sign it for "
    "https://oauth2.googleapis.com/token, as Google's libraries do."
)
NO_TIMES = "Invalid JWT: iat and exp are required. Write both, as seconds since 1970."
NOW = int(SetClock().now.timestamp())

ASSERTIONS: dict[str, tuple[Callable[[Key, SetClock], str], str]] = {
    "garbage": (lambda _key, _clock: "garbage", WRONG_ALGORITHM),
    "dots": (lambda _key, _clock: "..", WRONG_ALGORITHM),
    "a header that is a list": (lambda _key, _clock: f"{encoded([1])}.e30.AA", WRONG_ALGORITHM),
    "not ASCII": (lambda _key, _clock: "é.é.é", WRONG_ALGORITHM),
    "alg none": (unsigned, WRONG_ALGORITHM),
    "HS256 with the public key": (hmac_signed, WRONG_ALGORITHM),
    "no kid": (
        lambda _key, _clock: f"{encoded({'alg': 'RS256'})}.e30.AA",
        WRONG_ALGORITHM,
    ),
    "unknown kid": (
        lambda key, clock: sign_assertion(key, clock, header={"kid": "0" * 40}),
        NO_SUCH_KEY,
    ),
    "half a character as kid": (
        lambda key, clock: sign_assertion(key, clock, header={"kid": "\ud800"}),
        NO_SUCH_KEY,
    ),
    "another private key": (
        lambda key, clock: sign_assertion(
            {**key, "private_key": make_key_pair().private_key_pem}, clock
        ),
        WRONG_SIGNATURE,
    ),
    "changed claims": (changed, WRONG_SIGNATURE),
    "expired": (
        lambda key, clock: sign_assertion(key, clock, iat=NOW - 3700, exp=NOW - 100),
        "Invalid JWT: it has expired. Sign another, and check the clock of the client.",
    ),
    "from the future": (
        lambda key, clock: sign_assertion(key, clock, iat=NOW + 100, exp=NOW + 200),
        "Invalid JWT: it was issued in the future. Check the clock of the client.",
    ),
    "over an hour": (
        lambda key, clock: sign_assertion(key, clock, exp=NOW + 3601),
        "Invalid JWT: it must not live longer than an hour. Let exp be at most 3600 after iat.",
    ),
    "no exp": (lambda key, clock: sign_assertion(key, clock, exp=None), NO_TIMES),
    "exp is a text": (lambda key, clock: sign_assertion(key, clock, exp="soon"), NO_TIMES),
    "exp is no number": (lambda key, clock: sign_assertion(key, clock, exp=float("nan")), NO_TIMES),
    "iat is no number": (lambda key, clock: sign_assertion(key, clock, iat=float("nan")), NO_TIMES),
    "exp never comes": (lambda key, clock: sign_assertion(key, clock, exp=10**400), NO_TIMES),
    "another audience": (
        lambda key, clock: sign_assertion(key, clock, aud="https://example.com/token"),
        WRONG_AUDIENCE,
    ),
    "an id token for nobody": (
        lambda key, clock: sign_assertion(key, clock, target_audience=""),
        "Invalid JWT: target_audience names nobody. Name who will read the ID token.",
    ),
    "no audience": (lambda key, clock: sign_assertion(key, clock, aud=None), WRONG_AUDIENCE),
    "several audiences": (
        lambda key, clock: sign_assertion(key, clock, aud=[TOKEN_AUDIENCE, "x"]),
        WRONG_AUDIENCE,
    ),
    "another account": (
        lambda key, clock: sign_assertion(key, clock, iss="ada@my-project.example"),
        OTHER_ACCOUNT,
    ),
    "on behalf of somebody": (
        lambda key, clock: sign_assertion(key, clock, sub="ada@example.com"),
        OTHER_ACCOUNT,
    ),
}


async def test_a_key_earns_id_tokens_as_google_s_libraries_ask_for_them(site: Site) -> None:
    assertion = sign_assertion(site.admin_key, site.clock, target_audience="https://a.test")

    answer = (await site.exchange(assertion)).json()

    keys = KeySet.import_key_set((await site.get("/.well-known/jwks.json", "")).json())
    claims = jwt.decode(answer.pop("id_token"), keys).claims
    assert answer == {"expires_in": 3600, "token_type": "Bearer"}
    assert claims == {
        "iss": URL,
        "aud": "https://a.test",
        "email": site.admin_key["client_email"],
        "email_verified": True,
        "azp": claims["sub"],
        "sub": IsStr(regex=r"\d+"),
        "iat": NOW,
        "exp": NOW + 3600,
    }


@pytest.mark.parametrize("title", ASSERTIONS)
async def test_a_bad_assertion_is_an_invalid_grant(site: Site, title: str) -> None:
    build, says = ASSERTIONS[title]

    response = await site.exchange(build(site.admin_key, site.clock))

    assert response.status_code == 400
    assert response.json() == {"error": "invalid_grant", "error_description": IsStr()}
    assert response.json()["error_description"].startswith(says)
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "grant_type is missing"),
        (b"\xff", "The request is not a form (application/x-www-form-urlencoded)"),
        (b'{"grant_type": "x"}', "The request is not a form (application/x-www-form-urlencoded)"),
        (b"&".join([b"a=b"] * 30), "The request is not a form (application/x-www-form-urlencoded)"),
        (
            b"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion is missing",
        ),
        (b"a" * 70_000, "The request is larger than 65536 bytes"),
    ],
)
async def test_a_bad_token_request_is_an_invalid_request(
    shared: Site, body: bytes, says: str
) -> None:
    response = await shared.http.post("/token", content=body)

    assert response.status_code == 400
    assert response.json() == {"error": "invalid_request", "error_description": says}


async def test_an_assertion_is_exchanged_for_a_token_of_one_hour(site: Site) -> None:
    for audience in (TOKEN_AUDIENCE, "http://registry.test/token"):
        response = await site.exchange(sign_assertion(site.admin_key, site.clock, aud=audience))
        answer = response.json()

        assert response.headers["cache-control"] == "no-store"
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
        assert (await site.get(site.rest, token=answer["access_token"])).status_code == 200


async def test_a_token_is_good_until_its_hour_is_over(site: Site) -> None:
    site.clock.forward(seconds=3599)
    before = await site.get(site.rest)

    site.clock.forward(seconds=1)
    after = await site.get(site.rest)

    assert (before.status_code, after.status_code) == (200, 401)
    assert after.json()["error"]["message"] == "The access token has expired. Fetch a new one."


async def test_a_clock_may_be_a_minute_off(site: Site) -> None:
    slow = await site.exchange(sign_assertion(site.admin_key, site.clock, iat=NOW + 60))
    late = await site.exchange(
        sign_assertion(site.admin_key, site.clock, iat=NOW - 3659, exp=NOW - 59)
    )

    assert (slow.status_code, late.status_code) == (200, 200)


async def test_another_server_s_tokens_and_keys_open_nothing(site: Site, tmp_path: Path) -> None:
    async with open_site(tmp_path / "other") as other:
        token = await site.get(site.rest, token=other.admin)
        assertion = await site.exchange(sign_assertion(other.admin_key, site.clock))

    assert (token.status_code, assertion.status_code) == (401, 400)


async def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data") as first:
        token = first.admin

    async with open_site(tmp_path / "data") as second:
        response = await second.get(second.rest, token=token)

    assert response.status_code == 200


async def test_no_secret_reaches_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [site.admin, site.admin_key["private_key"].splitlines()[3], "hunter2hunter2"]
    headers = [build(site) for build in CREDENTIALS.values()]
    headers += [build(site) for build, _ in REFUSED.values()]
    headers.append(basic("ada", "hunter2hunter2"))

    for header in headers:
        sent = {b"authorization": header.encode("latin-1")}
        for path in (f"{site.repository}/simple/", "/v1/projects", "/token", "/nowhere"):
            await site.http.get(path, headers=sent)
            await site.http.post(path, headers=sent, content=b"{")

    assert [secret for secret in secrets if secret in caplog.text] == []


def test_values_that_hold_a_secret_do_not_print_it() -> None:
    pair = make_key_pair()
    headers = {b"authorization": b"hunter2"}
    values = [
        PresentedToken("hunter2"),
        PresentedKeyFile("ada", "1", "hunter2"),
        pair,
        Call({}, lambda: None, "GET", headers, {}),  # type: ignore[arg-type,return-value]
    ]

    printed = "".join(f"{value!r} {value}" for value in values)

    assert "hunter2" not in printed
    assert pair.private_key_pem.splitlines()[3] not in printed


async def test_an_account_made_again_under_a_deleted_address_inherits_nothing(site: Site) -> None:
    key = await site.make_account("phoenix")
    member = f"serviceAccount:{key['client_email']}"
    await site.grant("roles/artifactregistry.writer", member)
    await site.grant("roles/artifactregistry.reader", "allAuthenticatedUsers")
    await site.call("DELETE", f"/v1/projects/my-project/serviceAccounts/{key['client_email']}")

    reborn = await site.sign_in(await site.make_account("phoenix"))

    policy = (await site.get(f"{site.rest}:getIamPolicy")).json()
    assert [binding["members"] for binding in policy["bindings"]] == [["allAuthenticatedUsers"]]
    assert (await site.get(f"{site.repository}/simple/", reborn)).status_code == 200
    assert (await site.upload(make_wheel(), reborn)).status_code == 403

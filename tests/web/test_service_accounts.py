"""Service accounts and keys over their lives: changed, disabled, expired, uploaded, acted as."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.oauth2 import service_account
from joserfc import jwt
from joserfc.jwk import KeySet

from bonded.server.core.errors import NotFound
from bonded.server.identity.keys import KeyPair, make_key_pair
from bonded.server.identity.standing import Standings
from bonded.server.metadata.store import ServiceAccount
from bonded.server.operations.accounts import Accounts
from bonded.server.operations.owning import Owners
from support.site import URL, Site, open_site, sign_assertion

ACCOUNTS = "/v1/projects/my-project/serviceAccounts"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
READER = "roles/artifactregistry.reader"
TOKEN_CREATOR = "roles/iam.serviceAccountTokenCreator"


async def reader(site: Site, account_id: str = "the-robot") -> dict[str, str]:
    """Make an account that reads the repository; return its key file."""
    key = await site.make_account(account_id)
    await site.grant(READER, f"serviceAccount:{key['client_email']}")
    return key


def path_of(key: dict[str, str], *, with_key: bool = False) -> str:
    path = f"{ACCOUNTS}/{key['client_email']}"
    return f"{path}/keys/{key['private_key_id']}" if with_key else path


async def read(site: Site, token: str) -> httpx2.Response:
    return await site.get(f"{site.repository}/simple/", token)


@pytest.mark.parametrize("with_key", [False, True], ids=["account", "key"])
async def test_what_is_disabled_stops_at_once_and_works_again_when_enabled(
    site: Site, *, with_key: bool
) -> None:
    key = await reader(site)
    token = await site.sign_in(key)
    what, email = path_of(key, with_key=with_key), key["client_email"]
    says = {
        False: f"The service account {email} is disabled. Have it enabled with `bonded iam "
        f"service-accounts enable {email}`: another key of it would not help.\n",
        True: "The service-account key is disabled. Have it enabled with `bonded iam "
        "service-accounts keys enable`.\n",
    }[with_key]
    before = await read(site, token)

    disabled = await site.call("POST", f"{what}:disable", {})
    stopped, refused = await read(site, token), await site.exchange(sign_assertion(key, site.clock))
    shown = await site.get(what)
    await site.call("POST", f"{what}:enable", {})
    after = await read(site, token)

    assert (disabled.status_code, disabled.json()) == (200, {})
    assert shown.json()["disabled"] is True
    assert (before.status_code, after.status_code) == (200, 200)
    assert (stopped.status_code, stopped.text) == (401, says)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert "disabled" not in (await site.get(what)).json()


async def test_the_last_owner_cannot_be_disabled_in_any_way(site: Site) -> None:
    key = dict(site.admin_key)
    other = await site.make_account("second-owner")
    member = f"serviceAccount:{other['client_email']}"

    alone = [
        await site.call("POST", f"{path_of(key, with_key=with_key)}:disable", {})
        for with_key in (False, True)
    ]
    await site.grant("roles/owner", member, "/v1/organizations/bonded")
    await site.call("POST", f"{path_of(other)}:disable", {})
    with_a_disabled_one = await site.call("POST", f"{path_of(key)}:disable", {})
    await site.call("POST", f"{path_of(other)}:enable", {})
    with_another = await site.call("POST", f"{path_of(key)}:disable", {})

    assert [one.status_code for one in alone] == [400, 400]
    assert "without an owner" in alone[0].json()["error"]["message"]
    assert (with_a_disabled_one.status_code, with_another.status_code) == (400, 200)


UPDATES: list[tuple[dict[str, Any], tuple[str | None, str | None]]] = [
    ({"serviceAccount": {"displayName": "B"}}, ("B", "old")),
    ({"serviceAccount": {"displayName": "B", "description": "new"}}, ("B", "new")),
    (
        {"serviceAccount": {"displayName": "B", "description": "new"}, "updateMask": "description"},
        ("A", "new"),
    ),
    ({"serviceAccount": {"displayName": "B"}, "updateMask": "display_name"}, ("B", "old")),
    ({"serviceAccount": {}, "updateMask": "description"}, ("A", None)),
]


@pytest.mark.parametrize(("body", "expected"), UPDATES)
async def test_an_account_changes_what_the_mask_names(
    shared: Site, body: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    account_id = f"updated-{UPDATES.index((body, expected))}"
    described = {"displayName": "A", "description": "old"}
    made = await shared.call(
        "POST", ACCOUNTS, {"accountId": account_id, "serviceAccount": described}
    )

    changed = await shared.call("PATCH", f"{ACCOUNTS}/{made.json()['email']}", body)

    assert changed.status_code == 200
    assert (changed.json().get("displayName"), changed.json().get("description")) == expected
    assert (await shared.get(f"{ACCOUNTS}/{made.json()['email']}")).json() == changed.json()


async def test_a_key_ends_when_it_was_said_to(site: Site) -> None:
    account = path_of(await reader(site))
    end = "2026-11-22T12:30:00Z"
    made = await site.call("POST", f"{account}/keys", {"validBeforeTime": end})
    key = json.loads(base64.b64decode(made.json()["privateKeyData"]))
    token = await site.sign_in(key)

    site.clock.forward(minutes=29)
    before = await read(site, token)
    site.clock.forward(minutes=1)
    after, exchange = await read(site, token), await site.exchange(sign_assertion(key, site.clock))

    assert made.json()["validBeforeTime"] == "2026-11-22T12:30:00.000000Z"
    assert (before.status_code, after.status_code) == (200, 401)
    assert after.text == (
        "The service-account key has expired. Create another with `bonded iam service-accounts "
        "keys create`.\n"
    )
    assert exchange.json()["error_description"].startswith("The service-account key has expired")


async def test_a_server_may_want_every_key_to_end(tmp_path: Path) -> None:
    async with open_site(tmp_path / "data", key_life_max_s=86_400) as site:
        account = path_of(await reader(site))
        unsaid = await site.call("POST", f"{account}/keys", {})
        late = await site.call("POST", f"{account}/keys", {"validBeforeTime": "2026-11-24T00:00Z"})

    assert unsaid.json()["validBeforeTime"] == "2026-11-23T12:00:00.000000Z"
    assert (late.status_code, late.json()["error"]["message"]) == (
        400,
        (
            "A key may live for 1 day, 0:00:00 at most (key_life_max_s). "
            "Choose an end before 2026-11-23T12:00:00Z."
        ),
    )


def refuse_to_ask(*_args: object, **_kwargs: object) -> Any:
    raise AssertionError("somebody asked the network")


async def test_googles_library_signs_offline_with_a_key_of_another_universe(site: Site) -> None:
    account = path_of(await reader(site))
    body = {"universeDomain": "packages.example.com"}
    made = await site.call("POST", f"{account}/keys", body)
    key = json.loads(base64.b64decode(made.json()["privateKeyData"]))

    info = service_account.Credentials.from_service_account_info
    credentials = info(key, scopes=[CLOUD_PLATFORM])  # type: ignore[no-untyped-call]
    credentials.refresh(refuse_to_ask)
    answered = await read_now(site, credentials.token)

    assert key["universe_domain"] == "packages.example.com"
    assert answered.status_code == 200


async def read_now(site: Site, token: str) -> httpx2.Response:
    """Read by a token that was signed by the system's clock."""
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    now, site.clock.now = site.clock.now, datetime.fromtimestamp(claims["iat"] + 1, tz=UTC)
    try:
        return await read(site, token)
    finally:
        site.clock.now = now


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def certificate(site: Site, key: rsa.RSAPrivateKey, **life: float) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unused")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    built = builder.not_valid_before(site.clock.now)
    built = built.not_valid_after(site.clock.now + timedelta(**life))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("is_bare", [False, True], ids=["certificate", "bare"])
async def test_an_uploaded_key_signs_in_and_its_certificate_says_until_when(
    site: Site, *, is_bare: bool
) -> None:
    key = await reader(site)
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = public_pem(own) if is_bare else certificate(site, own, days=7)

    made = await site.call(
        "POST", f"{path_of(key)}/keys:upload", {"publicKeyData": base64.b64encode(pem).decode()}
    )

    view = made.json()
    assert (made.status_code, view["keyOrigin"], view["keyAlgorithm"]) == (
        200,
        "USER_PROVIDED",
        "KEY_ALG_RSA_2048",
    )
    end = "9999-12-31T23:59:59Z" if is_bare else "2026-11-29T12:00:00.000000Z"
    assert (view["validBeforeTime"], "privateKeyData" in view) == (end, False)
    private = own.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    ours = key | {"private_key": private, "private_key_id": view["name"].rpartition("/")[2]}
    assert (await read(site, await site.sign_in(ours))).status_code == 200
    raw = await site.get(f"{path_of(ours, with_key=True)}?publicKeyType=TYPE_RAW_PUBLIC_KEY")
    assert base64.b64decode(raw.json()["publicKeyData"]) == public_pem(own)


NO_KEY = (
    "The public key cannot be read. "
    "Send an RSA public key, or an X.509 certificate with one, in PEM."
)
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)
UPLOADS: dict[str, tuple[object, str]] = {
    "nothing": ("", NO_KEY),
    "no text": (7, "publicKeyData must be a string of at most 16384 characters"),
    "no base64": ("!", "publicKeyData must be a PEM file in base64"),
    "garbage": (base64.b64encode(b"garbage").decode(), NO_KEY),
    "a broken certificate": (
        base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").decode(),
        NO_KEY,
    ),
    "an elliptic key": (
        base64.b64encode(public_pem(ec.generate_private_key(ec.SECP256R1()))).decode(),
        "The public key is not an RSA key. Keys sign with RS256.",
    ),
    "a short key": (
        base64.b64encode(public_pem(SMALL)).decode(),
        "The public key has 1024 bits. Use one of 2048 to 4096 bits.",
    ),
    "an enormous text": (
        "A" * 20_000,
        "publicKeyData must be a string of at most 16384 characters",
    ),
}


@pytest.mark.parametrize("title", UPLOADS)
async def test_what_is_no_key_to_keep_is_refused(shared: Site, title: str) -> None:
    data, says = UPLOADS[title]
    account = f"{ACCOUNTS}/{shared.admin_key['client_email']}"

    refused = await shared.call("POST", f"{account}/keys:upload", {"publicKeyData": data})

    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        f"{says.rstrip('.')}.",
    )


KEY_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"validBeforeTime": "soon"}, "validBeforeTime must be a moment such as"),
    ({"validBeforeTime": "2030-01-01T00:00:00"}, "validBeforeTime must be a moment such as"),
    ({"validBeforeTime": "2020-01-01T00:00:00Z"}, "The key would have expired already"),
    ({"validBeforeTime": 7}, "validBeforeTime must be a string"),
    ({"universeDomain": "not a domain"}, "'not a domain' is not a domain name"),
    ({"universeDomain": "a" * 300}, f"'{'a' * 80}' is not a domain name"),
    ({"privateKeyType": "TYPE_PKCS12_FILE"}, "privateKeyType must be"),
]


@pytest.mark.parametrize(("body", "says"), KEY_BODIES)
async def test_a_key_that_cannot_be_is_not_made(
    shared: Site, body: dict[str, Any], says: str
) -> None:
    keys = f"{ACCOUNTS}/{shared.admin_key['client_email']}/keys"
    before = (await shared.get(keys)).json()

    refused = await shared.call("POST", keys, body)

    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith(says)
    assert (await shared.get(keys)).json() == before


async def test_an_eleventh_key_is_one_too_many(site: Site) -> None:
    account = path_of(await reader(site))
    pem = public_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    body = {"publicKeyData": base64.b64encode(pem).decode()}

    answers = [await site.call("POST", f"{account}/keys:upload", body) for _ in range(10)]

    assert [one.status_code for one in answers] == [200] * 9 + [400]
    assert len((await site.get(f"{account}/keys")).json()["keys"]) == 10


async def act_as(
    site: Site, key: dict[str, str], token: str, verb: str = "generateAccessToken", **body: object
) -> httpx2.Response:
    path = f"/v1/projects/-/serviceAccounts/{key['client_email']}:{verb}"
    return await site.call("POST", path, {"scope": [CLOUD_PLATFORM], **body}, token)


@pytest.mark.parametrize("level", ["account", "project", "server"])
async def test_who_may_act_as_an_account_gets_tokens_that_end_with_it(
    site: Site, level: str
) -> None:
    robot, caller = await reader(site), await site.make_account("caller")
    token = await site.sign_in(caller)
    before = await act_as(site, robot, token)
    resource = {
        "account": path_of(robot),
        "project": "/v1/projects/my-project",
        "server": "/v1/organizations/bonded",
    }[level]
    await site.grant(TOKEN_CREATOR, f"serviceAccount:{caller['client_email']}", resource)

    made = await act_as(site, robot, token, lifetime="600s", delegates=None)

    assert before.status_code == 403
    assert (
        f"//iam.googleapis.com/projects/my-project/serviceAccounts/{robot['client_email']}"
        in (before.json()["error"]["message"])
    )
    assert (made.status_code, made.json()["expireTime"]) == (200, "2026-11-22T12:10:00Z")
    acting = made.json()["accessToken"]
    assert (await read(site, acting)).status_code == 200
    await site.call("POST", f"{path_of(robot)}:disable", {})
    assert (await read(site, acting)).status_code == 401
    assert (await act_as(site, robot, token)).json()["error"]["message"] == (
        f"The service account {robot['client_email']} is disabled. Enable it, or act as another."
    )
    await site.call("POST", f"{path_of(robot)}:enable", {})
    site.clock.forward(minutes=10)
    assert (await read(site, acting)).status_code == 401


@pytest.mark.parametrize("how", ["disabled", "deleted", "key deleted", "token revoked"])
async def test_who_acts_as_an_account_does_so_no_longer_than_they_may_sign_in(
    site: Site, how: str
) -> None:
    robot, caller = await reader(site), await site.make_account("caller")
    robots, callers = (f"serviceAccount:{one['client_email']}" for one in (robot, caller))
    await site.grant(TOKEN_CREATOR, callers, path_of(robot))
    await site.grant(TOKEN_CREATOR, robots, path_of(robot))
    token = await site.sign_in(caller)
    acting = (await act_as(site, robot, token, lifetime="43200s")).json()["accessToken"]
    # Renewed by itself, it still hangs on who it began with.
    renewed = (await act_as(site, robot, acting, lifetime="43200s")).json()["accessToken"]
    before = [(await read(site, one)).status_code for one in (acting, renewed)]

    if how == "disabled":
        await site.call("POST", f"{path_of(caller)}:disable", {})
    elif how == "deleted":
        await site.call("DELETE", path_of(caller))
    elif how == "key deleted":
        await site.call("DELETE", f"{path_of(caller)}/keys/{caller['private_key_id']}")
    else:
        await site.http.post("/revoke", data={"token": token})
        site.clock.forward(hours=11)
        # Something else is revoked, and what needs no memory any more is forgotten.
        other = await site.sign_in(site.admin_key)
        await site.http.post("/revoke", data={"token": other})

    after = [(await read(site, one)).status_code for one in (acting, renewed)]
    assert (before, after) == ([200, 200], [401, 401])


async def test_an_account_made_again_lets_in_nobody_who_could_act_as_the_old_one(
    site: Site,
) -> None:
    robot, caller = await reader(site), await site.make_account("caller")
    await site.grant(TOKEN_CREATOR, f"serviceAccount:{caller['client_email']}", path_of(robot))
    token = await site.sign_in(caller)

    await site.call("DELETE", path_of(robot))
    await site.make_account("the-robot")

    assert (await act_as(site, robot, token)).status_code == 403
    assert "bindings" not in (await site.get(f"{path_of(robot)}:getIamPolicy")).json()


@pytest.mark.parametrize("again", ["account", "project"])
async def test_a_token_of_a_deleted_account_is_dead_for_good_whoever_gets_the_address(
    site: Site, again: str
) -> None:
    await site.call("POST", "/v1/projects", {"projectId": "old-team"})
    robot = await site.make_account("the-robot", "old-team")
    acting = (await act_as(site, robot, site.admin, lifetime="43200s")).json()["accessToken"]
    narrow = await site.call("POST", "/v1/tokens:limit", {"readOnly": True}, acting)
    tokens = (acting, narrow.json()["accessToken"])

    if again == "project":
        await site.call("DELETE", "/v1/projects/old-team")
        await site.call("POST", "/v1/projects", {"projectId": "old-team"})
    else:
        await site.call("DELETE", path_of(robot).replace("my-project", "old-team"))
    remade = await site.make_account("the-robot", "old-team")
    await site.grant("roles/artifactregistry.reader", f"serviceAccount:{robot['client_email']}")

    fresh = (await act_as(site, remade, site.admin)).json()["accessToken"]
    answers = [(await read(site, one)).status_code for one in (*tokens, fresh)]
    assert remade["client_email"] == robot["client_email"]
    assert answers == [401, 401, 200]


async def test_a_key_made_while_another_account_gets_the_address_is_not_that_ones(
    site: Site,
) -> None:
    robot = await site.make_account("the-robot")
    is_made, is_replaced = threading.Event(), threading.Event()

    def make_key(_account: ServiceAccount, _domain: str) -> tuple[KeyPair, str]:
        pair = make_key_pair()
        is_made.set()
        assert is_replaced.wait(10)
        return pair, ""

    owners = Owners(Standings(site.clock, lambda _: False).can_sign_in, site.clock)
    accounts = Accounts(site.registry.metadata, site.clock, owners, make_key)
    making = asyncio.create_task(accounts.create_key("my-project", robot["client_email"]))
    assert await asyncio.to_thread(is_made.wait, 10)
    await site.call("DELETE", path_of(robot))
    await site.call("POST", ACCOUNTS, {"accountId": "the-robot"})
    is_replaced.set()

    with pytest.raises(NotFound, match="does not exist any more"):
        await making
    keys = (await site.get(f"{path_of(robot)}/keys")).json()
    assert keys.get("keys", []) == []


ACTING: list[tuple[dict[str, Any], str]] = [
    ({"lifetime": "50000s"}, "lifetime must not be more than 43200s, as the server is set up."),
    ({"lifetime": "0s"}, "lifetime must be seconds such as 900s, not '0s'."),
    ({"lifetime": "1h"}, "lifetime must be seconds such as 900s, not '1h'."),
    ({"lifetime": 600}, "lifetime must be a string of at most 1024 characters."),
    ({"scope": "all"}, "scope must be a list of strings."),
    (
        {"delegates": ["projects/-/serviceAccounts/x"]},
        (
            "delegates are not available. "
            "Grant roles/iam.serviceAccountTokenCreator on the account to who asks, directly."
        ),
    ),
]


@pytest.mark.parametrize(("body", "says"), ACTING)
async def test_a_token_that_cannot_be_is_not_issued(
    shared: Site, body: dict[str, Any], says: str
) -> None:
    refused = await act_as(shared, dict(shared.admin_key), shared.admin, **body)

    assert (refused.status_code, refused.json()["error"]["message"]) == (400, says)


async def test_an_id_token_says_who_an_account_is_to_others_and_opens_nothing_here(
    site: Site,
) -> None:
    robot = await reader(site)
    account = (await site.get(path_of(robot))).json()

    made = await act_as(
        site, robot, site.admin, "generateIdToken", audience="https://a.test", includeEmail=True
    )
    nobody = await act_as(site, robot, site.admin, "generateIdToken")

    token = made.json()["token"]
    keys = KeySet.import_key_set((await site.get("/.well-known/jwks.json", "")).json())
    now = int(site.clock.now.timestamp())
    assert jwt.decode(token, keys).claims == {
        "azp": account["uniqueId"],
        "email": account["email"],
        "email_verified": True,
        "iss": URL,
        "sub": account["uniqueId"],
        "aud": "https://a.test",
        "iat": now,
        "exp": now + 3600,
    }
    assert (await read(site, token)).status_code == 401
    assert (nobody.status_code, nobody.json()["error"]["message"]) == (
        400,
        "audience is missing. Name who will read the ID token.",
    )


@pytest.mark.parametrize("verb", ["signJwt", "signBlob"])
async def test_nothing_is_signed_in_an_accounts_name_for_its_private_key_is_not_here(
    site: Site, verb: str
) -> None:
    robot = await reader(site)

    refused = await act_as(site, robot, site.admin, verb, payload="e30=")
    stranger = await act_as(site, robot, await site.sign_in(robot), verb, payload="e30=")

    assert refused.status_code == 501
    assert refused.json()["error"] == {
        "code": 501,
        "message": (
            "This server keeps the public halves of service accounts' keys only, and cannot sign. "
            "Sign with the account's key file, or ask :generateIdToken for a token that says who "
            "the account is."
        ),
        "status": "UNIMPLEMENTED",
        "details": [],
    }
    assert stranger.status_code == 403

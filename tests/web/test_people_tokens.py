"""Programs that act as people: consent, codes, refresh tokens, devices, and every bad request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from bonded.server.web.oauth.authorize import VALUE_LENGTH_MAX
from support.browsing import (
    CLIENT,
    LOOP_BACK,
    Program,
    Visitor,
    join,
    log_in,
    open_visitor,
)
from support.site import URL, Site, basic

ADA = "ada@example.com"
GCLOUD = "32555940559.apps.googleusercontent.com"
READER = "roles/artifactregistry.reader"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(name="ada")
async def _ada(site: Site) -> AsyncIterator[Visitor]:
    """Ada, signed in in her browser."""
    await join(site, ADA)
    async with open_visitor(site) as visitor:
        await visitor.sign_in(ADA)
        yield visitor


async def test_a_person_lets_a_program_act_as_them(site: Site) -> None:
    await join(site, ADA)
    await site.grant(READER, f"user:{ADA}")
    program = Program(site)
    async with open_visitor(site) as visitor:
        asked = await visitor.sign_in(ADA, path=program.path(nonce="n-1"))
        await visitor.fill("/authorize", answer="yes")
        answer = visitor.answer()
    tokens = (await program.redeem(answer["code"])).json()

    assert "Let Bonded command line act as you?" in asked.text
    assert "form-action 'self' http://127.0.0.1:40123" in asked.headers["content-security-policy"]
    assert answer == {"code": answer["code"], "state": "xyz", "iss": URL}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert (tokens["account"], tokens["scope"]) == (ADA, "openid email")
    assert tokens["refresh_token"].startswith("brt_")
    assert tokens["refresh_token_expires_in"] == 30 * 86_400
    page = await site.get(f"{site.repository}/simple/", tokens["access_token"])
    assert page.status_code == 200
    keys = KeySet.import_key_set((await site.get("/.well-known/jwks.json", "")).json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"]).claims
    assert (claims["email"], claims["aud"], claims["iss"]) == (ADA, CLIENT, URL)
    assert (claims["nonce"], claims["email_verified"]) == ("n-1", True)


LOCAL = (
    "http://127.0.0.1:1/",
    "http://127.0.0.1:65535/callback?x=1",
    "http://[::1]:8085/",
    "http://localhost:8085/",
)


async def test_a_program_listens_on_any_port_of_this_machine(site: Site, ada: Visitor) -> None:
    for uri in LOCAL:
        program = Program(site, redirect_uri=uri)

        await ada.open(program.path())
        await ada.fill("/authorize", answer="yes")

        assert ada.page.headers["location"].startswith(uri)
        assert (await program.redeem(ada.answer()["code"])).status_code == 200


ELSEWHERE = (
    "",
    "https://evil.example/",
    "http://127.0.0.1.evil.example/",
    "http://localhost@evil.example/",
    "http://evil.example\\@localhost/",
    "http://localhost:99999/",
    "http://127.0.0.1:1/#part",
    "http://127.0.0.1:1/;'unsafe-inline'",
    "javascript:alert(1)//127.0.0.1",
    "http://127.0.0.2:1/",
    "http://127.0.0.1:1/" + "x" * 600,
)


async def test_a_code_is_sent_nowhere_else(ada: Visitor, site: Site) -> None:
    for uri in ELSEWHERE:
        page = await ada.open(Program(site, redirect_uri=uri).path())

        assert (page.status, uri) == (400, uri)
        assert "does not lead to a program on this machine" in page.text


async def test_an_unknown_program_is_told_nothing(ada: Visitor, site: Site) -> None:
    page = await ada.open(Program(site, client="other").path())

    assert (page.status, "There is no OAuth client 'other'" in page.text) == (400, True)


BAD_REQUESTS: dict[str, tuple[dict[str, str | None], str]] = {
    "another response": ({"response_type": "token"}, "unsupported_response_type"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "a plain challenge": ({"code_challenge_method": "plain"}, "invalid_request"),
    "no method": ({"code_challenge_method": None}, "invalid_request"),
    "half a challenge": ({"code_challenge": "abc"}, "invalid_request"),
    "an endless scope": ({"scope": "x" * 1100}, "invalid_request"),
    "an endless state": ({"state": "s" * 1100}, "invalid_request"),
    "more than can be carried": (
        {"state": "s" * 900, "nonce": "n" * 900, "scope": "x" * 900},
        "invalid_request",
    ),
}


async def test_a_program_hears_what_is_wrong_with_its_request(ada: Visitor, site: Site) -> None:
    for title, (changes, code) in BAD_REQUESTS.items():
        await ada.open(Program(site).path(**changes))

        answer = ada.answer()
        assert (title, answer["error"]) == (title, code)
        assert (answer["state"], answer["iss"]) == (changes.get("state", "xyz"), URL)
        assert answer["error_description"]


async def test_a_request_is_carried_through_sign_in_and_consent_or_refused_at_once(
    site: Site,
) -> None:
    await join(site, ADA)
    program, state = Program(site), "s" * VALUE_LENGTH_MAX
    async with open_visitor(site) as visitor:
        await visitor.open(program.path(state=state, nonce="n" * VALUE_LENGTH_MAX))
        refused = visitor.answer()
        await visitor.sign_in(ADA, path=program.path(state=state, nonce="n" * 700))
        await visitor.fill("/authorize", answer="yes")
        answer = visitor.answer()
        too_long = await visitor.open(program.path(state="\0" * 560))

    assert (refused["error"], refused["state"]) == ("invalid_request", state)
    assert refused["error_description"].startswith("The request is longer than 2048 characters")
    assert answer["state"] == state
    assert (await program.redeem(answer["code"])).status_code == 200
    # Short in the address, long where it is kept.
    assert (too_long.status, "The request is too long to be kept" in too_long.text) == (400, True)


async def test_a_person_may_refuse(ada: Visitor, site: Site) -> None:
    await ada.open(Program(site).path())

    await ada.fill("/authorize", answer="no")

    assert ada.answer()["error"] == "access_denied"
    assert ada.page.headers["location"].startswith(LOOP_BACK)


async def test_a_request_is_answered_in_the_browser_that_it_was_shown_in(
    ada: Visitor, site: Site
) -> None:
    await join(site, "bob@example.com")
    request = (await ada.open(Program(site).path())).form("/authorize").fields["request"]
    async with open_visitor(site) as bob:
        await bob.sign_in("bob@example.com", path=Program(site).path())
        theirs = await bob.fill("/authorize", request=request, answer="yes")
        await bob.open(Program(site).path())
        forged = await bob.fill("/authorize", request="abc", answer="yes")
    site.clock.forward(hours=1)
    late = await ada.fill("/authorize", answer="yes")

    for page in (theirs, forged, late):
        assert (page.status, "The request has expired." in page.text) == (400, True)


async def code_for(visitor: Visitor, program: Program) -> str:
    await visitor.open(program.path())
    await visitor.fill("/authorize", answer="yes")
    return visitor.answer()["code"]


GRANT = {
    "error": "invalid_grant",
    "error_description": "The authorization code is not valid, was used already, or has expired. "
    "Sign in again.",
}


WRONG = (
    {"code": "nonsense"},
    {"code_verifier": "x" * 43},
    {"code_verifier": "short"},
    {"redirect_uri": "http://127.0.0.1:1/"},
    {"client_id": GCLOUD},
)


async def test_a_code_is_good_for_whom_it_was_made_for(ada: Visitor, site: Site) -> None:
    program = Program(site)
    code = await code_for(ada, program)

    for changes in WRONG:
        refused = await program.redeem(code, **changes)
        assert (refused.status_code, refused.json()) == (400, GRANT)

    assert (await program.redeem(code)).status_code == 200


async def test_a_code_is_good_for_a_minute(ada: Visitor, site: Site) -> None:
    program = Program(site)
    code = await code_for(ada, program)

    site.clock.forward(seconds=60)

    assert (await program.redeem(code)).json() == GRANT


async def test_a_code_used_twice_ends_what_it_started(ada: Visitor, site: Site) -> None:
    await site.grant(READER, f"user:{ADA}")
    program = Program(site)
    code = await code_for(ada, program)
    tokens = (await program.redeem(code)).json()
    before = await site.get(f"{site.repository}/simple/", tokens["access_token"])

    again = await program.redeem(code)

    after = await site.get(f"{site.repository}/simple/", tokens["access_token"])
    refreshed = await program.refresh(tokens["refresh_token"])
    assert again.json() == GRANT
    assert (before.status_code, after.status_code) == (200, 401)
    assert refreshed.json()["error"] == "invalid_grant"


MISSING = {
    "grant_type": ("invalid_request", "grant_type is missing"),
    "code": ("invalid_request", "code is missing"),
    "code_verifier": ("invalid_request", "code_verifier is missing"),
    "redirect_uri": ("invalid_request", "redirect_uri is missing"),
    "client_id": ("invalid_client", "There is no OAuth client ''"),
}


@pytest.mark.parametrize("name", MISSING)
async def test_what_is_missing_is_named(shared: Site, name: str) -> None:
    response = await Program(shared).redeem("code", **{name: ""})

    answer = response.json()
    assert (answer["error"], answer["error_description"]) == MISSING[name]
    assert response.status_code == (401 if name == "client_id" else 400)


async def test_an_unknown_grant_is_named_so(shared: Site) -> None:
    response = await shared.http.post("/token", data={"grant_type": "password"})

    assert (response.status_code, response.json()["error"]) == (400, "unsupported_grant_type")


async def test_google_auth_refreshes_at_its_own_address_with_basic_authentication(
    site: Site,
) -> None:
    await join(site, ADA)
    tokens = await log_in(site, ADA)

    response = await site.http.post(
        "/v1/oauthtoken",
        data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        headers={"authorization": basic(CLIENT, "not-a-secret")},
    )

    answer = response.json()
    assert response.status_code == 200
    assert (answer["expires_in"], answer["token_type"]) == (3600, "Bearer")
    assert "refresh_token" not in answer


async def test_a_refresh_token_survives_being_used_by_many_at_once(site: Site) -> None:
    await join(site, ADA)
    program = Program(site)
    refresh_token = (await log_in(site, ADA))["refresh_token"]
    site.clock.forward(hours=5)

    answers = await asyncio.gather(*(program.refresh(refresh_token) for _ in range(8)))
    later = await program.refresh(refresh_token)

    assert {answer.status_code for answer in (*answers, later)} == {200}
    assert len({answer.json()["access_token"] for answer in answers}) == 8
    site.admin = await site.sign_in(site.admin_key)
    listed = (await site.get(f"/v1/users/{ADA}/sessions")).json()["sessions"]
    (session,) = (one for one in listed if one["client"] == "Bonded command line")
    assert session["lastUseTime"] == "2026-11-22T17:00:00.000000Z"


REFRESH = {
    "error": "invalid_grant",
    "error_description": "The sign-in has ended or was revoked. Sign in again.",
}


DISABLED = {
    "error": "invalid_grant",
    "error_description": f"The user {ADA} is disabled. Signing in again does not help: ask an "
    f"administrator of this server for `bonded users enable {ADA}`.",
}


async def test_a_refresh_token_is_its_client_s_alone_and_ends(site: Site) -> None:
    await join(site, ADA)
    program = Program(site)
    refresh_token = (await log_in(site, ADA))["refresh_token"]
    async with open_visitor(site) as visitor:
        await visitor.sign_in(ADA)
        cookie = visitor.http.cookies["bonded-session"]

    others = await program.refresh(refresh_token, client_id=GCLOUD)
    garbage = await program.refresh("brt_garbage")
    browser = await program.refresh(cookie)
    site.clock.forward(days=30)
    late = await program.refresh(refresh_token)

    for response in (others, garbage, browser, late):
        assert (response.status_code, response.json()) == (400, REFRESH)


ENDINGS = ("session", "all sessions", "disabling", "deletion", "own session", "the page")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_ends_a_sign_in_ends_its_tokens_at_once(site: Site, ending: str) -> None:
    await join(site, ADA)
    await site.grant(READER, f"user:{ADA}")
    tokens = await log_in(site, ADA)
    path = f"{site.repository}/simple/"
    own = (await site.get("/v1/users/me/sessions", tokens["access_token"])).json()["sessions"]
    (current,) = (one["name"].rpartition("/")[2] for one in own if one.get("current"))

    before = await site.get(path, tokens["access_token"])
    if ending == "the page":
        async with open_visitor(site) as visitor:
            await visitor.sign_in(ADA)
            await visitor.send(visitor.page.form("/_/account/sessions", session=current))
    else:
        method, where, token = {
            "session": ("DELETE", f"/v1/users/{ADA}/sessions/{current}", None),
            "all sessions": ("DELETE", f"/v1/users/{ADA}/sessions/-", None),
            "disabling": ("POST", f"/v1/users/{ADA}:disable", None),
            "deletion": ("DELETE", f"/v1/users/{ADA}", None),
            "own session": (
                *("DELETE", f"/v1/users/me/sessions/{current}"),
                tokens["access_token"],
            ),
        }[ending]
        assert (await site.call(method, where, token=token)).status_code == 200
    after = await site.get(path, tokens["access_token"])
    told = DISABLED if ending == "disabling" else REFRESH

    assert (before.status_code, after.status_code) == (200, 401)
    assert (await Program(site).refresh(tokens["refresh_token"])).json() == told
    assert told["error_description"].removesuffix(".") in after.text


async def test_who_is_enabled_again_signs_in_anew_and_what_they_tried_meanwhile_is_theirs(
    site: Site,
) -> None:
    await join(site, ADA)
    tokens = await log_in(site, ADA)
    program, since = Program(site), site.clock().isoformat()
    user = f"/v1/users/{ADA}"

    await site.call("POST", f"{user}:disable", {})
    await site.get(f"{site.repository}/simple/", tokens["access_token"])
    await program.refresh(tokens["refresh_token"])
    await program.refresh("brt_garbage")
    await site.call("POST", f"{user}:enable", {})
    revived = await program.refresh(tokens["refresh_token"])
    anew = await program.refresh((await log_in(site, ADA))["refresh_token"])
    await site.call("POST", f"{user}:enable", {})
    still = await site.get("/v1/users/me", anew.json()["access_token"])
    text = f'timestamp>="{since}" code=16'
    body = {"filter": text, "orderBy": "timestamp asc"}
    found = (await site.call("POST", "/v2/entries:list", body)).json()["entries"]

    assert (revived.json(), anew.status_code, still.status_code) == (REFRESH, 200, 200)
    who = [one["protoPayload"].get("authenticationInfo", {}).get("principalEmail") for one in found]
    assert who == [ADA, ADA, None, None]


async def test_a_token_says_whose_it_is_but_not_for_a_service_account(site: Site) -> None:
    await join(site, ADA)
    tokens = await log_in(site, ADA)

    me = (await site.get("/v1/users/me", tokens["access_token"])).json()
    machine = await site.get("/v1/users/me")
    nobody = await site.get("/v1/users/me", "")

    assert (me["name"], me["source"]) == (f"users/{ADA}", "DIRECTORY")
    assert machine.status_code == 404
    assert "is not a person and has no sign-ins" in machine.text
    assert nobody.status_code == 401


async def test_an_id_token_names_a_person_by_a_number_that_nobody_else_gets(site: Site) -> None:
    said = []
    for _ in range(2):
        await join(site, ADA)
        for _ in range(2):
            payload = (await log_in(site, ADA))["id_token"].split(".")[1]
            said.append(json.loads(base64.urlsafe_b64decode(payload + "==")))
        await site.call("DELETE", f"/v1/users/{ADA}")

    numbers = [claims["sub"] for claims in said]
    assert {claims["email"] for claims in said} == {ADA}
    assert all(len(one) == 21 and one.isdecimal() for one in numbers)
    assert (numbers[0], numbers[2]) == (numbers[1], numbers[3])
    assert numbers[0] != numbers[2]


async def start_device(site: Site, **form: str) -> dict[str, Any]:
    started = await site.http.post(
        "/device_authorization", data={"client_id": CLIENT, "scope": "openid"} | form
    )
    assert started.status_code == 200, started.text
    answer: dict[str, Any] = started.json()
    return answer


async def poll(site: Site, device: dict[str, Any], client: str = CLIENT) -> httpx2.Response:
    form = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": client}
    return await site.http.post("/token", data=form)


async def test_a_device_is_signed_in_from_another_one(site: Site, ada: Visitor) -> None:
    device = await start_device(site)
    waiting = await poll(site, device)
    complete = urlsplit(device["verification_uri_complete"])

    await ada.open(f"{complete.path}?{complete.query}")
    asked = await ada.fill("/device")
    done = await ada.send(asked.forms[0], answer="yes")
    site.clock.forward(seconds=5)
    answered = await poll(site, device)
    again = await poll(site, device)

    assert (device["expires_in"], device["interval"]) == (600, 5)
    assert device["verification_uri"] == f"{URL}/device"
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    assert "Bonded command line" in asked.text
    assert device["user_code"] in asked.text
    assert "The device is signed in." in done.text
    assert (answered.status_code, answered.json()["account"]) == (200, ADA)
    assert answered.json()["refresh_token"].startswith("brt_")
    assert again.json()["error"] == "invalid_grant"


async def test_a_code_is_typed_as_people_type(site: Site, ada: Visitor) -> None:
    device = await start_device(site)
    typed = f" {device['user_code'].replace('-', ' ').lower()} "

    await ada.open("/device")
    asked = await ada.fill("/device", user_code=typed)

    assert "Sign this device in as you?" in asked.text


async def test_a_device_that_asks_too_often_must_slow_down(site: Site) -> None:
    device = await start_device(site)

    errors = []
    for wait_s in (0, 1, 5, 10, 20, 0):
        site.clock.forward(seconds=wait_s)
        errors.append((await poll(site, device)).json()["error"])

    pending, slower = "authorization_pending", "slow_down"
    assert errors == [pending, slower, slower, slower, pending, slower]


async def test_a_device_hears_that_it_was_refused_or_is_late(site: Site, ada: Visitor) -> None:
    refused, late = await start_device(site), await start_device(site)
    await ada.open(f"/device?user_code={refused['user_code']}")
    asked = await ada.fill("/device")

    page = await ada.send(asked.forms[0], answer="no")
    denied = await poll(site, refused)
    other_client = await poll(site, late, GCLOUD)
    site.clock.forward(minutes=10)
    expired = await poll(site, late)
    await ada.open("/device")
    gone = await ada.fill("/device", user_code=late["user_code"])

    assert "The device was refused." in page.text
    assert denied.json()["error"] == "access_denied"
    assert other_client.json()["error"] == "invalid_grant"
    assert expired.json()["error"] == "expired_token"
    assert (gone.status, "No device waits with this code" in gone.text) == (404, True)


async def test_a_device_page_asks_to_sign_in_first_and_keeps_the_code(site: Site) -> None:
    await join(site, ADA)
    async with open_visitor(site) as visitor:
        page = await visitor.sign_in(ADA, path="/device?user_code=BCDF-GHJK")

    assert page.form("/device").fields["user_code"] == "BCDF-GHJK"


async def test_a_device_needs_a_client_that_we_know(shared: Site) -> None:
    response = await shared.http.post("/device_authorization", data={"client_id": "other"})

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_no_secret_of_a_person_is_in_the_database_or_the_audit_log(site: Site) -> None:
    await join(site, ADA)
    tokens = await log_in(site, ADA)
    device = await start_device(site)
    link = (await site.call("POST", f"/v1/users/{ADA}:invite")).json()["uri"]
    await site.registry.trail.flush()

    kept = b"".join(path.read_bytes() for path in site.data_dir.glob("bonded.sqlite3*"))

    assert ADA.encode() in kept
    for secret in (
        "correct horse battery staple",
        tokens["refresh_token"],
        tokens["access_token"],
        device["device_code"],
        device["user_code"],
        link.partition("code=")[2],
    ):
        assert secret.encode() not in kept
        assert base64.b64encode(secret.encode()) not in kept


async def test_sign_ins_are_in_the_audit_log_however_they_end(site: Site) -> None:
    await join(site, ADA)
    async with open_visitor(site, "198.51.100.7") as visitor:
        await visitor.sign_in(ADA, "wrong")
        await visitor.sign_in(ADA)
    await site.registry.trail.flush()
    async with site.registry.metadata.read() as tx:
        texts = await site_entries(tx)

    found = [
        (
            one["protoPayload"]["resourceName"],
            one["protoPayload"]["status"].get("code", 0),
            one["protoPayload"].get("authenticationInfo", {}).get("principalSubject"),
            one["protoPayload"]["requestMetadata"]["callerIp"],
        )
        for one in texts
        if one["protoPayload"]["methodName"] == "Bonded.SignIn"
    ]
    assert found == [
        (f"users/{ADA}", 16, None, "198.51.100.7"),
        (f"users/{ADA}", 0, f"user:{ADA}", "198.51.100.7"),
    ]


async def site_entries(tx: Any) -> list[dict[str, Any]]:
    from bonded.server.metadata.store import Search  # noqa: PLC0415

    return [json.loads(one.text) for one in await tx.audit.list(Search(), 1000)]

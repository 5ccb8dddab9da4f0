"""Every door that takes a token or an assertion, and everything that may be wrong with one.

The cells come from the doors and the faults there are: none can be left out, and who adds a
door or a fault has to say what becomes of each.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from joserfc.jwk import RSAKey

from bonded.server.identity.issuers import AGAIN_S
from support.browsing import open_visitor
from support.doors import ADA, DOORS, Answer, House, Make, open_house, private
from support.federating import POOLS, PROVIDERS
from support.forging import (
    CURVE_KEYS,
    RSA_KEY,
    Draft,
    PrivateKey,
    by_pss,
    by_public_key,
    signer_of,
    with_other_claims,
)
from support.issuer import FakeIssuer

SKEW_S = 60
OTHERS: Mapping[str, PrivateKey] = {"RS256": RSA_KEY, "ES256": CURVE_KEYS["P-256"]}


@pytest.fixture(name="house", scope="module")
async def _house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with open_house(tmp_path_factory.mktemp("house") / "data") as house:
        yield house


class Never(str):
    """Why there is no such cell."""

    __slots__ = ()


Good = bool
Expected = str | Never | Good
"""What the refusal says; or that it is none; or why neither can happen."""


def says(**claims: object) -> Callable[[Draft, int], None]:
    return lambda draft, _now: draft.claims.update(claims)


def lives(begins_s: int, ends_s: int) -> Callable[[Draft, int], None]:
    """Return what moves a token's life, as seconds from now."""
    return lambda draft, now: draft.claims.update(iat=now + begins_s, exp=now + ends_s)


def unsigned(draft: Draft, _now: int) -> None:
    draft.header["alg"], draft.sign = "none", lambda _: b""


def hmac_signed(draft: Draft, _now: int) -> None:
    draft.header["alg"], draft.sign = "HS256", by_public_key(draft.key)


def of_another_curve(draft: Draft, _now: int) -> None:
    if "typ" not in draft.header:
        draft.header["kid"] = "curve"
    draft.header["alg"], draft.sign = "ES256", signer_of(CURVE_KEYS["P-384"])


def pss_as_pkcs(draft: Draft, _now: int) -> None:
    draft.header["alg"], draft.sign = "RS256", by_pss(_rsa(draft))


def pkcs_as_pss(draft: Draft, _now: int) -> None:
    draft.header["alg"], draft.sign = "PS256", signer_of(_rsa(draft))


def _rsa(draft: Draft) -> PrivateKey:
    # Under the name of an elliptic key, an RSA signature can only be a stranger's.
    return RSA_KEY if draft.header["alg"] == "ES256" else draft.key


def of_an_unknown_key(draft: Draft, _now: int) -> None:
    draft.header["kid"] = "0" * 40


def forged(draft: Draft, _now: int) -> None:
    draft.sign = signer_of(OTHERS[str(draft.header["alg"])])


def changed(draft: Draft, _now: int) -> None:
    draft.spoil = with_other_claims(email="eve@example.com", jti="other")


def for_somebody_else(draft: Draft, _now: int) -> None:
    draft.claims["aud"] = "https://other.example"
    # What we sign for others to read is an ID token (RFC 9068 §4).
    if draft.header.get("typ") == "at+jwt":
        draft.header["typ"] = "JWT"


WRITTEN: Mapping[str, Callable[[Draft, int], None]] = {
    "nothing": says(),
    "expired": lives(-3000, -SKEW_S),
    "late by less than a minute": lives(-600, 1 - SKEW_S),
    "early by a minute": lives(SKEW_S, 300),
    "from the future": lives(SKEW_S + 1, 300),
    "for somebody else": for_somebody_else,
    "of another issuer": says(iss="https://other.example"),
    "unsigned": unsigned,
    "HS256 over the public key": hmac_signed,
    "signed on another curve": of_another_curve,
    "PSS under the name RS256": pss_as_pkcs,
    "PKCS #1 under the name PS256": pkcs_as_pss,
    "of an unknown key": of_an_unknown_key,
    "forged": forged,
    "changed on the way": changed,
}
"""What may be wrong with a token itself."""
SHOWN = ("replayed", "revoked", "disabled", "owner disabled", "deleted")
"""What may have happened to a good one, or to what vouches for it."""

NOT_RS256 = "must be signed with RS256"
NO_TOKEN = "The access token is not valid. Fetch"
NOT_SIGNED = "is not signed with a key of its issuer. Have"
PROVES_NOTHING = "algorithm that proves nothing. Have the issuer sign with one of RS256"
BEARER = ("an index", "acting as an account", "an account's ID token", "narrowing")
TOLD = Never("its issuer tells nobody that it has revoked something")

EXPECTED: Mapping[str, Mapping[str, Mapping[str, Expected]]] = {
    "assertion": {
        "nothing": {"*": True},
        "expired": {"*": "has expired. Sign another, and check the clock"},
        "late by less than a minute": {
            "*": True,
            "narrowing": "has expired, and what is made with it would be dead. Sign another",
        },
        "early by a minute": {"*": True},
        "from the future": {"*": "was issued in the future. Check the clock"},
        "for somebody else": {
            "*": "the audience is not this API. Sign it for https://artifactregistry",
            "/token": "not this server's token endpoint. Sign it for https://oauth2",
            "/token for an ID token": "not this server's token endpoint. Sign it for",
        },
        "of another issuer": {"*": "the key belongs to another account. Write a-robot@"},
        "unsigned": {"*": NOT_RS256} | dict.fromkeys(BEARER, NO_TOKEN),
        "HS256 over the public key": {"*": NOT_RS256} | dict.fromkeys(BEARER, NO_TOKEN),
        "signed on another curve": {"*": NOT_RS256} | dict.fromkeys(BEARER, NO_TOKEN),
        "PSS under the name RS256": {"*": "Invalid JWT Signature. Sign it with the private key"},
        "PKCS #1 under the name PS256": {"*": NOT_RS256} | dict.fromkeys(BEARER, NO_TOKEN),
        "of an unknown key": {"*": "The key does not exist any more. Create another with"},
        "forged": {"*": "Invalid JWT Signature. Sign it with the private key"},
        "changed on the way": {"*": "Invalid JWT Signature. Sign it with the private key"},
        # As with Google: it is short, and whoever signs one may sign more.
        "replayed": {"*": True},
        "revoked": {
            "*": Never("an assertion is nobody's to revoke: its key is disabled, or deleted")
        },
        "disabled": {"*": "The service-account key is disabled. Have it enabled with"},
        "owner disabled": {"*": "is disabled. Have it enabled with `bonded iam service-accounts"},
        "deleted": {"*": "The key does not exist any more. Create another with"},
    },
    "identity token": {
        "nothing": {"*": True},
        "expired": {"*": "has expired. Sign in again, or have a new one issued"},
        "late by less than a minute": {"*": True},
        "early by a minute": {"*": True},
        "from the future": {"*": "is from the future. Check the clocks of both servers"},
        "for somebody else": {
            "/v1/token": "which the provider does not allow. Ask the issuer for one for",
            "mint-token": "'https://other.example'. Ask the issuer for one for registry.test",
            "signing in": "for somebody else (audience). Compare the client in the settings",
        },
        "of another issuer": {
            "/v1/token": "from 'https://other.example', not from",
            "mint-token": "of the issuer https://other.example. Create one with",
            "signing in": "is not from http://127.0.0.1",
        },
        "unsigned": {"*": PROVES_NOTHING},
        "HS256 over the public key": {"*": PROVES_NOTHING},
        "signed on another curve": {"*": NOT_SIGNED},
        "PSS under the name RS256": {"*": NOT_SIGNED},
        "PKCS #1 under the name PS256": {"*": NOT_SIGNED},
        "of an unknown key": {"*": NOT_SIGNED},
        "forged": {"*": NOT_SIGNED},
        "changed on the way": {"*": NOT_SIGNED},
        "replayed": {
            # As Google has it: jobs that run side by side share one.
            "/v1/token": True,
            "mint-token": "was exchanged before. Ask the issuer for another",
            "signing in": "answers another request (nonce). Start again",
        },
        "revoked": {"*": TOLD},
        "disabled": {
            "/v1/token": "does not exist or is disabled. Compare it with `bonded iam workload",
            "mint-token": Never("a publisher is there, or is deleted"),
            "signing in": Never("the provider of people is a setting"),
        },
        "owner disabled": {
            "/v1/token": "does not exist or is disabled. Compare it with `bonded iam workload",
            "mint-token": Never("a repository is there, or is deleted with its publishers"),
            "signing in": "ada@example.com is disabled. Ask an administrator",
        },
        "deleted": {
            "/v1/token": "does not exist or is disabled. Compare it with `bonded iam workload",
            "mint-token": "No trusted publisher is github:acme/web",
            "signing in": Never("who is deleted here may come again, and is somebody new"),
        },
    },
    "access token": {
        "nothing": {"*": True},
        "expired": {"*": "has expired. Fetch a new one"},
        # What this server says itself ends when it says.
        "late by less than a minute": {"*": "has expired. Fetch a new one"},
        "early by a minute": {"*": True},
        "from the future": {"*": "was issued in the future. Check the server's clock"},
        "for somebody else": {"*": NO_TOKEN},
        "of another issuer": {"*": NO_TOKEN},
        "unsigned": {"*": NO_TOKEN},
        "HS256 over the public key": {"*": NO_TOKEN},
        "signed on another curve": {"*": NO_TOKEN},
        # RS256 is what assertions are signed with, and so it is looked for among their keys.
        "PSS under the name RS256": {"*": "The key does not exist any more. Create another with"},
        "PKCS #1 under the name PS256": {"*": NO_TOKEN},
        "of an unknown key": {"*": "a key that this server does not have. Fetch a new one"},
        "forged": {"*": NO_TOKEN},
        "changed on the way": {"*": NO_TOKEN},
        "replayed": {"*": True},
        "revoked": {"*": "has been revoked. Fetch a new one"},
        "disabled": {"*": "The service-account key is disabled. Have it enabled with"},
        "owner disabled": {"*": "is disabled. Have it enabled with `bonded iam service-accounts"},
        "deleted": {"*": "The service-account key does not exist any more. Create another"},
    },
}


def expected(kind: str, door: str, fault: str) -> Expected:
    cells = EXPECTED[kind][fault]
    return cells[door] if door in cells else cells["*"]


CELLS = [
    (kind, door, fault)
    for kind, doors in DOORS.items()
    for door in doors
    for fault in (*WRITTEN, *SHOWN)
]


def test_the_table_says_of_every_cell_what_becomes_of_it_or_why_there_is_none() -> None:
    for kind, doors in DOORS.items():
        assert EXPECTED[kind].keys() == {*WRITTEN, *SHOWN}
        for fault, cells in EXPECTED[kind].items():
            assert "*" in cells or cells.keys() == doors.keys(), (kind, fault)
            assert cells.keys() <= {"*", *doors}, (kind, fault)
    never = [cell for cell in CELLS if isinstance(expected(*cell), Never)]
    assert (len(CELLS), len(never)) == (14 * 20, 6 + 3 + 2 + 1 + 1)


def _can_be(cell: tuple[str, str, str]) -> bool:
    return not isinstance(expected(*cell), Never)


def _make(house: House, kind: str, fault: str) -> Make:
    draft_of = {
        "assertion": house.assertion,
        "identity token": house.identity,
        "access token": house.access_token,
    }[kind]

    def make(**asked: object) -> str:
        # Nobody but those who read assertions and identity tokens looks at an audience.
        draft = draft_of(**{} if kind == "access token" else asked)
        WRITTEN.get(fault, says())(draft, house.now)
        return draft.text()

    return make


@pytest.mark.parametrize(("kind", "door", "fault"), [cell for cell in CELLS if _can_be(cell)])
async def test_what_proves_nobody_opens_no_door_and_is_told_what_to_do(
    house: House, kind: str, door: str, fault: str
) -> None:
    make, outcome = _make(house, kind, fault), expected(kind, door, fault)

    if fault in SHOWN:
        answer = await _show_after(house, kind, door, fault)
    else:
        answer = await DOORS[kind][door](house, make)

    assert answer.is_open == (outcome is True), answer.sentence
    if outcome is not True and door != "introspection":
        assert str(outcome) in answer.sentence
        # First what was wrong, then what to do next.
        assert re.search(r"[^.]\. [A-Z][^.]+", answer.sentence), answer.sentence


async def _show_after(house: House, kind: str, door: str, fault: str) -> Answer:
    """Show a good one, let *fault* happen, and show it again; put right what has happened."""
    show, make = DOORS[kind][door], _make(house, kind, fault)
    made: list[str] = []

    def the_same(**asked: object) -> str:
        made.append(made[0] if made else make(**asked))
        return made[0]

    first = await show(house, the_same)
    assert first.is_open, first.sentence
    what = door if kind == "identity token" else "key"
    end, mend = HAPPENS.get((what, fault), (None, None))
    if fault == "revoked":
        await house.site.http.post("/revoke", data={"token": made[0]})
    if end is not None:
        await end(house)
    try:
        # Some are good for one time, whatever happens: then it is another one.
        is_another = kind == "identity token" and fault != "replayed"
        return await show(house, make if is_another else the_same)
    finally:
        if mend is not None:
            await mend(house)


Act = Callable[[House], Awaitable[None]]


def call(method: str, path: str, body: object = None) -> Act:
    async def act(house: House) -> None:
        names = {"key": house.key, "account": house.account, "publisher": house.publisher}
        answer = await house.site.call(method, path.format(**names), body)
        assert answer.status_code == 200, answer.text

    return act


def switched(path: str) -> tuple[Act, Act]:
    return call("POST", f"{path}:disable", {}), call("POST", f"{path}:enable", {})


def patched(path: str) -> tuple[Act, Act]:
    path = f"{path}?updateMask=disabled"
    return call("PATCH", path, {"disabled": True}), call("PATCH", path, {"disabled": False})


HAPPENS: Mapping[tuple[str, str], tuple[Act, Act]] = {
    ("key", "disabled"): switched("{key}"),
    ("key", "owner disabled"): switched("{account}"),
    ("key", "deleted"): (call("DELETE", "{key}"), House.make_robot),
    ("/v1/token", "disabled"): patched(f"{PROVIDERS}/builds"),
    ("/v1/token", "owner disabled"): patched(f"{POOLS}/ci-pool"),
    ("/v1/token", "deleted"): (call("DELETE", f"{PROVIDERS}/builds"), House.make_provider),
    ("mint-token", "deleted"): (call("DELETE", "/v1/{publisher}"), House.make_publisher),
    ("signing in", "owner disabled"): switched(f"/v1/users/{ADA}"),
}


@pytest.fixture(name="restless")
async def _restless(house: House) -> AsyncIterator[House]:
    """The same house, whose issuer does what a test wants; it behaves again afterwards."""
    issuer, keys = house.issuer, [*house.issuer.keys]
    issuer.requests.clear()
    await house.let_time_pass()
    yield house
    issuer.keys, issuer.raw, issuer.wait_s, issuer.configuration = keys, {}, 0, {}
    await house.let_time_pass()


WAIT_MAX_S = 1
AWAY: Mapping[str, tuple[str, Callable[[FakeIssuer], object]]] = {
    "fails": ("answered 500 for", lambda issuer: setattr(issuer, "raw", {"/jwks": (500, b"{}")})),
    "keeps silent": (
        f"did not answer within {WAIT_MAX_S} s",
        lambda issuer: setattr(issuer, "wait_s", WAIT_MAX_S + 0.3),
    ),
    "is another": (
        "calls itself 'https://other.example'. The issuer in the settings must be",
        lambda issuer: issuer.configuration.update(issuer="https://other.example"),
    ),
}


@pytest.mark.parametrize("door", DOORS["identity token"])
@pytest.mark.parametrize("how", AWAY)
async def test_an_issuer_that_cannot_be_asked_is_named_at_every_door(
    restless: House, monkeypatch: pytest.MonkeyPatch, door: str, how: str
) -> None:
    sentence, break_it = AWAY[how]
    registry, issuer = restless.site.registry, restless.issuer
    for documents in (registry.documents, registry.issuers):
        monkeypatch.setattr(documents, "wait_max_s", WAIT_MAX_S)
    if how == "is another":
        break_it(issuer)

    def make(**asked: object) -> str:
        # By now the browser of a person has been sent to the issuer.
        break_it(issuer)
        return restless.identity(**asked).text()

    answer = await DOORS["identity token"][door](restless, make)

    assert not answer.is_open
    assert sentence in answer.sentence


@pytest.mark.parametrize("door", DOORS["identity token"])
async def test_keys_rotate_while_tokens_are_on_their_way(restless: House, door: str) -> None:
    show, issuer = DOORS["identity token"][door], restless.issuer
    before = await show(restless, _make(restless, "identity token", "nothing"))
    retired = issuer.keys[-1]
    issuer.keys = [issuer.keys[0], RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})]
    restless.site.clock.forward(seconds=AGAIN_S)

    def new(**asked: object) -> str:
        draft = restless.identity(**asked)
        draft.header["kid"] = "second"
        return draft.text()

    def late(**asked: object) -> str:
        draft = restless.identity(**asked)
        draft.sign = signer_of(private(retired))
        return draft.text()

    # Known until a key is named that is not: then all of them are asked for.
    answers = [await show(restless, one) for one in (late, new, late)]

    assert before.is_open
    assert [one.is_open for one in answers] == [True, True, False]
    assert NOT_SIGNED in answers[2].sentence


@pytest.mark.parametrize("door", ["/v1/token", "mint-token"])
async def test_a_stranger_s_unknown_key_holds_up_nobody_whose_key_is_known(
    restless: House, door: str
) -> None:
    show = DOORS["identity token"][door]
    good = _make(restless, "identity token", "nothing")
    assert (await show(restless, good)).is_open
    restless.site.clock.forward(seconds=AGAIN_S)
    restless.issuer.wait_s = 1
    ended = []

    async def ask(name: str, make: Make) -> None:
        ended.append((name, (await show(restless, make)).is_open))

    async with asyncio.TaskGroup() as group:
        unknown = _make(restless, "identity token", "of an unknown key")
        group.create_task(ask("stranger", unknown))
        await asyncio.sleep(0.1)
        group.create_task(ask("known", good))

    assert ended == [("known", True), ("stranger", False)]


async def test_an_issuer_that_is_away_is_asked_by_the_first_who_comes_and_not_by_each(
    restless: House,
) -> None:
    issuer = restless.issuer
    issuer.raw = {"/.well-known/openid-configuration": (500, b"{}")}
    async with open_visitor(restless.site) as visitor:
        pages = [await visitor.open("/_/provider?next=/account") for _ in range(3)]

        assert [page.status for page in pages] == [503] * 3
        assert "answered 500 for" in pages[2].text
        assert issuer.requests == ["GET /.well-known/openid-configuration"]
        issuer.raw = {}
        restless.site.clock.forward(seconds=AGAIN_S)
        assert (await visitor.open("/_/provider?next=/account")).status == 303

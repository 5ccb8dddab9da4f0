"""Issuers of OpenID Connect: discovery, keys that rotate, and every token that proves nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from joserfc.jwk import ECKey, RSAKey

from bonded.server.core.errors import BondedError, Unauthenticated, Unavailable
from bonded.server.identity.documents import SIZE_MAX_BYTES, Documents
from bonded.server.identity.issuers import AGAIN_S, KEPT_S, SKEW_S, Issuer, parse_keys
from support.clock import SetClock
from support.issuer import CLIENT, FakeIssuer, running_issuer

KEYS = "GET /jwks"


@pytest.fixture(name="provider")
async def _provider() -> AsyncIterator[tuple[FakeIssuer, Issuer]]:
    clock = SetClock()
    documents = Documents(wait_max_s=2)
    with running_issuer(clock) as fake:
        yield fake, Issuer(documents, clock, fake.url)
        await documents.close()


Provider = tuple[FakeIssuer, Issuer]


async def test_a_token_of_the_issuer_says_who_it_is(provider: Provider) -> None:
    fake, issuer = provider

    claims = await issuer.verify(fake.sign(nonce="n"), [CLIENT], nonce="n")

    assert (claims["sub"], claims["email"]) == ("7", "ada@example.com")


@pytest.mark.parametrize("key", [ECKey.generate_key("P-256", {"kid": "ec"})])
async def test_a_token_may_be_signed_with_an_elliptic_curve(provider: Provider, key: ECKey) -> None:
    fake, issuer = provider
    fake.keys.append(key)

    assert (await issuer.verify(fake.sign(), [CLIENT]))["sub"] == "7"


async def test_the_keys_are_fetched_once_an_hour(provider: Provider) -> None:
    fake, issuer = provider

    for _ in range(3):
        await issuer.verify(fake.sign(), [CLIENT])
    assert fake.requests.count(KEYS) == 1
    fake.clock.forward(seconds=KEPT_S)
    await issuer.verify(fake.sign(), [CLIENT])

    assert fake.requests.count(KEYS) == 2


async def test_a_rotated_key_is_fetched_at_once_but_not_for_every_unknown_name(
    provider: Provider,
) -> None:
    fake, issuer = provider
    old = fake.sign()
    await issuer.verify(old, [CLIENT])
    fake.rotate()

    with pytest.raises(Unauthenticated, match="not signed with a key of its issuer"):
        await issuer.verify(fake.sign(), [CLIENT])
    fake.clock.forward(seconds=AGAIN_S)
    await issuer.verify(fake.sign(), [CLIENT])
    for _ in range(5):
        with pytest.raises(Unauthenticated, match="not signed with a key of its issuer"):
            await issuer.verify(old, [CLIENT])

    assert fake.requests.count(KEYS) == 2


async def test_a_known_key_is_not_waited_for_while_an_unknown_one_is_asked_for(
    provider: Provider,
) -> None:
    fake, issuer = provider
    good = fake.sign()
    await issuer.verify(good, [CLIENT])
    fake.clock.forward(seconds=AGAIN_S)
    fake.rotate()
    fake.wait_s = 0.5
    ended = []

    async def ask(token: str, name: str) -> None:
        with suppress(Unauthenticated):
            await issuer.verify(token, [CLIENT])
        ended.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask(fake.sign(), "stranger"))
        await asyncio.sleep(0.1)
        group.create_task(ask(good, "good"))

    assert ended == ["good", "stranger"]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(fake: FakeIssuer) -> str:
    heading = encoded(json.dumps({"alg": "none", "kid": "first"}).encode())
    return f"{heading}.{fake.sign().split('.')[1]}."


def hmac_signed(fake: FakeIssuer) -> str:
    heading = encoded(json.dumps({"alg": "HS256", "kid": "first"}).encode())
    signed = f"{heading}.{fake.sign().split('.')[1]}"
    key = fake.keys[-1]
    assert isinstance(key, RSAKey)
    public = key.as_pem(private=False)
    return f"{signed}.{encoded(hmac.digest(public, signed.encode(), hashlib.sha256))}"


def forged(fake: FakeIssuer) -> str:
    fake.signer = RSAKey.generate_key(2048, {"kid": "first"})
    return fake.sign()


FROM_NOW = SetClock().now.timestamp()
NOTHING = "signed with an algorithm that proves nothing"
TOKENS: dict[str, tuple[Callable[[FakeIssuer], str], str]] = {
    "garbage": (lambda _: "garbage", "not a signed JWT"),
    "enormous": (lambda _: "x" * 70_000, "not a signed JWT"),
    "unsigned": (unsigned, NOTHING),
    "signed with the public key as a secret": (hmac_signed, NOTHING),
    "signed with somebody's key under our key's name": (forged, "not signed with a key"),
    "another issuer's": (lambda fake: fake.sign(iss="http://other.example"), "is not from"),
    "for another audience": (lambda fake: fake.sign(aud="other"), "for somebody else"),
    "for no audience": (lambda fake: fake.sign(aud=None), "for somebody else"),
    "for several, issued to another": (
        lambda fake: fake.sign(aud=[CLIENT, "other"], azp="other"),
        "issued to somebody else",
    ),
    "of another request": (lambda fake: fake.sign(nonce="other"), "another request"),
    "of no request": (lambda fake: fake.sign(), "another request"),
    "expired": (lambda fake: fake.sign(exp=FROM_NOW - SKEW_S), "has expired"),
    "without an end": (lambda fake: fake.sign(exp=None), "when it expires"),
    "ending at a word": (lambda fake: fake.sign(exp="soon"), "when it expires"),
    "from the future": (lambda fake: fake.sign(iat=FROM_NOW + SKEW_S + 1), "from the future"),
    "not yet good": (lambda fake: fake.sign(nbf=FROM_NOW + SKEW_S + 1), "from the future"),
}


@pytest.mark.parametrize("title", TOKENS)
async def test_a_token_that_proves_nothing_is_refused(provider: Provider, title: str) -> None:
    fake, issuer = provider
    make, says = TOKENS[title]

    with pytest.raises(Unauthenticated, match=says):
        await issuer.verify(make(fake), [CLIENT], nonce="n")


async def test_clocks_may_differ_by_a_minute(provider: Provider) -> None:
    fake, issuer = provider

    await issuer.verify(fake.sign(iat=FROM_NOW + SKEW_S, nbf=FROM_NOW + SKEW_S), [CLIENT])
    await issuer.verify(fake.sign(exp=FROM_NOW - SKEW_S + 1), [CLIENT])


CONFIGURATION = "/.well-known/openid-configuration"
BROKEN: dict[str, tuple[Callable[[FakeIssuer], object], str]] = {
    "calls itself another": (
        lambda fake: fake.configuration.update(issuer="http://other.example"),
        "calls itself 'http://other.example'",
    ),
    "publishes no keys": (
        lambda fake: fake.configuration.update(jwks_uri=None),
        "publishes no jwks_uri",
    ),
    "answers with an error": (
        lambda fake: setattr(fake, "raw", {CONFIGURATION: (500, b"{}")}),
        "answered 500",
    ),
    "redirects": (
        lambda fake: setattr(fake, "raw", {CONFIGURATION: (302, b"{}")}),
        "answered 302",
    ),
    "answers with a page": (
        lambda fake: setattr(fake, "raw", {CONFIGURATION: (200, b"<html>")}),
        "did not answer with JSON for",
    ),
    "answers with a list": (
        lambda fake: setattr(fake, "raw", {CONFIGURATION: (200, b"[]")}),
        "did not answer with a JSON object",
    ),
    "answers without end": (
        lambda fake: setattr(fake, "raw", {CONFIGURATION: (200, b" " * (SIZE_MAX_BYTES + 1))}),
        "sent more than",
    ),
    "has no key set": (lambda fake: setattr(fake, "raw", {"/jwks": (200, b"{}")}), "key set"),
    "keeps silent": (lambda fake: setattr(fake, "wait_s", 2.5), "did not answer within 2 s"),
}


@pytest.mark.parametrize("title", BROKEN)
async def test_a_provider_that_does_not_work_is_named_in_a_sentence(
    provider: Provider, title: str
) -> None:
    fake, issuer = provider
    break_it, says = BROKEN[title]
    token = fake.sign()
    break_it(fake)

    with pytest.raises(Unavailable, match=says):
        await issuer.verify(token, [CLIENT])


async def test_a_provider_that_is_not_there_is_named_in_a_sentence() -> None:
    documents = Documents()
    try:
        with pytest.raises(BondedError, match=r"The identity provider 127\.0\.0\.1:1 cannot be"):
            await Issuer(documents, SetClock(), "http://127.0.0.1:1").configuration()
    finally:
        await documents.close()


def test_a_key_set_may_hold_what_we_do_not_know() -> None:
    good = RSAKey.generate_key(2048, {"kid": "good"}).as_dict(private=False)
    odd: list[object] = [
        "key",
        {"kty": "oct", "k": "AA"},
        {"kty": "RSA", "kid": "half"},
        {**good, "use": "enc"},
        {"kty": "OKP", "crv": "Unheard", "x": "AA"},
    ]

    assert [key.kid for key in parse_keys({"keys": [*odd, good]})] == ["good"]

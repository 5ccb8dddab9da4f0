"""Signing keys over time: rotation, replicas, and what a stolen database is worth."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from cryptography.fernet import Fernet
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from bonded.server.core.errors import Unavailable
from support.postgresql import PostgreSql
from support.site import URL, Site, open_site

pytest_plugins = ("support.databases",)


@pytest.fixture(name="cluster_url")
async def _cluster_url(postgresql: PostgreSql) -> AsyncIterator[str]:
    """An empty PostgreSQL database."""
    url = await postgresql.make_database()
    yield url
    await postgresql.drop_database(url)


async def published(site: Site) -> list[dict[str, Any]]:
    response = await site.get("/.well-known/jwks.json", "")
    assert response.status_code == 200
    keys: list[dict[str, Any]] = response.json()["keys"]
    return keys


def kid_of(token: str) -> object:
    return extract_compact(token.encode()).headers()["kid"]


async def status(site: Site, token: str) -> int:
    return (await site.get(f"{site.repository}/simple/", token)).status_code


async def test_the_published_keys_verify_tokens_and_sign_none(site: Site) -> None:
    keys = await published(site)

    claims = jwt.decode(site.admin, KeySet.import_key_set({"keys": keys})).claims

    assert claims["sub"] == f"serviceAccount:{site.admin_key['client_email']}"
    assert [set(key) for key in keys] == [{"kty", "crv", "x", "y", "kid", "alg", "use"}]


@pytest.mark.parametrize("name", ["openid-configuration", "oauth-authorization-server"])
async def test_discovery_names_this_server_and_endpoints_that_exist(site: Site, name: str) -> None:
    answer = await site.get(f"/.well-known/{name}", "")

    found = answer.json()
    assert found["issuer"] == URL
    assert found["bonded_default_location"] == "local"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    endpoints = {key: url for key, url in found.items() if key.endswith(("_endpoint", "_uri"))}
    assert set(endpoints) == {
        "authorization_endpoint",
        "device_authorization_endpoint",
        "token_endpoint",
        "introspection_endpoint",
        "revocation_endpoint",
        "jwks_uri",
    }
    for key, url in endpoints.items():
        method = "GET" if key in ("authorization_endpoint", "jwks_uri") else "POST"
        assert site.registry.routes.match(method, url.removeprefix(URL).encode())


async def test_discovery_names_the_grants_that_the_token_endpoint_knows(site: Site) -> None:
    """RFC 8414 §2: no grant is named that is not taken, and none is taken that is not named."""
    found = (await site.get("/.well-known/oauth-authorization-server", "")).json()
    named = found["grant_types_supported"]

    refusals = {
        grant: (await site.http.post("/token", data={"grant_type": grant})).json()["error"]
        for grant in [*named, "password", "client_credentials"]
    }

    assert refusals == {
        "authorization_code": "invalid_request",
        "refresh_token": "invalid_client",
        "urn:ietf:params:oauth:grant-type:device_code": "invalid_request",
        "urn:ietf:params:oauth:grant-type:jwt-bearer": "invalid_request",
        "password": "unsupported_grant_type",
        "client_credentials": "unsupported_grant_type",
    }
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["response_types_supported"] == ["code"]
    assert "none" in found["token_endpoint_auth_methods_supported"]
    assert found["authorization_response_iss_parameter_supported"] is True


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_outlives_its_tokens(
    site: Site,
) -> None:
    rotate, (first,) = site.registry.signing_keys.refresh, await published(site)

    site.clock.forward(days=29)
    await rotate()
    kids = [key["kid"] for key in await published(site)]
    early = await site.sign_in(site.admin_key)
    site.clock.forward(hours=23, minutes=59)
    last = await site.sign_in(site.admin_key)
    site.clock.forward(minutes=1)
    late = await site.sign_in(site.admin_key)

    assert (kids[0], len(kids)) == (first["kid"], 2)
    assert [kid_of(token) for token in (early, last, late)] == [kids[0], kids[0], kids[1]]
    await rotate()
    assert [await status(site, token) for token in (last, late)] == [200, 200]
    site.clock.forward(hours=12, seconds=1)
    await rotate()
    assert [key["kid"] for key in await published(site)] == [kids[1]]


async def test_a_token_of_a_forgotten_key_says_so(site: Site) -> None:
    with closing(sqlite3.connect(site.data_dir / "bonded.sqlite3")) as database:
        database.execute("DELETE FROM signing_keys")
        database.execute("UPDATE serials SET serial = serial + 1 WHERE scope = 'access'")
        database.commit()
    await site.registry.signing_keys.refresh()

    refused = await site.get(f"{site.repository}/simple/")

    assert (refused.status_code, refused.text) == (
        401,
        "The access token is signed with a key that this server does not have. Fetch a new one.\n",
    )


async def test_replicas_sign_with_one_key_and_verify_each_others_tokens(
    cluster_url: str, tmp_path: Path
) -> None:
    there, here = tmp_path / "first", tmp_path / "second"
    here.mkdir()
    shared = str(there / "sealing-key")

    async with AsyncExitStack() as sites:
        first = await sites.enter_async_context(open_site(there, database_url=cluster_url))
        copyfile(there / "admin-key.json", here / "admin-key.json")
        second = await sites.enter_async_context(
            open_site(here, database_url=cluster_url, sealing_key_file=shared)
        )
        assert await published(second) == await published(first)
        assert await status(second, first.admin) == await status(first, second.admin) == 200
        # One makes the next key; the other learns of it when a token names it.
        for site in (first, second):
            site.clock.forward(days=31)
        await first.registry.signing_keys.refresh()
        for site in (first, second):
            site.clock.forward(days=1)
        token = await first.sign_in(first.admin_key)
        assert kid_of(token) != kid_of(first.admin)
        assert await status(second, token) == 200


async def test_a_replica_with_another_sealing_key_refuses_to_start(
    cluster_url: str, tmp_path: Path
) -> None:
    async with open_site(tmp_path / "first", database_url=cluster_url):
        with pytest.raises(Unavailable, match="that the key in"):
            async with open_site(tmp_path / "second", database_url=cluster_url):
                pass


async def test_the_sealing_key_can_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "data" / "sealing-key"
    async with open_site(tmp_path / "data") as site:
        token = site.admin
    old = path.read_text()
    path.write_text(f"{Fernet.generate_key().decode()}\n{old}")

    async with open_site(tmp_path / "data") as site:
        assert await status(site, token) == 200

    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "garbage", "é", "a b c"])
async def test_a_sealing_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sealing-key").write_text(text)

    with pytest.raises(Unavailable, match="does not hold sealing keys"):
        async with open_site(tmp_path / "data"):
            pass


async def test_a_stolen_database_holds_nothing_that_signs(site: Site) -> None:
    secret = site.registry.signing_keys.current().as_dict(private=True)["d"]

    stolen = b"".join(path.read_bytes() for path in site.data_dir.glob("bonded.sqlite3*"))

    assert str(secret).encode() not in stolen

"""What anybody may send is bounded before it costs anything."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.site import Site, basic, form_of
from support.wheels import make_wheel


async def test_a_host_longer_than_any_name_is_refused(site: Site) -> None:
    response = await site.get(f"{site.repository}/simple/", host="h" * 256)

    assert response.status_code == 400
    assert response.text == "The Host header is longer than 255 bytes.\n"


@pytest.mark.parametrize("header", [["alg"], "alg", 7, None])
async def test_a_token_whose_header_is_no_object_proves_nobody(site: Site, header: object) -> None:
    part = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    token = f"{part}.e30.c2ln"

    presented = await site.get(f"{site.repository}/simple/", token)
    exchanged = await site.exchange(token)

    assert (presented.status_code, exchanged.status_code) == (401, 400)


async def test_a_version_of_thousands_of_digits_is_refused(site: Site) -> None:
    response = await site.upload(form_of(make_wheel(), version="1" * 5000))

    assert response.status_code == 413
    assert response.text == "The field version is longer than 1024 characters.\n"


async def test_a_key_larger_than_ours_is_refused_unread(site: Site) -> None:
    large = rsa.generate_private_key(public_exponent=65537, key_size=3072).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key = json.dumps({**site.admin_key, "private_key": large.decode()})

    response = await site.http.get(
        f"{site.repository}/simple/", headers={"authorization": basic("_json_key", key)}
    )

    assert response.status_code == 401


async def test_names_that_cannot_exist_are_refused_like_names_that_do_not(site: Site) -> None:
    path = f"/My_Project/{'x' * 300}/simple/"

    anonymous = await site.get(path, token="")
    owner = await site.get(path)

    assert (anonymous.status_code, owner.status_code) == (401, 404)

"""Authorization headers: what they present, before anybody believes it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Unauthenticated
from bonded.server.identity.credentials import (
    PresentedKeyFile,
    PresentedToken,
    parse_authorization,
)
from support.site import basic

KEY = {"client_email": "ada@example.com", "private_key_id": "a" * 40, "private_key": "PEM"}


@pytest.mark.parametrize(
    "header",
    [
        basic("oauth2accesstoken", "abc"),
        basic("__token__", "abc"),
        basic("", "abc"),
        "Bearer abc",
        "BEARER   abc ",
        f"  {basic('ada', 'abc')}",
    ],
)
def test_a_token_is_a_token_whatever_name_stands_beside_it(header: str) -> None:
    presented = parse_authorization(header.encode())

    assert presented == PresentedToken("abc")


def test_a_password_may_contain_colons() -> None:
    presented = parse_authorization(basic("ada", "a:b:c").encode())

    assert presented == PresentedToken("a:b:c")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("_json_key", json.dumps(KEY)),
        ("_json_key", "\n" + json.dumps(KEY, indent=2)),
        ("_json_key_base64", base64.b64encode(json.dumps(KEY).encode()).decode()),
        ("_json_key_base64", json.dumps(KEY)),
        ("oauth2accesstoken", json.dumps(KEY)),
    ],
)
def test_a_key_file_is_a_key_file_however_it_is_packed(user: str, password: str) -> None:
    presented = parse_authorization(basic(user, password).encode())

    assert presented == PresentedKeyFile("ada@example.com", "a" * 40, "PEM")


@given(st.one_of(st.binary(), st.binary().map(lambda value: b"Basic " + base64.b64encode(value))))
def test_whatever_comes_is_a_credential_or_unauthenticated(header: bytes) -> None:
    try:
        presented = parse_authorization(header)
    except Unauthenticated:
        return

    assert isinstance(presented, PresentedToken | PresentedKeyFile)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | (st.dictionaries(st.sampled_from([*KEY]), inner)),
    )
)
def test_whatever_json_comes_is_a_key_file_or_unauthenticated(value: object) -> None:
    header = basic("_json_key", "{" + json.dumps(value)[1:]).encode()

    try:
        presented = parse_authorization(header)
    except Unauthenticated:
        return

    assert isinstance(presented, PresentedKeyFile)


def test_an_error_has_no_cause_that_would_quote_the_secret() -> None:
    with pytest.raises(Unauthenticated) as caught:
        parse_authorization(basic("_json_key", '{"private_key": "hunter2"').encode())

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

"""Servers, properties, accounts and private files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from bonded.client.accounts import Account, AccountStore, ServiceAccountKey
from bonded.client.environment import Environment
from bonded.client.errors import Misconfigured
from bonded.client.private_files import check_writable, read_private, remove_private, write_private
from bonded.client.properties import PROJECT, SERVER, Configuration, parse_property, render
from bonded.client.servers import origin_of, parse_server


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" https://Packages.Example.com/ ", "https://packages.example.com"),
        ("https://packages.example.com:443", "https://packages.example.com"),
        ("http://packages.example.com:443", "http://packages.example.com:443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_server_is_its_origin(text: str, server: str) -> None:
    assert parse_server(text) == server
    assert parse_server(server) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "packages.example.com",
        "localhost:8080",
        "ftp://packages.example.com",
        "https://",
        "https://packages.example.com/team/",
        "https://packages.example.com?x",
        "https://me@packages.example.com",
        "http://x:99999",
        "http://[",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        parse_server(text)


def test_a_token_uri_says_which_server_it_is_of() -> None:
    assert origin_of("https://packages.example.com/token?x") == "https://packages.example.com"


def test_a_private_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    old_umask = os.umask(0)
    try:
        write_private(path, "one")
    finally:
        os.umask(old_umask)
    path.chmod(0o644)

    write_private(path, "two")

    assert read_private(path) == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_what_is_absent_is_none_and_what_is_unreadable_is_said(tmp_path: Path) -> None:
    assert read_private(tmp_path / "absent") is None
    assert not remove_private(tmp_path / "absent")
    with pytest.raises(Misconfigured, match="Cannot read"):
        read_private(tmp_path)
    with pytest.raises(Misconfigured, match="Cannot write"):
        write_private(tmp_path, "x")
    with pytest.raises(Misconfigured, match="is a directory"):
        check_writable(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(Misconfigured, match="not a text file"):
        read_private(tmp_path / "bytes")


def test_a_property_is_the_environments_else_the_files(tmp_path: Path) -> None:
    environment = Environment({"CLOUDSDK_CORE_PROJECT": "from-cloudsdk"})
    configuration = Configuration(tmp_path, environment)
    configuration.set(PROJECT, "from-file")
    configuration.set(SERVER, "https://packages.example.com/")

    assert configuration.find(PROJECT) == "from-cloudsdk"
    assert configuration.find(SERVER) == "https://packages.example.com"
    assert Configuration(tmp_path, Environment({})).find(PROJECT) == "from-file"
    assert Configuration(tmp_path, Environment({}), "other").find(PROJECT) is None


def test_a_value_with_a_percent_sign_survives(tmp_path: Path) -> None:
    configuration = Configuration(tmp_path, Environment({}))
    configuration.set(PROJECT, "100%s; # x")

    assert configuration.find(PROJECT) == "100%s; # x"


def test_a_value_cannot_carry_another_property(tmp_path: Path) -> None:
    configuration = Configuration(tmp_path, Environment({}))

    with pytest.raises(Misconfigured):
        configuration.set(PROJECT, "x\nserver = http://evil.example.com")


def test_properties_are_named_by_section_and_key() -> None:
    assert parse_property("project") is PROJECT
    assert parse_property("core/project") is PROJECT
    assert render({}) == ""
    with pytest.raises(Misconfigured, match=r"Section \[artifacts\] has no property \[project\]"):
        parse_property("artifacts/project")


def test_an_address_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    store = AccountStore(tmp_path)
    key = ServiceAccountKey("../../[x]*@example.com", None, "http://x/token", "{}")

    store.add(key)

    assert store.list_accounts() == (Account(key.email, "http://x"),)
    assert [path.parent.parent for path in tmp_path.rglob("*.json")] == [tmp_path / "accounts"]
    assert store.remove(key.account)
    assert store.list_accounts() == ()


def test_two_servers_may_have_an_account_of_the_same_address(tmp_path: Path) -> None:
    store = AccountStore(tmp_path)
    fields = {"type": "service_account", "client_email": "a@example.com", "private_key": "x"}
    texts = [json.dumps(fields | {"token_uri": f"http://{host}/token"}) for host in "xy"]
    keys = [ServiceAccountKey.parse(text, "key") for text in texts]

    for key in keys:
        store.add(key)

    assert [store.find(key.account) for key in keys] == keys
    assert store.list_accounts("a@example.com") == tuple(key.account for key in keys)
    assert store.list_accounts("b@example.com") == ()

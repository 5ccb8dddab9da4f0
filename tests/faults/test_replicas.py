"""Two server processes on one PostgreSQL: what one is told to end, the other ends too."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import requests

from support.device import accept, sign_device_in
from support.postgresql import PostgreSql
from support.server import Server, running_server
from support.site import sign_assertion

pytest_plugins = ("support.databases",)

WITHIN_S = 1.0
ADA = "ada@example.com"
PROJECT = "/v1/projects/my-project"


def sign_in(server: Server, key: dict[str, str]) -> str:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": sign_assertion(key),
    }
    answer = requests.post(f"{server.url}/token", form, timeout=30)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def test_what_ends_on_one_replica_ends_on_the_other_within_a_second(
    postgresql: PostgreSql, tmp_path: Path
) -> None:
    shared = {
        "BONDED_DATABASE_URL": await postgresql.make_database(),
        "BONDED_SEALING_KEY_FILE": str(tmp_path / "sealing-key"),
    }
    with (
        running_server(tmp_path / "first", environment=shared) as first,
        running_server(tmp_path / "second", environment=shared) as second,
    ):
        signed_out = end_sign_in(first, second)
        revoked, disabled = end_both(first, second)

    assert (signed_out, revoked, disabled) == (True, True, True)


def end_both(first: Server, second: Server) -> tuple[bool, bool]:
    """Revoke a token and disable a key on *first*; say of each whether *second* knew in time."""
    key = first.admin_key
    owner = {"authorization": f"Bearer {sign_in(first, key)}"}
    account = f"{first.url}/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    # A second key of the owner: or the first could not be disabled.
    requests.post(f"{account}/keys", json={}, headers=owner, timeout=30).raise_for_status()
    one, other = sign_in(first, key), sign_in(second, key)
    disable = f"{account}/keys/{key['private_key_id']}:disable"

    return (
        ends(second, one, lambda: requests.post(f"{first.url}/revoke", {"token": one}, timeout=30)),
        ends(second, other, lambda: requests.post(disable, json={}, headers=owner, timeout=30)),
    )


def end_sign_in(first: Server, second: Server) -> bool:
    """End a person's sign-in on *first*; say whether *second* knew in time."""
    owner = {"authorization": f"Bearer {sign_in(first, first.admin_key)}"}
    users = f"{first.url}/v1/users"
    made = requests.post(users, json={"address": ADA}, headers=owner, timeout=30)
    accept(made.json()["invitation"]["uri"])
    token = sign_device_in(first.url, ADA)["access_token"]
    sessions = f"{users}/{ADA}/sessions/-"
    return ends(
        second,
        token,
        lambda: requests.delete(sessions, headers=owner, timeout=30),
        "/v1/users/me",
    )


def ends(
    server: Server, token: str, act: Callable[[], requests.Response], path: str = PROJECT
) -> bool:
    """Say whether *server* takes *token* before *act*, and refuses it soon after."""
    assert status(server, token, path) == 200
    act().raise_for_status()
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if status(server, token, path) == 401:
            return True
    return False


def status(server: Server, token: str, path: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return requests.get(f"{server.url}{path}", headers=headers, timeout=30).status_code

"""Two server processes on one PostgreSQL: what one is told to end, the other ends too."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import requests

from support.device import accept, sign_device_in
from support.postgresql import PostgreSql
from support.server import Server, running_server
from support.site import sign_assertion

pytest_plugins = ("support.databases",)

WITHIN_S = 1.0
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
        ended = {
            "a person's sign-ins ended": end_sign_ins(first, second, "DELETE", "/sessions/-"),
            "a person disabled": end_sign_ins(first, second, "POST", ":disable"),
            "an account disabled": end_account(first, second),
            **end_both(first, second),
        }

    assert [what for what, is_known in ended.items() if not is_known] == []


def end_account(first: Server, second: Server) -> bool:
    """Disable an account on *first*; say whether *second* knew in time."""
    owner = {"authorization": f"Bearer {sign_in(first, first.admin_key)}"}
    accounts = f"{first.url}{PROJECT}/serviceAccounts"
    made = requests.post(accounts, json={"accountId": "somebody"}, headers=owner, timeout=30)
    account = f"{accounts}/{made.json()['email']}"
    key = requests.post(f"{account}/keys", json={}, headers=owner, timeout=30).json()
    token = sign_in(second, json.loads(b64decode(key["privateKeyData"])))
    return ends(
        second,
        token,
        lambda: requests.post(f"{account}:disable", json={}, headers=owner, timeout=30),
        # It may do nothing but be somebody.
        before=403,
    )


def end_both(first: Server, second: Server) -> dict[str, bool]:
    """Revoke a token and disable a key on *first*; say of each whether *second* knew in time."""
    key = first.admin_key
    owner = {"authorization": f"Bearer {sign_in(first, key)}"}
    account = f"{first.url}/v1/projects/my-project/serviceAccounts/{key['client_email']}"
    # A second key of the owner: or the first could not be disabled.
    requests.post(f"{account}/keys", json={}, headers=owner, timeout=30).raise_for_status()
    one, other = sign_in(first, key), sign_in(second, key)
    disable = f"{account}/keys/{key['private_key_id']}:disable"

    def revoke() -> requests.Response:
        return requests.post(f"{first.url}/revoke", {"token": one}, timeout=30)

    def end_key() -> requests.Response:
        return requests.post(disable, json={}, headers=owner, timeout=30)

    return {
        "a token revoked": ends(second, one, revoke),
        "a key disabled": ends(second, other, end_key),
    }


def end_sign_ins(first: Server, second: Server, method: str, action: str) -> bool:
    """Do something to a person on *first*; say whether *second* knew of it in time."""
    owner = {"authorization": f"Bearer {sign_in(first, first.admin_key)}"}
    users = f"{first.url}/v1/users"
    address = f"ada-{method.lower()}@example.com"
    made = requests.post(users, json={"address": address}, headers=owner, timeout=30)
    accept(made.json()["invitation"]["uri"])
    token = sign_device_in(first.url, address)["access_token"]
    url = f"{users}/{address}{action}"
    body: dict[str, str] | None = {} if method == "POST" else None
    return ends(
        second,
        token,
        lambda: requests.request(method, url, json=body, headers=owner, timeout=30),
        "/v1/users/me",
    )


def ends(
    server: Server,
    token: str,
    act: Callable[[], requests.Response],
    path: str = PROJECT,
    before: int = 200,
) -> bool:
    """Say whether *server* takes *token* before *act*, and refuses it soon after."""
    assert status(server, token, path) == before
    act().raise_for_status()
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        if status(server, token, path) == 401:
            return True
    return False


def status(server: Server, token: str, path: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return requests.get(f"{server.url}{path}", headers=headers, timeout=30).status_code

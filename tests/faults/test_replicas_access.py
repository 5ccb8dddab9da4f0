"""Two server processes on one PostgreSQL: what one grants and takes, the other sees at once."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from support.postgresql import PostgreSql
from support.server import Server, running_server
from support.site import sign_assertion

pytest_plugins = ("support.databases",)

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


@pytest.fixture(name="replicas")
async def _replicas(postgresql: PostgreSql, tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    shared = {
        "BONDED_DATABASE_URL": await postgresql.make_database(),
        "BONDED_SEALING_KEY_FILE": str(tmp_path / "sealing-key"),
    }
    with (
        running_server(tmp_path / "first", environment=shared) as first,
        running_server(tmp_path / "second", environment=shared) as second,
    ):
        yield first, second


async def test_what_one_replica_grants_and_takes_the_next_request_to_the_other_sees(
    replicas: tuple[Server, Server],
) -> None:
    first, second = replicas
    admin = Desk(first, sign_in(first, first.admin_key))
    member, token = admin.make_account()
    group, role = "/v1/groups/devs@example.com", f"{PROJECT}/roles/picker"
    admin.post("/v1/groups", {"email": "devs@example.com"})
    admin.post(f"{PROJECT}/roles", {"roleId": "picker", "role": {"title": "Picker"}})
    changed = f"{role}?updateMask=includedPermissions"
    full = {"includedPermissions": ["resourcemanager.projects.get"]}
    empty: dict[str, list[str]] = {"includedPermissions": []}
    custom = "projects/my-project/roles/picker"
    steps: list[tuple[Callable[[], object], int]] = [
        (lambda: admin.bind("roles/viewer", member), 200),
        (admin.bind, 403),
        (lambda: admin.bind("roles/viewer", "group:devs@example.com"), 403),
        (lambda: admin.post(f"{group}/members", {"member": member}), 200),
        (lambda: admin.send("DELETE", f"{group}/members/{member}"), 403),
        (lambda: admin.bind(custom, member), 403),
        (lambda: admin.send("PATCH", changed, full), 200),
        (lambda: admin.send("PATCH", changed, empty), 403),
    ]

    seen = []
    for act, _ in steps:
        act()
        seen.append(status(second, token))

    assert seen == [expected for _, expected in steps]


async def test_writers_on_two_replicas_lose_none_of_their_bindings(
    replicas: tuple[Server, Server],
) -> None:
    first = replicas[0]
    admin = Desk(first, sign_in(first, first.admin_key))
    members = [f"user:u{number}@example.com" for number in range(12)]

    def add(number: int) -> None:
        Desk(replicas[number % 2], admin.token).add("roles/viewer", members[number])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(len(members))))

    (binding,) = admin.read()["bindings"]
    assert sorted(binding["members"]) == sorted(members)


@dataclass(frozen=True, slots=True)
class Desk:
    """Somebody who speaks to one replica."""

    server: Server
    token: str

    def send(self, method: str, path: str, body: object = None) -> requests.Response:
        """Send a request."""
        headers = {"authorization": f"Bearer {self.token}"}
        url = f"{self.server.url}{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=30)

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Send a request that must succeed; return the answer."""
        answer = self.send("POST", path, body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def make_account(self) -> tuple[str, str]:
        """Make an account; return it as a member, and a token of it."""
        accounts = f"{PROJECT}/serviceAccounts"
        email = self.post(accounts, {"accountId": "somebody"})["email"]
        data = self.post(f"{accounts}/{email}/keys", {})["privateKeyData"]
        return f"serviceAccount:{email}", sign_in(self.server, json.loads(b64decode(data)))

    def read(self) -> dict[str, Any]:
        """Return the project's policy."""
        return self.post(f"{PROJECT}:getIamPolicy", {})

    def bind(self, role: str = "", member: str = "") -> None:
        """Make this the only binding of the project's policy; without a role, leave it none."""
        bindings = [{"role": role, "members": [member]}] if role else []
        self.post(f"{PROJECT}:setIamPolicy", {"policy": {"bindings": bindings}})

    def add(self, role: str, member: str) -> None:
        """Read, change and write the project's policy until nobody else was faster."""
        while True:
            policy = self.read()
            members = [one for b in policy.get("bindings", []) for one in b["members"]]
            policy["bindings"] = [{"role": role, "members": [*members, member]}]
            answer = self.send("POST", f"{PROJECT}:setIamPolicy", {"policy": policy})
            if answer.status_code == 200:
                return
            error = answer.json()["error"]
            assert (answer.status_code, error["status"]) == (409, "ABORTED"), answer.text


def status(server: Server, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    url = f"{server.url}/v1/projects/my-project"
    return requests.get(url, headers=headers, timeout=30).status_code

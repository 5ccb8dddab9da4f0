"""Google's own logging library against a real server: it reads the audit log by its own words."""

# mypy: disable-error-code="import-untyped,no-untyped-call"

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.api_core.exceptions import Forbidden
from google.auth.transport.requests import Request
from google.cloud.logging_v2 import DESCENDING, Client
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from support.server import Server, running_server

CLOUD = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("logging") / "data") as server:
        yield server


def token_of(key_file: Any) -> str:
    """Return an access token as google-auth fetches it from the key file's own server."""
    key = service_account.Credentials.from_service_account_info(key_file, scopes=[CLOUD])
    key.refresh(Request())
    token: str = key.token
    return token


def client_of(server: Server, token: str, project: str = "my-project") -> Client:
    """Return the library's client, which is told where the server is and nothing else."""
    return Client(
        project=project,
        credentials=Credentials(token),
        client_options={"api_endpoint": server.url},
        _use_grpc=False,
    )


def call(server: Server, path: str, body: object) -> Any:
    """Ask as the administrator."""
    headers = {"authorization": f"Bearer {token_of(server.admin_key)}"}
    answer = requests.post(f"{server.url}/v1/{path}", json=body, headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_viewer_of_one_project_s_log_reads_it_by_filter_and_nothing_else(server: Server) -> None:
    call(server, "projects", {"projectId": "audited"})
    accounts = "projects/my-project/serviceAccounts"
    email = call(server, accounts, {"accountId": "auditor"})["email"]
    issued = call(server, f"{accounts}/{email}/keys", {})
    token = token_of(json.loads(base64.b64decode(issued["privateKeyData"])))
    viewer = {"role": "roles/logging.viewer", "members": [f"serviceAccount:{email}"]}
    call(server, "projects/audited:setIamPolicy", {"policy": {"bindings": [viewer]}})
    client = client_of(server, token, "audited")

    # Without a timestamp of the caller's, the library adds one: the last 24 hours.
    found = list(client.list_entries(filter_='protoPayload.methodName:"CreateProject"'))
    newest = list(client.list_entries(order_by=DESCENDING, page_size=1, max_results=2))
    nothing = list(client.list_entries(filter_='timestamp<"2001-01-01T00:00:00Z"'))
    for names in (["projects/my-project"], ["projects/audited", "projects/my-project"]):
        with pytest.raises(Forbidden, match=r"logging\.logEntries\.list"):
            list(client.list_entries(resource_names=names))

    (made,) = found
    assert made.payload["resourceName"] == "projects/audited"
    assert made.payload["authenticationInfo"]["principalEmail"] == server.admin_key["client_email"]
    assert made.log_name == "projects/audited/logs/cloudaudit.googleapis.com%2Factivity"
    assert made.timestamp.tzinfo is not None
    methods = [entry.payload["methodName"].rpartition(".")[2] for entry in newest]
    assert methods == ["SetIamPolicy", "CreateProject"]
    assert nothing == []


def test_whoever_may_read_the_server_s_log_reads_that_of_any_project(server: Server) -> None:
    client = client_of(server, token_of(server.admin_key))

    everything = list(client.list_entries(resource_names=["organizations/bonded"], page_size=2))
    project = list(client.list_entries())

    assert {entry.payload["resourceName"] for entry in everything} >= {"projects/my-project"}
    assert {entry.log_name.partition("/logs/")[0] for entry in project} == {"projects/my-project"}

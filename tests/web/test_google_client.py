"""Google's own client library against a real server: its users change nothing but the host."""

# mypy: disable-error-code="import-untyped,no-untyped-call"

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping

import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.auth.credentials import Credentials
from google.auth.transport.requests import Request
from google.cloud.artifactregistry_v1 import (
    ArtifactRegistryClient,
    RemoteRepositoryConfig,
    Repository,
    UpstreamPolicy,
    VirtualRepositoryConfig,
)
from google.iam.v1.options_pb2 import GetPolicyOptions
from google.iam.v1.policy_pb2 import Binding, Policy
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials as TokenCredentials
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.expr_pb2 import Expr

from support.server import Server, running_server

LOCATION = "projects/my-project/locations/local"
UNIVERSE = "bonded.test"
REMOTE, VIRTUAL = Repository.Mode.REMOTE_REPOSITORY, Repository.Mode.VIRTUAL_REPOSITORY
CLOUD = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("google") / "data") as server:
        yield server


def client_of(server: Server, credentials: Credentials) -> ArtifactRegistryClient:
    """Return the client that only knows where the server is."""
    transport = ArtifactRegistryClient.get_transport_class("rest")(
        host=server.url.removeprefix("http://"), url_scheme="http", credentials=credentials
    )
    return ArtifactRegistryClient(
        transport=transport, client_options=ClientOptions(universe_domain=UNIVERSE)
    )


def credentials_of(key_file: Mapping[str, str]) -> service_account.Credentials:
    """Return what the library makes of a key file.

    In another universe, for in its own it asks Google where the account may be used, and shows
    the token there (gar.md §5.12).
    """
    key: service_account.Credentials = service_account.Credentials.from_service_account_info(
        dict(key_file) | {"universe_domain": UNIVERSE}
    )
    return key


def fetched_token(key_file: Mapping[str, str]) -> str:
    """Return an access token as google-auth fetches it from the key file's own server."""
    key = service_account.Credentials.from_service_account_info(key_file, scopes=[CLOUD])
    key.refresh(Request())
    token: str = key.token
    return token


@pytest.fixture(name="client", params=["token", "self-signed"])
def _client(server: Server, request: pytest.FixtureRequest) -> ArtifactRegistryClient:
    """The administrator's client: with a fetched token, and with a JWT of its own making."""
    if request.param == "self-signed":
        return client_of(server, credentials_of(server.admin_key))
    token = fetched_token(server.admin_key)
    return client_of(server, TokenCredentials(token, universe_domain=UNIVERSE))


def test_repositories_live_and_die(client: ArtifactRegistryClient) -> None:
    wanted = Repository(
        format_=Repository.Format.PYTHON, description="Ours", labels={"team": "core"}
    )
    name = f"{LOCATION}/repositories/team"

    created = client.create_repository(
        parent=LOCATION, repository=wanted, repository_id="team"
    ).result(timeout=10)
    with pytest.raises(Conflict):
        client.create_repository(parent=LOCATION, repository=wanted, repository_id="team")
    updated = client.update_repository(
        repository=Repository(name=name, description="Yours"),
        update_mask=FieldMask(paths=["description"]),
    )
    listed = [one.name for one in client.list_repositories(parent=LOCATION)]
    pages = list(client.list_repositories(request={"parent": LOCATION, "page_size": 1}).pages)
    got = client.get_repository(name=name)
    client.delete_repository(name=name).result(timeout=10)
    with pytest.raises(NotFound):
        client.get_repository(name=name)

    assert (created.name, created.format_) == (name, Repository.Format.PYTHON)
    assert created.mode == Repository.Mode.STANDARD_REPOSITORY
    assert (updated.description, dict(updated.labels)) == ("Yours", {"team": "core"})
    assert got == updated
    first = [f"{LOCATION}/repositories/{one}" for one in ("all", "pypi", "python")]
    assert listed == [*first, name]
    assert len(pages) == 4


def test_remote_and_virtual_repositories_live_and_change(client: ArtifactRegistryClient) -> None:
    far, every = (f"{LOCATION}/repositories/{name}" for name in ("far", "every"))
    own = UpstreamPolicy(id="own", repository=f"{LOCATION}/repositories/python", priority=100)
    index = UpstreamPolicy(id="index", repository=far, priority=50)
    python = RemoteRepositoryConfig.PythonRepository
    remote = RemoteRepositoryConfig(
        description="The public index",
        python_repository=python(public_repository=python.PublicRepository.PYPI),
        disable_upstream_validation=True,
    )

    remote_made = _create(client, far, mode=REMOTE, remote_repository_config=remote)
    made = _create(
        client,
        every,
        mode=VIRTUAL,
        virtual_repository_config=VirtualRepositoryConfig(upstream_policies=[own]),
    )
    wanted = VirtualRepositoryConfig(upstream_policies=[own, index])
    changed = client.update_repository(
        repository=Repository(name=every, virtual_repository_config=wanted),
        update_mask=FieldMask(paths=["virtual_repository_config"]),
    )
    got = client.get_repository(name=every)
    modes = {one.name: one.mode for one in client.list_repositories(parent=LOCATION)}
    with pytest.raises(BadRequest, match="is an upstream of"):
        client.delete_repository(name=far)
    for name in (every, far):
        client.delete_repository(name=name).result(timeout=10)

    assert remote_made.remote_repository_config == remote
    assert list(made.virtual_repository_config.upstream_policies) == [own]
    assert changed.virtual_repository_config == got.virtual_repository_config == wanted
    assert (modes[far], modes[every]) == (REMOTE, VIRTUAL)


def _create(client: ArtifactRegistryClient, name: str, **fields: object) -> Repository:
    wanted = Repository(format_=Repository.Format.PYTHON, **fields)
    id_ = name.rpartition("/")[2]
    made: Repository = client.create_repository(
        parent=LOCATION, repository=wanted, repository_id=id_
    ).result(timeout=10)
    return made


def test_policies_are_read_and_written(client: ArtifactRegistryClient) -> None:
    resource = f"{LOCATION}/repositories/python"
    reader = Binding(role="roles/artifactregistry.reader", members=["user:ada@example.com"])

    before = client.get_iam_policy(request={"resource": resource})
    written = client.set_iam_policy(
        request={"resource": resource, "policy": Policy(bindings=[reader], etag=before.etag)}
    )
    read = client.get_iam_policy(request={"resource": resource})

    assert list(written.bindings) == [reader]
    assert read == written


def test_conditions_and_what_one_may_are_asked_in_google_s_words(
    client: ArtifactRegistryClient,
) -> None:
    resource = f"{LOCATION}/repositories/python"
    until = Expr(title="until", expression='request.time < timestamp("2999-01-01T00:00:00Z")')
    reader = Binding(
        role="roles/artifactregistry.reader", members=["user:ada@example.com"], condition=until
    )
    version_3 = GetPolicyOptions(requested_policy_version=3)
    before = client.get_iam_policy(request={"resource": resource, "options": version_3})
    policy = Policy(bindings=[reader], etag=before.etag, version=3)

    client.set_iam_policy(request={"resource": resource, "policy": policy})
    read = client.get_iam_policy(request={"resource": resource, "options": version_3})
    old = client.get_iam_policy(request={"resource": resource})
    held = client.test_iam_permissions(
        request={"resource": resource, "permissions": ["artifactregistry.repositories.get"]}
    )

    assert (read.version, list(read.bindings)) == (3, [reader])
    assert (old.version, old.bindings[0].condition) == (1, Expr())
    assert list(held.permissions) == ["artifactregistry.repositories.get"]


def test_a_refusal_is_google_s_own_exception(
    server: Server, client: ArtifactRegistryClient
) -> None:
    with pytest.raises(Forbidden, match="or it may not exist"):
        client_of(server, _stranger(server)).get_repository(name=f"{LOCATION}/repositories/python")


def _stranger(server: Server) -> Credentials:
    """Make an account without any role."""
    headers = {"authorization": f"Bearer {fetched_token(server.admin_key)}"}
    accounts = f"{server.url}/v1/projects/my-project/serviceAccounts"
    body = {"accountId": f"stranger-{secrets.token_hex(4)}"}
    made = requests.post(accounts, json=body, headers=headers, timeout=10).json()
    keys = f"{accounts}/{made['email']}/keys"
    issued = requests.post(keys, headers=headers, timeout=10).json()
    return credentials_of(json.loads(base64.b64decode(issued["privateKeyData"])))

"""Repositories on a running server, as a tool is pointed at them."""

from __future__ import annotations

import base64
import json
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from pypi_simple import ACCEPT_ANY, DistributionPackage, PyPISimple

from support.server import Server
from support.site import sign_assertion

PROJECT = "my-project"
LOCATION = "local"
USER = "oauth2accesstoken"


@dataclass(frozen=True, slots=True)
class Shelf:
    """One repository, and an access token that may do everything with it."""

    server: Server
    name: str
    token: str

    @property
    def upload_url(self) -> str:
        """Where publishing tools send files."""
        return f"{self.server.url}/{PROJECT}/{self.name}/"

    @property
    def public_index_url(self) -> str:
        """What installers point at, without credentials."""
        return f"{self.upload_url}simple/"

    @property
    def index_url(self) -> str:
        """What installers point at, with the token in it."""
        return self.index_url_as(USER, self.token)

    @property
    def key_base64(self) -> str:
        """The administrator's key file as Artifact Registry's users put it into a password."""
        return base64.b64encode(json.dumps(self.server.admin_key).encode()).decode()

    def index_url_as(self, user: str, password: str) -> str:
        """What installers point at, with these credentials in it."""
        netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{self.server.port}"
        return f"http://{netloc}/{PROJECT}/{self.name}/simple/"

    def open_index(self, accept: str = ACCEPT_ANY) -> PyPISimple:
        """Return a strict reader of the repository's pages."""
        return PyPISimple(self.public_index_url, auth=(USER, self.token), accept=accept)

    def list_files(self, package: str) -> dict[str, str]:
        """Return what the repository lists of *package*: SHA-256 digests by filename, sorted."""
        with self.open_index() as index:
            page = index.get_project_page(package)
        return {file.filename: file.digests["sha256"] for file in sorted(page.packages, key=_name)}


def _name(file: DistributionPackage) -> str:
    # Wheels sort before sdists: "parcel-1.0-py3…" < "parcel-1.0.tar.gz".
    return file.filename


def sign_in(server: Server) -> str:
    """Return an access token of the administrator's."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": sign_assertion(server.admin_key),
    }
    request = urllib.request.Request(f"{server.url}/token", urlencode(form).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        token: str = json.load(response)["access_token"]
        return token


def make_shelf(server: Server, token: str, name: str, location: str = LOCATION) -> Shelf:
    """Create an empty repository."""
    parent = f"/v1/projects/{PROJECT}/locations/{location}/repositories"
    request = urllib.request.Request(
        f"{server.url}{parent}?repositoryId={name}",
        json.dumps({"format": "PYTHON"}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
    return Shelf(server, name, token)

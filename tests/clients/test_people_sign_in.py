"""People sign in at a provider that nobody here wrote, set up in a file as administrators do."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import requests

from clients.shelves import sign_in
from support.oidc_provider import CLIENT, SECRET, OidcProvider, running_oidc_provider
from support.server import Server, free_port, running_server
from support.tools import Desk

CONFIG = """\
oidc_issuer = "{issuer}"
oidc_name = "Example ID"
oidc_client_id = "{client}"
oidc_client_secret_file = "{secret_file}"
oidc_scopes = "openid email profile roles"
oidc_groups_claim = "realm_access.roles"
oidc_groups_domain = "example.com"
oidc_allowed_domains = "example.com"
oidc_condition = "assertion.hd == 'example.com'"
"""
ADA = "ada@example.com"
READER = "roles/artifactregistry.reader"
POLICY = "v1/projects/my-project/locations/local/repositories/python:setIamPolicy"
WAIT_S = 60


@contextmanager
def running_both(directory: Path) -> Iterator[tuple[Server, OidcProvider]]:
    """Run a server, and the provider that its settings name."""
    secret_file, config = directory / "oidc-secret", directory / "bonded.toml"
    secret_file.write_text(f"{SECRET}\n")
    port, provider_port = free_port(), free_port()
    issuer = f"http://127.0.0.1:{provider_port}"
    config.write_text(CONFIG.format(issuer=issuer, client=CLIENT, secret_file=secret_file))
    callback = f"http://127.0.0.1:{port}/_/provider/callback"
    with (
        running_oidc_provider("unused", callback, provider_port) as provider,
        running_server(directory / "data", port=port, config=config) as server,
    ):
        yield server, provider


def come_back(server: Server, provider: OidcProvider, name: str) -> tuple[requests.Session, str]:
    """Sign *name* in at the provider; return their browser and the page that it shows then."""
    browser = requests.Session()
    asked = browser.get(f"{server.url}/_/provider?next=/account", timeout=10)
    return browser, provider.sign_in(browser, asked, name)


def send_form(
    browser: requests.Session, page: requests.Response, **typed: str
) -> requests.Response:
    """Send the first form of a page with its hidden values; return the next page."""
    form = re.search(r'<form method="post" action="([^"]+)".*?</form>', page.text, re.DOTALL)
    assert form, page.text
    held = dict(re.findall(r'name="([^"]+)"[^>]*? value="([^"]*)"', form[0]))
    address = urljoin(page.url, form[1])
    return browser.post(address, held | typed, timeout=10)


def bonded(desk: Desk, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "bonded", *arguments],
        env={"HOME": str(desk.home), **desk.settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def log_in(desk: Desk, browser: requests.Session) -> str:
    """Sign the command line in by a browser in which somebody is signed in; return what it says."""
    waiting = bonded(desk, "auth", "login", "--no-browser")
    assert waiting.stderr is not None
    address = ""
    while not address:
        line = waiting.stderr.readline()
        assert line, "the command line showed no address"
        found = re.search(r"http://\S+/device\S*", line)
        address = found[0] if found else ""
    confirm = send_form(browser, browser.get(address, timeout=10))
    assert "The device is signed in." in send_form(browser, confirm, answer="yes").text
    return waiting.communicate(timeout=WAIT_S)[1]


def test_people_sign_in_at_their_provider_and_work_with_the_groups_that_it_names(
    tmp_path: Path, desk: Desk
) -> None:
    with running_both(tmp_path) as (server, provider):
        owner = {"authorization": f"Bearer {sign_in(server)}"}
        bindings = [{"role": READER, "members": ["group:team@example.com"]}]
        granted = requests.post(
            f"{server.url}/{POLICY}",
            json={"policy": {"bindings": bindings}},
            headers=owner,
            timeout=10,
        )
        assert granted.status_code == 200, granted.text
        desk = Desk(desk.home, {"BONDED_SERVER": server.url})

        # The address comes from the userinfo endpoint alone, the groups from roles of a realm.
        browser, page = come_back(server, provider, "ada")
        assert f"user:{ADA}" in page
        assert re.findall(r"<code>(\S+@example\.com)</code>", page)[1:] == [
            "admins@example.com",
            "team@example.com",
        ]

        said = log_in(desk, browser)
        token = bonded(desk, "auth", "print-access-token").communicate(timeout=WAIT_S)[0].strip()
        index = requests.get(
            f"{server.repository}simple/", auth=("oauth2accesstoken", token), timeout=10
        )
        assert ADA in said
        assert index.status_code == 200, index.text

        # Who has an address of ours, but not from our directory; and who has proved none.
        assert "that may not sign in here" in come_back(server, provider, "guest")[1]
        assert "has not verified your address" in come_back(server, provider, "eve")[1]
        users = requests.get(f"{server.url}/v1/users", headers=owner, timeout=10).json()["users"]
        assert [one["address"] for one in users] == [ADA]

        disabled = f"{server.url}/v1/users/{ADA}:disable"
        requests.post(disabled, json={}, headers=owner, timeout=10).raise_for_status()
        assert f"{ADA} is disabled" in come_back(server, provider, "ada")[1]
        index = requests.get(
            f"{server.repository}simple/", auth=("oauth2accesstoken", token), timeout=10
        )
        assert index.status_code == 401

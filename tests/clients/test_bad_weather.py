"""What goes wrong around the client, each as its user meets it: a sentence that says what to do.

Real processes throughout: the `keyring` command and pip, with Bonded's backend, and a real server.
Nothing of it may end in a traceback, for a keyring that raises would end pip.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bonded.client.accounts import AccountStore, SignIn
from bonded.client.tokens import AccessToken, keep_token
from clients.shelves import USER, Shelf
from support.server import Server, running_server
from support.tools import ROOT, Desk, tool

pytestmark = pytest.mark.clients

SKEWED = str(ROOT / "tests" / "support" / "skewed.py")
PAGE = "import sys, requests; print(requests.get(sys.argv[1], auth=('x', sys.argv[2])).status_code)"


@pytest.fixture(name="client")
def _client(desk: Desk, plugin: str) -> Desk:
    """Return the desk of somebody who has Bonded's backend beside keyring."""
    settings = {
        "BONDED_CONFIG": str(desk.home / "bonded"),
        "PATH": f"{tool('keyring').parent}:/usr/bin:/bin",
        "PYTHONPATH": plugin,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
    }
    return Desk(desk.home, settings)


def key_for(desk: Desk, server: Server, origin: str = "", **changes: str) -> dict[str, str]:
    """Write the owner's key file, as made for *origin*; return the variable that names it."""
    key = server.admin_key | {"token_uri": f"{origin or server.url}/token"} | changes
    path = desk.home / "key.json"
    path.write_text(json.dumps(key))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


def having(desk: Desk, variables: Mapping[str, str]) -> Desk:
    """Return *desk* with more variables."""
    return replace(desk, settings={**desk.settings, **variables})


@pytest.mark.parametrize("skew_s", [-60, 60])
def test_clocks_that_are_a_minute_apart_keep_nobody_out(
    client: Desk, tmp_path: Path, skew_s: int
) -> None:
    wrapper = (sys.executable, SKEWED, str(skew_s))
    with running_server(tmp_path / "data", wrapper=wrapper) as server:
        index = f"{server.repository}simple/"
        for changes in ({}, {"universe_domain": "packages.example.com"}):
            holder = having(client, key_for(client, server, **changes))
            token = holder.run(tool("keyring"), "get", index, USER).output.strip()
            page = client.run(tool("keyring", "python"), "-c", PAGE, index, token)

            assert page.output == "200\n", changes


def test_a_clock_that_is_further_off_is_named(client: Desk, tmp_path: Path) -> None:
    wrapper = (sys.executable, SKEWED, "-600")
    with running_server(tmp_path / "data", wrapper=wrapper) as server:
        index = f"{server.repository}simple/"
        holder = having(client, key_for(client, server))
        said = holder.run(tool("keyring"), "get", index, USER, fails=True).output

    assert said.count("\n") == 1
    assert "clock" in said


@contextmanager
def nobody(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that is down: the port is held, and nobody listens on it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{held.getsockname()[1]}"
        yield origin, key_for(desk, shelf.server, origin)


@contextmanager
def no_network(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A name that nothing resolves, as without any network."""
    origin = "http://packages.invalid"
    yield origin, key_for(desk, shelf.server, origin)


@contextmanager
def silence(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A server that takes the request and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield origin, key_for(desk, shelf.server, origin)


@contextmanager
def garbage(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A credential file that is none."""
    path = desk.home / "key.json"
    path.write_bytes(b"\xff\x00 not at all")
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), "BONDED_SERVER": shelf.server.url}
    yield shelf.server.url, variables


@contextmanager
def nothing_but_a_name(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """As in CI after a step that wrote no file: nothing else says which server there is."""
    missing = desk.home / "missing.json"
    yield shelf.server.url, {"GOOGLE_APPLICATION_CREDENTIALS": str(missing)}


@contextmanager
def somebody_else(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A credential file that is none, with a token at hand of somebody who is signed in."""
    account = SignIn("ada@example.com", shelf.server.url, "refresh-token")
    AccountStore(desk.home / "bonded").add(account)
    token = AccessToken("the token of somebody else", time.time() + 3600)
    keep_token(desk.home / "bonded", account.account, token)
    (desk.home / "key.json").write_text("{}")
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(desk.home / "key.json")}
    yield shelf.server.url, variables


@contextmanager
def half_a_key(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """A key file that was cut off in the middle of its key."""
    key = shelf.server.admin_key["private_key"]
    yield shelf.server.url, key_for(desk, shelf.server, private_key=key[: len(key) // 2])


@contextmanager
def unreadable_settings(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """Properties that cannot be read, even by root."""
    (desk.home / "bonded" / "configurations" / "default.ini").mkdir(parents=True)
    yield shelf.server.url, {"BONDED_SERVER": shelf.server.url}


@contextmanager
def garbled_settings(shelf: Shelf, desk: Desk) -> Iterator[tuple[str, dict[str, str]]]:
    """Properties that somebody has edited badly."""
    path = desk.home / "bonded" / "configurations" / "default.ini"
    path.parent.mkdir(parents=True)
    path.write_text("core/server: nonsense\n")
    yield shelf.server.url, {"BONDED_SERVER": shelf.server.url}


Weather = Callable[[Shelf, Desk], AbstractContextManager[tuple[str, dict[str, str]]]]


@pytest.mark.parametrize(
    ("weather", "says", "advises"),
    [
        (nobody, "Nobody answers at {origin}/token", "Start the server with `bonded serve`"),
        (no_network, "Nobody answers at {origin}/token", "check the network and the address"),
        (silence, "Nobody answers at {origin}/token", "check the network and the address"),
        (garbage, "key.json is not a text file", "replace it, or remove it"),
        (nothing_but_a_name, "There is no file", "unset GOOGLE_APPLICATION_CREDENTIALS"),
        (somebody_else, "is no credential file", "unset GOOGLE_APPLICATION_CREDENTIALS"),
        (half_a_key, "no usable", "keys create` in place of"),
        (unreadable_settings, "Cannot read", "Make it a file that you may read, or remove it"),
        (garbled_settings, "is not a configuration file", "run `bonded config set` again"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_keyring_says_in_one_line_what_to_do_and_pip_goes_on(
    client: Desk, shelf: Shelf, weather: Weather, says: str, advises: str
) -> None:
    with weather(shelf, client) as (origin, variables):
        url = f"{origin}/my-project/{shelf.name}/simple/"
        holder = having(client, variables)
        asked = holder.run(tool("keyring"), "get", url, USER, fails=True).output
        # pip goes on to the answer that it gets without a password.
        pip = ("-m", "pip", "download", "--no-cache-dir", "--retries=0", "--timeout=1", "demo")
        options = ("--index-url", url, "--keyring-provider", "import")
        python = tool("keyring", "python")
        by_pip = holder.run(python, *pip, *options, fails=True).output

    assert asked.startswith("bonded: "), asked
    assert asked.count("\n") == 1
    assert says.format(origin=origin) in asked
    assert advises in asked
    # Nobody who does not answer asks pip for a password.
    assert (asked.strip() in by_pip) == (origin == shelf.server.url)
    assert "Traceback" not in by_pip
    assert "No matching distribution found for demo" in by_pip


def test_without_a_browser_and_without_a_server_signing_in_says_what_to_do(client: Desk) -> None:
    bonded = (tool("keyring", "python"), "-m", "bonded", "auth", "login")
    nowhere = client.run(*bonded, fails=True).output
    unreachable = client.run(*bonded, "--server=http://packages.invalid", fails=True).output

    assert "bonded auth login --server=" in nowhere
    assert "There is no browser here that could be opened." in unreachable
    assert "Nobody answers at http://packages.invalid." in unreachable

"""People sign in once, by a browser here or elsewhere, and sign out everywhere."""
# ruff: noqa: E501 - what is printed is shown as it is printed

from __future__ import annotations

import json
import stat
import threading
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from bonded.client.keyring_backend import BondedKeyring
from support import cli_keyring
from support.cli_people import PERSON, fault
from support.cli_registry import Registry, Said, Terminal


class Browser(webbrowser.BaseBrowser):
    """Opens an address as a browser does: elsewhere, following where it is sent."""

    def __init__(self) -> None:
        super().__init__("browser of the tests")
        self.pages: list[str] = []
        self.before = ""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: FBT001, FBT002
        del new, autoraise
        threading.Thread(target=self._visit, args=(url,)).start()
        return True

    def _visit(self, url: str) -> None:
        with urllib.request.urlopen(url, timeout=10) as response:
            self.pages.append(response.read().decode())


@pytest.fixture(name="bonded")
def _bonded(registry: Registry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("BONDED_SERVER", registry.url)
    return terminal


@pytest.fixture
def browser(bonded: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    browser = Browser()
    monkeypatch.setenv("DISPLAY", ":0")
    webbrowser.register("tests", None, browser, preferred=True)
    yield browser
    webbrowser._browsers.clear()  # type: ignore[attr-defined]
    webbrowser._tryorder = None  # type: ignore[attr-defined]


def test_a_person_signs_in_by_the_browser_of_this_machine(
    browser: Browser, registry: Registry, bonded: Terminal
) -> None:
    said = bonded("auth", "login", "Ada@Example.com")

    assert said.status == 0
    assert said.err.startswith(
        "Your browser has been opened to visit:\n\n    http://127.0.0.1:PORT/authorize?"
    )
    assert said.err.endswith("""\

You are now logged in as [ada@example.com].
Your current project is [None].  You can change this setting by running:
  $ bonded config set project PROJECT_ID
""")
    assert registry.people.hints == [PERSON]
    assert "Close this window" in browser.pages[0]
    # The first access token came with the sign-in.
    assert bonded("auth", "print-access-token").out == "token-1\n"
    assert BondedKeyring().get_password(registry.url, None) == "token-1"
    assert registry.token_requests == 1


def test_a_person_signs_in_by_a_browser_elsewhere(registry: Registry, bonded: Terminal) -> None:
    registry.people.pending = 2

    assert bonded("auth", "login", "--no-browser") == snapshot(
        Said(
            out="",
            err="""\
Open this address in a browser, on any machine:

    http://127.0.0.1:PORT/device?user_code=BDFG-HJKL

and make sure that it shows the code BDFG-HJKL.


You are now logged in as [ada@example.com].
Your current project is [None].  You can change this setting by running:
  $ bonded config set project PROJECT_ID
""",
        )
    )
    assert bonded("auth", "list", "--format=value(account,status)").out == f"{PERSON}\tACTIVE\n"


def test_without_a_browser_the_code_is_shown(registry: Registry, bonded: Terminal) -> None:
    said = bonded("auth", "login")

    assert said.err.startswith(
        "There is no browser here that could be opened.\n\nOpen this address"
    )
    assert said.status == 0


def test_the_sign_in_is_kept_privately_and_used_when_the_token_is_stale(
    registry: Registry, bonded: Terminal
) -> None:
    registry.token_life_s = 10
    bonded("auth", "login", "--no-browser")

    tokens = [bonded("auth", "print-access-token").out for _ in range(2)]

    assert tokens == ["token-2\n", "token-3\n"]
    files = [path for path in bonded.config.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert bonded("auth", "print-identity-token").out == f"identity-of-{PERSON}\n"


def test_an_account_that_is_signed_in_is_only_chosen_unless_forced(
    registry: Registry, bonded: Terminal
) -> None:
    bonded("auth", "login", "--no-browser")

    assert "Open this address" not in bonded("auth", "login", PERSON, "--no-browser").err
    assert "Open this address" in bonded("auth", "login", PERSON, "--no-browser", "--force").err
    # The sign-in that was replaced does not live on.
    assert registry.people.ended == ["brt_1"]
    assert registry.people.refresh_tokens == {"brt_2"}


def test_whoever_signs_in_as_somebody_else_is_told_and_signed_out(
    registry: Registry, bonded: Terminal
) -> None:
    said = bonded("auth", "login", "grace@example.com", "--no-browser")

    assert said.err.endswith("""\
ERROR: (bonded.auth.login) You attempted to sign in as [grace@example.com], but signed in as [ada@example.com].
Sign out in the browser first, or name the other account.
""")
    assert registry.people.refresh_tokens == set()
    assert bonded("auth", "list").err.startswith("No credentialed accounts.")


def test_signing_out_ends_the_sign_in_on_the_server(registry: Registry, bonded: Terminal) -> None:
    bonded("auth", "login", "--no-browser")

    assert bonded("auth", "revoke") == snapshot(
        Said(
            out="""\
Revoked credentials:
 - ada@example.com
""",
            err="",
        )
    )
    assert registry.people.ended == ["brt_1"]
    assert not list(bonded.config.glob("accounts/*/*"))
    assert not list(bonded.config.glob("tokens/*/*"))


def test_signing_out_without_the_server_says_what_is_left(
    registry: Registry, bonded: Terminal
) -> None:
    bonded("auth", "login", "--no-browser")
    registry.raw = (502, b"Bad gateway", {})

    said = bonded("auth", "revoke")

    assert said.status == 0
    assert said.err == snapshot("""\
WARNING: http://127.0.0.1:PORT could not be told that the sign-in of [ada@example.com] has ended: http://127.0.0.1:PORT answers 502 and not as a Bonded server where people sign in.
Check the address: --server, BONDED_SERVER or `bonded config set core/server URL`.
It lasts until it expires, or until you end it there.
""")
    assert not list(bonded.config.glob("accounts/*/*"))


def test_the_systems_keyring_keeps_the_secret_where_there_is_one(
    registry: Registry, bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "support.cli_keyring.MemoryKeyring")
    cli_keyring.SECRETS.clear()
    registry.token_life_s = 10
    bonded("auth", "login", "--no-browser")

    (kept,) = cli_keyring.SECRETS.items()
    stored = "".join(path.read_text() for path in bonded.config.glob("accounts/*/*"))

    assert kept == ((f"bonded sign-in to {registry.url}", PERSON), "brt_1")
    assert "brt_1" not in stored
    assert bonded("auth", "print-access-token").out == "token-2\n"
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    assert bonded("auth", "print-access-token") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.print-access-token) The sign-in of [ada@example.com] is in the system's keyring, which does not give it.
Unlock the keyring, or sign in again from here with `bonded auth login ada@example.com --force`.
""",
            status=1,
        )
    )
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "support.cli_keyring.MemoryKeyring")
    bonded("auth", "revoke")
    assert cli_keyring.SECRETS == {}
    assert registry.people.ended == ["brt_1"]


@pytest.mark.parametrize(
    "backend",
    [
        "bonded.client.keyring_backend.BondedKeyring",
        "keyring.backends.null.Keyring",
        "no.such.Thing",
    ],
)
def test_a_keyring_that_keeps_nothing_is_not_trusted_with_the_secret(
    backend: str, bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    bonded("auth", "login", "--no-browser")

    (stored,) = bonded.config.glob("accounts/*/*")
    assert "brt_1" in stored.read_text()


def test_default_credentials_are_of_our_server_and_of_no_other(
    registry: Registry, bonded: Terminal, tmp_path: Path
) -> None:
    assert bonded("auth", "application-default", "login", "--no-browser") == snapshot(
        Said(
            out="",
            err="""\
Open this address in a browser, on any machine:

    http://127.0.0.1:PORT/device?user_code=BDFG-HJKL

and make sure that it shows the code BDFG-HJKL.


Credentials saved to file: [DIR/.config/gcloud/application_default_credentials.json]

These credentials will be used by any library that requests Application Default Credentials (ADC).
They are those of [ada@example.com] at http://127.0.0.1:PORT, and hold nothing of Google's.
""",
        )
    )
    path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    fields = json.loads(path.read_text())

    urls = {value for name, value in fields.items() if name.endswith("_url")}
    assert fields["type"] == "external_account_authorized_user"
    assert {url.rpartition(":")[0] + ":" + url.split(":")[2].split("/")[0] for url in urls} == {
        registry.url
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert BondedKeyring().get_password(registry.url, None) == "token-1"
    assert bonded("auth", "application-default", "print-access-token").out == "token-1\n"
    bonded.answer("\n")
    assert bonded("auth", "application-default", "revoke") == snapshot(
        Said(
            out="",
            err="""\
You are about to remove the credentials stored in: [DIR/.config/gcloud/application_default_credentials.json]

Do you want to continue (Y/n)?  \n\
Credentials revoked on this machine: DIR/.config/gcloud/application_default_credentials.json is removed.
""",
        )
    )
    assert registry.people.ended == ["brt_1"]
    assert not path.exists()


def test_a_sign_in_that_has_ended_says_how_to_sign_in_again(
    registry: Registry, bonded: Terminal
) -> None:
    registry.token_life_s = 10
    bonded("auth", "login", "--no-browser")
    registry.people.refresh_tokens.clear()

    assert bonded("auth", "print-access-token") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.print-access-token) The server refuses the sign-in of [ada@example.com]: The sign-in has ended.
Sign in again with `bonded auth login ada@example.com`.
""",
            status=1,
        )
    )
    assert "Open this address" in bonded("auth", "login", PERSON).err
    assert bonded("auth", "print-access-token").status == 0
    registry.people.fault = fault("temporarily_unavailable", "The database is busy.", 503)
    assert bonded("auth", "print-access-token") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.print-access-token) http://127.0.0.1:PORT/v1/oauthtoken cannot answer now: The database is busy.
Try again later.
""",
            status=1,
        )
    )


def test_who_is_disabled_is_not_told_to_sign_in_again(registry: Registry, bonded: Terminal) -> None:
    registry.token_life_s = 10
    bonded("auth", "login", "--no-browser")
    registry.people.fault = fault("invalid_grant", f"The user {PERSON} is disabled. Ask somebody.")

    said = bonded("auth", "print-access-token")

    assert said.status == 1
    assert said.err.endswith(
        f"sign-in of [{PERSON}]: The user {PERSON} is disabled. Ask somebody.\n"
    )


def test_a_refusal_is_told_in_the_servers_words(
    browser: Browser, registry: Registry, bonded: Terminal
) -> None:
    registry.people.refusal = "You said no."

    by_browser, by_code = bonded("auth", "login"), bonded("auth", "login", "--no-browser")

    assert by_browser.err.endswith(
        "ERROR: (bonded.auth.login) The sign-in was refused: You said no.\n"
    )
    assert by_code.err.endswith("ERROR: (bonded.auth.login) You said no.\nSign in again.\n")
    assert "Not signed in: You said no." in browser.pages[0]


@pytest.mark.parametrize("way", [("--no-browser",), ()])
def test_a_server_where_nobody_signs_in_is_told_apart(
    way: tuple[str, ...], browser: Browser, registry: Registry, bonded: Terminal
) -> None:
    registry.raw = registry.raw_token = (404, b"Not found", {})

    said = bonded("auth", "login", *way)

    assert said.status == 1
    assert said.err.endswith("""\
ERROR: (bonded.auth.login) http://127.0.0.1:PORT answers 404 and not as a Bonded server where people sign in.
Check the address: --server, BONDED_SERVER or `bonded config set core/server URL`.
""")


def test_nothing_says_where_to_sign_in(bonded: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BONDED_SERVER")

    assert bonded("auth", "login") == snapshot(
        Said(
            out="",
            err="""\
ERROR: (bonded.auth.login) Nothing says which registry to sign in to.
Name it: `bonded auth login --server=https://packages.example.com`, or `bonded config set core/server URL` for good.
""",
            status=1,
        )
    )
    assert bonded("auth", "login", "--server=http://127.0.0.1:9").err == snapshot("""\
There is no browser here that could be opened.

ERROR: (bonded.auth.login) Nobody answers at http://127.0.0.1:9.
Start the server with `bonded serve`, or name another with --server, BONDED_SERVER or `bonded config set core/server URL`.
""")


def test_somebody_elses_redirection_is_not_the_browser_coming_back(
    browser: Browser, registry: Registry, bonded: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that guesses the port can send a code of its own; it cannot send the state."""
    visited: list[int] = []

    def visit(url: str) -> None:
        query = dict(part.split("=", 1) for part in url.partition("?")[2].split("&"))
        address = urllib.request.unquote(query["redirect_uri"])  # type: ignore[attr-defined]
        # The state is the right one, but another server has sent the answer (RFC 9207).
        mixed_up = f"?code=forged&state={query['state']}&iss=https%3A%2F%2Fevil.example"
        unsaid = f"?code=forged&state={query['state']}"
        for forged in ("?code=forged", "?code=forged&state=x", "favicon.ico", mixed_up, unsaid):
            try:
                urllib.request.urlopen(address + forged, timeout=5)
            except urllib.error.HTTPError as error:
                visited.append(error.code)
                error.close()
        Browser._visit(browser, url)

    monkeypatch.setattr(browser, "_visit", visit)

    assert bonded("auth", "login").status == 0
    assert visited == [404] * 5


def test_a_server_that_does_not_say_who_it_is_by_the_browser_is_believed(
    browser: Browser, registry: Registry, bonded: Terminal
) -> None:
    """Such a one does not promise to (RFC 9207 §3)."""
    registry.people.says_who = False

    assert bonded("auth", "login").status == 0
    assert "Close this window" in browser.pages[0]


@pytest.mark.parametrize(
    ("issuer", "hosts"),
    [
        ("http://packages.example.com:PORT", ""),
        ("http://packages.example.com:PORT", "packages.example.com:PORT"),
        # What a server calls itself that was told no public name.
        ("http://localhost:8080", ""),
    ],
)
def test_a_server_is_who_was_asked_or_known_to_be_the_same(
    browser: Browser, registry: Registry, bonded: Terminal, issuer: str, hosts: str
) -> None:
    registry.people.issuer = issuer.replace("PORT", bonded.port)
    is_refused = "example.com" in issuer and not hosts
    if hosts:
        bonded("config", "set", "core/hosts", hosts.replace("PORT", bonded.port))

    said = bonded("auth", "login")

    assert said.status == is_refused
    assert len(browser.pages) == (not is_refused)
    if is_refused:
        assert said.err == snapshot("""\
ERROR: (bonded.auth.login) http://127.0.0.1:PORT says that it is http://packages.example.com:PORT, which is not whom you asked.
Sign in under that name, with --server. If that is a wrong one, the server's setting public_url is.
""")


def test_a_damaged_sign_in_is_replaced_as_its_owner_is_told(
    registry: Registry, bonded: Terminal
) -> None:
    bonded("auth", "login", "--no-browser")
    path = next((bonded.config / "accounts").rglob("ada@example.com.json"))
    for damaged in ("garbage", "[]", '{"type": "external_account_authorized_user"}', "\0\udcff"):
        path.write_bytes(damaged.encode(errors="surrogateescape"))
        said = bonded("projects", "list").err
        again = f"bonded auth login ada@example.com --server={registry.url}"

        assert "What is stored of [ada@example.com] cannot be used: " in said, damaged
        assert f"Sign in again with `{again}`.".replace(bonded.port, "PORT") in said
        assert bonded(*again.split()[1:], "--no-browser").status == 0
        assert bonded("projects", "list").status == 0

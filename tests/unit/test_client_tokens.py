"""Tokens: cached on disk, private, and fetched once however many processes ask."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from bonded.client.accounts import (
    Account,
    AccountStore,
    Credential,
    ServiceAccountKey,
    SignIn,
)
from bonded.client.errors import NotSignedIn, Unreachable
from bonded.client.sources import KeyTokens, SignInTokens, tokens_of
from bonded.client.tokens import (
    REMAINING_LIFE_MIN_S,
    AccessToken,
    CachedTokens,
    forget_tokens,
    keep_token,
)
from support.cli_people import PERSON
from support.cli_registry import EMAIL, Registry, running_registry

SERVER = "https://packages.example.com"


class CountedTokens:
    """A source that counts, and whose tokens live as long as it is told."""

    def __init__(self, life_s: float = 3600.0, account: str = EMAIL) -> None:
        self.account = account
        self.count = 0
        self.mark: str | None = ""
        self._life_s = life_s

    def find_mark(self) -> str | None:
        return self.mark

    def get_token(self) -> AccessToken:
        self.count += 1
        return AccessToken(f"token-{self.count}", time.time() + self._life_s)

    def forget(self) -> None:
        """Nothing is kept here."""


class RefusedTokens(CountedTokens):
    """A source whose proof the server never takes."""

    def get_token(self) -> AccessToken:
        raise NotSignedIn("The server refuses it.")


def test_a_fresh_token_is_fetched_once(tmp_path: Path) -> None:
    source = CountedTokens()
    tokens = CachedTokens(source, tmp_path, SERVER)

    assert [tokens.get_token().secret for _ in range(3)] == ["token-1"] * 3
    assert CachedTokens(source, tmp_path, SERVER).get_token().secret == "token-1"
    assert source.count == 1


def test_a_token_about_to_expire_is_replaced(tmp_path: Path) -> None:
    source = CountedTokens(REMAINING_LIFE_MIN_S - 1)
    tokens = CachedTokens(source, tmp_path, SERVER)

    assert tokens.get_token().secret == "token-1"
    assert tokens.get_token().secret == "token-2"


def test_every_account_and_server_has_its_own_token(tmp_path: Path) -> None:
    source, other = CountedTokens(), CountedTokens(account=f"{EMAIL}.au")
    CachedTokens(source, tmp_path, SERVER).get_token()

    CachedTokens(source, tmp_path, "http://127.0.0.1:8080").get_token()
    CachedTokens(other, tmp_path, SERVER).get_token()

    assert (source.count, other.count) == (2, 1)
    forget_tokens(tmp_path, Account(EMAIL, SERVER))
    CachedTokens(source, tmp_path, SERVER).get_token()
    CachedTokens(other, tmp_path, SERVER).get_token()
    assert (source.count, other.count) == (3, 1)


def test_one_account_has_a_token_for_every_mark_and_those_that_expired_go(tmp_path: Path) -> None:
    source = CountedTokens(life_s=REMAINING_LIFE_MIN_S - 1)
    tokens = CachedTokens(source, tmp_path, SERVER)
    keep_token(tmp_path, Account(EMAIL, SERVER), AccessToken("of-no-mark", time.time() + 3600))
    keep_token(tmp_path, Account(EMAIL, SERVER), AccessToken("dead", time.time() - 1), "dead")
    keep_token(tmp_path, Account(EMAIL, SERVER), AccessToken("kept", time.time() + 3600), "a")
    for source.mark in ("b", "c"):
        tokens.get_token()

    kept = {path.stem.partition("+")[2] for path in tmp_path.rglob("*.json")}
    source.mark = "a"

    assert kept == {"", "a", "b", "c"}
    assert tokens.get_token().secret == "kept"
    assert source.count == 2
    forget_tokens(tmp_path, Account(EMAIL, SERVER))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_token_of_who_knows_whom_serves_one_process_and_is_not_on_disk(tmp_path: Path) -> None:
    source = CountedTokens()
    source.mark = None
    tokens = CachedTokens(source, tmp_path, SERVER)

    assert [tokens.get_token().secret for _ in range(3)] == ["token-1"] * 3
    assert CachedTokens(source, tmp_path, SERVER).get_token().secret == "token-2"
    assert list(tmp_path.rglob("*")) == []
    source.mark = "known"
    assert tokens.get_token().secret == "token-3"
    source.mark = "another"
    assert tokens.get_token().secret == "token-4"


def test_a_proof_that_is_replaced_while_it_is_exchanged_leaves_no_token(tmp_path: Path) -> None:
    class Replaced(CountedTokens):
        def get_token(self) -> AccessToken:
            self.mark = "b"
            return super().get_token()

    source = Replaced()
    source.mark = "a"

    CachedTokens(source, tmp_path, SERVER).get_token()

    assert list(tmp_path.rglob("*.json")) == []


def test_a_forgotten_token_is_not_handed_out_again(tmp_path: Path) -> None:
    tokens = CachedTokens(CountedTokens(), tmp_path, SERVER)
    tokens.get_token()

    tokens.forget()

    assert tokens.get_token().secret == "token-2"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"access_token": "x"}', "\x00", "null"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    tokens = CachedTokens(CountedTokens(), tmp_path, SERVER)
    tokens.get_token()
    (file,) = tmp_path.rglob("*.json")
    file.write_text(content)

    assert tokens.get_token().secret == "token-2"


def test_only_the_owner_may_read_a_token_or_see_whose_it_is(tmp_path: Path) -> None:
    home = tmp_path / "config" / "bonded"
    CachedTokens(CountedTokens(), home, SERVER).get_token()
    AccountStore(home).add(SignIn(PERSON, SERVER, "brt_1"))

    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in home.rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home, home.parent)} == {0o700}
    assert {path.name for path in home.iterdir()} == {"accounts", "tokens"}


def test_forgetting_a_token_leaves_the_lock_to_who_holds_it(tmp_path: Path) -> None:
    CachedTokens(CountedTokens(), tmp_path, SERVER).get_token()
    (lock,) = tmp_path.rglob("*.json")
    lock = lock.with_suffix(".lock")
    with FileLock(lock):
        forget_tokens(tmp_path, Account(EMAIL, SERVER))

        with pytest.raises(Timeout):
            FileLock(lock, timeout=0).acquire()
    assert not list(tmp_path.rglob("*.json"))


def test_proofs_that_are_refused_leave_nothing_behind(tmp_path: Path) -> None:
    source = RefusedTokens()
    tokens = CachedTokens(source, tmp_path, SERVER)
    for job in range(3):
        source.mark = f"job{job}"
        with pytest.raises(NotSignedIn):
            tokens.get_token()

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_lock_that_was_left_behind_goes_with_the_next_token_unless_it_is_held(
    tmp_path: Path,
) -> None:
    source = CountedTokens()
    source.mark = "first"
    tokens = CachedTokens(source, tmp_path, SERVER)
    tokens.get_token()
    (lock,) = tmp_path.rglob("*.lock")
    left, held = (lock.with_name(lock.name.replace("first", each)) for each in ("left", "held"))
    left.touch()
    with FileLock(held):
        source.mark = "second"
        tokens.get_token()

        names = {each.stem.rpartition("+")[2] for each in tmp_path.rglob("*.lock")}
        assert names == {"first", "second", "held"}


def test_a_secret_does_not_print() -> None:
    key = ServiceAccountKey("a@example.com", None, "http://x/token", "private")

    assert "token-1" not in repr(AccessToken("token-1", 0.0))
    assert "private" not in repr(key)


def asking(tmp_path: Path, email: str) -> subprocess.Popen[bytes]:
    """Start a process that needs a token."""
    environment = os.environ | {  # noqa: TID251 - the children need the rest of it
        "BONDED_CONFIG": str(tmp_path),
        "BONDED_CORE_ACCOUNT": email,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    line = [sys.executable, "-m", "bonded", "auth", "print-access-token"]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE)


def signed_in(registry: Registry, kind: str, directory: Path) -> Account:
    """Store an account whose token has just expired."""
    credential: Credential = SignIn(PERSON, registry.url, "brt_1")
    if kind == "key":
        credential = ServiceAccountKey.parse(registry.key_file(), "key")
    registry.people.refresh_tokens.add("brt_1")
    AccountStore(directory).add(credential)
    keep_token(directory, credential.account, AccessToken("expired", time.time() - 1))
    return credential.account


@pytest.mark.parametrize("kind", ["key", "person"])
def test_processes_that_need_a_token_at_once_fetch_one(kind: str, tmp_path: Path) -> None:
    with running_registry() as registry:
        account = signed_in(registry, kind, tmp_path)

        children = [asking(tmp_path, account.email) for _ in range(3)]
        printed = {child.communicate(timeout=60)[0] for child in children}

        assert printed == {b"token-1\n"}
        assert registry.token_requests == 1


def test_a_process_that_dies_while_it_fetches_holds_up_nobody(tmp_path: Path) -> None:
    with running_registry() as registry:
        account = signed_in(registry, "person", tmp_path)
        registry.first_token.clear()
        first = asking(tmp_path, account.email)
        deadline = time.monotonic() + 30
        while registry.token_requests == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        others = [asking(tmp_path, account.email) for _ in range(2)]

        first.kill()
        printed = {child.communicate(timeout=30)[0] for child in others}
        registry.first_token.set()

        assert first.communicate(timeout=30)[0] == b""
        assert printed == {b"token-2\n"}
        assert registry.token_requests == 2


def test_a_key_of_another_universe_signs_for_itself(tmp_path: Path) -> None:
    with running_registry() as registry:
        text = registry.key_file(universe_domain="bonded.example.com")
        key = ServiceAccountKey.parse(text, "key")

        token = KeyTokens(key).get_token()

        assert registry.token_requests == 0
        assert token.secret.count(".") == 2
        assert token.is_fresh(time.time())


def test_a_cached_token_imports_nothing_slow(tmp_path: Path) -> None:
    """The promise is 150 ms; what breaks it is one import, and imports can be counted."""
    key = json.dumps(
        {"type": "service_account", "client_email": EMAIL, "private_key": "x", "token_uri": SERVER}
    )
    AccountStore(tmp_path).add(ServiceAccountKey.parse(key, "key"))
    CachedTokens(CountedTokens(), tmp_path, SERVER).get_token()
    environment = {"BONDED_CONFIG": str(tmp_path), "BONDED_CORE_ACCOUNT": EMAIL}
    line = [sys.executable, "-X", "importtime", "-m", "bonded", "auth", "print-access-token"]

    done = subprocess.run(line, env=environment, capture_output=True, check=True, timeout=60)

    assert done.stdout == b"token-1\n"
    modules = {row.rpartition("|")[2].strip() for row in done.stderr.decode().splitlines()}
    slow = {"requests", "urllib3", "google", "google.auth", "rich", "filelock", "platformdirs"}
    assert not slow & modules
    assert "bonded.cli.artifacts" not in modules


@pytest.mark.parametrize("kind", ["key", "person"])
def test_what_netrc_says_of_the_server_is_no_credential_for_fetching_tokens(
    registry: Registry, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = signed_in(registry, kind, tmp_path)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login oauth2accesstoken password old\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    credential = AccountStore(tmp_path).find(account)
    assert credential is not None

    assert tokens_of(credential).get_token().secret == "token-1"


def test_a_refresh_token_is_carried_to_no_other_address(registry: Registry, tmp_path: Path) -> None:
    with running_registry() as other:
        registry.raw = (307, b"", {"location": f"{other.url}/v1/oauthtoken"})
        other.people.refresh_tokens.add("brt_1")
        signed_in(registry, "person", tmp_path)

        with pytest.raises(Unreachable):
            SignInTokens(SignIn(PERSON, registry.url, "brt_1")).get_token()

        assert registry.requests == ["POST /v1/oauthtoken"]
        assert other.requests == []

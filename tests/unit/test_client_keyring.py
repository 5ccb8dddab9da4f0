"""The keyring backend: a token for every name of our servers, nothing for anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from keyring.errors import PasswordDeleteError, PasswordSetError

from bonded.client.accounts import AccountStore, ServiceAccountKey, SignIn
from bonded.client.keyring_backend import BondedKeyring
from bonded.client.tokens import AccessToken, keep_token
from support.cli_people import PERSON, fault
from support.cli_registry import EMAIL, Registry, running_registry

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


@pytest.fixture(name="stranger")
def _stranger() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a user who has nothing but an empty home."""
    for name in (VARIABLE, "BONDED_SERVER", "BONDED_CORE_ACCOUNT", "APPDATA", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BONDED_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return tmp_path / "config"


def sign_in(config: Path, registry: Registry, email: str = EMAIL) -> None:
    """Store a key as `bonded auth activate-service-account` does."""
    AccountStore(config).add(ServiceAccountKey.parse(registry.key_file(email), "key"))


def write(config: Path, **core: str) -> None:
    """Write the properties of the default configuration."""
    path = config / "configurations" / "default.ini"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[core]\n" + "".join(f"{key} = {value}\n" for key, value in core.items()))


def ask(name: str) -> str | None:
    """Return what a process of its own would be given for *name*."""
    return BondedKeyring().get_password(name, None)


def test_one_token_serves_every_name_of_a_server(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    netloc = registry.url.removeprefix("http://")
    names = (
        f"{registry.url}/my-project/python/simple/",
        f"{registry.url}/my-project/python/simple",
        f"http://oauth2accesstoken@{netloc}/my-project/python/simple/",
        registry.url,
        netloc,
    )

    given = {ask(name) for name in names}
    credential = BondedKeyring().get_credential(names[0], None)

    assert given == {"token-1"}
    assert credential is not None
    assert (credential.username, credential.password) == ("oauth2accesstoken", "token-1")
    assert BondedKeyring().get_password(netloc, "somebody") == "token-1"
    assert registry.token_requests == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example/simple/",
        "https://{netloc}/simple/",
        "http://{netloc}@evil.example/",
        "http://evil.example\\@{netloc}/",
        "127.0.0.1",
        "localhost",
        "some application",
        "",
    ],
)
def test_another_service_gets_nothing_and_no_word_is_said(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sign_in(config, registry)

    given = ask(name.format(netloc=registry.url.removeprefix("http://")))

    assert given is None
    assert registry.requests == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("port", ["", ":443", ":8443", ":80"])
def test_no_process_is_given_what_belongs_to_https_for_a_name_that_proves_no_tls(
    config: Path, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """Pip and uv ask for the URL, then for the host, each time in a process of its own."""
    https = SignIn(PERSON, f"https://packages.example.com{port}", "refresh-token")
    AccountStore(config).add(https)
    keep_token(config, https.account, AccessToken("secret", time.time() + 3600))
    netloc = f"packages.example.com{port}"

    asked = (f"http://{netloc}/simple/", netloc, f"oauth2accesstoken@{netloc}")

    assert [ask(name) for name in asked] == [None] * 3
    assert ask(f"{https.server}/simple/") == "secret"
    assert capsys.readouterr() == ("", "")


def test_the_active_account_comes_before_others_of_the_same_server(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry, "one@example.com")
    sign_in(config, registry, "two@example.com")

    undecided = ask(registry.url)
    said = capsys.readouterr().err
    write(config, account="two@example.com")
    decided = ask(registry.url)

    assert (undecided, decided) == (None, "token-1")
    assert said == (
        f"bonded: Several accounts are signed in to {registry.url}: one@example.com, "
        "two@example.com. Choose one with `bonded config set account ACCOUNT`.\n"
    )
    assert [path.stem for path in config.glob("tokens/*/*.json")] == ["two@example.com"]


def test_each_server_gets_the_token_that_it_issued(
    registry: Registry, stranger: Registry, config: Path
) -> None:
    sign_in(config, registry)
    sign_in(config, stranger)
    stranger.token_requests = 100

    assert ask(registry.url) == "token-1"
    assert ask(stranger.url) == "token-101"


def test_a_configured_server_without_a_key_is_told_how_to_get_one(
    registry: Registry, stranger: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    write(config, account=EMAIL, server=stranger.url)
    backend = BondedKeyring()

    given = [backend.get_password(name, None) for name in (stranger.url, stranger.url)]

    assert given == [None, None]
    assert capsys.readouterr().err == (
        f"bonded: No credential here belongs to {stranger.url}. Sign in with `bonded auth "
        "login --server=URL`, or with a key that it issued and `bonded auth "
        "activate-service-account --key-file=FILE`, or name a credential file of it in "
        "GOOGLE_APPLICATION_CREDENTIALS.\n"
    )
    assert registry.requests == stranger.requests == []


def test_a_host_that_is_configured_as_the_server_gets_its_token(
    registry: Registry, config: Path
) -> None:
    sign_in(config, registry)
    port = registry.url.rpartition(":")[2]

    before = ask(f"http://eu-python.registry.test:{port}/simple/")
    write(config, server=registry.url, hosts=f"*-python.registry.test:{port}")
    after = ask(f"http://eu-python.registry.test:{port}/simple/")

    assert (before, after) == (None, "token-1")


@pytest.mark.parametrize("how", ["account", "default"])
def test_hosts_of_no_server_in_particular_get_nothing_and_that_is_said(
    registry: Registry,
    stranger: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    how: str,
) -> None:
    """They may be names of a server that is signed in to no more, or not yet."""
    if how == "account":
        sign_in(config, stranger)
    else:
        (config.parent / "adc.json").write_text(stranger.key_file())
        monkeypatch.setenv(VARIABLE, str(config.parent / "adc.json"))
    host = f"http://eu-python.registry.test:{registry.url.rpartition(':')[2]}"
    hosts = host.partition("//")[2]

    write(config, hosts=hosts)
    without = ask(f"{host}/simple/")
    said = capsys.readouterr().err
    write(config, hosts=hosts, server=registry.url)
    of_another = ask(f"{host}/simple/")

    assert (without, of_another) == (None, None)
    assert said == (
        f"bonded: [core/hosts] lists {host}, and nothing says of which server that is a name. "
        "Say it with `bonded config set core/server URL`, or BONDED_SERVER.\n"
    )
    assert ask(stranger.url) == "token-1"
    assert registry.requests == []


def test_default_credentials_come_first_where_they_belong(
    registry: Registry,
    stranger: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign_in(config, registry)
    sign_in(config, stranger)
    key = config.parent / "key.json"
    key.write_text(registry.key_file("ci@example.com"))
    monkeypatch.setenv(VARIABLE, str(key))

    assert ask(registry.url) == "token-1"
    assert ask(stranger.url) == "token-1"
    kept = sorted(path.stem.partition("-")[0] for path in config.glob("tokens/*/*.json"))
    assert kept == [EMAIL.partition("-")[0], "default"]
    assert ask(registry.url) == "token-1"
    assert (registry.token_requests, stranger.token_requests) == (1, 1)


def test_the_file_that_gcloud_writes_is_found(
    registry: Registry, config: Path, tmp_path: Path
) -> None:
    path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(registry.key_file())

    assert ask(registry.url) == "token-1"
    assert (config / "tokens").exists()


def _as_user(registry: Registry) -> dict[str, Any]:
    registry.people.refresh_tokens.add("again")
    return {
        "type": "external_account_authorized_user",
        "client_id": "client",
        "client_secret": "hush",
        "refresh_token": "again",
        "token_url": f"{registry.url}/token",
        "token_info_url": f"{registry.url}/introspect",
    }


def _as_workload(registry: Registry) -> dict[str, Any]:
    return {
        "type": "external_account",
        # A project number in it makes google-auth ask Google for the project, if it can.
        "audience": "//iam.googleapis.com/projects/17/locations/global/workloadIdentityPools/a/"
        "providers/b",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{registry.url}/token",
        "credential_source": {"file": "SUBJECT"},
    }


@pytest.mark.parametrize("make", [_as_user, _as_workload])
def test_any_file_that_google_auth_knows_serves_its_own_server_alone(
    registry: Registry,
    stranger: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
) -> None:
    (config.parent / "subject").write_text("assertion")
    text = json.dumps(make(registry)).replace("SUBJECT", str(config.parent / "subject"))
    (config.parent / "adc.json").write_text(text)
    monkeypatch.setenv(VARIABLE, str(config.parent / "adc.json"))
    write(config, server=stranger.url)

    assert ask(f"{registry.url}/my-project/python/simple/") == "token-1"
    assert ask(f"{stranger.url}/my-project/python/simple/") is None
    assert registry.requests == ["POST /token"]
    assert stranger.requests == []


def test_a_credential_of_googles_is_not_for_us(
    registry: Registry, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"type": "authorized_user", "client_id": "x", "client_secret": "x"}
    # google-auth ignores this address: what it fetches comes from Google.
    fields |= {"refresh_token": "x", "token_uri": f"{registry.url}/token"}
    (tmp_path / "adc.json").write_text(json.dumps(fields))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "adc.json"))
    sign_in(config, registry)

    assert ask(registry.url) == "token-1"
    assert [path.stem for path in config.glob("tokens/*/*.json")] == [EMAIL]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "There is no file"),
        ("what", "is not JSON"),
        ("[]", "is no credential file"),
        ('{"type": "banknote"}', "is no credential file"),
        ('{"type": "service_account"}', "is no credential file"),
        ('{"type": "service_account", "x": ' + "[" * 9999 + "]" * 9999 + "}", "is not JSON"),
        ('{"type": "service_account", "token_uri": "x"}', "adc.json has its tokens from nowhere"),
    ],
    ids=range(7),
)
def test_a_broken_default_is_told_only_where_it_matters(
    registry: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    text: str | None,
    reason: str,
) -> None:
    if text is not None:
        (config.parent / "adc.json").write_text(text)
    monkeypatch.setenv(VARIABLE, str(config.parent / "adc.json"))
    write(config, server=registry.url)

    assert ask("https://elsewhere.example/simple/") is None
    assert capsys.readouterr().err == ""
    assert ask(registry.url) is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert reason in said
    # Somebody is signed in there, but somebody else is named.
    sign_in(config, registry)
    assert ask(registry.url) is None
    assert reason in capsys.readouterr().err
    assert registry.requests == []
    # The file that is only usual is nobody's word.
    monkeypatch.delenv(VARIABLE)
    usual = config.parent / ".config" / "gcloud" / "application_default_credentials.json"
    usual.parent.mkdir(parents=True)
    usual.write_text(text or "")
    assert ask(registry.url) == "token-1"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "is_said"),
    [
        ("https://packages.example.com/my-project/python/simple/", True),
        ("https://packages.example.com/my-project/python/simple", True),
        ("http://oauth2accesstoken@127.0.0.1:8080/my-project/python/simple/demo/?a=b", True),
        ("https://packages.example.com/my-project/python/", True),
        ("https://us-python.pkg.dev/my-project/python/simple/", True),
        ("https://index.example/simple/", False),
        ("https://index.example/simple/demo/", False),
        ("https://index.example/pypi/demo/json", False),
        ("https://index.example/legacy/", False),
        ("https://files.example/packages/ab/cd/demo-1.0.tar.gz", False),
        ("https://packages.example.com", False),
        ("packages.example.com:443", False),
        ("some application", False),
    ],
)
def test_where_nothing_else_is_configured_a_broken_default_is_told_about_a_repository_of_ours(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    *,
    is_said: bool,
) -> None:
    """As in CI, where nothing but the file says which server there is; and pip asks for others."""
    monkeypatch.setenv(VARIABLE, str(config.parent / "missing.json"))

    assert ask(name) is None

    said = capsys.readouterr().err
    assert said.count("\n") == is_said
    assert ("There is no file" in said) == is_said


def test_a_server_that_is_configured_is_the_only_one_that_a_broken_default_is_told_about(
    registry: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, str(config.parent / "missing.json"))
    write(config, server=registry.url)

    assert ask("https://elsewhere.example/team/mirror/simple/") is None
    assert capsys.readouterr().err == ""


def test_a_default_that_is_refused_is_not_replaced_by_who_is_signed_in(
    registry: Registry,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = config.parent / "ci.json"
    key.write_text(registry.key_file("ci@example.com"))
    monkeypatch.setenv(VARIABLE, str(key))
    sign_in(config, registry)
    sentence = "The key has expired. Create another with `bonded iam service-accounts keys create`."
    error = {"error": "invalid_grant", "error_description": sentence}
    registry.raw_token = (400, json.dumps(error).encode(), {})

    assert ask(registry.url) is None

    assert registry.requests == ["POST /token"]
    assert capsys.readouterr().err == (
        f"bonded: The server refuses the credential in {key}: The key has expired. Create another "
        f"with `bonded iam service-accounts keys create` in place of {key}.\n"
    )


def test_a_server_that_is_down_is_asked_once_and_named(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_registry() as gone:
        sign_in(config, gone)
    backend = BondedKeyring()

    given = [backend.get_credential(name, None) for name in (gone.url, gone.url[7:])]

    assert given == [None, None]
    said = capsys.readouterr().err
    assert said.startswith(f"bonded: Nobody answers at {gone.url}/token")
    assert said.count("\n") == 1


def test_a_server_that_refuses_the_key_is_told_in_one_line(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    error = {"error": "invalid_grant", "error_description": "The key is disabled."}
    registry.raw_token = (400, json.dumps(error).encode(), {})

    assert ask(registry.url) is None

    said = capsys.readouterr().err
    assert said.startswith(f"bonded: The server refuses the key of [{EMAIL}]: The key is disabled.")
    assert said.count("\n") == 1


def test_nothing_ever_raises_into_the_client(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    for damaged in ("what is this", "\0", "[core]\nserver = nonsense"):
        write(config)
        (config / "configurations" / "default.ini").write_text(damaged)
        assert ask(registry.url) is None
        assert capsys.readouterr().err.startswith("bonded: ")
    assert ask(registry.url * 10_000) is None
    assert ask(None) is None  # type: ignore[arg-type]


def _end_session(registry: Registry, _config: Path) -> None:
    registry.people.refresh_tokens.clear()


def _disable(registry: Registry, _config: Path) -> None:
    registry.people.fault = fault("invalid_grant", "The user is disabled. Ask an administrator.")


def _stop_for_maintenance(registry: Registry, _config: Path) -> None:
    registry.people.fault = fault("temporarily_unavailable", "The database is away.", 503)


def _put_something_else_there(registry: Registry, _config: Path) -> None:
    registry.people.fault = fault("", "")


def _damage_configuration(_registry: Registry, config: Path) -> None:
    (config / "configurations" / "default.ini").write_bytes(b"\xff\xfe")


def _block_configuration(_registry: Registry, config: Path) -> None:
    (config / "configurations" / "default.ini").mkdir(parents=True)


def _damage_account(_registry: Registry, config: Path) -> None:
    next(config.glob("accounts/*/*.json")).write_text("garbage")


def _lose_secret(_registry: Registry, config: Path) -> None:
    path = next(config.glob("accounts/*/*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "refresh_token": None}))


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (_end_session, "]: The sign-in has ended. Sign in again with `bonded auth login ada"),
        (_disable, "]: The user is disabled. Ask an administrator.\n"),
        (_stop_for_maintenance, "cannot answer now: The database is away. Try again later."),
        (_put_something_else_there, "Sign in again with `bonded auth login"),
        (_damage_configuration, "is not a text file. It is damaged, or another file by mistake"),
        (_block_configuration, "Make it a file that you may read, or remove it."),
        (_damage_account, "cannot be used: "),
        (_damage_account, "Sign in again with `bonded auth login ada@example.com --server="),
        (_lose_secret, "Unlock the keyring, or sign in again from here with `bonded auth login"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_goes_wrong_for_a_person_is_one_line_that_says_what_to_do(
    happens: Callable[[Registry, Path], None],
    says: str,
    registry: Registry,
    config: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry.people.refresh_tokens.add("brt_1")
    (config / "configurations").mkdir(parents=True, exist_ok=True)
    AccountStore(config).add(SignIn(PERSON, registry.url, "brt_1"))
    happens(registry, config)

    given = ask(registry.url)

    said = capsys.readouterr().err
    assert given is None
    assert said.startswith("bonded: ")
    assert says in said
    assert said.count("\n") == 1


def test_a_name_that_nobody_knows_is_a_server_that_nobody_answers_at(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # RFC 6761 §6.4: no network has a host under `invalid`.
    server = "http://packages.invalid"
    AccountStore(config).add(SignIn(PERSON, server, "brt_1"))

    assert ask(f"{server}/p/r/simple/") is None

    said = capsys.readouterr().err
    assert said.startswith(f"bonded: Nobody answers at {server}/v1/oauthtoken")
    assert "check the network and the address." in said


def test_a_home_that_cannot_be_written_costs_a_request_and_no_more(
    registry: Registry, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    (config / "tokens").write_text("in the way")
    backend = BondedKeyring()

    given = [backend.get_password(registry.url, None) for _ in range(3)]

    assert given == ["token-1"] * 3
    assert registry.token_requests == 1
    assert capsys.readouterr().err == ""


def test_passwords_are_left_to_other_backends() -> None:
    backend = BondedKeyring()

    for error in (NotImplementedError, PasswordSetError):
        with pytest.raises(error, match="stores no passwords"):
            backend.set_password("x", "y", "z")
    for kind in (NotImplementedError, PasswordDeleteError):
        with pytest.raises(kind, match="stores no passwords"):
            backend.delete_password("x", "y")


def test_the_identity_of_the_machine_is_shown_to_whom_it_was_promised(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _metadata_server() as host:
        monkeypatch.setenv("GCE_METADATA_HOST", host)
        write(config, server="https://packages.example.com")
        ask_all = (
            "from bonded.client.keyring_backend import BondedKeyring as K\n"
            "for host in ('packages.example.com', 'evil.example'):\n"
            "    print(K().get_password(f'https://{host}/simple/', None))"
        )
        # In a process of its own, because google-auth reads the variable as it is imported.
        line = [sys.executable, "-c", ask_all]
        before = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
        monkeypatch.setenv("BONDED_ATTACHED_IDENTITY_HOSTS", "packages.example.com")
        after = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)

    assert before.stdout.split() == ["None", "None"]
    assert after.stdout.split() == ["attached-token", "None"]
    assert after.stderr == ""


@pytest.mark.parametrize("host", ["host:abc", "a..example", "[zz]"])
def test_an_impossible_name_of_the_metadata_server_is_said_after_all_else_was_tried(
    registry: Registry, config: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("BONDED_ATTACHED_IDENTITY_HOSTS", registry.url)
    write(config, server=registry.url)
    ask_alone = f"from {BondedKeyring.__module__} import BondedKeyring as K\n"
    ask_alone += f"print(K().get_password({registry.url!r}, None))"
    line = [sys.executable, "-c", ask_alone]

    alone = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    sign_in(config, registry)
    after = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)

    assert alone.stdout == "None\n"
    assert alone.stderr.startswith("bonded: Cannot use the identity of this machine: ")
    assert alone.stderr.endswith("if this machine has none, or correct GCE_METADATA_HOST.\n")
    assert after.stdout == "token-1\n"
    assert after.stderr == ""


def test_importing_the_backend_imports_nothing_slow(
    registry: Registry, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sign_in(config, registry)
    assert ask(registry.url) == "token-1"
    look_up = (
        "from bonded.client.keyring_backend import BondedKeyring\n"
        f"assert BondedKeyring().get_password({registry.url!r}, None) == 'token-1'"
    )

    subprocess.run([sys.executable, "-X", "importtime", "-c", look_up], check=True, timeout=60)

    rows = capfd.readouterr().err.splitlines()
    modules = {row.rpartition("|")[2].strip() for row in rows}
    slow = {"requests", "urllib3", "google", "google.auth", "click", "filelock", "platformdirs"}
    assert "bonded.client.keyring_backend" in modules
    assert not slow & modules


@contextmanager
def _metadata_server() -> Iterator[str]:
    """Run what a machine's metadata server is to google-auth; yield host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer: dict[str, object] = {"email": EMAIL, "scopes": ["all"], "aliases": ["default"]}
            if "/token" in self.path:
                answer = {"access_token": "attached-token", "expires_in": 3600}
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("metadata-flavor", "Google")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

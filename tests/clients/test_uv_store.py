"""uv's own store of credentials, `uv auth`: what it holds opens Bonded, and what it gets wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from clients.shelves import USER, Shelf
from support.tools import UV, Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

KEY_USER = "_json_key_base64"
STARTED_MAX_S = 10
NATIVE = {"UV_PREVIEW_FEATURES": "native-auth"}


@pytest.fixture(name="wheel")
def _wheel(tmp_path: Path) -> Path:
    return make_wheel("demo", "1.0").write_to(tmp_path)


def log_in(desk: Desk, service: str, *, user: str = "", secret: str, fails: bool = False) -> str:
    """Store a secret as people do, on standard input; return what uv says."""
    how = ("--username", user, "--password", "-") if user else ("--token", "-")
    done = subprocess.run(
        [*desk.wrapper, UV, "auth", "login", service, *how],
        env={"HOME": str(desk.home), "PATH": "/usr/bin:/bin", **desk.settings},
        input=secret,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr


def publish(desk: Desk, url: str, wheel: Path, *, token: str = "", fails: bool = False) -> str:
    """Publish with a token, or with nothing but what uv has stored."""
    line = ("publish", "--trusted-publishing", "never", "--publish-url", url, wheel)
    return desk.uv(*line, *(("--token", token) if token else ()), fails=fails).flat


def install(desk: Desk, url: str, *options: str, fails: bool = False) -> str:
    """Install with nothing but what uv has stored, and *options*."""
    python = desk.make_environment("empty")
    line = ("pip", "install", "--reinstall", "--no-cache", "--python", python, "demo")
    return desk.uv(*line, "--default-index", url, *options, fails=fails).flat


@pytest.mark.parametrize("kind", ["token", "key"])
def test_what_uv_has_stored_publishes_and_installs(
    kind: str, desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    """Stored for the server, it serves every repository there; no setting names a user."""
    if kind == "token":
        log_in(desk, shelf.server.url, secret=shelf.token)
    else:
        log_in(desk, shelf.server.url, user=KEY_USER, secret=shelf.key_base64)

    publish(desk, shelf.upload_url, wheel)
    install(desk, shelf.public_index_url)
    user = ("--username", KEY_USER) if kind == "key" else ()
    desk.uv("auth", "logout", shelf.server.url, *user)
    after = install(desk, shelf.public_index_url, fails=True)

    assert list(shelf.list_files("demo")) == [wheel.name]
    assert "401 Unauthorized" in after
    (kept,) = desk.home.rglob("credentials.toml")
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_uv_has_stored_comes_before_keyring(
    desk: Desk, shelf: Shelf, wheel: Path, plugin: str
) -> None:
    """So a token that has ended there is in the way of one that keyring would fetch."""
    publish(desk, shelf.upload_url, wheel, token=shelf.token)
    key = desk.home / "key.json"
    key.write_text(json.dumps(shelf.server.admin_key))
    settings = {
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "PATH": f"{tool('keyring').parent}:/usr/bin:/bin",
        "PYTHONPATH": plugin,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
    }
    desk = Desk(desk.home, settings)
    url = shelf.public_index_url.replace("://", f"://{USER}@")
    log_in(desk, shelf.server.url, user=USER, secret="a token that has ended")

    refused = install(desk, url, "--keyring-provider", "subprocess", fails=True)
    desk.uv("auth", "logout", shelf.server.url, "--username", USER)
    install(desk, url, "--keyring-provider", "subprocess")

    assert "401 Unauthorized" in refused


def test_the_native_store_wants_the_user_in_the_address(
    desk: Desk, shelf: Shelf, wheel: Path
) -> None:
    """A preview of uv's: it asks the system's own store for exactly one address and one user."""
    with secret_service(desk) as native:
        for service in (shelf.server.url, shelf.upload_url.rstrip("/")):
            log_in(native, service, secret=shelf.token)
        named = [
            url.replace("://", "://__token__@")
            for url in (shelf.upload_url, shelf.public_index_url)
        ]

        nobody = publish(native, shelf.upload_url, wheel, fails=True)
        publish(native, named[0], wheel)
        unnamed = install(native, shelf.public_index_url, fails=True)
        install(native, named[1])

    assert "Missing credentials" in nobody
    assert "401 Unauthorized" in unnamed
    assert not list(desk.home.rglob("credentials.toml"))


@contextmanager
def secret_service(desk: Desk) -> Iterator[Desk]:
    """Run a Secret Service, as desktops do, where the commands of a desk find it."""
    missing = [
        name
        for name in ("dbus-daemon", "dbus-send", "gnome-keyring-daemon")
        if not shutil.which(name)
    ]
    if missing:
        pytest.skip(f"needs a Secret Service, and {' and '.join(missing)} is not installed")
    run = desk.home / "run"
    run.mkdir(mode=0o700)
    address = f"unix:path={run / 'bus'}"
    settings = {
        **desk.settings,
        **NATIVE,
        "DBUS_SESSION_BUS_ADDRESS": address,
        "XDG_RUNTIME_DIR": str(run),
    }
    environment = {**settings, "HOME": str(desk.home), "PATH": os.environ["PATH"]}  # noqa: TID251 - a child inherits it
    with ExitStack() as stack:
        for command, name in (
            (
                ("dbus-daemon", "--session", "--nofork", f"--address={address}"),
                "org.freedesktop.DBus",
            ),
            (
                ("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"),
                "org.freedesktop.secrets",
            ),
        ):
            stack.enter_context(_daemon(command, name, environment))
        yield Desk(desk.home, settings)


@contextmanager
def _daemon(command: Sequence[str], name: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a program until it is known by *name* on the bus, and for as long as it is needed."""
    about = ("--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetNameOwner")
    ask = ("dbus-send", "--session", "--print-reply", *about, f"string:{name}")
    devnull = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull
    ) as process:
        try:
            assert process.stdin is not None
            # What unlocks the keyring, which is new.
            process.stdin.write(b"it")
            process.stdin.close()
            deadline = time.monotonic() + STARTED_MAX_S
            while subprocess.run(
                ask, env=environment, check=False, stdout=devnull, stderr=devnull
            ).returncode:
                assert time.monotonic() < deadline, f"{command[0]} did not start"
                time.sleep(0.05)
            yield
        finally:
            process.terminate()

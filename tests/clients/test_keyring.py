"""No password anywhere: clients ask keyring, keyring asks Bonded's backend, one token serves."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bonded.client.accounts import AccountStore, SignIn
from bonded.client.tokens import AccessToken, keep_token
from clients.cutting import CuttingLine, cutting_line
from clients.publishers import PUBLISHERS
from clients.shelves import USER, Shelf
from clients.views import View
from support.cli_registry import EMAIL
from support.site import basic
from support.tools import Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

_PYPROJECT = """\
[project]
name = "consumer"
version = "0.1"
requires-python = ">=3.11,<4"
dependencies = []
"""


@dataclass(frozen=True, slots=True)
class Counter(View):
    """A desk whose only credential is a key file, and a line that counts what it is good for."""

    line: CuttingLine

    @property
    def tokens(self) -> int:
        """How many tokens were asked for."""
        return sum(piece.startswith(b"POST /token ") for piece in self.line.requests)

    def publish(self, path: Path) -> None:
        """Publish a wheel with what the shelf's owner has."""
        self.desk.uv(
            "publish",
            "--publish-url",
            self.shelf.upload_url,
            path,
            UV_PUBLISH_TOKEN=self.shelf.token,
        )


@pytest.fixture(name="counter")
def _counter(desk: Desk, shelf: Shelf, plugin: str) -> Iterator[Counter]:
    with cutting_line(shelf.server.port, cut_after_bytes=1 << 40) as line:
        key = shelf.server.admin_key | {"token_uri": f"http://127.0.0.1:{line.port}/token"}
        path = desk.home / "key.json"
        path.write_text(json.dumps(key))
        settings = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "PATH": f"{tool('keyring').parent}:/usr/bin:/bin",
            "PYTHONPATH": plugin,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.chainer.ChainerBackend",
        }
        yield Counter(f"http://127.0.0.1:{line.port}", Desk(desk.home, settings), shelf, line)


@pytest.fixture(name="wheel")
def _wheel(tmp_path: Path) -> Path:
    return make_wheel("demo", "1.0").write_to(tmp_path)


def test_the_backend_is_listed_beside_googles(counter: Counter) -> None:
    listed = counter.desk.run(tool("keyring"), "--list-backends").output.splitlines()

    assert "bonded.client.keyring_backend.BondedKeyring (priority: 9)" in listed
    assert "keyrings.gauth.GooglePythonAuth (priority: 9)" in listed


def test_the_keyring_command_answers_in_all_its_forms(counter: Counter) -> None:
    keyring, url = tool("keyring"), counter.index_url
    netloc = counter.origin.removeprefix("http://")

    token = counter.desk.run(keyring, "get", url, USER).output
    forms = [
        counter.desk.run(keyring, "--mode", "creds", "get", url).output,
        counter.desk.run(keyring, "--mode=creds", "get", netloc, USER).output,
    ]
    as_json = counter.desk.run(keyring, "--mode=creds", "--output=json", "get", url.rstrip("/"))
    elsewhere = counter.desk.run(keyring, "get", "https://evil.example/simple/", USER, fails=True)

    assert token.count(".") == 2
    assert forms == [f"{USER}\n{token}"] * 2
    assert json.loads(as_json.output) == {"username": USER, "password": token.strip()}
    assert elsewhere.output == ""
    assert counter.tokens == 1


def test_an_account_of_the_command_line_serves_without_a_default_credential(
    counter: Counter, wheel: Path
) -> None:
    settings = dict(counter.desk.settings)
    key = settings.pop("GOOGLE_APPLICATION_CREDENTIALS")
    desk = Desk(counter.desk.home, settings)
    python = tool("keyring", "python")
    desk.run(python, "-m", "bonded", "auth", "activate-service-account", f"--key-file={key}")

    desk.run(
        *(tool("keyring", "twine"), "upload", "--non-interactive", "--username", USER),
        *("--repository-url", counter.upload_url, wheel),
    )

    assert list(counter.shelf.list_files("demo")) == [wheel.name]
    assert counter.tokens == 1


def test_pip_installs_with_the_keyring_of_its_own_environment(
    counter: Counter, wheel: Path
) -> None:
    counter.publish(wheel)
    command = (tool("keyring", "python"), "-m", "pip", "download", "--no-cache-dir", "demo")

    for _ in range(2):
        counter.desk.run(*command, "--index-url", counter.index_url, "--keyring-provider", "import")

    assert (counter.desk.home / wheel.name).exists()
    assert counter.tokens == 1


def test_pip_installs_with_the_keyring_command(counter: Counter, wheel: Path) -> None:
    counter.publish(wheel)
    python = counter.desk.make_environment("empty")

    counter.desk.pip(
        *(python, "install", "demo", "--index-url", counter.index_url_of_user),
        *("--keyring-provider", "subprocess"),
    )

    assert counter.desk.run(python, "-c", "import demo; print(demo.__version__)").output == "1.0\n"
    assert counter.tokens == 1


@pytest.mark.parametrize("way", ["user", "always"])
def test_uv_installs(way: str, counter: Counter, wheel: Path) -> None:
    counter.publish(wheel)
    python = counter.desk.make_environment("empty")
    command = ("pip", "install", "--python", python, "--keyring-provider", "subprocess", "demo")

    if way == "user":
        counter.desk.uv(*command, "--default-index", counter.index_url_of_user)
    else:
        (counter.desk.home / "uv.toml").write_text(
            f'[[index]]\nname = "shelf"\nurl = "{counter.index_url}"\ndefault = true\n'
            'authenticate = "always"\n'
        )
        config = counter.desk.home / "uv.toml"
        counter.desk.uv(*command, "--config-file", config, UV_NO_CONFIG="0")

    assert counter.desk.run(python, "-c", "import demo; print(demo.__version__)").output == "1.0\n"
    assert counter.tokens == 1


def test_uv_publishes(counter: Counter, wheel: Path) -> None:
    counter.desk.uv(
        *("publish", "--keyring-provider", "subprocess", "--username", USER),
        *("--publish-url", counter.upload_url, wheel),
    )

    assert list(counter.shelf.list_files("demo")) == [wheel.name]
    assert counter.tokens == 1


def test_twine_publishes_with_and_without_a_user_name(counter: Counter, wheel: Path) -> None:
    command = (tool("keyring", "twine"), "upload", "--non-interactive")
    for user in (("--username", USER), ()):
        counter.desk.run(*command, *user, "--repository-url", counter.upload_url, wheel)

    assert list(counter.shelf.list_files("demo")) == [wheel.name]
    assert counter.tokens == 1


def test_poetry_publishes_and_adds(counter: Counter, tmp_path: Path) -> None:
    poetry = tool("keyring", "poetry")
    parcel = _built_by("poetry", tmp_path)
    counter.desk.run(poetry, "config", "repositories.shelf", counter.upload_url)
    counter.desk.run(poetry, "config", "virtualenvs.in-project", "true")
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "pyproject.toml").write_text(_PYPROJECT)

    counter.desk.run(poetry, "publish", "--repository", "shelf", "--no-interaction", cwd=parcel)
    counter.desk.run(poetry, "source", "add", "shelf", counter.index_url, cwd=consumer)
    counter.desk.run(poetry, "add", "--source", "shelf", "parcel-one", cwd=consumer)

    digests = counter.shelf.list_files("parcel-one").values()
    lock = (consumer / "poetry.lock").read_text()
    assert digests
    assert all(digest in lock for digest in digests)
    assert counter.tokens == 1


def test_pdm_publishes_and_adds(counter: Counter, tmp_path: Path) -> None:
    pdm = tool("keyring", "pdm")
    parcel = _built_by("poetry", tmp_path)
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{counter.index_url}"\n'
    (consumer / "pyproject.toml").write_text(_PYPROJECT + source)
    python = counter.desk.make_environment("empty")

    command = (pdm, "publish", "--no-build", "--username", USER)
    counter.desk.run(*command, "--repository", counter.upload_url, cwd=parcel)
    counter.desk.run(pdm, "use", python, cwd=consumer)
    counter.desk.run(pdm, "add", "--no-self", "parcel-one", cwd=consumer)

    said = counter.desk.run(python, "-c", "import parcel_one; print(parcel_one.contents)")
    assert said.output == "a book\n"
    assert counter.tokens == 1


def test_hatch_publishes_with_a_token_at_hand(counter: Counter, tmp_path: Path) -> None:
    """Hatch brings keyring and no google-auth, which only a fetch needs."""
    settings = dict(counter.desk.settings)
    key = settings.pop("GOOGLE_APPLICATION_CREDENTIALS")
    desk = Desk(counter.desk.home, settings)
    activate = ("auth", "activate-service-account", f"--key-file={key}")
    desk.run(tool("keyring", "python"), "-m", "bonded", *activate)
    parcel = _built_by("hatch", tmp_path)

    desk.run(
        *(tool("hatch"), "publish", "--no-prompt", "--user", USER),
        *("--repo", counter.upload_url),
        *sorted((parcel / "dist").iterdir()),
    )

    assert len(counter.shelf.list_files("parcel-one")) == 2
    assert counter.tokens == 1


def test_what_the_helpers_write_is_all_that_tools_need(counter: Counter, wheel: Path) -> None:
    desk, home = counter.desk, counter.desk.home
    python = tool("keyring", "python")
    key = desk.settings["GOOGLE_APPLICATION_CREDENTIALS"]
    desk.run(python, "-m", "bonded", "auth", "activate-service-account", f"--key-file={key}")
    for name, path in (("pip", "pip.conf"), ("uv", "uv.toml"), ("twine", ".pypirc")):
        line = ("auth", f"configure-{name}", f"--repository={counter.shelf.name}", "--quiet")
        desk.run(python, "-m", "bonded", *line, f"--file={home / path}")
    first, second = desk.make_environment("first"), desk.make_environment("second")

    upload = (tool("keyring", "twine"), "upload", "--non-interactive")
    desk.run(*upload, "--repository", counter.shelf.name, wheel)
    install = (tool("pip"), "--python", first, "install", "demo")
    desk.run(*install, PIP_CONFIG_FILE=str(home / "pip.conf"))
    sync = ("pip", "install", "--python", second, "demo", "--config-file", home / "uv.toml")
    desk.uv(*sync, UV_NO_CONFIG="0")

    for each in (first, second):
        assert desk.run(each, "-c", "import demo; print(demo.__version__)").output == "1.0\n"
    # One for the account, which the helpers act as, and one for the key file's own sake.
    assert counter.tokens == 2


def test_an_index_of_a_stranger_gets_no_token(counter: Counter, wheel: Path) -> None:
    """The stranger's index asks for a password as ours does, and hears none."""
    counter.publish(wheel)
    with cutting_line(counter.shelf.server.port, cut_after_bytes=1 << 40) as stranger:
        url = counter.index_url.replace(str(counter.line.port), str(stranger.port))
        for index_url in (url, url.replace("://", f"://{USER}@")):
            counter.desk.run(
                *(tool("keyring", "python"), "-m", "pip", "download", "demo"),
                *("--index-url", index_url, "--keyring-provider", "import"),
                fails=True,
            )

    heard = b"".join(stranger.requests).lower()
    assert b"get /" in heard
    assert heard.count(b"authorization: basic") == heard.count(_basic_of_nobody())
    assert counter.tokens == 0


@pytest.mark.parametrize("way", ["uv", "pip with the command", "pip with the package"])
def test_a_token_that_belongs_to_https_is_never_sent_in_clear(way: str, counter: Counter) -> None:
    """One line that says http is enough: each look-up is a process that knows of no other."""
    sign_in = SignIn(EMAIL, counter.origin.replace("http:", "https:"), "refresh-token")
    config = counter.desk.home / "config"
    AccountStore(config).add(sign_in)
    keep_token(config, sign_in.account, AccessToken("secret", time.time() + 3600))
    settings = {key: value for key, value in counter.desk.settings.items() if "GOOGLE" not in key}
    desk = Desk(counter.desk.home, {**settings, "BONDED_CONFIG": str(config)})
    https = counter.index_url.replace("http:", "https:")
    index = ("--index-url", counter.index_url_of_user)

    assert desk.run(tool("keyring"), "get", https, USER).output == "secret\n"
    match way:
        case "uv":
            python = desk.make_environment("empty")
            line = ("pip", "install", "--python", python, "demo", *index)
            desk.uv(*line, "--keyring-provider", "subprocess", fails=True)
        case "pip with the command":
            python = desk.make_environment("empty")
            asked = ("install", "demo", *index, "--keyring-provider", "subprocess")
            desk.pip(python, *asked, fails=True)
        case _:
            python = tool("keyring", "python")
            install = ("-m", "pip", "download", "demo", *index, "--keyring-provider", "import")
            desk.run(python, *install, fails=True)

    heard = b"".join(counter.line.requests).lower()
    assert b"get /" in heard
    assert heard.count(b"authorization:") == heard.count(_basic_of_nobody())


def test_googles_own_plugin_finds_a_token_through_a_link_called_gcloud(counter: Counter) -> None:
    gcloud = counter.desk.home / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.symlink_to(Path(sys.executable).with_name("bonded"))
    settings = dict(counter.desk.settings)
    key = settings.pop("GOOGLE_APPLICATION_CREDENTIALS")
    del settings["PYTHONPATH"]
    settings["PATH"] = f"{gcloud.parent}:/usr/bin:/bin"
    desk = Desk(counter.desk.home, settings)
    desk.run("gcloud", "auth", "activate-service-account", f"--key-file={key}")
    ask = "from keyrings import gauth; print(gauth.get_gcloud_credential())"

    token = desk.run(tool("keyring", "python"), "-W", "ignore", "-c", ask).output.splitlines()[-1]

    assert token == desk.run("gcloud", "auth", "print-access-token").output.strip()
    assert counter.tokens == 1


def _built_by(name: str, directory: Path) -> Path:
    """Return the directory of a project that a tool has built."""
    publisher = next(each for each in PUBLISHERS if each.name == name)
    home = directory / "builder"
    home.mkdir()
    return publisher.prepare(Desk(home), directory / "parcel", "a book")


def _basic_of_nobody() -> bytes:
    """Return the whole header that clients send for a user name alone, in lower case."""
    return f"authorization: {basic(USER, '')}\r\n".lower().encode()

"""A server moves as docs/how-to/operate.md says: a rehearsal, with ports for the names of hosts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from clients.cutting import cutting_line
from clients.shelves import PROJECT, USER
from support.clock import SetClock
from support.issuer import FakeIssuer, running_issuer
from support.person import browse
from support.server import Server, free_port, running_server
from support.tools import ROOT, Desk, tool
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

BONDED = (sys.executable, "-m", "bonded")
ADA = {"address": "ada@example.com", "password": "correct horse battery staple"}
BROWSER = f"{sys.executable} {ROOT / 'tests' / 'support' / 'person.py'} %s &"
ROBOT = f"the-robot@{PROJECT}.iam.gserviceaccount.com"
WRITER = "--role=roles/artifactregistry.writer"
REPOSITORY = ("--repository=python", "--tool=pip")


@dataclass(frozen=True, slots=True)
class Home:
    """Where somebody works: a machine of their own."""

    desk: Desk

    @classmethod
    def at(cls, directory: Path) -> Home:
        """Return the home in a directory, which it makes if it is missing."""
        directory.mkdir(parents=True, exist_ok=True)
        settings = {"BONDED_CONFIG": str(directory / "config"), "NO_GCE_CHECK": "true"}
        if (credentials := directory / "credentials.json").exists():
            settings["GOOGLE_APPLICATION_CREDENTIALS"] = str(credentials)
        return cls(Desk(directory, settings))

    def bonded(self, *arguments: str, fails: bool = False) -> str:
        """Run a command line."""
        return self.desk.run(
            *BONDED, *arguments, fails=fails, BROWSER=BROWSER, PERSON_TYPES=json.dumps(ADA)
        ).output.strip()

    def fetch(self, *, fails: bool = False) -> str:
        """Return a new token, or why there is none."""
        shutil.rmtree(self.desk.home / "config" / "tokens", ignore_errors=True)
        is_job = "GOOGLE_APPLICATION_CREDENTIALS" in self.desk.settings
        words = ("application-default", "print-access-token") if is_job else ("print-access-token",)
        return self.bonded("auth", *words, fails=fails)

    def edit(self, name: str, old: str, new: str) -> None:
        """Write another address into a file, as `sed -i` does."""
        path = self.desk.home / name
        path.write_text(path.read_text().replace(old, new))


@dataclass(frozen=True, slots=True)
class Left:
    """A server that has stopped, and the homes of those who use it."""

    server: Server
    homes: Path
    token: str
    """A live one, which the server had issued."""

    def take(self, directory: Path) -> dict[str, Home]:
        """Return copies of the homes, for one test to change."""
        shutil.copytree(self.homes, directory)
        return {path.name: Home.at(path) for path in directory.iterdir()}


@pytest.fixture(name="left", scope="module")
def _left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    directory = tmp_path_factory.mktemp("moving")
    homes = directory / "homes"
    admin, robot, ada = (Home.at(homes / name) for name in ("admin", "robot", "ada"))
    settings = {"BONDED_PRIVATE_ISSUERS": "true"}
    with running_issuer(SetClock()) as issuer:
        with running_server(directory / "data", environment=settings) as server:
            wheel = make_wheel("demo", "1.0").write_to(directory)
            key = server.data_dir / "admin-key.json"
            admin.bonded("auth", "activate-service-account", f"--key-file={key}")
            token = admin.fetch()
            to = ("--publish-url", server.repository, "--token", token)
            admin.desk.uv("publish", *to, wheel)
            _settle_robot(admin, robot)
            _settle_ada(admin, ada, server)
            _settle_job(admin, homes / "job", issuer)
        yield Left(server, homes, token)


def _let(admin: Home, member: str) -> None:
    grant = ("artifacts", "repositories", "add-iam-policy-binding", "python", WRITER)
    admin.bonded(*grant, f"--member={member}")


def _settle_robot(admin: Home, robot: Home) -> None:
    """A job with a key file, whose pip has been told of everything."""
    admin.bonded("iam", "service-accounts", "create", "the-robot")
    _let(admin, f"serviceAccount:{ROBOT}")
    key = robot.desk.home / "key.json"
    keys = ("iam", "service-accounts", "keys", "create")
    admin.bonded(*keys, str(key), f"--iam-account={ROBOT}")
    robot.bonded("auth", "activate-service-account", f"--key-file={key}")
    robot.bonded("auth", "configure-netrc", "--repository=python", "--quiet")
    python = ("artifacts", "print-settings", "python", "--repository=python", "--tool=pip")
    (robot.desk.home / "pip.conf").write_text(robot.bonded(*python))


def _settle_ada(admin: Home, ada: Home, server: Server) -> None:
    """A person who has signed in by a browser."""
    made = admin.bonded("users", "create", ADA["address"], "--format=value(invitation.uri)")
    invitation = next(word for word in made.split() if word.startswith(f"{server.url}/_/"))
    browse(invitation, {"password": ADA["password"], "again": ADA["password"]})
    _let(admin, f"user:{ADA['address']}")
    ada.bonded("auth", "login", f"--server={server.url}")
    ada.bonded("config", "set", "project", PROJECT)


def _settle_job(admin: Home, home: Path, issuer: FakeIssuer) -> None:
    """A job that an issuer vouches for."""
    home.mkdir()
    pools = ("iam", "workload-identity-pools")
    at = ("--workload-identity-pool=ci-pool", "--location=global")
    admin.bonded(*pools, "create", "ci-pool", "--location=global")
    mapping = ("--attribute-mapping=google.subject=assertion.sub", f"--issuer-uri={issuer.url}")
    admin.bonded(*pools, "providers", "create-oidc", "builds", *at, *mapping)
    name = admin.bonded(*pools, "providers", "describe", "builds", *at, "--format=value(name)")
    pool = name.partition("/providers/")[0]
    _let(admin, f"principal://iam.googleapis.com/{pool}/subject/job-7")
    audience = f"https://iam.googleapis.com/{name}"
    now = int(time.time())
    token = issuer.sign(sub="job-7", aud=audience, iat=now, exp=now + 3600)
    (home / "subject-token").write_text(token)
    source = f"--credential-source-file={home / 'subject-token'}"
    output = f"--output-file={home / 'credentials.json'}"
    admin.bonded(*pools, "create-cred-config", name, source, output)


@contextmanager
def moved(left: Left, directory: Path, *, port: int) -> Iterator[Server]:
    """Run the server from a copy of its data directory, modes and owner included."""
    copy = directory / "data"
    subprocess.run(["cp", "-a", left.server.data_dir, copy], check=True)
    settings = {"BONDED_PRIVATE_ISSUERS": "true", "BONDED_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with running_server(copy, port=port, environment=settings) as server:
        yield server


def status_of(server: Server, token: str) -> int:
    """Ask for the packages of the first repository."""
    url = f"{server.repository}simple/"
    return requests.get(url, auth=(USER, token), timeout=30).status_code


def install(home: Home) -> None:
    """Install as the pip.conf and the netrc of a home say, and by nothing else."""
    python = home.desk.make_environment("environment")
    home.desk.run(
        tool("pip"),
        "--python",
        python,
        "install",
        "demo",
        PIP_CONFIG_FILE=str(home.desk.home / "pip.conf"),
    )
    assert home.desk.run(python, "-c", "import demo; print(demo.__version__)").output == "1.0\n"


def test_under_the_same_name_everything_goes_on(left: Left, tmp_path: Path) -> None:
    key = (left.server.data_dir / "admin-key.json").read_bytes()
    homes = left.take(tmp_path / "homes")

    with moved(left, tmp_path, port=left.server.port) as server:
        assert status_of(server, left.token) == 200
        assert {name: status_of(server, homes[name].fetch()) for name in homes} == dict.fromkeys(
            homes, 200
        )
        install(homes["robot"])
        assert (server.data_dir / "admin-key.json").read_bytes() == key


def test_under_another_name_the_old_one_serves_while_it_leads_there(
    left: Left, tmp_path: Path
) -> None:
    homes = left.take(tmp_path / "homes")
    port, old = free_port(), left.server.port

    with moved(left, tmp_path, port=port) as server, cutting_line(port, 1 << 40, port=old):
        for name, home in homes.items():
            assert status_of(server, home.fetch()) == 200, name
        install(homes["robot"])
        homes["ada"].bonded("config", "set", "core/server", server.url)
        homes["ada"].bonded("config", "set", "core/hosts", f"127.0.0.1:{old}")
        settings = homes["ada"].bonded("artifacts", "print-settings", "python", *REPOSITORY)

    assert f"{server.repository}simple/" in settings
    assert left.server.url not in settings


def test_under_another_name_addresses_are_edited_and_people_sign_in_again(
    left: Left, tmp_path: Path
) -> None:
    homes = left.take(tmp_path / "homes")
    old = left.server.url

    with moved(left, tmp_path, port=free_port()) as server:
        new = server.url
        # What was issued is judged by its signature, not by the address it was fetched from.
        assert status_of(server, left.token) == 200
        assert f"Nobody answers at {old}/token" in homes["robot"].fetch(fails=True)
        assert server.admin_key["token_uri"] == f"{new}/token"
        key = server.data_dir / "admin-key.json"
        homes["admin"].bonded("auth", "activate-service-account", f"--key-file={key}")

        homes["robot"].edit("key.json", old, new)
        key = homes["robot"].desk.home / "key.json"
        homes["robot"].bonded("auth", "activate-service-account", f"--key-file={key}")
        homes["robot"].edit("pip.conf", old, new)
        homes["job"].edit("credentials.json", old, new)
        homes["ada"].bonded("auth", "login", f"--server={new}")

        assert {name: status_of(server, homes[name].fetch()) for name in homes} == dict.fromkeys(
            homes, 200
        )
        # netrc names no port, so here it need not be written anew.
        install(homes["robot"])
        audience = requests.get(f"{new}/_/oidc/audience", timeout=30).json()["audience"]
        assert audience == new.removeprefix("http://")

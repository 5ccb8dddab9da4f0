"""The tour in the README, pasted line by line into a shell on a fresh checkout."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import free_port
from support.wheels import make_wheel

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
PREPARING_MAX_S = 300


def _blocks(port: int) -> list[list[str]]:
    text = (ROOT / "README.md").read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    return [block.splitlines() for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)]


@pytest.fixture(name="home", scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(name="checkout", scope="module")
def _checkout(home: Path) -> Path:
    """What git would give to somebody who clones this tree as it is now."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    checkout = home / "bonded"
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    return checkout


@pytest.fixture(name="environment", scope="module")
def _environment(home: Path) -> dict[str, str]:
    """A newcomer's: an empty home, nothing of this run's virtual environment."""
    kept = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - a child inherits it
        if not name.startswith(("BONDED_", "PYTEST_", "VIRTUAL_ENV", "PYTHON", "UV_", "TWINE_"))
    }
    path = [part for part in kept["PATH"].split(os.pathsep) if ".venv" not in part]
    return kept | {"HOME": str(home), "PATH": os.pathsep.join(path)}


@pytest.fixture(name="port", scope="module")
def _port(checkout: Path, environment: dict[str, str]) -> Iterator[int]:
    """Run the first block, `./serve`, on a port of its own; once, for it installs everything."""
    port = free_port()
    (command,) = _blocks(port)[0]
    serve = [*command.removeprefix("$ ").split(), "--listen", f"127.0.0.1:{port}"]
    with (checkout / "serve.log").open("wb") as log:
        server = subprocess.Popen(serve, cwd=checkout, env=environment, stdout=log, stderr=log)
    deadline = time.monotonic() + PREPARING_MAX_S
    while "Bonded is running" not in (checkout / "serve.log").read_text():
        assert server.poll() is None, (checkout / "serve.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield port
    # Not killed: it must end by itself when it is told to.
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=15) == 0


def test_every_line_of_the_tour_works_and_prints_what_it_says(
    checkout: Path, environment: dict[str, str], port: int
) -> None:
    lines = [line for block in _blocks(port)[1:] for line in block]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    promised = [line for line in lines if not line.startswith("$ ")]

    tour = subprocess.run(
        ["bash", "-e"],
        input="\n".join(commands),
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert [line for line in promised if line not in tour.stdout + tour.stderr] == []


def test_what_the_server_prints_at_its_start_can_be_pasted(
    checkout: Path, environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    wheel = make_wheel("pasted", "1.0")
    (checkout / "dist").mkdir()
    wheel.write_to(checkout / "dist")
    printed = (checkout / "serve.log").read_text()
    indented = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    # What it says of a public index out of reach is how to start another server.
    commands = [line for line in indented if not line.endswith("./serve")]
    venv = tmp_path / "tools"
    tools = f"python3 -m venv {venv}; . {venv}/bin/activate; pip install -q uv twine"

    pasted = subprocess.run(
        ["bash", "-e"],
        input="\n".join([tools, *commands]).replace("PACKAGE", "pasted"),
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert str(port) in printed
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    assert "Successfully installed pasted-1.0" in pasted.stdout

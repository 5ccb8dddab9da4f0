"""Real publishing and installing tools, run as on a machine that knows nothing but one registry.

Each tool lives in an environment of its own under `.tools/`, made from a lock in
tests/clients/tools/ by pip and whatever index this machine has configured for pip. What is made
once serves later runs, until its lock changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from pypi_simple import PYPI_SIMPLE_ENDPOINT

ROOT = Path(__file__).resolve().parents[2]
# Resolved: where several checkouts share one directory, each would remake for its own path what
# another is just running.
TOOLS = (ROOT / ".tools").resolve()
LOCKS = ROOT / "tests" / "clients" / "tools"
UV = Path(sys.executable).with_name("uv")
# What tools make environments from: never the environment that runs the tests, which a tool that
# looks for one to install into would take.
BASE_PYTHON = str(
    Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
)
TOOL_MAX_S = 300
DOWNLOAD_MAX_S = 1200


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and all that it printed."""

    status: int
    output: str

    @property
    def flat(self) -> str:
        """The output on one line, as if no tool had wrapped its words or drawn a box."""
        return " ".join(self.output.replace("│", " ").split())


@dataclass(frozen=True, slots=True)
class Desk:
    """An empty home directory where tools run without this machine's settings."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every command."""
    wrapper: tuple[str, ...] = ()
    """A command that runs every command."""

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        fails: bool = False,
        **variables: str,
    ) -> Result:
        """Run a command to its end, which must be a success unless it *fails*."""
        done = subprocess.run(
            [str(part) for part in (*self.wrapper, *command)],
            cwd=cwd or self.home,
            env={**self._environment(), **self.settings, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TOOL_MAX_S,
            check=False,
        )
        result = Result(done.returncode, done.stdout.decode(errors="replace"))
        story = f"{command} ended with {result.status}:\n{result.output}"
        assert (result.status != 0) == fails, story
        return result

    def make_environment(self, name: str) -> Path:
        """Make an environment with nothing in it, not even pip; return its Python."""
        directory = self.home / name
        venv.create(directory, with_pip=False, symlinks=True)
        return directory / "bin" / "python"

    def pip(self, python: Path, *arguments: str | Path, fails: bool = False) -> Result:
        """Run a current pip for the environment of *python*."""
        return self.run(tool("pip"), "--python", python, *arguments, fails=fails)

    def uv(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        fails: bool = False,
        **variables: str,
    ) -> Result:
        """Run uv."""
        return self.run(UV, *arguments, cwd=cwd, fails=fails, **variables)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": os.defpath,
            # Wide, and without colours: what a tool says should stay in one piece.
            "COLUMNS": "400",
            "NO_COLOR": "1",
            "SOURCE_DATE_EPOCH": "1600000000",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            # Nobody imports all of it, and compiling takes longer than installing.
            "PIP_NO_COMPILE": "1",
            "PIP_NO_INPUT": "1",
            "UV_CACHE_DIR": str(self.home / "uv-cache"),
            "UV_NO_CONFIG": "1",
            "UV_PYTHON": BASE_PYTHON,
            "UV_PYTHON_DOWNLOADS": "never",
            "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
            "PDM_CHECK_UPDATE": "0",
        }


def tool(name: str, command: str | None = None) -> Path:
    """Return the path of a tool's *command* (its name unless said), installing the tool if need be.

    Skips the test where this machine has no package index to install it from.
    """
    lock, directory = LOCKS / f"{name}.txt", TOOLS / name
    with _made_once(directory, lock.read_text()) as missing:
        if missing:
            _require_index()
            venv.create(directory, with_pip=True, clear=True)
            # The lock is complete, so dependencies need no resolving.
            _machine_pip(
                *("install", "--no-deps", "--require-hashes", "--requirement", lock),
                python=directory / "bin" / "python",
            )
    return directory / "bin" / (command or name)


def download(name: str, *arguments: str | Path) -> Path:
    """Return a directory with what `pip download` brings for *arguments* from this machine's index.

    It is kept under *name* and serves again for the same arguments. Skips the test where this
    machine has no package index.
    """
    directory = TOOLS / "downloads" / name
    pip = tool("pip", "python")
    with _made_once(directory, repr(arguments)) as missing:
        if missing:
            _require_index()
            _machine_pip("download", "--dest", directory, *arguments, python=pip)
    return directory


def machine_index() -> str:
    """Return where this machine's own pip looks, by pip's own configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    found = [value.strip("'\"") for key, _, value in pairs if key.rpartition(".")[2] == "index-url"]
    return found[-1] if found else PYPI_SIMPLE_ENDPOINT


def node_tool(name: str) -> Path:
    """Return a directory with a program for Node and what it needs, from tests/clients/tools/.

    Skips the test where this machine has no Node, or no package registry for it.
    """
    recipe, directory = LOCKS / name, TOOLS / name
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs Node and npm")
    files = sorted(path for path in recipe.iterdir() if path.is_file())
    with _made_once(directory, repr([path.read_text() for path in files])) as missing:
        if missing:
            shutil.copytree(recipe, directory)
            done = subprocess.run(
                [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=directory,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_MAX_S,
                check=False,
            )
            if done.returncode:
                # Unfinished, it must not serve a later run.
                shutil.rmtree(directory)
                pytest.skip(f"npm cannot install {name}: {done.stderr.strip()[-200:]}")
    return directory


@contextmanager
def _made_once(directory: Path, recipe: str) -> Iterator[bool]:
    """Hold a directory for one maker, and say whether it is missing or of another recipe."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    machine = (sys.version_info[:2], platform.machine(), platform.system(), str(directory))
    wanted = hashlib.sha256(repr((recipe, machine)).encode()).hexdigest()
    stamp = directory / ".made-of"
    with (directory.parent / f".{directory.name}.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        missing = not stamp.exists() or stamp.read_text() != wanted
        if missing and directory.exists():
            shutil.rmtree(directory)
        yield missing
        if missing:
            stamp.write_text(wanted)


def _machine_pip(*arguments: str | Path, python: Path) -> None:
    """Run pip with this machine's own settings: its index, certificates and proxies."""
    done = _run_pip(arguments, python)
    assert done.returncode == 0, f"pip {arguments} failed:\n{done.stdout}{done.stderr}"


def _run_pip(arguments: Sequence[str | Path], python: Path) -> subprocess.CompletedProcess[str]:
    quiet = ("-m", "pip", "--disable-pip-version-check", "--no-input", "-qq")
    return subprocess.run(
        [str(python), *quiet, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_MAX_S,
        check=False,
    )


def _require_index() -> None:
    reason = _why_no_index()
    if reason:
        pytest.skip(f"needs a package index, and pip reaches none: {reason}")


@cache
def _why_no_index() -> str:
    """Say why pip cannot download a small package here; nothing if it can."""
    with tempfile.TemporaryDirectory() as directory:
        probe = ("download", "--no-deps", "--no-cache-dir", "--dest", directory, "flit_core")
        done = _run_pip(probe, Path(sys.executable))
    lines = done.stderr.strip().splitlines()
    return lines[-1] if done.returncode and lines else ""

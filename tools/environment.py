"""Make `.venv` hold exactly what a lock names, and hand over to it. Standard library only.

`./serve` needs the server's lock, `./check` the developers' (a superset): an
environment made for the larger one serves the smaller one too.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("server", "dev")}
COMMANDS = {"server": "serve", "dev": "check"}
OLDEST = (3, 11)


def prepare(lock: str) -> None:
    """Bring `.venv` up to *lock* ("server" or "dev"), unless it is already there."""
    if sys.version_info < OLDEST:
        sys.exit(f"Bonded needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    # Not even the guard is opened for writing: the checkout may belong to somebody else.
    if _is_current(lock):
        return
    try:
        guard = (ROOT / ".venv.lock").open("w")
    except OSError as error:
        sys.exit(f"Cannot prepare {VENV}: {error}. Run ./{COMMANDS[lock]} once as its owner.")
    with guard:
        # ./serve and ./check may start together; only one of them may install.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not _is_current(lock):
            _install(lock)


def run(*arguments: str) -> None:
    """Become `.venv`'s Python with *arguments*; does not return."""
    os.environ["PATH"] = f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execv(PYTHON, [str(PYTHON), *arguments])


def _is_current(lock: str) -> bool:
    stamp = VENV / f".{lock}"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == _fingerprint(lock)


def _install(lock: str) -> None:
    # Debian's and Ubuntu's python3 comes without it.
    if importlib.util.find_spec("ensurepip") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        sys.exit(
            "Preparing .venv needs Python's ensurepip, which is not installed here. On Debian and "
            f"Ubuntu: sudo apt install python{version}-venv"
        )
    said = f"Preparing .venv from requirements/{lock}.txt; this may take some minutes …"
    print(said, file=sys.stderr, flush=True)
    venv.create(VENV, with_pip=True, clear=not PYTHON.exists())
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*pip, "--require-hashes", "--requirement", str(LOCKS[lock])])
    _run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    (VENV / f".{lock}").write_text(_fingerprint(lock))
    if lock == "dev":
        (VENV / ".server").write_text(_fingerprint("server"))


def _fingerprint(lock: str) -> str:
    parts = (LOCKS[lock], ROOT / "pyproject.toml")
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for part in parts:
        digest.update(part.read_bytes())
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        sys.exit("Preparing .venv failed; the lines above say why. Is a package index reachable?")

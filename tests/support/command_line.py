"""The command line in this process, at which a real server's administrator has signed in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from bonded.cli.program import run
from support.cli_registry import Said
from support.server import Server

Bonded = Callable[..., Said]
"""Runs one line, with what is typed meanwhile as *typed*."""


def command_line(
    server: Server,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bonded:
    """Return what runs command lines with the configuration directory *config*."""
    monkeypatch.setenv("BONDED_CONFIG", str(config))

    def bonded(*arguments: str, typed: str = "") -> Said:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = run(arguments)
        said = capsys.readouterr()
        return Said(said.out, said.err, status)

    key_file = server.data_dir / "admin-key.json"
    assert bonded("auth", "activate-service-account", f"--key-file={key_file}").status == 0
    return bonded

"""A command line, and a registry in memory for it to talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli_registry import Registry, Terminal, running_registry


@pytest.fixture(name="registry")
def _registry() -> Iterator[Registry]:
    with running_registry() as running:
        yield running


@pytest.fixture(name="terminal")
def _terminal(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    """A command line where nobody has ever signed in."""
    return Terminal(registry, tmp_path, monkeypatch, capsys)


@pytest.fixture(name="bonded")
def _bonded(terminal: Terminal) -> Terminal:
    """A command line that is signed in with a key."""
    terminal.sign_in()
    return terminal

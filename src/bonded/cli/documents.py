"""Files that a command takes: JSON, or YAML as commands print it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bonded.cli import yaml_text
from bonded.client.errors import Misconfigured
from bonded.client.private_files import read_private


def read_document(path: Path, what: str, hint: str) -> Any:
    """Return what the file at *path* holds; the errors call it *what*, and *hint* how to write it.

    Raises:
        Misconfigured: it is not there, or neither JSON nor YAML.
    """
    text = read_private(path)
    if text is None:
        raise Misconfigured(f"There is no {what} at {path}.")
    try:
        return json.loads(text)
    except ValueError:
        return yaml_text.load(text, str(path), hint)

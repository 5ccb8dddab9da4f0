"""The files of secrets that the server makes for itself: its sealing key, its first key file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_secret(path: Path, text: str, *, replace: bool = True) -> None:
    """Write *text* to *path* with mode 0600, durably, whole or not at all.

    With *replace* off, a file that is already there stays, whoever wrote it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        elif not path.exists():
            # link, not rename: of two that start together, the first one's file stays.
            path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The name too must survive a power cut.
        os.fsync(directory)
    finally:
        os.close(directory)

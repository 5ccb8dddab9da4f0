"""Files that are replaced whole or not at all: readers see the old one or the new one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bonded.client.errors import Misconfigured


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Make *path* a file of *content*, which may be used as *mode* says.

    The bytes reach the disk before the name does, so a crash cannot leave an empty file.

    Raises:
        OSError: it cannot be written, and is as it was.
    """
    # No two writers share a draft: threads share a process, and containers a home and numbers.
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        _forget(draft)


def rewrite(path: Path, content: bytes) -> None:
    """Replace what is in *path*, a file of somebody's: its mode stays, and a link remains one.

    Raises:
        Misconfigured: it cannot be written, and is as it was.
    """
    try:
        behind = path.resolve(strict=True)
        write_whole(behind, content, stat.S_IMODE(behind.stat().st_mode))
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> Misconfigured:
    """Return what to say when *path* cannot be replaced."""
    return Misconfigured(
        f"Cannot write {path}: {error.strerror}.",
        hint=f"Make {path.parent} a directory that you may write to, with room on its disk.",
    )


def _forget(draft: Path) -> None:
    """Remove what is left of *draft*; after a success nothing is."""
    try:
        draft.unlink(missing_ok=True)
    except OSError:
        # The error that brought us here says more than this one would.
        return

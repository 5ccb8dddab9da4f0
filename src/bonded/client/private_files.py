"""Files that only their owner may read, replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from bonded.client.errors import Misconfigured

FILE_SIZE_BYTES_MAX = 1 << 20
_REPLACE = "It is damaged, or another file by mistake: replace it, or remove it."


def read_private(path: Path) -> str | None:
    """Return the text of *path*, or None if there is no such file.

    Raises:
        Misconfigured: the file is there but cannot be read, or is no text of a sensible size.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE_BYTES_MAX + 1)
        if len(content) > FILE_SIZE_BYTES_MAX:
            raise Misconfigured(
                f"{path} is larger than {FILE_SIZE_BYTES_MAX} bytes.", hint=_REPLACE
            )
        return content.decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not a text file.", hint=_REPLACE) from error
    except OSError as error:
        raise Misconfigured(
            f"Cannot read {path}: {error.strerror}.",
            hint="Make it a file that you may read, or remove it.",
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace *path* by *text*, mode 0600, in a directory that is made as `make_private` does.

    Readers see the old file or the new one. The bytes reach the disk before the name does, so a
    crash cannot leave an empty file where a key was.

    Raises:
        Misconfigured: the file cannot be written.
    """
    # No two writers share a draft: threads share a process, and containers a home and numbers.
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        make_private(path.parent)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        # Lines end as they did in what was read.
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise Misconfigured(
            f"Cannot write {path}: {error.strerror}.",
            hint=f"Make {path.parent} a directory that you may write to, with room on its disk.",
        ) from error
    finally:
        _forget(draft)


def make_private(directory: Path) -> None:
    """Make *directory* and those above it that are missing, each of mode 0700.

    Their names say which servers somebody uses, and as whom. `mkdir(parents=True)` would give the
    mode to the last one only.

    Raises:
        OSError: one cannot be made.
    """
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)


def check_writable(path: Path) -> None:
    """Make sure that `write_private` can write *path*, before something irreversible is done.

    Raises:
        Misconfigured: it cannot.
    """
    if path.is_dir():
        raise Misconfigured(f"Cannot write {path}: it is a directory.")
    probe = path.with_name(f".{path.name}.probe")
    write_private(probe, "")
    remove_private(probe)


def remove_private(path: Path) -> bool:
    """Remove *path* and say whether it was there.

    Raises:
        Misconfigured: the file is there but cannot be removed.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Misconfigured(f"Cannot remove {path}: {error.strerror}.") from error
    return True


def _forget(draft: Path) -> None:
    """Remove what is left of *draft*; after a success nothing is."""
    try:
        draft.unlink(missing_ok=True)
    except OSError:
        # The error that brought us here says more than this one would.
        return

"""Files that only their owner may read, replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

from bonded.client.errors import Misconfigured
from bonded.client.whole_files import cannot_write, write_whole

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
    except ValueError as error:
        raise Misconfigured(f"{str(path)!r} cannot be the name of a file: {error}.") from error
    except OSError as error:
        raise Misconfigured(
            f"Cannot read {path}: {error.strerror}.",
            hint="Make it a file that you may read, or remove it.",
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace *path* by *text*, mode 0600, in a directory that is made as `make_private` does.

    Raises:
        Misconfigured: the file cannot be written.
    """
    try:
        make_private(path.parent)
        # Lines end as they did in what was read.
        write_whole(path, text.encode(), 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error


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

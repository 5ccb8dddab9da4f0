"""Inspecting a distribution before it is believed: the one way into this package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from bonded.server.archives.core_metadata import Inspection, read_core_metadata
from bonded.server.archives.limits import Limits
from bonded.server.archives.sdists import read_pkg_info
from bonded.server.archives.wheels import read_metadata
from bonded.server.core.files import FileKind, Filename


def inspect(path: Path, filename: Filename, limits: Limits) -> Inspection:
    """Check that the file at *path* is the distribution its *filename* says, and safe to unpack.

    Blocks on disk and CPU: run it in a thread. Memory stays within the limits whatever the file;
    wheels are not unpacked but for METADATA, sdists are read through once.

    Raises:
        Rejected: the file is wrong, in one sentence that names the member at fault.
        TooLarge: it is over one of the limits.
        OSError: the disk failed.
    """
    with path.open("rb", buffering=0) as file:
        member, data = _read(file, filename, limits)
    return read_core_metadata(member, data, filename)


def _read(file: BinaryIO, filename: Filename, limits: Limits) -> tuple[str, bytes]:
    match filename.kind:
        case FileKind.WHEEL:
            return read_metadata(file.fileno(), filename, limits)
        case FileKind.SDIST:
            return read_pkg_info(file, os.fstat(file.fileno()).st_size, filename, limits)

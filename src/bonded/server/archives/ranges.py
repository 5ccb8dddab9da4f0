"""Core metadata of a wheel that is somewhere else, from as few ranges of it as possible.

`zipfile` reads here, not `Zip`: the wheel is not vouched for, only looked into, and its members
need not tile it. Installers look into wheels the same way.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import BinaryIO, cast

from bonded.server.archives.core_metadata import read_core_metadata
from bonded.server.archives.limits import Limits
from bonded.server.archives.members import shown, spells
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename

TAIL_BYTES = 64 * 1024
"""What is asked for first: the end record, and for most wheels the whole directory and METADATA."""
RANGE_MIN_BYTES = 16 * 1024


class Missing(Exception):
    """The bytes from *start* to before *stop* are needed, and not here."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(f"bytes {start} to {stop}")
        self.start = start
        self.stop = stop


class Ranges(io.RawIOBase):
    """A file of which some ranges are here; reading others raises `Missing`."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._size_bytes = size_bytes
        self._position = 0
        self._known: list[tuple[int, bytes]] = []

    def add(self, start: int, data: bytes) -> None:
        """Take in a range."""
        self._known.append((start, data))

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be sought in."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position. Raises OSError before the start, as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next *size* bytes, or all to the end. Raises Missing."""
        start = self._position
        stop = self._size_bytes if size < 0 else min(start + size, self._size_bytes)
        if stop <= start:
            return b""
        for first, data in self._known:
            if first <= start and stop <= first + len(data):
                self._position = stop
                return data[start - first : stop - first]
        raise Missing(start, min(max(stop, start + RANGE_MIN_BYTES), self._size_bytes))


def read_wheel_metadata(file: io.RawIOBase | BinaryIO, filename: Filename, limits: Limits) -> bytes:
    """Return METADATA of the wheel in *file*, which may be `Ranges` of one.

    Raises:
        Missing: another range is needed; add it and call again.
        Rejected: it is not a wheel, or METADATA is not what the filename says.
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(cast("BinaryIO", file)) as archive:
            entry = _find(archive, filename)
            if max(entry.file_size, entry.compress_size) > limits.core_metadata_bytes_max:
                raise TooLarge(
                    f"{shown(entry.filename)} in {filename.text} is larger than "
                    f"{limits.core_metadata_bytes_max} bytes"
                )
            # Its size was declared, and reading past it fails.
            data = archive.read(entry)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise Rejected(f"{filename.text} is not a readable zip archive: {error}") from error
    except (ValueError, OSError) as error:
        raise Rejected(f"{filename.text} is not a readable zip archive") from error
    return read_core_metadata(f"METADATA in {filename.text}", data, filename).core_metadata


def _find(archive: zipfile.ZipFile, filename: Filename) -> zipfile.ZipInfo:
    found = [
        entry
        for entry in archive.infolist()
        if entry.filename.endswith(".dist-info/METADATA") and entry.filename.count("/") == 1
    ]
    if len(found) != 1 or not spells(found[0].filename.partition(".dist-info/")[0], filename):
        raise Rejected(f"{filename.text} has no .dist-info/METADATA, or several")
    return found[0]

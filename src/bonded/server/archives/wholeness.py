"""Whether all of an archive is there: read to its end, and held against its own checksums.

For files whose index tells no digest: an archive is then the only one to say that it was not cut
short or replaced by something else. What is in it is not judged; old files of an index are many
things, as long as they can be unpacked.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from bonded.server.archives.limits import Limits
from bonded.server.archives.tars import BLOCK_BYTES, is_tar_header
from bonded.server.core.errors import Rejected

_PIECE_BYTES = 256 * 1024
_ZIPS = (".whl", ".zip", ".egg")
XZ_MEMORY_MAX_BYTES = 128 * 1024 * 1024
"""An xz stream names the memory that unpacks it; xz itself never asks for more than 65 MiB."""
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile),
    *(EOFError, OSError, ValueError, NotImplementedError, RuntimeError),
)


def check_whole(path: Path, filename: str, limits: Limits) -> None:
    """Read all of the archive at *path*.

    Raises:
        Rejected: it is damaged, cut short, something else, or unpacks to too much.
    """
    packed_bytes = path.stat().st_size
    try:
        if filename.endswith(_ZIPS):
            _read_zip(path, filename, packed_bytes, limits)
        else:
            _read_tar(path, filename, packed_bytes, limits)
    except _DAMAGE as error:
        raise Rejected(f"{filename} is not a readable archive: {error}") from error


def _read_zip(path: Path, filename: str, packed_bytes: int, limits: Limits) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        limits.check_members(filename, len(entries))
        limits.check_unpacked(filename, sum(one.file_size for one in entries), packed_bytes)
        for entry in entries:
            # No further than its declared size; its checksum is compared at its end.
            with archive.open(entry) as member:
                while member.read(_PIECE_BYTES):
                    pass


def _read_tar(path: Path, filename: str, packed_bytes: int, limits: Limits) -> None:
    unpacked_bytes = 0
    for piece in _unpacked(path, filename.rpartition(".")[2]):
        if not unpacked_bytes and not is_tar_header(piece[:BLOCK_BYTES]):
            raise Rejected(f"{filename} is not a readable archive: it is no tar")
        unpacked_bytes += len(piece)
        limits.check_unpacked(filename, unpacked_bytes, packed_bytes)
    if not unpacked_bytes:
        raise Rejected(f"{filename} is not a readable archive: it is empty")


def _unpacked(path: Path, suffix: str) -> Iterator[bytes]:
    if suffix == "xz":
        yield from _unpacked_xz(path)
        return
    with bz2.open(path) if suffix == "bz2" else gzip.open(path) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _unpacked_xz(path: Path) -> Iterator[bytes]:
    unpacker = lzma.LZMADecompressor(memlimit=XZ_MEMORY_MAX_BYTES)
    with path.open("rb") as file:
        while not unpacker.eof:
            packed = file.read(_PIECE_BYTES) if unpacker.needs_input else b""
            if unpacker.needs_input and not packed:
                raise EOFError("it ends too early")
            if piece := unpacker.decompress(packed, _PIECE_BYTES):
                yield piece

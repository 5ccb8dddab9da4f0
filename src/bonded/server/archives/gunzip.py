"""A gzip stream read forward at constant memory, and never further than the limits allow."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from bonded.server.archives.limits import Limits
from bonded.server.core.errors import Rejected

_MAGIC = b"\x1f\x8b"
_PACKED_CHUNK_BYTES = 64 * 1024
_UNPACKED_CHUNK_BYTES = 256 * 1024
_GZIP_WRAPPER = 16 + zlib.MAX_WBITS


class Gunzip:
    """What is in a .gz file of *packed_bytes* whose *name* is for messages."""

    def __init__(self, file: BinaryIO, packed_bytes: int, name: str, limits: Limits) -> None:
        self._file = file
        self._packed_bytes = packed_bytes
        self._name = name
        self._limits = limits
        self._inflater = zlib.decompressobj(_GZIP_WRAPPER)
        self._packed = file.read(_PACKED_CHUNK_BYTES)
        self._unpacked_bytes = 0
        self._buffer = b""
        self._position = 0
        if not self._packed.startswith(_MAGIC):
            raise Rejected(f"{name} is not a gzip-compressed tar archive")

    def read(self, size: int) -> bytes:
        """Return the next *size* bytes, or fewer at the end.

        Raises:
            Rejected: the stream is damaged, truncated, a bomb, or followed by other data.
        """
        end = self._position + size
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        parts = []
        while size and (part := self._take(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Pass over the next *size* bytes and return how many there were.

        Raises:
            Rejected: as `read`.
        """
        skipped = 0
        while skipped < size:
            available = len(self._buffer) - self._position
            if not available:
                if not self._fill():
                    break
                continue
            step = min(size - skipped, available)
            self._position += step
            skipped += step
        return skipped

    def rest_is_zero(self) -> bool:
        """Read to the end, and say whether nothing but padding was there.

        Raises:
            Rejected: as `read`.
        """
        is_zero = not self._buffer[self._position :].strip(b"\0")
        while self._fill():
            is_zero = is_zero and not self._buffer.strip(b"\0")
        return is_zero

    def _take(self, size: int) -> bytes:
        if self._position == len(self._buffer) and not self._fill():
            return b""
        data = self._buffer[self._position : self._position + size]
        self._position += len(data)
        return data

    def _fill(self) -> bool:
        """Replace the spent buffer with the next chunk; say whether there was one."""
        self._position = 0
        self._buffer = b""
        while not self._buffer:
            if self._inflater.eof:
                self._check_end()
                return False
            if not self._packed:
                self._packed = self._file.read(_PACKED_CHUNK_BYTES)
            self._buffer = self._inflate()
        self._unpacked_bytes += len(self._buffer)
        self._limits.check_unpacked(self._name, self._unpacked_bytes, self._packed_bytes)
        return True

    def _inflate(self) -> bytes:
        at_end_of_file = not self._packed
        try:
            unpacked = self._inflater.decompress(self._packed, _UNPACKED_CHUNK_BYTES)
        except zlib.error as error:
            raise Rejected(f"{self._name} is damaged: its gzip stream is not valid") from error
        self._packed = self._inflater.unconsumed_tail
        if at_end_of_file and not unpacked and not self._inflater.eof:
            raise Rejected(
                f"{self._name} is truncated", hint="Its gzip stream ends early. Upload it again."
            )
        return unpacked

    def _check_end(self) -> None:
        """Refuse anything but zeros after the stream: another archive could begin there."""
        rest = self._inflater.unused_data + self._packed
        while rest:
            if rest.strip(b"\0"):
                raise Rejected(f"{self._name} has data after the end of its gzip stream")
            rest = self._file.read(_PACKED_CHUNK_BYTES)

"""The structure of a zip archive, read strictly: what two readers could disagree on is refused.

A wheel must be its members, its central directory and its end record, in this order and nothing
else (APPNOTE 4.3.6). One rule, that these tile the file without gap or overlap, refuses data
before, between and behind them, archives in archives, and members that share their bytes.
`zipfile` is not used: it forgives most of that, and takes longer.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from bonded.server.archives.limits import Limits
from bonded.server.archives.members import path_of, shown
from bonded.server.core.errors import Rejected, TooLarge

LOCAL_SIGNATURE = b"PK\x03\x04"
_DIRECTORY_SIGNATURE = b"PK\x01\x02"
_END_SIGNATURE = b"PK\x05\x06"
_END64_SIGNATURE = b"PK\x06\x06"
_LOCATOR64_SIGNATURE = b"PK\x06\x07"
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")

_STORED, _DEFLATED = 0, 8
_UNREADABLE = 0x2061
"""Bits 0, 6 and 13: traditional encryption, strong encryption, masked headers; bit 5: a patch."""
_VERSION_MAX = 63
"""Of the format, times ten, that a reader must know: APPNOTE 6.3, as far as `zipfile` goes."""
_DESCRIBED_LATER = 0x0008
_UTF8 = 0x0800
_IN_EXTRA_32, _IN_EXTRA_16 = 0xFFFFFFFF, 0xFFFF
_EXTRA_ZIP64, _EXTRA_UNICODE_PATH = 0x0001, 0x7075
_END64_SIZE_FIELD = _END64.size - 12


def is_zip(fd: int) -> bool:
    """Say whether some reader would take the file for a zip archive, whatever it begins with.

    Readers look for the end record in the tail, where it may also stand by chance; so one counts
    only if a directory, or zip64's locator, is where it says.
    """
    size = os.fstat(fd).st_size
    tail_start = max(0, size - _END.size - _IN_EXTRA_16)
    tail = os.pread(fd, size - tail_start, tail_start)
    for found in re.finditer(re.escape(_END_SIGNATURE), tail):
        record = tail[found.start() : found.start() + _END.size]
        if len(record) < _END.size:
            break
        *_, directory_bytes, directory_start, _ = _END.unpack(record)
        end = tail_start + found.start()
        for position in (end - directory_bytes, directory_start, end - _LOCATOR64.size):
            if position >= 0 and os.pread(fd, 4, position) in (
                _DIRECTORY_SIGNATURE,
                _LOCATOR64_SIGNATURE,
            ):
                return True
    return False


class Member(NamedTuple):
    """One entry of the central directory."""

    offset: int
    """Of the local header."""
    name: str
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    unpacked_bytes: int


class Zip:
    """A zip archive on disk, its structure checked; the members by path, in file order."""

    def __init__(self, fd: int, name: str, limits: Limits) -> None:
        self._fd = fd
        self._name = name
        self._limits = limits
        self._size = os.fstat(fd).st_size
        self._extra_bytes = 0
        self.members: dict[str, Member] = {}
        start, stop, count = self._find_directory()
        for member in sorted(self._read_directory(start, stop, count)):
            # A file and a directory of the same name are duplicates too, hence without the slash.
            path = path_of(name, member.name)
            if path in self.members:
                raise Rejected(f"{name} has two members named {shown(path)}")
            self.members[path] = member
        self._limits.check_unpacked(
            name, sum(member.unpacked_bytes for member in self.members.values()), self._size
        )
        self._data_offsets = self._check_tiling(start)

    def read(self, member: Member, size_max: int) -> bytes:
        """Return the contents of *member*, at most *size_max* bytes.

        Raises:
            Rejected: the contents are not what the directory says, or cannot be unpacked.
        """
        if member.unpacked_bytes > size_max or member.packed_bytes > size_max:
            raise TooLarge(f"{member.name} in {self._name} is larger than {size_max} bytes")
        data = self._pread(self._data_offsets[member.offset], member.packed_bytes)
        if member.method == _DEFLATED:
            data = self._inflate(member, data)
        if len(data) != member.unpacked_bytes or zlib.crc32(data) != member.crc32:
            raise self._corrupt(member)
        return data

    def _inflate(self, member: Member, data: bytes) -> bytes:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            unpacked = inflater.decompress(data, member.unpacked_bytes + 1)
        except zlib.error as error:
            raise self._corrupt(member) from error
        if not inflater.eof or inflater.unused_data:
            raise self._corrupt(member)
        return unpacked

    def _find_directory(self) -> tuple[int, int, int]:
        """Return where the central directory starts and stops, and its number of entries."""
        if self._size < _END.size:
            raise Rejected(f"{self._name} is not a zip archive")
        position = self._size - _END.size
        signature, disk, first_disk, here, count, size, start, comment = _END.unpack(
            self._pread(position, _END.size)
        )
        if signature != _END_SIGNATURE or comment:
            raise self._no_end()
        stop = position
        if position >= _LOCATOR64.size:
            locator = self._pread(position - _LOCATOR64.size, _LOCATOR64.size)
            if locator.startswith(_LOCATOR64_SIGNATURE):
                stop = position - _LOCATOR64.size - _END64.size
                count, size, start = self._read_end64(locator, stop, (count, size, start))
                here = count
        if disk or first_disk or here != count:
            raise Rejected(f"{self._name} is one part of a zip archive")
        self._limits.check_members(self._name, count)
        if size > self._limits.directory_bytes_max:
            raise TooLarge(
                f"{self._name} has a directory of more than"
                f" {self._limits.directory_bytes_max} bytes"
            )
        if start + size != stop:
            raise self._stray_data()
        return start, stop, count

    def _read_end64(
        self, locator: bytes, position: int, end: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        """Return number of entries, size and start of the directory from the zip64 records.

        Readers differ in when they believe these rather than the plain end record, so the plain
        one must say the same or say nothing.
        """
        _, disk, offset, disks = _LOCATOR64.unpack(locator)
        if position < 0 or offset != position or disk or disks > 1:
            raise Rejected(f"{self._name} has a malformed zip64 end record")
        signature, length, _, _, _, _, here, count, size, start = _END64.unpack(
            self._pread(position, _END64.size)
        )
        agrees = all(
            plain in (wide, ceiling)
            for plain, wide, ceiling in zip(
                end,
                (count, size, start),
                (_IN_EXTRA_16, _IN_EXTRA_32, _IN_EXTRA_32),
                strict=True,
            )
        )
        sound = signature == _END64_SIGNATURE and length == _END64_SIZE_FIELD and here == count
        if not (sound and agrees):
            raise Rejected(f"{self._name} has a malformed zip64 end record")
        return count, size, start

    def _no_end(self) -> Rejected:
        """Return why there is no end record at the end: the three cases have different cures."""
        if not self._pread(0, 4).startswith((LOCAL_SIGNATURE, _END_SIGNATURE)):
            return Rejected(f"{self._name} is not a zip archive")
        tail_bytes = min(self._size, _END.size + _IN_EXTRA_16)
        found = self._pread(self._size - tail_bytes, tail_bytes).rfind(_END_SIGNATURE)
        if 0 <= found < tail_bytes - _END.size:
            return Rejected(f"{self._name} has data or a comment after the end of its zip archive")
        return Rejected(
            f"{self._name} is truncated",
            hint="The directory at the zip archive's end is missing. Build or upload it again.",
        )

    def _read_directory(self, start: int, stop: int, count: int) -> Iterator[Member]:
        """Yield every entry of the central directory, which is exactly from *start* to *stop*."""
        directory = self._pread(start, stop - start)
        position = 0
        for _ in range(count):
            if position + _ENTRY.size > len(directory):
                raise self._bad_directory()
            entry = _ENTRY.unpack_from(directory, position)
            name_start = position + _ENTRY.size
            extra_start = name_start + entry[10]
            comment_start = extra_start + entry[11]
            position = comment_start + entry[12]
            if entry[0] != _DIRECTORY_SIGNATURE or position > len(directory):
                raise self._bad_directory()
            yield self._member(
                entry, directory[name_start:extra_start], directory[extra_start:comment_start]
            )
        if position != len(directory):
            raise self._bad_directory()

    def _bad_directory(self) -> Rejected:
        return Rejected(f"{self._name} has a malformed central directory")

    def _member(self, entry: tuple[int, ...], raw_name: bytes, extra: bytes) -> Member:
        (_, _, version, flags, method, _, _, crc32, packed, unpacked, *_, disk, _, _, offset) = (
            entry
        )
        try:
            # Without the UTF-8 flag the encoding is anybody's guess, and this one is PEP 427's.
            name = raw_name.decode()
        except UnicodeDecodeError as error:
            raise Rejected(
                f"{self._name} has a member whose name is not UTF-8: {raw_name[:80]!a}"
            ) from error
        if extra:
            unpacked, packed, offset = self._read_extra(
                name, raw_name, extra, (unpacked, packed, offset)
            )
        if flags & _UNREADABLE or version & 0xFF > _VERSION_MAX:
            raise Rejected(f"{shown(name)} in {self._name} is encrypted, or needs a newer unzip")
        if method not in (_STORED, _DEFLATED):
            raise Rejected(
                f"{shown(name)} in {self._name} is compressed by method {method}",
                hint="Installers read stored and deflated members only.",
            )
        if disk or (method == _STORED and packed != unpacked):
            raise self._bad_directory()
        return Member(offset, name, raw_name, flags, method, crc32, packed, unpacked)

    def _read_extra(
        self, name: str, raw_name: bytes, extra: bytes, fields: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Return *fields*, each from the zip64 field where that has it: APPNOTE 4.5.3.

        They are the unpacked size, the packed size and, in the central directory, the offset.
        """
        self._extra_bytes += len(extra)
        if self._extra_bytes > self._limits.directory_bytes_max:
            raise TooLarge(
                f"{self._name} has extra fields of more than"
                f" {self._limits.directory_bytes_max} bytes together"
            )
        blocks = self._extra_blocks(name, extra)
        path = blocks.get(_EXTRA_UNICODE_PATH)
        if path is not None and path[5:] != raw_name:
            raise Rejected(f"{shown(name)} in {self._name} has a second, different name")
        block = blocks.get(_EXTRA_ZIP64, b"")
        wide = struct.unpack_from(f"<{len(block) // 8}Q", block)
        needed = fields.count(_IN_EXTRA_32)
        values = iter(wide)
        sound = needed <= len(wide)
        if sound:
            fields = tuple(next(values) if field == _IN_EXTRA_32 else field for field in fields)
        # Some readers take values by position, needed or not: they must find the same.
        if not sound or (len(wide) > needed and fields[: len(wide)] != wide[: len(fields)]):
            raise self._bad_extra(name)
        return fields

    def _extra_blocks(self, name: str, extra: bytes) -> dict[int, bytes]:
        """Return the extra field as blocks by type; each type at most once, so readers agree."""
        blocks: dict[int, bytes] = {}
        position = 0
        # Fewer than four bytes are padding, as zipalign writes it.
        while position + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, position)
            block = extra[position + 4 : position + 4 + length]
            if len(block) != length or (
                kind in blocks and kind in (_EXTRA_ZIP64, _EXTRA_UNICODE_PATH)
            ):
                raise self._bad_extra(name)
            blocks[kind] = block
            position += 4 + length
        return blocks

    def _bad_extra(self, name: str) -> Rejected:
        return Rejected(f"{shown(name)} in {self._name} has a malformed extra field")

    def _check_tiling(self, directory_start: int) -> dict[int, int]:
        """Check every local header, and that members follow each other from 0 to the directory.

        Returns:
            Where each member's data start, by the offset of its header.
        """
        offsets = [*(member.offset for member in self.members.values()), directory_start]
        if offsets[0] != 0 or max(offsets) > directory_start:
            raise self._stray_data()
        return {
            member.offset: self._check_local(member, end)
            for member, end in zip(self.members.values(), offsets[1:], strict=True)
        }

    def _check_local(self, member: Member, end: int) -> int:
        """Check that *member*, from header to descriptor, stops at *end*; say where data start."""
        header = self._pread(member.offset, _LOCAL.size + len(member.raw_name))
        fields: tuple[int, ...] = _LOCAL.unpack_from(header)[2:]
        flags, method, _, _, crc32, packed, unpacked, name_len, extra_len = fields
        same = (
            header.startswith(LOCAL_SIGNATURE)
            and name_len == len(member.raw_name)
            and header.endswith(member.raw_name)
            and method == member.method
            and not (flags ^ member.flags) & (_UNREADABLE | _DESCRIBED_LATER | _UTF8)
        )
        if not same:
            raise self._contradiction(member)
        data_start = member.offset + _LOCAL.size + name_len + extra_len
        descriptor_bytes = end - data_start - member.packed_bytes
        if descriptor_bytes < 0:
            raise self._stray_data()
        extra = self._pread(data_start - extra_len, extra_len)
        unpacked, packed = self._read_extra(member.name, member.raw_name, extra, (unpacked, packed))
        told = (crc32, packed, unpacked)
        true = (member.crc32, member.packed_bytes, member.unpacked_bytes)
        if flags & _DESCRIBED_LATER:
            # Described later means zero here (APPNOTE 4.4.4), or what the writer knew already.
            if any(value not in (0, truth) for value, truth in zip(told, true, strict=True)):
                raise self._contradiction(member)
            self._check_descriptor(member, end - descriptor_bytes, descriptor_bytes)
        elif descriptor_bytes:
            raise Rejected(f"{self._name} has data after member {shown(member.name)}")
        elif told != true:
            raise self._contradiction(member)
        return data_start

    def _check_descriptor(self, member: Member, position: int, size: int) -> None:
        """Check the sizes that a streaming writer put behind the data (APPNOTE 4.3.9)."""
        # Signature and 64-bit sizes are both optional, and only the length tells.
        shape = {12: "<3I", 16: "<3I", 20: "<IQQ", 24: "<IQQ"}.get(size)
        if shape is None:
            raise Rejected(f"{self._name} has data after member {shown(member.name)}")
        signed = size in (16, 24)
        told = self._pread(position, size)
        if signed and not told.startswith(_DESCRIPTOR_SIGNATURE):
            raise self._contradiction(member)
        values = struct.unpack(shape, told[4:] if signed else told)
        if values != (member.crc32, member.packed_bytes, member.unpacked_bytes):
            raise self._contradiction(member)

    def _stray_data(self) -> Rejected:
        return Rejected(
            f"{self._name} has data that belongs to no member, or to several",
            hint="The zip archive is damaged, or another file was put before or into it.",
        )

    def _contradiction(self, member: Member) -> Rejected:
        return Rejected(
            f"{self._name} describes {shown(member.name)} differently in its two headers",
            hint="The zip archive is damaged, or made to be read in two ways.",
        )

    def _corrupt(self, member: Member) -> Rejected:
        return Rejected(f"{member.name} in {self._name} is damaged: it does not unpack as declared")

    def _pread(self, position: int, size: int) -> bytes:
        """Return exactly *size* bytes from *position*."""
        data = os.pread(self._fd, size, position) if size else b""
        if len(data) != size:
            raise Rejected(
                f"{self._name} is truncated", hint="A member ends behind the file's end."
            )
        return data

"""The members of a tar archive, read forward and strictly (POSIX.1-1988 ustar, GNU, pax).

What tar readers are known to disagree on is refused rather than guessed: numbers that are not
plain, sizes that contradict each other, files named like directories, headers that repeat or
stand in an unusual order, data where padding belongs, global headers that rename, sparse files.
`tarfile` is not used: it holds any header in memory, whatever its size, and is slow to skip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from bonded.server.archives.gunzip import Gunzip
from bonded.server.archives.limits import Limits
from bonded.server.archives.members import shown
from bonded.server.core.errors import Rejected, TooLarge

BLOCK_BYTES = 512
_CHECKSUM = slice(148, 156)
_ANY_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
# One that every reader finds to be the same: some end at the first NUL, others skip it.
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
# Mode, owner, times and devices mean nothing here, but where one is no number, tarfile ends the
# archive without a word.
_IDLE_NUMBERS = tuple(
    slice(start, start + width)
    for start, width in ((100, 8), (108, 8), (116, 8), (136, 12), (329, 8), (337, 8))
)
_IDLE_NUMBER = re.compile(rb" *[0-7]* *(\0.*)?|[\x80\xff].*", re.DOTALL)
_BASE_256 = 0x80
_OCTAL_SIZE_MAX = 0o77777777777
"""What the header of a member can say; pax and base-256 are for members of 8 GiB and more."""
_PAX_RECORD = re.compile(rb"([0-9]{1,9}) ([^=\s\0][^=\n\0]*)=")
_PAX_PLACES = frozenset({b"path", b"linkpath", b"size"})
_PAX_SPARSE = b"GNU.sparse."

FILE, HARDLINK, SYMLINK, DIRECTORY = b"0", b"1", b"2", b"5"
_FILE_TYPES = frozenset({FILE, b"\0", b"7"})
_KNOWN_TYPES = _FILE_TYPES | {DIRECTORY, SYMLINK, HARDLINK}
_GNU_NAME, _GNU_LINK, _GNU_SPARSE = b"L", b"K", b"S"
_PAX, _PAX_GLOBAL = b"x", b"g"
_EXTENDED_TYPES = frozenset({_GNU_NAME, _GNU_LINK, _PAX, _PAX_GLOBAL})


class TarMember(NamedTuple):
    """One member; `link` is where a link points, exactly as written."""

    name: str
    kind: bytes
    """FILE, HARDLINK, SYMLINK or DIRECTORY."""
    size: int
    link: str


@dataclass(slots=True)
class _Extended:
    """What the headers before a member say about it."""

    path: bytes | None = None
    linkpath: bytes | None = None
    size: int | None = None
    seen: set[bytes] = field(default_factory=set)
    kinds: set[bytes] = field(default_factory=set)
    """The types of these headers."""


def is_tar_header(block: bytes) -> bool:
    """Say whether *block* carries the checksum of a tar header, in whichever flavour."""
    if len(block) != BLOCK_BYTES:
        return False
    checksum = _ANY_OCTAL.fullmatch(block[_CHECKSUM])
    # The checksum is taken with its own field as eight spaces.
    true = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    return checksum is not None and int(checksum[1] or b"0", 8) == true


class Tar:
    """A tar archive in a gzip stream; iterate once, and `read` the member just yielded."""

    def __init__(self, stream: Gunzip, name: str, limits: Limits) -> None:
        self._stream = stream
        self._name = name
        self._limits = limits
        self._unread = 0
        self._count = 0
        self._extended_bytes = 0
        self._extended_records = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Yield member after member, and end only at a well-formed end.

        Raises:
            Rejected: not a tar archive, truncated, or of a kind that readers disagree on.
        """
        extended = _Extended()
        while header := self._next_header():
            kind = header[156:157]
            size = self._size_of(header)
            if kind in _EXTENDED_TYPES:
                self._check_order(extended, kind)
                self._extend(extended, kind, self._extended_header(size))
                continue
            member = self._member(header, kind, size, extended)
            self._unread = member.size
            self._count += 1
            self._limits.check_members(self._name, self._count)
            yield member
            self._skip_contents(member)
            extended = _Extended()
        if extended.kinds:
            raise self._truncated()
        if not self._stream.rest_is_zero():
            raise Rejected(f"{self._name} has data after the end of its tar archive")

    def read(self, member: TarMember) -> bytes:
        """Return the contents of *member*, the one just yielded; the caller has bounded its size.

        Raises:
            Rejected: the archive ends before the member does.
        """
        data = self._stream.read(member.size)
        self._unread -= len(data)
        if self._unread:
            raise self._truncated()
        return data

    def _skip_contents(self, member: TarMember) -> None:
        rest = self._unread + -member.size % BLOCK_BYTES
        if self._stream.skip(rest) != rest:
            raise self._truncated()

    def _next_header(self) -> bytes | None:
        """Return the next header block, or None at the end: a block of zeros, or no block."""
        block = self._stream.read(BLOCK_BYTES)
        if not block.strip(b"\0"):
            # gzip vouches for the length, so an archive without its two blocks of zeros is whole.
            return None
        if is_tar_header(block):
            self._check_numbers(block)
            return block
        if not self._count:
            raise Rejected(f"{self._name} is not a gzip-compressed tar archive")
        if len(block) < BLOCK_BYTES:
            raise self._truncated()
        raise Rejected(f"{self._name} has a damaged tar header after {self._count} members")

    def _check_numbers(self, header: bytes) -> None:
        """Refuse a header that only some readers take for one: only they would go on behind it."""
        plain = _OCTAL.fullmatch(header[_CHECKSUM]) and all(
            _IDLE_NUMBER.fullmatch(header[each]) for each in _IDLE_NUMBERS
        )
        if not plain:
            raise Rejected(f"{self._name} has a tar header with a malformed number")

    def _size_of(self, header: bytes) -> int:
        field_ = header[124:136]
        if field_[0] == _BASE_256:
            return int.from_bytes(field_[1:], "big")
        size = _OCTAL.fullmatch(field_)
        if size is not None:
            return int(size[1], 8)
        if header[156:157] not in _FILE_TYPES | _EXTENDED_TYPES and not field_.strip(b"\0"):
            return 0  # of what has no contents, some writers leave it out; GNU tar skips blanks
        raise Rejected(f"{self._name} has a tar header without a valid size")

    def _extended_header(self, size: int) -> bytes:
        if size > self._limits.extended_header_bytes_max:
            raise TooLarge(
                f"{self._name} has a tar header of more than"
                f" {self._limits.extended_header_bytes_max} bytes"
            )
        self._extended_bytes += size
        if self._extended_bytes > self._limits.extended_headers_bytes_max:
            raise TooLarge(
                f"{self._name} has extended tar headers of more than"
                f" {self._limits.extended_headers_bytes_max} bytes together"
            )
        self._count_record()
        padded = size + -size % BLOCK_BYTES
        data = self._stream.read(padded)
        if len(data) != padded:
            raise self._truncated()
        if data[size:].strip(b"\0"):
            # tarfile reads on there: a longer name, or records more.
            raise Rejected(f"{self._name} has data after the end of an extended tar header")
        return data[:size]

    def _count_record(self) -> None:
        """Count a header or a record in it: the smallest packs into next to no bytes of upload."""
        self._extended_records += 1
        if self._extended_records > self._limits.extended_records_max:
            raise TooLarge(
                f"{self._name} has more than {self._limits.extended_records_max}"
                " extended tar headers and records in them"
            )

    def _check_order(self, extended: _Extended, kind: bytes) -> None:
        """Refuse headers before one member of which some readers forget one, or take it elsewhere.

        GNU tar forgets the first of two of a kind; others take a size, or a global header, for
        what comes right after it, which must be the member then.
        """
        if extended.size is not None or (kind != _PAX_GLOBAL and kind in extended.kinds):
            raise Rejected(f"{self._name} has a member with repeated extended tar headers")
        if kind == _PAX_GLOBAL and extended.kinds - {_PAX_GLOBAL}:
            raise Rejected(f"{self._name} has a global header between a member and its own")
        extended.kinds.add(kind)

    def _extend(self, extended: _Extended, kind: bytes, data: bytes) -> None:
        """Take in one header that describes the member to come, or all members to come."""
        if kind == _PAX_GLOBAL:
            if _PAX_PLACES & dict(self._pax_records(data)).keys():
                raise Rejected(f"{self._name} has a global header that renames its members")
            return
        records = (
            [(b"path" if kind == _GNU_NAME else b"linkpath", data.rstrip(b"\0"))]
            if kind in (_GNU_NAME, _GNU_LINK)
            else self._pax_records(data)
        )
        for key, value in records:
            if key not in _PAX_PLACES:
                continue
            if key in extended.seen:
                raise Rejected(f"{self._name} has a member with two values for its {key.decode()}")
            if not value or b"\0" in value:
                # Empty: taken back (POSIX), or really empty. With a NUL: cut there, or not.
                raise Rejected(f"{self._name} has a member with a malformed {key.decode()}")
            extended.seen.add(key)
            if key == b"path":
                extended.path = value
            elif key == b"linkpath":
                extended.linkpath = value
            elif value.isdigit() and len(value) <= len(str(self._limits.unpacked_bytes_max)):
                extended.size = int(value)
            else:
                raise Rejected(f"{self._name} has a tar header without a valid size")

    def _pax_records(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and value of every `length key=value` record."""
        position = 0
        while position < len(data):
            self._count_record()
            record = _PAX_RECORD.match(data, position)
            end = position + int(record[1]) if record else 0
            if (
                record is None
                or not record.end() < end <= len(data)
                or data[end - 1 : end] != b"\n"
            ):
                raise Rejected(f"{self._name} has a malformed pax header")
            if record[2].startswith(_PAX_SPARSE):
                raise Rejected(f"{self._name} has a sparse member")
            yield record[2], data[record.end() : end - 1]
            position = end

    def _member(self, header: bytes, kind: bytes, size: int, extended: _Extended) -> TarMember:
        name = _text(extended.path if extended.path is not None else self._ustar_name(header))
        link = _text(
            extended.linkpath if extended.linkpath is not None else _field(header[157:257])
        )
        if kind == _GNU_SPARSE:
            raise Rejected(f"{shown(name)} in {self._name} is a sparse file")
        if kind not in _KNOWN_TYPES:
            raise Rejected(
                f"{shown(name)} in {self._name} is no file, directory or link",
                hint=f"Its type in the tar archive is {ascii(kind)[1:]}.",
            )
        if kind in _FILE_TYPES:
            kind = self._file_or_directory(header, kind, name)
        if extended.size is not None:
            self._check_sizes(name, size, extended.size)
            size = extended.size
        if size and kind != FILE:
            raise Rejected(f"{shown(name)} in {self._name} has a size although it is no file")
        return TarMember(name, kind, size, link)

    def _file_or_directory(self, header: bytes, kind: bytes, name: str) -> bytes:
        """Return which of the two a member is that could be either.

        Before ustar, whose types are never NUL, a directory was a file with a slash behind its
        name. Readers disagree on whether later types may do so too, and, where another header
        has the real name, on which name it is: contents of what is a directory to some of them
        would be members.
        """
        slash = name.endswith("/")
        is_old = kind == b"\0"
        if slash != (is_old and _field(header[:100]).endswith(b"/")):
            raise Rejected(
                f"{shown(name)} in {self._name} is a file to some, a directory to others"
            )
        return DIRECTORY if slash else FILE

    def _check_sizes(self, name: str, told: int, extended: int) -> None:
        """Refuse a size that contradicts the header's, unless it is too large for that."""
        if told != extended and (extended <= _OCTAL_SIZE_MAX or told not in (0, _OCTAL_SIZE_MAX)):
            raise Rejected(f"{shown(name)} in {self._name} has two sizes: {told} and {extended}")

    def _ustar_name(self, header: bytes) -> bytes:
        """Return the name from the header itself, with the prefix that only ustar has."""
        name = _field(header[:100])
        prefix = _field(header[345:500])
        if not prefix:
            return name
        if header[257:265] != b"ustar\x0000":
            raise Rejected(f"{self._name} has a tar header with a prefix that is not POSIX's")
        return prefix + b"/" + name

    def _truncated(self) -> Rejected:
        return Rejected(f"{self._name} is truncated", hint="Its tar archive ends inside a member.")


def _field(text: bytes) -> bytes:
    """Return a fixed-width string up to its NUL."""
    return text.split(b"\0", 1)[0]


def _text(name: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 stay distinguishable (PEP 383)."""
    return name.decode(errors="surrogateescape")

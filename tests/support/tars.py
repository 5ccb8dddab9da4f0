"""Tar archives header by header, for those that no writer would write (POSIX.1-1988 ustar).

header("demo-1.0/a", size=4)                        a valid one
changed(header("demo-1.0/a"), mode=b"x")            a field word for word
pax(b"path", b"demo-1.0/b")                         an extended header of one record
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping

BLOCK_BYTES = 512
FIELDS: Mapping[str, slice] = {
    "name": slice(0, 100),
    "mode": slice(100, 108),
    "uid": slice(108, 116),
    "gid": slice(116, 124),
    "size": slice(124, 136),
    "mtime": slice(136, 148),
    "type": slice(156, 157),
    "link": slice(157, 257),
    "magic": slice(257, 265),
    "major": slice(329, 337),
    "minor": slice(337, 345),
    "prefix": slice(345, 500),
}
CHECKSUM = slice(148, 156)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """Return one header, however little it makes sense."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def changed(block: bytes, **fields: bytes) -> bytes:
    """Return a header with other *fields*, NULs behind them, and the checksum renewed."""
    data = bytearray(block)
    for field, value in fields.items():
        place = FIELDS[field]
        width = place.stop - place.start
        data[place] = value[:width].ljust(width, b"\0")
    return resummed(bytes(data))


def resummed(block: bytes) -> bytes:
    """Return a header with the right checksum."""
    data = bytearray(block)
    data[CHECKSUM] = b" " * 8
    data[CHECKSUM] = b"%06o\0 " % sum(data)
    return bytes(data)


def padded(data: bytes) -> bytes:
    """Return contents up to the end of their last block."""
    return data + bytes(-len(data) % BLOCK_BYTES)


def pax(key: bytes, value: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return an extended header of one record."""
    record = pax_record(key, value)
    return header("pax", kind, len(record)) + padded(record)


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return `length key=value`, the length counting itself."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) > length:
        length += 1
    return b"%d%b" % (length, rest)


def gnu_long(text: bytes, kind: bytes = tarfile.GNUTYPE_LONGNAME) -> bytes:
    """Return GNU's extended header for a long name, or link."""
    return header("././@LongLink", kind, len(text)) + padded(text)

"""Which zip archives are read, and that those made or broken to be misread are refused."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename
from support.wheels import Distribution, make_metadata, make_wheel, pack_zip, unpack_zip, zip_info

DIST_INFO = "demo-1.0.dist-info"
WHEEL = make_wheel()
FILENAME = WHEEL.filename
END_BYTES = 22


def inspected(directory: Path, wheel: Distribution, limits: Limits | None = None) -> Inspection:
    path = directory / "staged"
    path.write_bytes(wheel.data)
    return inspect(path, Filename.parse(wheel.filename), limits or Limits())


def refusal(directory: Path, data: bytes, limits: Limits | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        inspected(directory, Distribution(FILENAME, data, b""), limits)
    return caught.value


def rezipped(compression: int) -> bytes:
    return pack_zip((zip_info(name, compression), data) for name, data in unpack_zip(WHEEL.data))


def replaced(old: bytes, new: bytes, *, count: int = -1) -> bytes:
    assert old in WHEEL.data
    assert len(old) == len(new)
    return WHEEL.data.replace(old, new, count)


def streamed() -> bytes:
    """Return the wheel as written to a pipe: sizes follow the data (data descriptors)."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            part = bytes(memoryview(data))  # type: ignore[arg-type]
            self.parts += part
            return len(part)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, data in unpack_zip(WHEEL.data):
            archive.writestr(zip_info(name), data)
    return pipe.parts


def with_zip64_end() -> bytes:
    """Return the wheel with the end records of an archive beyond four gigabytes."""
    body, end = WHEEL.data[:-END_BYTES], WHEEL.data[-END_BYTES:]
    count, size, start = struct.unpack("<HII", end[10:20])
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(body), 1)
    plain = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
    return body + end64 + locator + plain


def forced_zip64() -> bytes:
    """Return the wheel with 64-bit sizes in its local headers, as a careful writer leaves them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in unpack_zip(WHEEL.data):
            with archive.open(zip_info(name), "w", force_zip64=True) as member:
                member.write(data)
    return buffer.getvalue()


def with_encrypted_member() -> bytes:
    data = bytearray(WHEEL.data)
    data[6] |= 1  # the flags of the first local header
    entry = data.index(b"PK\1\2")
    data[entry + 8] |= 1
    return bytes(data)


def tar_that_is_a_zip() -> bytes:
    """Return a wheel whose first 512 bytes are also a tar header with a valid checksum."""
    header = zip_info("x" * 60)
    header.extra = struct.pack("<2H", 0xCAFE, 600) + b" " * 600
    data = bytearray(pack_zip([(header, b""), *unpack_zip(WHEEL.data)]))
    block = bytearray(data[:512])
    block[148:156] = b" " * 8
    data[148:156] = f"{sum(block):06o}\0 ".encode()
    # The central directory's copy of the extra field is another matter, and left as it is.
    assert tarfile.is_tarfile(io.BytesIO(bytes(data[:512]) + bytes(1024)))
    return bytes(data)


def overlapping() -> bytes:
    """Return a wheel whose last member is the first one, seen a second time."""
    data = bytearray(WHEEL.data)
    last = data.rindex(b"PK\1\2")
    data[last + 42 : last + 46] = bytes(4)
    return bytes(data)


def nested() -> bytes:
    """Return a wheel that stores a member, whose own header is a member again."""
    inner = pack_zip([("demo/inner", b"")])
    inner = inner[: inner.index(b"PK\1\2")]
    outer = zip_info("demo/outer", zipfile.ZIP_STORED)
    data = pack_zip([(outer, inner), *unpack_zip(WHEEL.data), ("demo/inner", b"")])
    entry = data.rindex(b"PK\1\2")
    offset = struct.pack("<I", data.index(inner))
    return data[: entry + 42] + offset + data[entry + 46 :]


def with_local(
    *,
    flags: int = 0,
    told: tuple[int, int, int] | None = None,
    extra: bytes = b"",
    central: tuple[int, ...] = (),
    central_extra: bytes = b"",
) -> bytes:
    """Return the wheel, stored, after a member `demo/odd` with a local header of its own.

    Args:
        flags: in both headers; bit 3 adds a data descriptor.
        told: crc and sizes in the local header, the true ones when None.
        extra: of the local header.
        central: crc and sizes in the central directory, the true ones when empty.
        central_extra: of the central directory.
    """
    offset = 0
    body, entries = b"", b""
    members = [("demo/odd", ODD), *unpack_zip(WHEEL.data)]
    for name, data in members:
        odd = name == "demo/odd"
        raw = name.encode()
        true = (zlib.crc32(data), len(data), len(data))
        local = told if odd and told else true
        listed = central if odd and central else true
        bits = flags if odd else 0
        fields, added = (extra, central_extra) if odd else (b"", b"")
        body += struct.pack(
            "<4s5H3I2H", b"PK\3\4", 20, bits, 0, 0, 33, *local, len(raw), len(fields)
        )
        body += raw + fields + data
        body += struct.pack("<4s3I", b"PK\7\x08", *true) if bits & 8 else b""
        entry = (20, 20, bits, 0, 0, 33, *listed, len(raw), len(added), 0, 0, 0, 0, offset)
        entries += struct.pack("<4s6H3I5H2I", b"PK\1\2", *entry) + raw + added
        offset = len(body)
    count = len(members)
    return (
        body
        + entries
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(body), 0)
    )


ODD = b"odd\n" * 25
CRC, SIZE = zlib.crc32(ODD), len(ODD)
WIDE = 0xFFFFFFFF


def zip64(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def unicode_path(name: bytes) -> bytes:
    return struct.pack("<2HBI", 0x7075, 5 + len(name), 1, zlib.crc32(b"demo/odd")) + name


# As Info-ZIP writes them into local headers: times of access and change, owner and group.
INFO_ZIP_EXTRA = struct.pack("<2HB2I", 0x5455, 9, 3, 1, 2) + struct.pack(
    "<2HBBIBI", 0x7875, 11, 1, 4, 0, 4, 0
)


@pytest.mark.parametrize(
    "variant", [lambda: rezipped(zipfile.ZIP_STORED), streamed, with_zip64_end, forced_zip64]
)
def test_a_wheel_may_be_zipped_in_any_way_installers_read(
    tmp_path: Path, variant: Callable[[], bytes]
) -> None:
    wheel = Distribution(FILENAME, variant(), WHEEL.core_metadata)

    assert inspected(tmp_path, wheel).core_metadata == WHEEL.core_metadata


NOT_A_ZIP = f"{FILENAME} is not a zip archive"
TRUNCATED = f"{FILENAME} is truncated"
TRAILING = f"{FILENAME} has data or a comment after the end of its zip archive"
STRAY = f"{FILENAME} has data that belongs to no member, or to several"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", NOT_A_ZIP),
        (b"hello" * 100, NOT_A_ZIP),
        (WHEEL.data[:-1], TRUNCATED),
        (WHEEL.data[:200], TRUNCATED),
        (WHEEL.data + b"\0", TRAILING),
        (WHEEL.data + WHEEL.data[:100], TRAILING),
        (b"#!/bin/sh\n" + WHEEL.data, STRAY),
        (
            overlapping(),
            f"{FILENAME} describes '{DIST_INFO}/RECORD' differently in its two headers",
        ),
        (nested(), STRAY),
        (tar_that_is_a_zip(), f"{FILENAME} is both a zip and a tar archive"),
        (
            with_encrypted_member(),
            f"'demo/__init__.py' in {FILENAME} is encrypted, or needs a newer unzip",
        ),
        (
            rezipped(zipfile.ZIP_BZIP2),
            f"'demo/__init__.py' in {FILENAME} is compressed by method 12",
        ),
        (
            replaced(b"demo/__init__.py", b"demo/__other__.py"[:16], count=1),
            f"{FILENAME} describes 'demo/__init__.py' differently in its two headers",
        ),
        (
            replaced(b"PK\3\4", b"PK\3\5", count=1),
            f"{FILENAME} describes 'demo/__init__.py' differently in its two headers",
        ),
        (replaced(b"PK\1\2", b"PK\1\3"), f"{FILENAME} has a malformed central directory"),
        (
            replaced(b"__init__.py", b"__init\xff_.py"),
            f"{FILENAME} has a member whose name is not UTF-8: b'demo/__init\\xff_.py'",
        ),
    ],
)
def test_a_malformed_zip_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(tmp_path, data).message == message


def test_a_member_with_nul_in_its_name_is_refused(tmp_path: Path) -> None:
    data = replaced(b"demo/__init__.py", b"demo/__init\0_.py")

    assert "unsafe name" in refusal(tmp_path, data).message


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            struct.pack("<2HBI", 0x7075, 13, 1, 0) + b"../evil\0",
            f"'demo/odd' in {FILENAME} has a second, different name",
        ),
        (
            struct.pack("<2HQ", 1, 8, 0) * 2,
            f"'demo/odd' in {FILENAME} has a malformed extra field",
        ),
        (struct.pack("<2H", 0xCAFE, 9), f"'demo/odd' in {FILENAME} has a malformed extra field"),
    ],
)
def test_an_extra_field_that_readers_disagree_on_is_refused(
    tmp_path: Path, extra: bytes, message: str
) -> None:
    # zipfile writes extra fields of its own choice only, so this one replaces a harmless one.
    placeholder = struct.pack("<2H", 0xBEEF, len(extra) - 4) + bytes(len(extra) - 4)
    odd = zip_info("demo/odd")
    odd.extra = placeholder
    data = pack_zip([*unpack_zip(WHEEL.data), (odd, b"")])
    assert data.count(placeholder) == 2

    assert refusal(tmp_path, data.replace(placeholder, extra)).message == message


SECOND_NAME = f"'demo/odd' in {FILENAME} has a second, different name"
BAD_EXTRA = f"'demo/odd' in {FILENAME} has a malformed extra field"
TWO_HEADERS = f"{FILENAME} describes 'demo/odd' differently in its two headers"


@pytest.mark.parametrize(
    "data",
    [
        with_local(extra=INFO_ZIP_EXTRA),
        with_local(extra=b"\0\0\0"),
        with_local(extra=unicode_path(b"demo/odd")),
        with_local(extra=zip64(SIZE, SIZE)),
        with_local(told=(CRC, WIDE, WIDE), extra=zip64(SIZE, SIZE)),
        with_local(told=(CRC, SIZE, WIDE), extra=zip64(SIZE)),
        with_local(flags=8),
        with_local(flags=8, told=(0, 0, 0), extra=INFO_ZIP_EXTRA),
        with_local(flags=8, told=(0, 0, SIZE)),
        with_local(flags=8, told=(0, 0, 0), extra=zip64(0, 0)),
        with_local(flags=8, told=(0, WIDE, WIDE), extra=zip64(0, 0)),
        with_local(flags=8, told=(0, WIDE, WIDE), extra=zip64(SIZE, 0)),
        with_local(central=(CRC, WIDE, WIDE), central_extra=zip64(SIZE, SIZE, 0)),
    ],
)
def test_a_local_header_may_say_less_than_the_directory(tmp_path: Path, data: bytes) -> None:
    wheel = Distribution(FILENAME, data, WHEEL.core_metadata)

    assert inspected(tmp_path, wheel).core_metadata == WHEEL.core_metadata


@pytest.mark.parametrize("flags", [0, 8])
@pytest.mark.parametrize(
    ("told", "extra", "message"),
    [
        ((0xDEADBEEF, 3, 5), b"", TWO_HEADERS),
        ((CRC ^ 1, SIZE, SIZE), b"", TWO_HEADERS),
        ((CRC, SIZE + 1, SIZE), b"", TWO_HEADERS),
        ((CRC, SIZE, 1), b"", TWO_HEADERS),
        ((WIDE, SIZE, SIZE), b"", TWO_HEADERS),
        ((CRC, WIDE, WIDE), zip64(99, 99), TWO_HEADERS),
        ((CRC, WIDE, WIDE), zip64(SIZE, 99), TWO_HEADERS),
        ((CRC, WIDE, WIDE), zip64(SIZE), BAD_EXTRA),
        ((CRC, WIDE, WIDE), b"", BAD_EXTRA),
        ((CRC, SIZE, SIZE), zip64(99, 99), BAD_EXTRA),
        ((CRC, SIZE, SIZE), zip64(99), BAD_EXTRA),
        ((CRC, WIDE, SIZE), zip64(SIZE, 99), BAD_EXTRA),
        ((CRC, SIZE, SIZE), zip64(SIZE, SIZE) * 2, BAD_EXTRA),
        ((CRC, SIZE, SIZE), b"\x01\x00\xff\xff\x00", BAD_EXTRA),
        ((CRC, SIZE, SIZE), unicode_path(b"../../evil.pth"), SECOND_NAME),
    ],
)
def test_a_local_header_that_contradicts_the_directory_is_refused(
    tmp_path: Path, flags: int, told: tuple[int, int, int], extra: bytes, message: str
) -> None:
    data = with_local(flags=flags, told=told, extra=extra)

    assert refusal(tmp_path, data).message == message


def test_sizes_that_the_directory_gives_twice_must_be_the_same(tmp_path: Path) -> None:
    data = with_local(central_extra=zip64(99, 99))

    assert refusal(tmp_path, data).message == BAD_EXTRA


def test_extra_fields_are_bounded_together(tmp_path: Path) -> None:
    data = with_local(extra=bytes(2000))

    error = refusal(tmp_path, data, Limits(directory_bytes_max=1000))

    assert (type(error), error.message) == (
        TooLarge,
        f"{FILENAME} has extra fields of more than 1000 bytes together",
    )


def test_a_data_descriptor_that_contradicts_the_directory_is_refused(tmp_path: Path) -> None:
    data = streamed()
    at = data.index(b"PK\x07\x08")

    for position in (at, at + 4, at + 8):
        changed = bytearray(data)
        changed[position] ^= 1
        assert refusal(tmp_path, bytes(changed)).message == (
            f"{FILENAME} describes 'demo/__init__.py' differently in its two headers"
        )


def test_metadata_that_do_not_unpack_as_declared_are_refused(tmp_path: Path) -> None:
    data = bytearray(rezipped(zipfile.ZIP_STORED))
    data[data.index(b"Summary")] ^= 1

    assert refusal(tmp_path, bytes(data)).message == (
        f"{DIST_INFO}/METADATA in {FILENAME} is damaged: it does not unpack as declared"
    )


def test_a_directory_that_lies_about_its_number_of_members_is_refused(tmp_path: Path) -> None:
    data = bytearray(WHEEL.data)
    data[-END_BYTES + 8 : -END_BYTES + 12] = struct.pack("<2H", 60_000, 60_000)

    message = refusal(tmp_path, bytes(data)).message

    assert message == f"{FILENAME} has a malformed central directory"


def test_a_small_bomb_in_metadata_is_not_inflated_beyond_what_it_declares(tmp_path: Path) -> None:
    bomb = make_wheel(metadata=make_metadata(description=" " * 5_000_000))
    data = bomb.data.replace(struct.pack("<I", len(bomb.core_metadata)), struct.pack("<I", 1000))

    assert "does not unpack as declared" in refusal(tmp_path, data).message


def test_a_member_that_claims_to_lie_beyond_any_file_is_refused(tmp_path: Path) -> None:
    far = 2**64 - 1
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 8, 0, 0, 0, *[0xFFFFFFFF] * 2, 1, 20)
    sizes = struct.pack("<2H2Q", 1, 16, 0, far - 51)
    entries = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 8, 0, 0, *fields, 1, size, *[0] * 4, offset
        )
        + name
        + extra
        for name, fields, size, offset, extra in (
            (b"a", (0, 0xFFFFFFFF, 0xFFFFFFFF), 20, 0, sizes),
            (b"b", (0, 0, 0), 12, 0xFFFFFFFF, struct.pack("<2HQ", 1, 8, far)),
        )
    )
    body = local + b"a" + sizes
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(entries), len(body), 0)

    assert refusal(tmp_path, body + entries + end).message == STRAY

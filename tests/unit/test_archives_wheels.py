"""Which wheels are accepted, and what is said of the others."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename
from support.wheels import Distribution, make_metadata, make_wheel, pack_zip, zip_info

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


def members_of(data: bytes) -> list[tuple[str | zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def rezipped(compression: int) -> bytes:
    return pack_zip(
        (zip_info(str(name), compression), data) for name, data in members_of(WHEEL.data)
    )


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
        for name, data in members_of(WHEEL.data):
            archive.writestr(zip_info(str(name)), data)
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
        for name, data in members_of(WHEEL.data):
            with archive.open(zip_info(str(name)), "w", force_zip64=True) as member:
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
    data = bytearray(pack_zip([(header, b""), *members_of(WHEEL.data)]))
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
    data = pack_zip([(outer, inner), *members_of(WHEEL.data), ("demo/inner", b"")])
    entry = data.rindex(b"PK\1\2")
    offset = struct.pack("<I", data.index(inner))
    return data[: entry + 42] + offset + data[entry + 46 :]


def test_a_wheel_is_read_to_its_exact_core_metadata(tmp_path: Path) -> None:
    wheel = make_wheel(
        "Ada.Lib", "2.1", requires_python=">=3.9,<4", summary="Counts.", description="Long.\n"
    )

    inspection = inspected(tmp_path, wheel)

    assert inspection.core_metadata == wheel.core_metadata
    assert inspection.name.spelled == "Ada.Lib"
    assert inspection.metadata_version == "2.1"
    assert inspection.requires_python == ">=3.9,<4"
    assert inspection.summary == "Counts."


@pytest.mark.parametrize(
    "wheel",
    [
        make_wheel(tag="cp311-cp311-linux_x86_64"),
        make_wheel(tag="1-py2.py3-none-any"),
        make_wheel(version="1.0+local.2"),
        make_wheel(version="1!2.0rc1"),
        make_wheel(payload_bytes=300_000),
        make_wheel(
            "Django", filename="Django-1.0-py3-none-any.whl", dist_info="Django-1.0.dist-info"
        ),
        make_wheel(
            "zope.interface",
            filename="zope.interface-1.0-py3-none-any.whl",
            dist_info="zope.interface-1.0.dist-info",
        ),
        make_wheel(version="1.0.0", dist_info=DIST_INFO),
        make_wheel(files={"demo/": b"", "demo/\N{SNOWMAN}.txt": b"named in UTF-8"}),
        make_wheel(files={"demo/zeros": bytes(10_000_000)}),
    ],
    ids=lambda wheel: wheel.filename,
)
def test_wheels_as_they_are_found_in_the_wild_are_accepted(
    tmp_path: Path, wheel: Distribution
) -> None:
    assert inspected(tmp_path, wheel).core_metadata == wheel.core_metadata


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
            f"'demo/__init__.py' in {FILENAME} is encrypted",
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


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "demo/../../evil", "demo/..", "/etc/evil", "C:evil", "c:/evil"),
        *("demo\\evil", "demo/\x07", "demo/\x7f", ".", "./demo/evil", "demo//evil"),
    ],
)
def test_a_member_that_climbs_out_or_takes_a_roundabout_name_is_refused(
    tmp_path: Path, name: str
) -> None:
    data = pack_zip([*members_of(WHEEL.data), (name, b"")])

    assert refusal(tmp_path, data).message == (
        f"{FILENAME} has a member with an unsafe name: {name!a}"
    )


def test_a_member_with_nul_in_its_name_is_refused(tmp_path: Path) -> None:
    data = replaced(b"demo/__init__.py", b"demo/__init\0_.py")

    assert "unsafe name" in refusal(tmp_path, data).message


@pytest.mark.parametrize("name", ["demo/__init__.py", f"{DIST_INFO}/METADATA", "demo/__init__.py/"])
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    data = pack_zip([*members_of(WHEEL.data), (name, b"")])

    assert refusal(tmp_path, data).message == (
        f"{FILENAME} has two members named {name.rstrip('/')!a}"
    )


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        *(
            (make_wheel(omit=[name]), f"{FILENAME} has no {DIST_INFO}/{name}")
            for name in ("METADATA", "WHEEL", "RECORD")
        ),
        (
            make_wheel(omit=["METADATA"], files={f"{DIST_INFO}/METADATA/": b""}),
            f"{FILENAME} has no {DIST_INFO}/METADATA",
        ),
        (
            make_wheel(omit=["METADATA", "WHEEL", "RECORD"]),
            f"{FILENAME} has no .dist-info directory",
        ),
        (
            make_wheel(files={"x-1.0.dist-info/METADATA": b""}),
            f"{FILENAME} has several .dist-info directories: '{DIST_INFO}' and 'x-1.0.dist-info'",
        ),
        *(
            (
                make_wheel(dist_info=dist_info),
                f"{FILENAME} has the directory '{dist_info}', which is not its name and version",
            )
            for dist_info in ("other-1.0.dist-info", "demo-1.1.dist-info", "demo.dist-info")
        ),
    ],
)
def test_a_zip_that_is_no_wheel_is_refused(
    tmp_path: Path, wheel: Distribution, message: str
) -> None:
    assert refusal(tmp_path, wheel.data).message == message


def test_metadata_that_do_not_unpack_as_declared_are_refused(tmp_path: Path) -> None:
    data = bytearray(rezipped(zipfile.ZIP_STORED))
    data[data.index(b"Summary")] ^= 1

    assert refusal(tmp_path, bytes(data)).message == (
        f"{DIST_INFO}/METADATA in {FILENAME} is damaged: it does not unpack as declared"
    )


ZEROS = make_wheel(files={"demo/zeros": bytes(2_000_000)}).data


@pytest.mark.parametrize(
    ("data", "limits", "message"),
    [
        (WHEEL.data, Limits(members_max=3), f"{FILENAME} has more than 3 members"),
        (
            WHEEL.data,
            Limits(directory_bytes_max=100),
            f"{FILENAME} has a directory of more than 100 bytes",
        ),
        (
            WHEEL.data,
            Limits(core_metadata_bytes_max=20),
            f"{DIST_INFO}/METADATA in {FILENAME} is larger than 20 bytes",
        ),
        (
            ZEROS,
            Limits(unpacked_bytes_max=1_999_999),
            f"{FILENAME} unpacks to more than 1999999 bytes",
        ),
        (
            ZEROS,
            Limits(ratio_floor_bytes=1_000_000),
            f"{FILENAME} unpacks to more than 50 times its size",
        ),
    ],
)
def test_an_archive_over_a_limit_is_too_large(
    tmp_path: Path, data: bytes, limits: Limits, message: str
) -> None:
    error = refusal(tmp_path, data, limits)

    assert (type(error), error.message) == (TooLarge, message)


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

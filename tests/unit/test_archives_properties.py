"""Whatever the bytes, the answer is an inspection or a `Rejected`, and never another exception."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.archives.gunzip import Gunzip
from bonded.server.archives.tars import DIRECTORY, FILE, HARDLINK, SYMLINK, Tar, is_tar_header
from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename
from support.tars import BLOCK_BYTES, FIELDS, changed, header, padded, pax_record, resummed
from support.wheels import make_sdist, make_wheel, pack_tar, tar_member

WHEEL = make_wheel(files={"demo/data": b"data" * 100})
SDIST = make_sdist(files={"d" * 120: b"data", "\N{SNOWMAN}": b""})
TAR = gzip.decompress(SDIST.data)
LIMITS = Limits(unpacked_bytes_max=1_000_000, members_max=1000)

Edit = tuple[int, int, bytes]
"""Where to cut, how much, and what to put there instead."""

EDITS = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 40), st.binary(max_size=40)),
    min_size=1,
    max_size=4,
)
FLIPS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=6)


def inspected(filename: str, data: bytes) -> Inspection | Rejected:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            return inspect(Path(file.name), Filename.parse(filename), LIMITS)
        except Rejected as error:
            return error


def is_sendable(result: Inspection | Rejected) -> bool:
    """Say whether a refusal is one line that can be encoded, whatever the archive put into it."""
    return isinstance(result, Inspection) or (
        str(result).isprintable() and bool(str(result).encode())
    )


def edited(data: bytes, edits: list[Edit]) -> bytes:
    for position, cut, patch in edits:
        at = position % (len(data) + 1)
        data = data[:at] + patch + data[at + cut :]
    return data


def flipped(data: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for position, value in flips:
        changed[position % len(changed)] = value
    return bytes(changed)


@given(st.binary(max_size=2000))
@example(b"PK\5\6" + bytes(18))
def test_arbitrary_bytes_are_no_wheel(data: bytes) -> None:
    assert isinstance(inspected(WHEEL.filename, data), Rejected)


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_no_sdist(data: bytes) -> None:
    assert isinstance(inspected(SDIST.filename, data), Rejected)
    assert isinstance(inspected(SDIST.filename, gzip.compress(data)), Rejected)


@given(FLIPS)
def test_a_wheel_with_flipped_bytes_is_read_or_rejected(flips: list[tuple[int, int]]) -> None:
    data = flipped(WHEEL.data, flips)

    result = inspected(WHEEL.filename, data)

    assert is_sendable(result)
    if isinstance(result, Inspection):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.read("demo-1.0.dist-info/METADATA") == result.core_metadata


@given(EDITS)
def test_a_wheel_cut_and_patched_is_read_or_rejected(edits: list[Edit]) -> None:
    assert is_sendable(inspected(WHEEL.filename, edited(WHEEL.data, edits)))


@given(EDITS)
def test_an_sdist_cut_and_patched_is_read_or_rejected(edits: list[Edit]) -> None:
    assert is_sendable(inspected(SDIST.filename, edited(SDIST.data, edits)))
    assert is_sendable(inspected(SDIST.filename, gzip.compress(edited(TAR, edits))))


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=200).filter(
    # A file with a slash at the end is a directory to some readers, and is refused.
    lambda name: not name.endswith("/")
)


class Found(NamedTuple):
    """A member as a reader finds it."""

    name: str
    kind: bytes
    link: str
    data: bytes


def found_by_us(tar: bytes) -> list[Found] | None:
    """Return the members of a tar archive, or None if it is refused."""
    packed = gzip.compress(tar, compresslevel=1)
    reader = Tar(Gunzip(io.BytesIO(packed), len(packed), "demo.tar.gz", LIMITS), "demo", LIMITS)
    try:
        return [
            Found(
                member.name.rstrip("/"),
                member.kind,
                member.link if member.kind in (SYMLINK, HARDLINK) else "",
                reader.read(member),
            )
            for member in reader
        ]
    except Rejected:
        return None


def found_by_tarfile(tar: bytes) -> list[Found]:
    """Return the members of a tar archive as installers find them."""

    def contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
        file = archive.extractfile(member) if member.isreg() else None
        return file.read() if file else b""

    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        return [
            Found(
                member.name.rstrip("/"),
                FILE if member.isreg() else DIRECTORY if member.isdir() else member.type,
                member.linkname if member.islnk() or member.issym() else "",
                contents(archive, member),
            )
            for member in archive
        ]


FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5), FORMATS)
def test_members_are_those_that_tarfile_finds(
    members: list[tuple[str, bytes]], tar_format: int
) -> None:
    try:
        tar = pack_tar((tar_member(name, data) for name, data in members), tar_format)
    except ValueError:
        return  # ustar has no room for such a name

    assert found_by_us(tar) == found_by_tarfile(tar)


INNER = header("../hidden", size=4) + padded(b"evil")
"""What comes to light where a reader takes the contents of a member for members."""
RECORDS = pax_record(b"path", b"demo-1.0/told") + pax_record(b"mtime", b"1.5")
"""What contents are where a member's type is changed to that of an extended header."""


def members_of(tar_format: int) -> bytes:
    """Return a tar archive of every kind of member, with more in it than is to be seen."""
    link = tar_member("demo-1.0/soft", kind=tarfile.SYMTYPE, link="PKG-INFO")
    long = "d" * 60 if tar_format == tarfile.USTAR_FORMAT else "d" * 120
    sized, data = tar_member("demo-1.0/sized", INNER)
    sized.pax_headers = {"size": str(len(INNER)), "comment": "c"}
    return pack_tar(
        [
            tar_member("demo-1.0/PKG-INFO", SDIST.core_metadata),
            tar_member("demo-1.0/d/", kind=tarfile.DIRTYPE),
            tar_member("demo-1.0/inner", INNER),
            tar_member("demo-1.0/records", RECORDS),
            tar_member(f"demo-1.0/{long}/{long}", INNER),
            (sized, data),
            link,
            tar_member("demo-1.0/hard", kind=tarfile.LNKTYPE, link="demo-1.0/inner"),
            tar_member("demo-1.0/last", b"last"),
        ],
        tar_format,
    )


def headers_of(tar: bytes) -> Iterator[int]:
    """Yield where the headers of *tar* are, those in contents too."""
    for start in range(0, len(tar), BLOCK_BYTES):
        if is_tar_header(tar[start : start + BLOCK_BYTES]):
            yield start


TARS = {
    tar_format: members_of(tar_format)
    for tar_format in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
}
INNER_BYTES = len(INNER)
SIZES = (
    *(b"%011o\0" % INNER_BYTES, b"\0%010o " % INNER_BYTES, b" \0%09o " % INNER_BYTES, b""),
    *(b"0o%o" % INNER_BYTES, b"20_00", b"+4", b"-4", b"\t4", b" " * 12, b"4 4", b"4\0" + b"4"),
    *(b"%011o\0" % 4, b"%012o" % INNER_BYTES, b"\x80".ljust(10, b"\0") + b"\4\0", b"\xff" * 12),
)
VALUES: dict[str, tuple[bytes, ...]] = {
    "size": SIZES,
    "type": (b"\0", *(b"%c" % kind for kind in b"0123457xgLKXSD")),
    "name": (b"demo-1.0/d/", b"d/", b"", b"a\0b", b"/", b"demo-1.0/\xff"),
    "prefix": (b"demo-1.0", b"demo-1.0/d/", b"..", b""),
    "magic": (b"ustar\x0000", b"ustar  \0", b"ustar\0", b""),
    "link": (b"demo-1.0/inner", b"..", b""),
    **dict.fromkeys(
        ("mode", "uid", "gid", "mtime", "major", "minor"), (b"", b"7", b"rw", b"6 4", b"\0" + b"7")
    ),
}
CHANGES = st.lists(
    st.one_of(
        st.sampled_from(sorted(VALUES)).flatmap(
            lambda name: st.tuples(st.integers(0, 30), st.just(name), st.sampled_from(VALUES[name]))
        ),
        st.tuples(st.integers(0, 30), st.sampled_from(sorted(FIELDS)), st.binary(max_size=12)),
    ),
    min_size=1,
    max_size=4,
)
PATCHES = st.lists(st.tuples(st.integers(0, 20_000), st.binary(max_size=3)), max_size=2)


def tampered(
    tar: bytes, changes: list[tuple[int, str, bytes]], patches: list[tuple[int, bytes]]
) -> bytes:
    """Return *tar* with bytes patched, and fields of its headers changed, with good checksums."""
    starts = list(headers_of(tar))
    data = bytearray(tar)
    for position, patch in patches:
        at = position % (len(data) - len(patch))
        data[at : at + len(patch)] = patch
    for start in starts:
        data[start : start + BLOCK_BYTES] = resummed(bytes(data[start : start + BLOCK_BYTES]))
    for index, field, value in changes:
        place = slice(starts[index % len(starts)], starts[index % len(starts)] + BLOCK_BYTES)
        data[place] = changed(bytes(data[place]), **{field: value})
    return bytes(data)


@pytest.mark.parametrize("tar_format", TARS)
@settings(max_examples=150)
@given(changes=CHANGES, patches=PATCHES)
def test_a_tar_whose_headers_were_tampered_with_is_read_as_tarfile_reads_it_or_rejected(
    tar_format: int,
    changes: list[tuple[int, str, bytes]],
    patches: list[tuple[int, bytes]],
) -> None:
    tar = tampered(TARS[tar_format], changes, patches)

    ours = found_by_us(tar)

    assert ours is None or ours == found_by_tarfile(tar)

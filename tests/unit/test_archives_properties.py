"""Whatever the bytes, the answer is an inspection or a `Rejected`, and never another exception."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.archives.gunzip import Gunzip
from bonded.server.archives.tars import Tar
from bonded.server.core.errors import Rejected
from bonded.server.core.files import Filename
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


@given(FLIPS)
def test_a_tar_with_flipped_bytes_is_read_as_tarfile_reads_it_or_rejected(
    flips: list[tuple[int, int]],
) -> None:
    tar = flipped(TAR, flips)

    result = inspected(SDIST.filename, gzip.compress(tar))

    assert is_sendable(result)
    if isinstance(result, Inspection):
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            member = archive.extractfile("demo-1.0/PKG-INFO")
            assert member is not None
            assert member.read() == result.core_metadata


@given(EDITS)
def test_an_sdist_cut_and_patched_is_read_or_rejected(edits: list[Edit]) -> None:
    assert is_sendable(inspected(SDIST.filename, edited(SDIST.data, edits)))
    assert is_sendable(inspected(SDIST.filename, gzip.compress(edited(TAR, edits))))


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=200).filter(
    # A file with a slash at the end is a directory to some readers, and is refused.
    lambda name: not name.endswith("/")
)


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_tarfile_finds(
    members: list[tuple[str, bytes]], tar_format: int
) -> None:
    tar = pack_tar((tar_member(name, data) for name, data in members), tar_format)
    packed = gzip.compress(tar)

    reader = Tar(Gunzip(io.BytesIO(packed), len(packed), "demo.tar.gz", LIMITS), "demo", LIMITS)
    found = [(member.name.rstrip("/"), reader.read(member)) for member in reader]

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        names = [member.name for member in archive.getmembers()]
    assert [name for name, _ in found] == [name.rstrip("/") for name in names]
    assert all(
        data in (b"", given_data) for (_, data), (_, given_data) in zip(found, members, strict=True)
    )

"""Which source distributions are accepted, and what is said of the others."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename
from support.tars import CHECKSUM, changed, gnu_long, header, padded, pax, pax_record
from support.wheels import (
    Distribution,
    make_metadata,
    make_sdist,
    make_wheel,
    pack_tar,
    pack_tar_gz,
    pack_zip,
    tar_member,
)

SDIST = make_sdist()
FILENAME = SDIST.filename
PKG_INFO = tar_member("demo-1.0/PKG-INFO", SDIST.core_metadata)
TAR = gzip.decompress(SDIST.data)
LONG = f"demo-1.0/{'deep/' * 60}{'x' * 120}.py"
DATA = "demo-1.0/data"
HIDDEN = header("../../evil.py", size=4) + padded(b"evil")
"""Contents of a member, or members to whoever takes that member for an empty one."""
HIDDEN_BYTES = len(HIDDEN)


def inspected(directory: Path, sdist: Distribution, limits: Limits | None = None) -> Inspection:
    path = directory / "staged"
    path.write_bytes(sdist.data)
    return inspect(path, Filename.parse(sdist.filename), limits or Limits())


def refusal(directory: Path, data: bytes, limits: Limits | None = None) -> Rejected:
    with pytest.raises(Rejected) as caught:
        inspected(directory, Distribution(FILENAME, data, b""), limits)
    return caught.value


def packed(*members: tuple[tarfile.TarInfo, bytes], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an sdist of PKG-INFO and *members*."""
    return pack_tar_gz([PKG_INFO, *members], tar_format)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return tar_member(name, kind=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return tar_member(name, kind=tarfile.LNKTYPE, link=target)


def directory(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return tar_member(name, kind=tarfile.DIRTYPE)


def with_pax(name: str, **headers: str) -> tuple[tarfile.TarInfo, bytes]:
    info, data = tar_member(name)
    info.pax_headers = {key.replace("__", "."): value for key, value in headers.items()}
    return info, data


def gzipped(tar: bytes) -> bytes:
    return gzip.compress(tar, mtime=0)


def test_an_sdist_is_read_to_its_exact_core_metadata(tmp_path: Path) -> None:
    sdist = make_sdist("Ada.Lib", "2.1", requires_python=">=3.9", summary="Counts.")

    inspection = inspected(tmp_path, sdist)

    assert inspection.core_metadata == sdist.core_metadata
    assert inspection.name.spelled == "Ada.Lib"
    assert inspection.requires_python == ">=3.9"
    assert inspection.summary == "Counts."


@pytest.mark.parametrize(
    "sdist",
    [
        make_sdist(
            "zope.interface", filename="zope.interface-1.0.tar.gz", top="zope.interface-1.0"
        ),
        make_sdist("PyYAML", filename="PyYAML-1.0.tar.gz", top="PyYAML-1.0"),
        make_sdist("python-dateutil", top="python-dateutil-1.0"),
        make_sdist(version="1.0rc1", top="demo-1.0-rc1"),
        make_sdist(version="1.0+local"),
        make_sdist(payload_bytes=1_000_000),
        make_sdist(files={"zeros": bytes(10_000_000)}),
        make_sdist("a" * 200, version="1.0.post1"),
    ],
    ids=lambda sdist: sdist.filename,
)
def test_sdists_as_they_are_found_in_the_wild_are_accepted(
    tmp_path: Path, sdist: Distribution
) -> None:
    assert inspected(tmp_path, sdist).core_metadata == sdist.core_metadata


@pytest.mark.parametrize(
    "data",
    [
        packed(directory("demo-1.0"), tar_member(LONG, b"x" * 1000), tar_format=tarfile.GNU_FORMAT),
        packed(directory("demo-1.0"), tar_member(LONG, b"x" * 1000), tar_format=tarfile.PAX_FORMAT),
        packed(tar_member(LONG[:200], b"x" * 1000), tar_format=tarfile.USTAR_FORMAT),
        packed(tar_member("demo-1.0/\N{SNOWMAN}"), symlink("demo-1.0/l", "\N{SNOWMAN}" * 50)),
        packed(directory("demo-1.0/a"), directory("demo-1.0/a")),
        pack_tar_gz([directory("./"), tar_member("./demo-1.0/PKG-INFO", SDIST.core_metadata)]),
        packed(symlink("demo-1.0/a/b", "../PKG-INFO"), symlink("demo-1.0/here", ".")),
        packed(hardlink("demo-1.0/copy", "demo-1.0/PKG-INFO")),
        packed(with_pax("demo-1.0/times", mtime="1.5", SCHILY__xattr__user="x")),
        gzipped(TAR + bytes(100_000)),
        gzipped(TAR.rstrip(b"\0") + bytes(-len(TAR.rstrip(b"\0")) % 512)),
        SDIST.data + bytes(1000),
        *(
            gzipped(tar + TAR)
            for tar in (
                changed(header(DATA), size=b"         4 ") + padded(b"data"),
                changed(header(DATA), size=b"\x80".ljust(11, b"\0") + b"\4") + padded(b"data"),
                changed(header("demo-1.0/d", tarfile.DIRTYPE), size=b""),
                changed(header(DATA), mode=b"", uid=b"\xff" * 8, gid=b"  17 \0x", major=b"       "),
                header("demo-1.0/d/", tarfile.AREGTYPE),
                gnu_long(b"demo-1.0/d/\0") + header("demo-1.0/x/", tarfile.AREGTYPE),
                pax(b"size", b"4") + header(DATA, size=4) + padded(b"data"),
                pax(b"mtime", b"1.5") + gnu_long(DATA.encode()) + header("demo-1.0/x"),
                pax(b"comment", b"a", tarfile.XGLTYPE) + pax(b"path", b"demo-1.0/a") + header("x"),
            )
        ),
        gzip.compress(pack_tar([PKG_INFO, tar_member(DATA, make_wheel().data)])),
    ],
)
def test_an_sdist_may_be_packed_in_any_way_installers_read(tmp_path: Path, data: bytes) -> None:
    sdist = Distribution(FILENAME, data, SDIST.core_metadata)

    assert inspected(tmp_path, sdist).core_metadata == SDIST.core_metadata


NOT_A_TAR = f"{FILENAME} is not a gzip-compressed tar archive"
TRUNCATED = f"{FILENAME} is truncated"
DAMAGED = f"{FILENAME} is damaged: its gzip stream is not valid"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", NOT_A_TAR),
        (b"hello", NOT_A_TAR),
        (TAR, NOT_A_TAR),
        (make_wheel().data, NOT_A_TAR),
        (gzipped(b"hello" * 1000), NOT_A_TAR),
        (gzipped(b""), f"{FILENAME} is empty"),
        (gzipped(bytes(10240)), f"{FILENAME} is empty"),
        (SDIST.data[:-1], TRUNCATED),
        (SDIST.data[:300], TRUNCATED),
        (SDIST.data[:-8] + bytes(8), DAMAGED),
        (SDIST.data[:100] + b"\xff" * 100 + SDIST.data[200:], DAMAGED),
        (gzipped(TAR[:700]), TRUNCATED),
        (gzipped(TAR[:512]), TRUNCATED),
        (gzipped(TAR[:1024] + TAR[1025:]), f"{FILENAME} has a damaged tar header after 1 members"),
        (SDIST.data + b"x", f"{FILENAME} has data after the end of its gzip stream"),
        (SDIST.data + SDIST.data, f"{FILENAME} has data after the end of its gzip stream"),
        (SDIST.data + make_wheel().data, f"{FILENAME} has data after the end of its gzip stream"),
        (gzipped(TAR + b"x"), f"{FILENAME} has data after the end of its tar archive"),
        (gzipped(TAR + TAR), f"{FILENAME} has data after the end of its tar archive"),
        *(
            (
                gzip.compress(pack_tar([PKG_INFO, tar_member(DATA, zipped)]), compresslevel=0),
                f"{FILENAME} is both a tar and a zip archive",
            )
            for zipped in (make_wheel().data, pack_zip([("a", b"")]) + bytes(50_000))
        ),
    ],
)
def test_a_malformed_archive_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(tmp_path, data).message == message


@pytest.mark.parametrize(
    ("member", "message"),
    [
        *(
            (tar_member(name), f"{FILENAME} has a member with an unsafe name: {name!a}")
            for name in (
                *("../evil", "demo-1.0/../evil", "demo-1.0/..", "/etc/evil", "C:evil"),
                *("demo-1.0\\evil", "demo-1.0/\x07", "demo-1.0/\x7f"),
            )
        ),
        (
            tar_member("demo-1.0/./PKG-INFO"),
            f"{FILENAME} has two members named 'demo-1.0/PKG-INFO'",
        ),
        (
            directory("demo-1.0/PKG-INFO"),
            f"{FILENAME} has two members named 'demo-1.0/PKG-INFO'",
        ),
        (
            tar_member("other-1.0/setup.py"),
            f"{FILENAME} has several top-level directories: 'demo-1.0' and 'other-1.0'",
        ),
        (tar_member("setup.py"), f"{FILENAME} has 'setup.py' outside a top-level directory"),
        *(
            (
                tar_member("demo-1.0/special", kind=kind),
                f"'demo-1.0/special' in {FILENAME} is no file, directory or link",
            )
            for kind in (
                *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"M"),
                tarfile.SOLARIS_XHDTYPE,
            )
        ),
        (
            tar_member("demo-1.0/holes", kind=tarfile.GNUTYPE_SPARSE),
            f"'demo-1.0/holes' in {FILENAME} is a sparse file",
        ),
        (with_pax("demo-1.0/holes", GNU__sparse__major="1"), f"{FILENAME} has a sparse member"),
        *(
            (
                with_pax("demo-1.0/x", size=size),
                f"{FILENAME} has a tar header without a valid size",
            )
            for size in ("-1", "1_0", "٤")
        ),
    ],
)
def test_a_member_that_is_unsafe_to_unpack_is_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], message: str
) -> None:
    assert refusal(tmp_path, packed(member)).message == message


@pytest.mark.parametrize(
    "target",
    [
        *("/etc/passwd", "../../evil", "../../../demo-1.0/x", "C:evil", "..\\evil", "x\x07", ""),
        *("a/../../x", "a/..", "../a/.."),
    ],
)
def test_a_symlink_that_points_out_is_refused(tmp_path: Path, target: str) -> None:
    data = packed(symlink("demo-1.0/link", target))

    assert refusal(tmp_path, data).message == (
        f"'demo-1.0/link' in {FILENAME} is a link that points out of the archive, to {target!a}"
    )


def test_a_member_below_a_symlink_is_refused(tmp_path: Path) -> None:
    data = packed(symlink("demo-1.0/a", "."), symlink("demo-1.0/a/b", ".."))

    assert refusal(tmp_path, data).message == (
        f"{FILENAME} has 'demo-1.0/a/b' below the link 'demo-1.0/a'"
    )


@pytest.mark.parametrize("target", ["demo-1.0/later", "demo-1.0/soft", "demo-1.0"])
def test_a_hard_link_to_anything_but_an_earlier_file_is_refused(
    tmp_path: Path, target: str
) -> None:
    data = packed(
        symlink("demo-1.0/soft", "PKG-INFO"),
        hardlink("demo-1.0/copy", target),
        tar_member("demo-1.0/later"),
    )

    assert refusal(tmp_path, data).message == (
        f"'demo-1.0/copy' in {FILENAME} is a hard link to '{target}', which is no file before it"
    )


def test_a_hard_link_that_points_out_is_refused(tmp_path: Path) -> None:
    data = packed(hardlink("demo-1.0/copy", "/etc/passwd"))

    assert "points out of the archive" in refusal(tmp_path, data).message


@pytest.mark.parametrize(
    ("tar", "message"),
    [
        (
            header("demo-1.0/d", tarfile.DIRTYPE, 512) + bytes(512),
            f"'demo-1.0/d/' in {FILENAME} has a size although it is no file",
        ),
        (
            header("x", tarfile.XGLTYPE, 16) + b"16 path=renamed\n".ljust(512, b"\0"),
            f"{FILENAME} has a global header that renames its members",
        ),
        (
            header("x", tarfile.XHDTYPE, 12)
            + b"12 path=one\n".ljust(512, b"\0")
            + header("x", tarfile.GNUTYPE_LONGNAME, 3)
            + b"two".ljust(512, b"\0"),
            f"{FILENAME} has a member with two values for its path",
        ),
        *(
            (
                header("x", tarfile.XHDTYPE, len(text)) + text.ljust(512, b"\0"),
                f"{FILENAME} has a malformed pax header",
            )
            for text in (
                b"99 path=one\n",
                b"7 path=one\n",
                b"path=one\n",
                b"12 path=onex",
                b"5 =a\n",
            )
        ),
        *(
            (
                changed(header(DATA), size=size) + HIDDEN,
                f"{FILENAME} has a tar header without a valid size",
            )
            for size in (
                *(b"\0%010o " % HIDDEN_BYTES, b" \0%09o " % HIDDEN_BYTES, b"+%o" % HIDDEN_BYTES),
                *(b"0o%o" % HIDDEN_BYTES, b"\t%o" % HIDDEN_BYTES, b"20_00", b"", b" " * 12),
            )
        ),
        *(
            (
                changed(header(DATA), **{number: value}),
                f"{FILENAME} has a tar header with a malformed number",
            )
            for number in ("mode", "uid", "gid", "mtime", "major", "minor")
            for value in (b"rw", b"6 4", b"8")
        ),
        (
            header(DATA)[: CHECKSUM.start]
            + b"\0"
            + header(DATA)[CHECKSUM][:-2]
            + b" "
            + header(DATA)[CHECKSUM.stop :],
            f"{FILENAME} has a tar header with a malformed number",
        ),
        *(
            (
                tar + HIDDEN,
                f"'demo-1.0/data{slash}' in {FILENAME} is a file to some, a directory to others",
            )
            for tar, slash in (
                (
                    pax(b"path", DATA.encode())
                    + header("demo-1.0/d/", tarfile.AREGTYPE, HIDDEN_BYTES),
                    "",
                ),
                (
                    gnu_long(DATA.encode() + b"\0")
                    + header("demo-1.0/d/", tarfile.AREGTYPE, HIDDEN_BYTES),
                    "",
                ),
                (pax(b"path", b"demo-1.0/data/") + header("x", tarfile.AREGTYPE), "/"),
                (pax(b"path", b"demo-1.0/data/") + header("x"), "/"),
                (header("demo-1.0/data/"), "/"),
                (header("demo-1.0/data/", tarfile.CONTTYPE), "/"),
                (changed(header("", tarfile.AREGTYPE), prefix=b"demo-1.0/data"), "/"),
            )
        ),
        (
            changed(header("demo-1.0/d", tarfile.DIRTYPE), size=b" " * 12),
            f"{FILENAME} has a tar header without a valid size",
        ),
        (
            pax(b"size", b"%d" % HIDDEN_BYTES) + header(DATA) + HIDDEN,
            f"'demo-1.0/data' in {FILENAME} has two sizes: 0 and {HIDDEN_BYTES}",
        ),
        (
            pax(b"size", b"0") + header(DATA, size=HIDDEN_BYTES) + HIDDEN,
            f"'demo-1.0/data' in {FILENAME} has two sizes: {HIDDEN_BYTES} and 0",
        ),
        (
            pax(b"size", b"%d" % 2**33) + header(DATA, size=HIDDEN_BYTES) + HIDDEN,
            f"'demo-1.0/data' in {FILENAME} has two sizes: {HIDDEN_BYTES} and {2**33}",
        ),
        *(
            (tar, f"{FILENAME} has a member with repeated extended tar headers")
            for tar in (
                pax(b"path", DATA.encode()) + pax(b"mtime", b"0") + header("demo-1.0/x"),
                gnu_long(DATA.encode()) * 2 + header("demo-1.0/x"),
                gnu_long(b"a", tarfile.GNUTYPE_LONGLINK) * 2 + header("demo-1.0/x"),
                pax(b"size", b"0") + gnu_long(DATA.encode()) + header("demo-1.0/x"),
            )
        ),
        (
            pax(b"path", DATA.encode()) + pax(b"comment", b"a", tarfile.XGLTYPE) + header("x"),
            f"{FILENAME} has a global header between a member and its own",
        ),
        *(
            (
                header("x", kind, len(data))
                + padded(data)[:-512]
                + padded(data)[-512:-9]
                + b"/../evil\n"
                + header("x"),
                f"{FILENAME} has data after the end of an extended tar header",
            )
            for kind, data in (
                (tarfile.GNUTYPE_LONGNAME, DATA.encode()),
                (tarfile.XHDTYPE, pax_record(b"path", DATA.encode())),
                (tarfile.XGLTYPE, pax_record(b"comment", b"a")),
            )
        ),
        *(
            (tar + header("x"), f"{FILENAME} has a member with a malformed path")
            for tar in (
                *(pax(b"path", b""), pax(b"path", b"demo-1.0/a\0b")),
                *(gnu_long(b"demo-1.0/a\0b"), gnu_long(b"\0")),
            )
        ),
        *(
            (pax(key, b"demo-1.0/a") + header("x"), f"{FILENAME} has a malformed pax header")
            for key in (b" path", b"\tpath", b"a\n12 path", b"a\0path")
        ),
        (
            changed(header("data"), prefix=b"demo-1.0", magic=b"ustar\0"),
            f"{FILENAME} has a tar header with a prefix that is not POSIX's",
        ),
        (pax(b"mtime", b"0"), TRUNCATED),
        (pax(b"comment", b"a", tarfile.XGLTYPE), TRUNCATED),
        (header("x", tarfile.XHDTYPE, 100), TRUNCATED),
        (header("x", tarfile.XHDTYPE, 12) + b"12 path=one\n".ljust(512, b"\0"), TRUNCATED),
    ],
)
def test_a_tar_that_readers_disagree_on_is_refused(
    tmp_path: Path, tar: bytes, message: str
) -> None:
    assert refusal(tmp_path, gzipped(tar)).message == message


@pytest.mark.parametrize(
    ("sdist", "message"),
    [
        (make_sdist(omit=["PKG-INFO"]), f"{FILENAME} has no demo-1.0/PKG-INFO"),
        *(
            (
                make_sdist(top=top),
                f"{FILENAME} has the directory '{top}', which is not its name and version",
            )
            for top in ("demo", "demo-1.1", "other-1.0", "demo-1.0-extra")
        ),
        (
            Distribution(FILENAME, pack_tar_gz([symlink("demo-1.0/PKG-INFO", "other")]), b""),
            f"demo-1.0/PKG-INFO in {FILENAME} is not a regular file",
        ),
    ],
)
def test_a_tar_that_is_no_sdist_is_refused(
    tmp_path: Path, sdist: Distribution, message: str
) -> None:
    assert refusal(tmp_path, sdist.data).message == message


ZEROS = make_sdist(files={"zeros": bytes(2_000_000)}).data


@pytest.mark.parametrize(
    ("data", "limits", "message"),
    [
        (SDIST.data, Limits(members_max=3), f"{FILENAME} has more than 3 members"),
        (
            SDIST.data,
            Limits(directory_bytes_max=40),
            f"{FILENAME} has member names of more than 40 bytes together",
        ),
        (
            SDIST.data,
            Limits(core_metadata_bytes_max=20),
            f"demo-1.0/PKG-INFO in {FILENAME} is larger than 20 bytes",
        ),
        (
            packed(tar_member(LONG)),
            Limits(extended_header_bytes_max=100),
            f"{FILENAME} has a tar header of more than 100 bytes",
        ),
        (
            packed(*(tar_member(f"{LONG}{number}") for number in range(3))),
            Limits(extended_headers_bytes_max=1000),
            f"{FILENAME} has extended tar headers of more than 1000 bytes together",
        ),
        *(
            (
                packed(*(tar_member(f"{LONG}{number}") for number in range(3)), tar_format=kind),
                Limits(extended_records_max=2),
                f"{FILENAME} has more than 2 extended tar headers and records in them",
            )
            for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
        ),
        (
            ZEROS,
            Limits(unpacked_bytes_max=1_500_000),
            f"{FILENAME} unpacks to more than 1500000 bytes",
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


def pax_bomb(kind: bytes, record: bytes, size: int, headers: int) -> bytes:
    """Return many headers full of one record, and nothing after them that a tar could go on with.

    Whoever reads all of them says that the archive is damaged.
    """
    records = record * (size // len(record))
    one = header("x", kind, len(records)) + padded(records) + header("demo-1.0", tarfile.DIRTYPE)
    return gzipped(pack_tar([PKG_INFO])[:1024] + one * headers + b"x" * 512)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        *(
            (
                pax_bomb(kind, b"6 a=b\n", 2**20, 4),
                f"{FILENAME} has more than 200000 extended tar headers and records in them",
            )
            for kind in (tarfile.XGLTYPE, tarfile.XHDTYPE)
        ),
        (
            pax_bomb(tarfile.XGLTYPE, b"1000 a=".ljust(999, b"b") + b"\n", 2**20, 18),
            f"{FILENAME} has extended tar headers of more than 16777216 bytes together",
        ),
    ],
)
def test_a_small_bomb_of_extended_headers_is_refused_before_its_end(
    tmp_path: Path, data: bytes, message: str
) -> None:
    assert len(data) < 50_000

    error = refusal(tmp_path, data)

    assert (type(error), error.message) == (TooLarge, message)


def test_thousands_of_members_may_have_pax_headers_each(tmp_path: Path) -> None:
    members = [
        with_pax(f"{LONG}{number}", mtime="1700000000.1234567", SCHILY__xattr__user="x" * 100)
        for number in range(2500)
    ]
    sdist = Distribution(FILENAME, packed(*members), SDIST.core_metadata)

    assert inspected(tmp_path, sdist).core_metadata == SDIST.core_metadata


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_pkg_info_that_a_long_name_hides_is_found_as_tarfile_finds_it(
    tmp_path: Path, tar_format: int
) -> None:
    name = f"demo-1.0/{'d' * 90}/PKG-INFO"
    other = tar_member(name, make_metadata("other"))
    tar = pack_tar([other, PKG_INFO], tar_format)

    inspection = inspected(tmp_path, Distribution(FILENAME, gzipped(tar), b""))

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.getnames() == [name, "demo-1.0/PKG-INFO"]
    assert inspection.core_metadata == SDIST.core_metadata

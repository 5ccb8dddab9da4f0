"""Which wheels are accepted, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bonded.server.archives import Inspection, Limits, inspect
from bonded.server.core.errors import Rejected, TooLarge
from bonded.server.core.files import Filename
from support.wheels import Distribution, make_wheel, pack_zip, unpack_zip

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
        make_wheel("a" * 200, version="1.0.post1"),
        make_wheel("a-" * 45 + "a", version="1." + "9" * 120),
    ],
    ids=lambda wheel: wheel.filename,
)
def test_wheels_as_they_are_found_in_the_wild_are_accepted(
    tmp_path: Path, wheel: Distribution
) -> None:
    assert inspected(tmp_path, wheel).core_metadata == wheel.core_metadata


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
    data = pack_zip([*unpack_zip(WHEEL.data), (name, b"")])

    assert refusal(tmp_path, data).message == (
        f"{FILENAME} has a member with an unsafe name: {name!a}"
    )


@pytest.mark.parametrize("name", ["demo/__init__.py", f"{DIST_INFO}/METADATA", "demo/__init__.py/"])
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, name: str) -> None:
    data = pack_zip([*unpack_zip(WHEEL.data), (name, b"")])

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


SCRIPTS = f"{DIST_INFO}/entry_points.txt"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[console_scripts]\nDemo.run-2 = demo:main\n[gui_scripts]\n# x\nwith space=demo:main [x]",
        b"[console_scripts]\r\nsub/run = demo:main\r\n\r\n[ empty ]\r\n",
        b"\xef\xbb\xbf[console_scripts]\nrun = demo:main",
        b"[mime.types]\n../text/x-demo = demo:type\nlines\n  that go on",
        b"../before any group = demo:main",
    ],
)
def test_entry_points_may_be_all_that_installers_keep_where_it_belongs(
    tmp_path: Path, text: bytes
) -> None:
    wheel = make_wheel(files={SCRIPTS: text})

    assert inspected(tmp_path, wheel).core_metadata == wheel.core_metadata


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *(
            (f"[{group}]\n{name} = demo:main", f"has a script with an unsafe name: {name!a}")
            for group, name in (
                *(
                    ("console_scripts", "../run"),
                    ("gui_scripts", "../run"),
                    (" gui_scripts ", ".."),
                ),
                *(("console_scripts", "/etc/run"), ("console_scripts", "a/../../run")),
                *(("console_scripts", "..\\run"), ("console_scripts", "C:run")),
                *(("console_scripts", "a\x07"), ("console_scripts", "")),
                *(("console_scripts", "; ../run"), ("console_scripts", "[x] ../run")),
                ("console_scripts", "[../run"),
            )
        ),
        (
            "\ufeff[console_scripts]\na = demo:main\n  ../run = demo:main",
            "has a script with an unsafe name: '../run'",
        ),
        (
            "[console_scripts]\n../run : demo:main=1",
            "has a script with an unsafe name: '../run : demo:main'",
        ),
        (
            "[console_scripts]\n../run: demo:main",
            "has a line that is no script: '../run: demo:main'",
        ),
        ("[console_scripts]\nrun", "has a line that is no script: 'run'"),
        ("[console_scripts]\nr\udcffn = demo:main", "is not UTF-8 at byte 19"),
    ],
)
def test_a_script_that_would_be_written_elsewhere_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    wheel = make_wheel(files={SCRIPTS: text.encode(errors="surrogateescape")})

    assert refusal(tmp_path, wheel.data).message == f"{SCRIPTS} in {FILENAME} {says}"


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
            make_wheel(files={SCRIPTS: bytes(21)}).data,
            Limits(entry_points_bytes_max=20),
            f"{SCRIPTS} in {FILENAME} is larger than 20 bytes",
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

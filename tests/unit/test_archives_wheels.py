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

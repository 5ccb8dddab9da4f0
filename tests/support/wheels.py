"""Wheels and sdists to publish: valid by default, anything overridable.

    make_wheel()                                        demo-1.0-py3-none-any.whl
    make_wheel("Ada.Lib", "2.1", requires_python=">=3.9", requires_dist=["demo>=1"])
    make_wheel(tag="cp311-cp311-linux_x86_64", payload_bytes=5_000_000)
    make_wheel(metadata=b"Name: other")                 METADATA word for word
    make_wheel(files={"demo/data.txt": b"more"}, omit=["RECORD"])
    make_sdist("demo", "1.0", top="wrong-directory")

Both return a `Distribution`: filename, data, core metadata, digest. What they build can be
installed, the sdist too, without a network: it brings its own build backend. The same arguments
give the same bytes, in every process: uploading "the same file" again is the same call again.

`pack_zip` and `pack_tar_gz` put any members into an archive, for files that must be refused.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import random
import tarfile
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16

_PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

_BACKEND = '''\
"""A build backend that was built beforehand (PEP 517)."""

import pathlib
import shutil


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    wheel = next(pathlib.Path("built").glob("*.whl"))
    shutil.copy(wheel, wheel_directory)
    return wheel.name
'''


@dataclass(frozen=True, slots=True)
class Distribution:
    """A wheel or sdist as its uploader has it."""

    filename: str
    data: bytes
    core_metadata: bytes
    """METADATA or PKG-INFO, even where it was left out of the archive."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the data, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def filetype(self) -> str:
        """What the upload form calls the kind of file."""
        return "bdist_wheel" if self.filename.endswith(".whl") else "sdist"

    def write_to(self, directory: Path) -> Path:
        """Write the file into *directory* under its filename, and return its path."""
        path = directory / self.filename
        path.write_bytes(self.data)
        return path


def make_metadata(
    name: str = "demo",
    version: str = "1.0",
    *,
    metadata_version: str = "2.1",
    summary: str = "A demonstration.",
    requires_python: str | None = None,
    requires_dist: Sequence[str] = (),
    headers: Sequence[tuple[str, str]] = (),
    description: str = "",
) -> bytes:
    """Return core metadata; *headers* are added as they are, in order."""
    lines = [
        ("Metadata-Version", metadata_version),
        ("Name", name),
        ("Version", version),
        ("Summary", summary),
        *([] if requires_python is None else [("Requires-Python", requires_python)]),
        *(("Requires-Dist", requirement) for requirement in requires_dist),
        *headers,
    ]
    return ("".join(f"{key}: {value}\n" for key, value in lines) + f"\n{description}").encode()


def make_wheel(
    name: str = "demo",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    requires_python: str | None = None,
    requires_dist: Sequence[str] = (),
    summary: str = "A demonstration.",
    description: str = "",
    metadata: bytes | None = None,
    dist_info: str | None = None,
    files: Mapping[str, bytes] | None = None,
    omit: Collection[str] = (),
    payload_bytes: int = 0,
    filename: str | None = None,
) -> Distribution:
    """Build a wheel with one importable module that knows its `__version__`.

    Args:
        name: as its author spells it; escaped for the filename (PEP 427).
        version: used as it is, in filename and metadata.
        tag: python, abi and platform, with an optional build number before them.
        requires_python: left out when None.
        requires_dist: requirements, one header each.
        summary: one line.
        description: the body of METADATA.
        metadata: METADATA word for word; the arguments above then do not reach it.
        dist_info: the directory's name, instead of the right one.
        files: more members by path; one of a path that is already there replaces it.
        omit: members to leave out, by full path or by name within .dist-info.
        payload_bytes: size of one more member that does not compress.
        filename: instead of the right one.
    """
    escaped = canonicalize_name(name).replace("-", "_")
    dist_info = dist_info or f"{escaped}-{version}.dist-info"
    core_metadata = (
        metadata
        if metadata is not None
        else make_metadata(
            name,
            version,
            summary=summary,
            requires_python=requires_python,
            requires_dist=requires_dist,
            description=description,
        )
    )
    members = {
        f"{escaped}/__init__.py": f'__version__ = "{version}"\n'.encode(),
        **({f"{escaped}/payload.bin": _noise(payload_bytes)} if payload_bytes else {}),
        f"{dist_info}/METADATA": core_metadata,
        f"{dist_info}/WHEEL": _wheel_file(tag),
        **(files or {}),
    }
    members[f"{dist_info}/RECORD"] = _record(members, f"{dist_info}/RECORD")
    left_out = {*omit, *(f"{dist_info}/{path}" for path in omit)}
    data = pack_zip((path, data) for path, data in members.items() if path not in left_out)
    return Distribution(filename or f"{escaped}-{version}-{tag}.whl", data, core_metadata)


def make_sdist(
    name: str = "demo",
    version: str = "1.0",
    *,
    requires_python: str | None = None,
    requires_dist: Sequence[str] = (),
    summary: str = "A demonstration.",
    description: str = "",
    metadata: bytes | None = None,
    top: str | None = None,
    files: Mapping[str, bytes] | None = None,
    omit: Collection[str] = (),
    payload_bytes: int = 0,
    filename: str | None = None,
) -> Distribution:
    """Build an sdist that installs the wheel `make_wheel` would build.

    Args:
        name: as its author spells it; normalized for the filename (PEP 625).
        version: used as it is, in filename and metadata.
        requires_python: left out when None.
        requires_dist: requirements, one header each.
        summary: one line.
        description: the body of PKG-INFO.
        metadata: PKG-INFO word for word; the arguments above then do not reach it.
        top: the top-level directory's name, instead of the right one.
        files: more members by path below the top-level directory, or replacements.
        omit: members to leave out, by path below the top-level directory.
        payload_bytes: size of one more member that does not compress.
        filename: instead of the right one.
    """
    stem = f"{canonicalize_name(name).replace('-', '_')}-{version}"
    wheel = make_wheel(
        name,
        version,
        requires_python=requires_python,
        requires_dist=requires_dist,
        summary=summary,
        description=description,
        metadata=metadata,
    )
    members = {
        "PKG-INFO": wheel.core_metadata,
        "pyproject.toml": _PYPROJECT.encode(),
        "backend.py": _BACKEND.encode(),
        f"built/{wheel.filename}": wheel.data,
        **({"payload.bin": _noise(payload_bytes)} if payload_bytes else {}),
        **(files or {}),
    }
    data = pack_tar_gz(
        tar_member(f"{top or stem}/{path}", data)
        for path, data in members.items()
        if path not in omit
    )
    return Distribution(filename or f"{stem}.tar.gz", data, wheel.core_metadata)


def pack_zip(members: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """Return a zip archive of *members*, in order; names may repeat, climb and lie."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.filterwarnings("ignore", message="Duplicate name")
        for member, data in members:
            archive.writestr(
                member if isinstance(member, zipfile.ZipInfo) else zip_info(member), data
            )
    return buffer.getvalue()


def unpack_zip(data: bytes) -> list[tuple[str, bytes]]:
    """Return the members of a zip archive, in order, to be packed again otherwise."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zip_info(name: str, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Return a zip member's header with a fixed time, so that archives are reproducible."""
    info = zipfile.ZipInfo(name, _ZIP_EPOCH)
    info.compress_type = compression
    info.external_attr = _FILE_MODE
    return info


def pack_tar(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    """Return a tar archive of *members*, in order; names may repeat, climb and lie."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def pack_tar_gz(
    members: Iterable[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    """Return what `pack_tar` does, compressed, with no time in the header."""
    return gzip.compress(pack_tar(members, tar_format), mtime=0)


def tar_member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """Return a tar member as `pack_tar` takes it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.type = kind
    info.linkname = link
    return info, data


def _wheel_file(tag: str) -> bytes:
    *build, python, abi, platform = tag.split("-")
    lines = [
        "Wheel-Version: 1.0",
        "Generator: tests",
        f"Root-Is-Purelib: {'true' if platform == 'any' else 'false'}",
        f"Tag: {python}-{abi}-{platform}",
        *(f"Build: {number}" for number in build),
    ]
    return ("\n".join(lines) + "\n").encode()


def _record(members: Mapping[str, bytes], record: str) -> bytes:
    """Return the RECORD of *members* (PEP 376): path, digest and size, but for itself."""
    rows = [
        f"{path},sha256={_urlsafe(hashlib.sha256(data).digest())},{len(data)}"
        for path, data in members.items()
        if path != record
    ]
    return ("\n".join([*rows, f"{record},,"]) + "\n").encode()


def _urlsafe(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _noise(size: int) -> bytes:
    """Return bytes that do not compress, the same ones every time."""
    return random.Random(size).randbytes(size)

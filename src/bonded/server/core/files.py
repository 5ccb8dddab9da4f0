"""What an index lists: packages, their versions, and their files (PEP 503, 592, 691, 700, 792)."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_version,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from bonded.server.core.digests import Sha256
from bonded.server.core.errors import Rejected
from bonded.server.core.names import PackageName

FILENAME_LENGTH_MAX = 255
VERSION_LENGTH_MAX = 128
YANK_REASON_LENGTH_MAX = 500
"""Installers print it whole, on a line of its own."""

# What names, versions (PEP 440), build numbers and tags (PEP 425) are made of. `packaging`
# leaves the build number's end and the tags unchecked.
_FILENAME = re.compile(r"[A-Za-z0-9._+!-]+")
_TAG = r"-[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
_WHEEL_TAGS = re.compile(rf"{_TAG}{_TAG}{_TAG}\.whl\Z")


class FileKind(enum.StrEnum):
    """How the upload API calls the two kinds of distribution (`filetype`)."""

    SDIST = "sdist"
    WHEEL = "bdist_wheel"


@dataclass(frozen=True, slots=True)
class Filename:
    """A wheel's or sdist's filename (PEP 427, PEP 625), taken apart."""

    text: str
    kind: FileKind
    name: PackageName
    version: Version

    @property
    def canonical(self) -> str:
        """The one spelling of this filename, however name and version are spelled in it."""
        start = f"{self.name.normalized.replace('-', '_')}-{canonicalize_version(self.version)}"
        if self.kind is FileKind.SDIST:
            return f"{start}.tar.gz"
        return "-".join([start, *self.text.lower().split("-")[2:]])

    @classmethod
    # An upload parses its filename where it arrives, and again where it becomes a row.
    @lru_cache(maxsize=1024)
    def parse(cls, text: str) -> Filename:
        """Parse *text*, whose name and version may be spelled as older tools did.

        Raises:
            Rejected: not a wheel or a .tar.gz sdist, or name, version or tags are malformed.
        """
        if "/" in text or "\\" in text:
            raise Rejected(f"{text[:80]!r} is not a filename: it contains a path")
        if len(text) > FILENAME_LENGTH_MAX or not _FILENAME.fullmatch(text):
            raise Rejected(f"{text[:80]!r} is not a valid filename")
        try:
            if text.endswith(".whl"):
                name, version, _, _ = parse_wheel_filename(text)
                kind = FileKind.WHEEL
            elif text.endswith(".tar.gz"):
                name, version = parse_sdist_filename(text)
                kind = FileKind.SDIST
            else:
                raise Rejected(
                    f"{text!r} is neither a wheel (.whl) nor a source distribution (.tar.gz)"
                )
        except (InvalidWheelFilename, InvalidSdistFilename) as error:
            raise Rejected(f"{text!r} is not a valid filename: {error}") from error
        if kind is FileKind.WHEEL and not _WHEEL_TAGS.search(text):
            raise Rejected(f"{text!r} is not a valid filename: its tags are malformed (PEP 425)")
        if len(str(version)) > VERSION_LENGTH_MAX:
            raise Rejected(
                f"The version of {text!r} is longer than {VERSION_LENGTH_MAX} characters"
            )
        return cls(text, kind, PackageName.parse(name), version)


@dataclass(frozen=True, slots=True)
class File:
    """One wheel or sdist as an index lists it (PEP 691)."""

    filename: str
    version: str
    """PEP 440, normalized."""
    size_bytes: int
    sha256: Sha256
    upload_time: datetime
    requires_python: str | None = None
    core_metadata_sha256: Sha256 | None = None
    """Digest of the PEP 658 `.metadata` file; None for files that have none."""
    yanked: str | None = None
    """None: not yanked. Else the reason, possibly empty (PEP 592)."""

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """Name of the algorithm and hexadecimal digest."""
        return (("sha256", self.sha256),)

    @property
    def is_yanked(self) -> bool:
        """Whether installers skip the file unless pinned to it."""
        return self.yanked is not None


def check_yank_reason(reason: str) -> None:
    """Refuse a reason that would not do as one line of text.

    Raises:
        Rejected: it is too long, or holds what is no text: it goes into people's terminals.
    """
    if len(reason) > YANK_REASON_LENGTH_MAX:
        raise Rejected(f"reason is longer than {YANK_REASON_LENGTH_MAX} characters")
    if not reason.isprintable():
        raise Rejected("reason must be one line of text, without control characters")


class TimeSource(enum.StrEnum):
    """How it is known when a file was uploaded."""

    UPSTREAM = "upstream"
    """The upstream says so (PEP 700)."""
    LAST_MODIFIED = "last-modified"
    """The file's HTTP header says so."""
    FIRST_SEEN = "first-seen"
    """Nobody says; it is when this server saw the file first."""


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file as an upstream lists it: what the upstream does not say is None or empty."""

    filename: str
    url: str
    """Absolute, http(s), without user and fragment."""
    version: str
    """PEP 440, normalized; empty if the filename tells none."""
    upload_time: datetime
    time_source: TimeSource = TimeSource.UPSTREAM
    size_bytes: int | None = None
    hashes: tuple[tuple[str, str], ...] = ()
    """Name of the algorithm and hexadecimal digest."""
    requires_python: str | None = None
    core_metadata_sha256: Sha256 | None = None
    has_core_metadata: bool = False
    """Whether there is a `.metadata` file, if its digest is unknown."""
    yanked: str | None = None
    provenance: str | None = None
    """Absolute URL (PEP 740)."""

    @property
    def sha256(self) -> Sha256 | None:
        """The digest, if the upstream tells this one."""
        found = dict(self.hashes).get("sha256")
        return None if found is None else Sha256(found)

    @property
    def is_yanked(self) -> bool:
        """Whether installers skip the file unless pinned to it."""
        return self.yanked is not None


class Status(enum.StrEnum):
    """A package's status marker (PEP 792)."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    DEPRECATED = "deprecated"


@dataclass(frozen=True, slots=True)
class Package:
    """A package with all its files, oldest upload first."""

    name: PackageName
    files: tuple[File | UpstreamFile, ...]
    """Of one kind: an upstream's are all as it lists them."""
    versions: tuple[str, ...]
    """Every version with a file, in order of upload."""
    status: Status = Status.ACTIVE
    status_reason: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a package are meant: all, those of one version, or one."""

    name: PackageName
    version: str = ""
    """As the files of it have it; empty for every version."""
    filename: str = ""
    """Empty for every file."""

    def __str__(self) -> str:
        """What is meant, within a sentence."""
        if self.filename:
            return f"file {self.filename} of {self.name}"
        return f"version {self.version} of {self.name}" if self.version else f"package {self.name}"


@dataclass(frozen=True, slots=True)
class PackageSummary:
    """A package as the control plane lists it."""

    name: PackageName
    created_at: datetime
    updated_at: datetime
    """When its last file was uploaded."""


@dataclass(frozen=True, slots=True)
class DeletedFile:
    """A file that was deleted, and until when it can be restored."""

    package: PackageName
    file: File
    deleted_at: datetime
    restorable_until: datetime


@dataclass(frozen=True, slots=True)
class DeletedPackage:
    """A package whose every file was deleted, and until when some of it can be restored."""

    summary: PackageSummary
    deleted_at: datetime
    restorable_until: datetime


@dataclass(frozen=True, slots=True)
class InMemory:
    """Contents that are already here."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        """How long the whole is."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Contents in a local file that will not change."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """Contents that somebody else holds, to be read by ranges: `read(start, stop)`, in bytes."""

    size_bytes: int
    read: Callable[[int, int], AsyncIterator[bytes]]


Content = InMemory | OnDisk | Streamed
"""Where the bytes of a file are. A closed union: match it exhaustively."""

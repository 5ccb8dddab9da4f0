"""Files that have come from an upstream: what is looked at in them, and what is known then."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from bonded.server.archives import Limits, check_whole, read_wheel_metadata
from bonded.server.core.clock import Clock
from bonded.server.core.digests import Sha256, sha256_of
from bonded.server.core.errors import Rejected
from bonded.server.core.files import File, Filename, TimeSource, UpstreamFile
from bonded.server.repositories.downloads import Arrived, digests_of

_log = logging.getLogger("bonded.server.upstream")


class Check:
    """Looks into a wheel that has arrived, for what the upstream does not tell of it."""

    def __init__(self, file: UpstreamFile, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self.core_metadata: bytes | None = None

    def __call__(self, path: Path) -> None:
        """Find nothing wrong if a digest is right: for the rest the upstream answers.

        Raises:
            Rejected: there is no digest, and it is not an archive from its beginning to its end.
        """
        if not digests_of(self._file):
            check_whole(path, self._file.filename, self._limits)
        if self._file.core_metadata_sha256 is not None or not self._file.filename.endswith(".whl"):
            return
        try:
            filename = Filename.parse(self._file.filename)
            with path.open("rb") as file:
                self.core_metadata = read_wheel_metadata(file, filename, self._limits)
        except Rejected as error:
            _log.info("No core metadata of %s: %s", self._file.filename, error)


def informed(file: UpstreamFile, cached: File | None, core: Sha256 | None) -> UpstreamFile:
    """Return *file* with what is known of it besides what the upstream tells.

    *cached* is the file that is here under its name, *core* the digest of core metadata that is.
    """
    is_same = cached is not None and file.sha256 in (None, cached.sha256)
    if cached is not None and is_same:
        core = cached.core_metadata_sha256 or core
        if file.sha256 is None:
            file = replace(file, hashes=(*file.hashes, ("sha256", cached.sha256)))
        if file.size_bytes is None:
            file = replace(file, size_bytes=cached.size_bytes)
        if file.upload_time != cached.upload_time and file.time_source is TimeSource.FIRST_SEEN:
            file = replace(
                file, upload_time=cached.upload_time, time_source=TimeSource.LAST_MODIFIED
            )
    if file.core_metadata_sha256 is None and core is not None:
        file = replace(file, core_metadata_sha256=core, has_core_metadata=True)
    return file


def file_of(
    listed: UpstreamFile, arrived: Arrived, core_metadata: bytes | None, clock: Clock
) -> tuple[File, bool]:
    """Return a file that is here, and whether clients see more of it now than before."""
    is_dated = listed.time_source is TimeSource.UPSTREAM or arrived.last_modified is None
    # What the upstream tells is what clients hold the file against.
    digest = sha256_of(core_metadata) if core_metadata is not None else None
    file = File(
        filename=listed.filename,
        version=listed.version,
        size_bytes=arrived.size_bytes,
        sha256=arrived.sha256,
        upload_time=listed.upload_time if is_dated else arrived.last_modified or clock(),
        requires_python=listed.requires_python,
        core_metadata_sha256=digest,
        yanked=listed.yanked,
    )
    is_news = (
        listed.sha256 is None
        or listed.size_bytes is None
        or not is_dated
        or (listed.core_metadata_sha256 is None and digest is not None)
    )
    return file, is_news

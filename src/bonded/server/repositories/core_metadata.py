"""Core metadata of a file at an upstream: the upstream's own, or read out of the wheel."""

from __future__ import annotations

import asyncio
import logging

from bonded.server.archives import (
    TAIL_BYTES,
    Limits,
    Missing,
    Ranges,
    read_core_metadata,
    read_wheel_metadata,
)
from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import NotFound, Rejected, UpstreamFailed
from bonded.server.core.files import FileKind, Filename, UpstreamFile
from bonded.server.upstream.client import UpstreamClient

RANGES_MAX = 8
"""Of one wheel; a second and a third are usual for large ones."""

_log = logging.getLogger("bonded.server.upstream")


async def fetch_core_metadata(
    client: UpstreamClient, file: UpstreamFile, limits: Limits
) -> bytes | None:
    """Return a file's core metadata; None if only the whole file could tell.

    Raises:
        NotFound: it has none: it is no wheel, or a broken one.
        UpstreamFailed: the upstream fails, or sends other bytes than it has announced.
    """
    data = await _fetch(client, file) if file.has_core_metadata else None
    expected = file.core_metadata_sha256
    if expected is None:
        if data is not None and _is_of(file, data):
            return data
        return await _extract(client, file, limits)
    if data is None:
        data = await _extract(client, file, limits) or b""
    if sha256_of(data) != expected:
        raise UpstreamFailed(
            f"The upstream {client} sends core metadata of {file.filename} that does not "
            f"match its digest {expected}"
        )
    return data


async def _fetch(client: UpstreamClient, file: UpstreamFile) -> bytes | None:
    try:
        return await client.fetch_core_metadata(file.url)
    except NotFound:
        return None


def _is_of(file: UpstreamFile, data: bytes) -> bool:
    """Say whether *data* is core metadata of this name and version: no digest says so."""
    try:
        read_core_metadata(f"METADATA of {file.filename}", data, Filename.parse(file.filename))
    except Rejected as error:
        _log.info("The core metadata of %s is not believed: %s", file.filename, error)
        return False
    return True


async def _extract(client: UpstreamClient, file: UpstreamFile, limits: Limits) -> bytes | None:
    filename = _wheel(file)
    try:
        return await _read(client, file.url, filename, limits)
    except Rejected as error:
        raise NotFound(f"{file.filename} has no core metadata: {error.message}") from error
    except UpstreamFailed as error:
        if error.is_outage:
            raise
        _log.info("%s cannot be read by ranges: %s", file.filename, error)
        return None


def _wheel(file: UpstreamFile) -> Filename:
    try:
        filename = Filename.parse(file.filename)
    except Rejected as error:
        raise NotFound(f"{file.filename} has no core metadata file") from error
    if filename.kind is not FileKind.WHEEL:
        # A build may change an sdist's (standards.md D-34).
        raise NotFound(f"{file.filename} has no core metadata file")
    return filename


async def _read(client: UpstreamClient, url: str, filename: Filename, limits: Limits) -> bytes:
    tail, size = await client.read_range(url, None, TAIL_BYTES)
    ranges = Ranges(size)
    ranges.add(size - len(tail), tail)
    for _ in range(RANGES_MAX):
        try:
            return await asyncio.to_thread(read_wheel_metadata, ranges, filename, limits)
        except Missing as missing:
            if missing.stop - missing.start > limits.directory_bytes_max:
                raise Rejected(f"{filename.text} has too large a directory") from missing
            data, _ = await client.read_range(url, missing.start, missing.stop)
            ranges.add(missing.start, data)
    raise Rejected(f"{filename.text} cannot be read with {RANGES_MAX} ranges")

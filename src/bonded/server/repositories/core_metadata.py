"""Core metadata of a file of an upstream: the upstream's own, or read out of the wheel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

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
from bonded.server.core.files import (
    Content,
    FileKind,
    Filename,
    InMemory,
    OnDisk,
    Streamed,
    UpstreamFile,
)
from bonded.server.upstream.client import UpstreamClient

RANGES_MAX = 8
"""Of one wheel; a second and a third are usual for large ones."""

_ReadRange = Callable[[int | None, int], Awaitable[tuple[bytes, int]]]
"""Returns a range, and the size of the whole: see `UpstreamClient.read_range`."""

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


async def read_core_metadata_of(content: Content, filename: str, limits: Limits) -> bytes:
    """Return the core metadata of a file that is here.

    Raises:
        NotFound: it has none: it is no wheel, or a broken one.
        Unavailable: it cannot be read.
    """
    wheel = _wheel(filename)
    try:
        return await _read(partial(_read_range, content), wheel, limits)
    except Rejected as error:
        raise NotFound(f"{filename} has no core metadata: {error.message}") from error


async def _read_range(content: Content, start: int | None, stop: int) -> tuple[bytes, int]:
    size = content.size_bytes
    if start is None:
        start, stop = max(size - stop, 0), size
    match content:
        case InMemory(data):
            return data[start:stop], size
        case OnDisk(path):
            return await asyncio.to_thread(_read_part, path, start, stop), size
        case Streamed():
            return b"".join([chunk async for chunk in content.read(start, stop)]), size


def _read_part(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)


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
    filename = _wheel(file.filename)
    try:
        return await _read(partial(client.read_range, file.url), filename, limits)
    except Rejected as error:
        raise NotFound(f"{file.filename} has no core metadata: {error.message}") from error
    except UpstreamFailed as error:
        if error.is_outage:
            raise
        _log.info("%s cannot be read by ranges: %s", file.filename, error)
        return None


def _wheel(text: str) -> Filename:
    try:
        filename = Filename.parse(text)
    except Rejected as error:
        raise NotFound(f"{text} has no core metadata file") from error
    if filename.kind is not FileKind.WHEEL:
        # A build may change an sdist's (standards.md D-34).
        raise NotFound(f"{text} has no core metadata file")
    return filename


async def _read(read_range: _ReadRange, filename: Filename, limits: Limits) -> bytes:
    tail, size = await read_range(None, TAIL_BYTES)
    ranges = Ranges(size)
    ranges.add(size - len(tail), tail)
    for _ in range(RANGES_MAX):
        try:
            return await asyncio.to_thread(read_wheel_metadata, ranges, filename, limits)
        except Missing as missing:
            if missing.stop - missing.start > limits.directory_bytes_max:
                raise Rejected(f"{filename.text} has too large a directory") from missing
            data, _ = await read_range(missing.start, missing.stop)
            ranges.add(missing.start, data)
    raise Rejected(f"{filename.text} cannot be read with {RANGES_MAX} ranges")

"""Files and their core metadata: whole, by range, or not modified (RFC 9110 §13, §14)."""

from __future__ import annotations

import re

from bonded.server.core.audit import note
from bonded.server.core.files import InMemory
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.protocol import StoredFile
from bonded.server.web.messages import (
    Answer,
    Call,
    ContentReply,
    Headers,
    Reply,
    moved,
    package_named,
)

METADATA_SUFFIX = ".metadata"
_FILE_SUFFIXES = (".whl", ".tar.gz", METADATA_SUFFIX)
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")
_YEARS = b"private, max-age=365000000, immutable"


class FilesApi:
    """Answers with blobs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def download(self, call: Call) -> Answer:
        """Answer with a file, or with its core metadata if the name ends in `.metadata`."""
        filename = call.params["filename"]
        if call.params["package"] == "simple" and not filename.endswith(_FILE_SUFFIXES):
            # A page without its slash; only a package called "simple" has files here.
            return moved(f"{package_named(filename)}/", call)
        name = package_named(call.params["package"])
        repository = await self._catalog.open(call.target)
        if filename.endswith(METADATA_SUFFIX):
            wheel = filename.removesuffix(METADATA_SUFFIX)
            stored = await repository.open_core_metadata(name, wheel)
            return _reply(call, stored, b"text/plain; charset=utf-8")
        stored = await repository.open_file(name, filename)
        note(
            package=name.normalized,
            filename=filename,
            sha256=stored.sha256,
            sizeBytes=stored.content.size_bytes,
        )
        return _reply(call, stored, b"application/octet-stream")


def _reply(call: Call, stored: StoredFile, content_type: bytes) -> Answer:
    etag = f'"{stored.sha256}"'.encode()
    size = stored.content.size_bytes
    headers: list[tuple[bytes, bytes]] = [
        (b"etag", etag),
        (b"accept-ranges", b"bytes"),
        # A published file never changes, and who may read it is asked each time it is fetched.
        (b"cache-control", _YEARS),
    ]
    if call.has_already(etag):
        return Reply(304, b"", headers)
    headers.append((b"content-type", content_type))
    wanted = call.headers.get(b"range")
    # Range is defined for GET alone (RFC 9110 §14.2).
    if wanted is not None and call.method == "GET" and call.headers.get(b"if-range", etag) == etag:
        return _ranged(stored, wanted, headers, size)
    return _whole(stored, headers, size)


def _whole(stored: StoredFile, headers: list[tuple[bytes, bytes]], size: int) -> Answer:
    headers.append((b"content-length", str(size).encode()))
    if isinstance(stored.content, InMemory):
        return Reply(200, stored.content.data, headers)
    return ContentReply(200, stored.content, headers, 0, size)


def _ranged(
    stored: StoredFile, wanted: bytes, headers: list[tuple[bytes, bytes]], size: int
) -> Answer:
    match = _RANGE.fullmatch(wanted.replace(b" ", b""))
    if match is None or match[0] == b"bytes=-":
        # Several ranges or another unit: a server may answer with the whole (§14.2).
        return _whole(stored, headers, size)
    first, last = match[1], match[2]
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return _whole(stored, headers, size)
    else:
        # The last N bytes; more than there are means all of them.
        start, stop = max(size - int(last), 0), size
    if start >= size or start == stop:
        unsatisfied: Headers = (
            (b"content-range", f"bytes */{size}".encode()),
            (b"content-length", b"0"),
        )
        return Reply(416, b"", unsatisfied)
    content_range = f"bytes {start}-{stop - 1}/{size}".encode()
    ranged = (*headers, (b"content-range", content_range), _length(stop - start))
    return ContentReply(206, stored.content, ranged, start, stop)


def _length(size: int) -> tuple[bytes, bytes]:
    return (b"content-length", str(size).encode())

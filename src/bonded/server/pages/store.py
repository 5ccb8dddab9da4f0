"""Keeps rendered pages as bytes, each for as long as the serial it was made at stands."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import zstandard
from isal import igzip

from bonded.server.core.digests import sha256_of
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.pages import simple
from bonded.server.pages.negotiation import Coding, Media
from bonded.server.repositories.protocol import Repository

IN_THREAD_MIN_FILES = 200
"""From here, rendering and compressing take longer than the loop should wait."""
ALONE_MIN_FILES = 10_000
"""From here, a page takes some ten megabytes while it is made: one such is made at a time."""
COMPRESS_MIN_BYTES = 256

_CONTENT_TYPES = {
    Media.JSON: b"application/vnd.pypi.simple.v1+json",
    Media.HTML: b"application/vnd.pypi.simple.v1+html; charset=utf-8",
    Media.PLAIN_HTML: b"text/html; charset=utf-8",
}

_T = TypeVar("_T")
_Key = tuple[RepositoryName, str, Media, Coding]


@dataclass(frozen=True, slots=True)
class Page:
    """One representation of a page, ready to send."""

    body: bytes
    etag: bytes
    validators: tuple[tuple[bytes, bytes], ...]
    """What a client is told that has it already (RFC 9110 §15.4.5)."""
    headers: tuple[tuple[bytes, bytes], ...]


class Pages:
    """Renders pages when they are asked for and keeps as many as fit in *limit_bytes*."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._pages: OrderedDict[_Key, tuple[Hashable, Page]] = OrderedDict()
        self._large = asyncio.Semaphore(1)
        self._making: dict[tuple[_Key, Hashable], asyncio.Future[Page]] = {}

    async def get(
        self,
        repository: Repository,
        owner: RepositoryName,
        name: PackageName | None,
        media: Media,
        coding: Coding,
    ) -> Page:
        """Return the page of package *name*, or the list of packages if that is None.

        Raises:
            NotFound: the repository has no such package.
            Unavailable: that cannot be known now.
        """
        # Read before the rows, so that a page is never older than its serial says.
        serial = await repository.version(name)
        key = (owner, "" if name is None else name.normalized, media, coding)
        known = self._pages.get(key)
        if known is not None and known[0] == serial:
            self._pages.move_to_end(key)
            return known[1]
        return await self._make_once(key, serial, repository, name)

    async def _make_once(
        self, key: _Key, serial: Hashable, repository: Repository, name: PackageName | None
    ) -> Page:
        # Everybody who asks for the same page at the same moment waits for one rendering.
        making = self._making.get((key, serial))
        if making is not None:
            return await asyncio.shield(making)
        making = asyncio.ensure_future(self._make(key, serial, repository, name))
        self._making[key, serial] = making
        making.add_done_callback(lambda _: self._making.pop((key, serial), None))
        return await asyncio.shield(making)

    async def _make(
        self, key: _Key, serial: Hashable, repository: Repository, name: PackageName | None
    ) -> Page:
        _, _, media, coding = key
        if name is None:
            names = await repository.list_packages()
            render = simple.list_json if media is Media.JSON else simple.list_html
            page = await self._aside(len(names), lambda: _page(render(names), media, coding))
        else:
            package = await repository.get_package(name)
            show = simple.detail_json if media is Media.JSON else simple.detail_html
            count = len(package.files)
            page = await self._aside(count, lambda: _page(show(package), media, coding))
        self._keep(key, serial, page)
        return page

    async def _aside(self, entries: int, work: Callable[[], _T]) -> _T:
        if entries < IN_THREAD_MIN_FILES:
            return work()
        if entries < ALONE_MIN_FILES:
            return await asyncio.to_thread(work)
        async with self._large:
            return await asyncio.to_thread(work)

    def _keep(self, key: _Key, serial: Hashable, page: Page) -> None:
        replaced = self._pages.pop(key, None)
        if replaced is not None:
            self._size_bytes -= len(replaced[1].body)
        if len(page.body) > self._limit_bytes:
            # It would push out all others, and then itself.
            return
        self._pages[key] = (serial, page)
        self._size_bytes += len(page.body)
        while self._size_bytes > self._limit_bytes and self._pages:
            _, (_, dropped) = self._pages.popitem(last=False)
            self._size_bytes -= len(dropped.body)


def _page(body: bytes, media: Media, coding: Coding) -> Page:
    encoded, used = _encode(body, coding)
    # Of what is sent, so that each representation has a validator of its own (RFC 9110 §8.8.3).
    etag = f'"{sha256_of(encoded)[:32]}"'.encode()
    validators = (
        (b"etag", etag),
        # A fresh upload shows at once; an unchanged page costs a 304 (standards.md K-4).
        (b"cache-control", b"private, no-cache"),
        (b"vary", b"Accept, Accept-Encoding"),
    )
    described = [
        (b"content-type", _CONTENT_TYPES[media]),
        (b"content-length", str(len(encoded)).encode()),
    ]
    if used is not Coding.IDENTITY:
        described.append((b"content-encoding", used.value.encode()))
    return Page(encoded, etag, validators, (*described, *validators))


def _encode(body: bytes, coding: Coding) -> tuple[bytes, Coding]:
    if len(body) < COMPRESS_MIN_BYTES or coding is Coding.IDENTITY:
        return body, Coding.IDENTITY
    if coding is Coding.GZIP:
        return igzip.compress(body, compresslevel=2, mtime=0), coding
    return zstandard.ZstdCompressor(level=3).compress(body), coding

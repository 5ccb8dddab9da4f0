"""One upstream index over HTTP: bounded in size, time, redirects and reach.

aiohttp: its parser is C, its pools are bounded by host, and it lets us make each socket,
which is where the address is checked. It speaks HTTP/1.1 only; with kept connections
that costs a handshake or two, and no server has files over HTTP/2 alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import aiohttp

from bonded.server.core.clock import Clock
from bonded.server.core.errors import UpstreamFailed, UpstreamTimedOut
from bonded.server.core.files import Package
from bonded.server.core.names import PackageName
from bonded.server.upstream.bounds import MIB, Bounds
from bonded.server.upstream.headers import (
    Validators,
    conditions,
    confirmed,
    content_range,
    expect,
    expect_file,
    header,
    is_chunked,
    moment,
    with_path_suffix,
)
from bonded.server.upstream.parsing import ACCEPT, parse_page
from bonded.server.upstream.requests import Kind, Requests, Route
from bonded.server.upstream.rules import Origin, shown
from bonded.server.upstream.secrets import Secrets
from bonded.server.upstream.turns import Turns

LARGE_PAGE_MIN_BYTES = 2 * MIB
"""From here, a page takes a turn: parsed and packed, it takes several times its size."""
PARSE_ASIDE_MIN_BYTES = 16 * 1024
"""From here, the worst of pages takes longer to parse than the loop should wait."""
CHUNK_SIZE_BYTES = 256 * 1024
# Files as they are: a coding would change their bytes, and the ranges of them.
_IDENTITY: Mapping[str, str] = {"Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page as it came; *package* is None if it is still the one with those validators."""

    package: Package | None
    validators: Validators


@dataclass(frozen=True, slots=True)
class _Read:
    """A page as it was read; *body* is None if it is still the one with those validators."""

    body: bytearray | None
    media: str
    url: str
    validators: Validators


@dataclass(slots=True)
class FileResponse:
    """A file, or a part of it, that has begun to come."""

    size_bytes: int | None
    """Of the whole file."""
    is_framed: bool
    """Whether its end can be told from a connection that broke (RFC 9112 §8)."""
    start: int
    """Where in the file the part begins."""
    etag: str
    last_modified: datetime | None
    chunks: AsyncIterator[bytes]


class UpstreamClient:
    """Asks one index. Holds connections: `close` it. Make it on a running loop."""

    def __init__(
        self,
        index_url: str,
        route: Route,
        secrets: Secrets,
        *,
        clock: Clock,
        bounds: Bounds,
        parsers: Executor,
        turns: Turns,
    ) -> None:
        self.index_url = index_url.rstrip("/") + "/"
        self._clock = clock
        self._bounds = bounds
        self._parsers = parsers
        self._turns = turns
        self._requests = Requests(self.index_url, route, secrets, bounds)

    @property
    def resumes_max(self) -> int:
        """How often a file whose connection broke may be asked for again."""
        return self._bounds.resumes_max

    def __str__(self) -> str:
        """The index's address, as messages name the upstream."""
        return self.index_url

    async def close(self) -> None:
        """Let go of every connection, once nobody uses it. Who asks later has one for the time."""
        await self._requests.close()

    async def read_head(self, url: str, limit_bytes: int) -> tuple[str, bytes]:
        """Return the content type of a page of this index, and how it begins.

        Raises:
            NotFound: there is no such page.
            UpstreamFailed: it does not come.
        """
        async with self._requests.send(url, {"Accept": ACCEPT}, Kind.PAGE) as page:
            expect(page, 200)
            head = bytearray()
            with self._requests.failures(url):
                async for chunk in page.content.iter_any():
                    head += chunk
                    if len(head) >= limit_bytes:
                        break
            return header(page, "Content-Type"), bytes(head[:limit_bytes])

    @asynccontextmanager
    async def open_page(
        self, name: PackageName, validators: Validators | None = None
    ) -> AsyncIterator[FetchedPage]:
        """Fetch a package's page, or that it is still what it was with *validators*.

        As long as it is open, a large page has one of few turns.

        Raises:
            NotFound: the index says that it has no such package.
            UpstreamFailed: it said something else, or nothing.
        """
        async with AsyncExitStack() as held:
            page = await self._read_page(name, validators, held)
            if page is None:
                # Asked again when there is a turn: until then, it would be the upstream that
                # waits for us, and takes the blame.
                await self._wait_for_turn(name, held)
                page = await self._read_page(name, validators, None)
                assert page is not None
            yield FetchedPage(await self._parse(name, page), page.validators)

    async def _wait_for_turn(self, name: PackageName, held: AsyncExitStack) -> None:
        limit_s = self._bounds.page_timeout_s
        try:
            await held.enter_async_context(self._turns.take(limit_s))
        except TimeoutError as error:
            # No outage: it is we who are busy, and the upstream is not left alone for it.
            raise UpstreamTimedOut(
                f"The page of {name} at the upstream {self.index_url} is large, and has waited "
                f"{limit_s} s while others as large were read",
                hint="Try again. If that happens often, upstreams are slow, or the server's "
                "operator lets more be read at once (BONDED_UPSTREAM_LARGE_PAGES_MAX).",
            ) from error

    async def _read_page(
        self, name: PackageName, validators: Validators | None, held: AsyncExitStack | None
    ) -> _Read | None:
        """Read a page; None if it is a large one that has to wait. None as *held*: it has not."""
        url = f"{self.index_url}{name.normalized}/"
        headers = {"Accept": ACCEPT, **conditions(validators)}
        async with self._requests.send(url, headers, Kind.PAGE) as response:
            found = Validators(header(response, "ETag"), header(response, "Last-Modified"))
            if response.status == 304:
                return _Read(None, "", url, confirmed(validators, found, url))
            expect(response, 200)
            body = bytearray()
            async with aclosing(self._pieces(response, self._bounds.page_size_max_bytes)) as pieces:
                async for chunk in pieces:
                    body += chunk
                    if held is not None and len(body) > LARGE_PAGE_MIN_BYTES:
                        if not self._turns.are_free:
                            return None
                        await self._wait_for_turn(name, held)
                        held = None
            return _Read(body, header(response, "Content-Type"), str(response.url), found)

    async def _parse(self, name: PackageName, page: _Read) -> Package | None:
        if page.body is None:
            return None
        parse = partial(parse_page, page.body, page.media, name, page.url, self._clock())
        if len(page.body) < PARSE_ASIDE_MIN_BYTES:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self._parsers, parse)

    async def fetch_core_metadata(self, file_url: str) -> bytes:
        """Return the `.metadata` file beside *file_url* (PEP 658).

        Raises:
            NotFound: there is none.
            UpstreamFailed: it does not come.
        """
        url = with_path_suffix(file_url, ".metadata")
        async with self._requests.send(url, _IDENTITY, Kind.PART) as response:
            expect(response, 200)
            expect_file(response)
            return await self._body(response, self._bounds.core_metadata_size_max_bytes)

    async def read_range(self, url: str, start: int | None, stop: int) -> tuple[bytes, int]:
        """Return the bytes from *start* to before *stop*, and the size of the whole file.

        With None as *start*, the last *stop* bytes.

        Raises:
            NotFound: there is no such file.
            UpstreamFailed: the upstream does not answer with that range.
        """
        wanted = f"bytes=-{stop}" if start is None else f"bytes={start}-{stop - 1}"
        headers = {**_IDENTITY, "Range": wanted}
        async with self._requests.send(url, headers, Kind.PART) as response:
            first, size = content_range(response)
            expected = max(size - stop, 0) if start is None else start
            if first != expected:
                raise UpstreamFailed(f"{shown(url)} answers with another range than was asked for")
            length = min(stop, size) if start is None else stop - start
            return await self._body(response, length), size

    @asynccontextmanager
    async def open_file(
        self, url: str, start: int = 0, etag: str = ""
    ) -> AsyncIterator[FileResponse]:
        """Open a file, from *start* on if it still has the *etag*.

        Raises:
            NotFound: there is no such file.
            UpstreamFailed: it does not come.
        """
        headers = dict(_IDENTITY)
        if start:
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})
        async with self._requests.send(url, headers, Kind.FILE) as response:
            expect(response, 200, *((206,) if start else ()))
            expect_file(response)
            first, size = 0, response.content_length
            if response.status == 206:
                first, size = content_range(response)
            yield FileResponse(
                size_bytes=size,
                is_framed=size is not None or is_chunked(response),
                start=first,
                etag=header(response, "ETag"),
                last_modified=moment(header(response, "Last-Modified")),
                chunks=self._chunks(response),
            )

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        origin = Origin.of(str(response.url))
        loop = asyncio.get_running_loop()
        began_at, size = loop.time(), 0
        breaker = self._requests.breaker(origin)
        with breaker.request(str(self)), self._requests.failures(str(response.url)):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                late_s = loop.time() - began_at - self._bounds.rate_grace_s
                if size < late_s * self._bounds.rate_min_bytes_s:
                    raise TimeoutError
                yield chunk

    async def _body(self, response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
        body = bytearray()
        async for chunk in self._pieces(response, limit_bytes):
            body += chunk
        return bytes(body)

    async def _pieces(
        self, response: aiohttp.ClientResponse, limit_bytes: int
    ) -> AsyncGenerator[bytes]:
        """Yield a body. Raises UpstreamFailed if there is more of it than that."""
        url, size = str(response.url), 0
        with self._requests.failures(url):
            async for chunk in response.content.iter_chunked(CHUNK_SIZE_BYTES):
                size += len(chunk)
                if size > limit_bytes:
                    break
                yield chunk
        if size > limit_bytes:
            raise UpstreamFailed(f"{shown(url)} sends more than {limit_bytes} bytes")

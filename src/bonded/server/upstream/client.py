"""One upstream index over HTTP: bounded in size, time, redirects and reach.

aiohttp: its parser is C, its pools are bounded by host, and it lets us make each socket,
which is where the address is checked. It speaks HTTP/1.1 only; with kept connections
that costs a handshake or two, and no server has files over HTTP/2 alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, UpstreamFailed, UpstreamTimedOut
from bonded.server.core.files import Package
from bonded.server.core.names import PackageName
from bonded.server.core.upstreams import UpstreamCredentials
from bonded.server.upstream.addresses import EVERYWHERE, NOWHERE, PrivateHosts, look_behind_proxy
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.breaker import Breaker
from bonded.server.upstream.failures import refused, told_as_ours
from bonded.server.upstream.headers import (
    Validators,
    conditions,
    confirmed,
    content_range,
    header,
    moment,
    with_path_suffix,
)
from bonded.server.upstream.parsing import ACCEPT, parse_page
from bonded.server.upstream.rules import Origin, Reach, reach_of
from bonded.server.upstream.secrets import Secrets

PARSE_ASIDE_MIN_BYTES = 16 * 1024
"""From here, the worst of pages takes longer to parse than the loop should wait."""
CHUNK_SIZE_BYTES = 256 * 1024
# Files as they are: a coding would change their bytes, and the ranges of them.
_IDENTITY: Mapping[str, str] = {"Accept-Encoding": "identity"}
_REDIRECTS = (301, 302, 303, 307, 308)
_ABSENT = (404, 410)
_BUSY = (429, 500, 502, 503, 504)
"""Worth another try, and counted as an outage."""


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page as it came; *package* is None if it is still the one with those validators."""

    package: Package | None
    validators: Validators


@dataclass(slots=True)
class FileResponse:
    """A file, or a part of it, that has begun to come."""

    size_bytes: int | None
    """Of the whole file."""
    start: int
    """Where in the file the part begins."""
    etag: str
    last_modified: datetime | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How an upstream is reached."""

    credentials: UpstreamCredentials | None = None
    ca_certificates: str = ""
    proxy: str = ""
    own: PrivateHosts = NOWHERE
    """Where the index itself may be, besides public addresses."""
    private_hosts: PrivateHosts = NOWHERE
    """Where files and the proxy may be, besides public addresses; files by name only."""


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
    ) -> None:
        self.index_url = index_url.rstrip("/") + "/"
        self._origin = Origin.of(self.index_url)
        self._route = route
        self._secrets = secrets
        self._clock = clock
        self._bounds = bounds
        self._parsers = parsers
        self._reaches = {Reach.OWN: route.own, Reach.NAMED: EVERYWHERE, Reach.PUBLIC: NOWHERE}
        proxy_host = Origin.of(route.proxy).host if route.proxy else ""
        tls = _tls(route.ca_certificates)
        # Pages do not wait behind files, nor one reach's connections for the other's.
        self._sessions = {
            (reach, is_page): aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=bounds.connections_max,
                    # Behind a proxy, it is the proxy that sockets lead to.
                    socket_factory=route.private_hosts.sockets_to(proxy_host)
                    if proxy_host
                    else hosts.sockets_to(self._origin.host),
                    ssl=tls,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=is_page,
                headers={"User-Agent": "bonded"},
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=bounds.queue_timeout_s,
                    sock_connect=bounds.connect_timeout_s,
                    sock_read=bounds.silence_timeout_s,
                ),
            )
            for reach, hosts in self._reaches.items()
            for is_page in (True, False)
        }
        self._breakers: dict[Origin, Breaker] = {}

    @property
    def resumes_max(self) -> int:
        """How often a file whose connection broke may be asked for again."""
        return self._bounds.resumes_max

    def __str__(self) -> str:
        """The index's address, as messages name the upstream."""
        return self.index_url

    async def close(self) -> None:
        """Let go of every connection."""
        for session in self._sessions.values():
            await session.close()

    async def read_head(self, url: str, limit_bytes: int) -> tuple[str, bytes]:
        """Return the content type of a page of this index, and how it begins.

        Raises:
            NotFound: there is no such page.
            UpstreamFailed: it does not come.
        """
        async with self._bounded(), self._response(url, {"Accept": ACCEPT}, is_page=True) as page:
            head = bytearray()
            with self._failures(url):
                async for chunk in page.content.iter_any():
                    head += chunk
                    if len(head) >= limit_bytes:
                        break
            return header(page, "Content-Type"), bytes(head[:limit_bytes])

    async def fetch_page(
        self, name: PackageName, validators: Validators | None = None
    ) -> FetchedPage:
        """Return a package's page, or that it is still what it was with *validators*.

        Raises:
            NotFound: the index says that it has no such package.
            UpstreamFailed: it said something else, or nothing.
        """
        url = f"{self.index_url}{name.normalized}/"
        headers = {"Accept": ACCEPT, **conditions(validators)}
        async with self._bounded(), self._response(url, headers, is_page=True) as response:
            found = Validators(header(response, "ETag"), header(response, "Last-Modified"))
            if response.status == 304:
                return FetchedPage(None, confirmed(validators, found, url))
            body = await self._body(response, self._bounds.page_size_max_bytes)
            came_from, media = str(response.url), header(response, "Content-Type")
        parse = partial(parse_page, body, media, name, came_from, self._clock())
        if len(body) < PARSE_ASIDE_MIN_BYTES:
            return FetchedPage(parse(), found)
        loop = asyncio.get_running_loop()
        return FetchedPage(await loop.run_in_executor(self._parsers, parse), found)

    async def fetch_core_metadata(self, file_url: str) -> bytes:
        """Return the `.metadata` file beside *file_url* (PEP 658).

        Raises:
            NotFound: there is none.
            UpstreamFailed: it does not come.
        """
        url = with_path_suffix(file_url, ".metadata")
        async with self._bounded(), self._response(url, _IDENTITY, is_page=False) as response:
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
        async with self._bounded(), self._response(url, headers, is_page=False) as response:
            first, size = content_range(response)
            expected = max(size - stop, 0) if start is None else start
            if first != expected:
                raise UpstreamFailed(f"{url} answers with another range than was asked for")
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
        async with self._response(url, headers, is_page=False) as response:
            if header(response, "Content-Type").partition(";")[0].lower() == "text/html":
                # A sign-in form or a proxy's notice; no index has wheels of this type.
                raise UpstreamFailed(f"{url} answers with an HTML page instead of the file")
            first, size = 0, response.content_length
            if response.status == 206:
                first, size = content_range(response)
            yield FileResponse(
                size_bytes=size,
                start=first,
                etag=header(response, "ETag"),
                last_modified=moment(header(response, "Last-Modified")),
                chunks=self._chunks(response),
            )

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        origin = Origin.of(str(response.url))
        loop = asyncio.get_running_loop()
        began_at, size = loop.time(), 0
        with self._breaker(origin).request(str(self)), self._failures(str(response.url)):
            async for chunk in response.content.iter_any():
                size += len(chunk)
                late_s = loop.time() - began_at - self._bounds.rate_grace_s
                if size < late_s * self._bounds.rate_min_bytes_s:
                    raise TimeoutError
                yield chunk

    async def _body(self, response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
        body = bytearray()
        with self._failures(str(response.url)):
            async for chunk in response.content.iter_chunked(CHUNK_SIZE_BYTES):
                body += chunk
                if len(body) > limit_bytes:
                    break
        if len(body) > limit_bytes:
            raise UpstreamFailed(f"{response.url} sends more than {limit_bytes} bytes")
        return bytes(body)

    @asynccontextmanager
    async def _response(
        self, url: str, headers: Mapping[str, str], *, is_page: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, follow redirects within the rules, try again within bounds."""
        response = await self._try(partial(self._follow, url, headers, is_page=is_page))
        try:
            yield response
        finally:
            # Unless all of it was read, the connection goes: what is left may be endless.
            response.release() if response.content.at_eof() else response.close()

    async def _try(
        self, follow: Callable[[], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        for tries in range(1, self._bounds.tries_max):
            try:
                return await follow()
            except UpstreamFailed as error:
                if not error.is_outage or self._breaker(self._origin).is_open:
                    raise
            await asyncio.sleep(self._bounds.retry_pause_s * tries)
        return await follow()

    async def _follow(
        self, url: str, headers: Mapping[str, str], *, is_page: bool
    ) -> aiohttp.ClientResponse:
        at = url
        for _ in range(self._bounds.redirects_max + 1):
            response = await self._send(at, headers, is_page=is_page)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            at = urljoin(at, header(response, "Location"))
        raise UpstreamFailed(f"{url} redirects more than {self._bounds.redirects_max} times")

    async def _send(
        self, url: str, headers: Mapping[str, str], *, is_page: bool
    ) -> aiohttp.ClientResponse:
        named = self._route.private_hosts.names
        reach = reach_of(url, self._origin, named, is_page=is_page)
        origin = Origin.of(url)
        if self._route.proxy and (
            why := await look_behind_proxy(origin.host, self._reaches[reach])
        ):
            raise refused(str(self), url, why, is_own=origin == self._origin)
        sent = dict(headers)
        if origin == self._origin:
            sent |= await self._authorization()
        with self._breaker(origin).request(str(self)):
            with self._failures(url):
                response = await self._sessions[reach, is_page].get(
                    # Encoded already: a signature in it may depend on how.
                    URL(url, encoded=True),
                    headers=sent,
                    allow_redirects=False,
                    proxy=self._route.proxy or None,
                )
            try:
                self._judge(response, url)
            except BaseException:
                response.close()
                raise
        return response

    def _judge(self, response: aiohttp.ClientResponse, url: str) -> None:
        status = response.status
        if status in (200, 206, 304) or status in _REDIRECTS:
            return
        if status in _ABSENT:
            raise NotFound(f"The upstream {self} has no {url}")
        hint = ""
        if status in (401, 403, 407):
            if self._route.credentials is not None:
                self._secrets.forget(self._route.credentials.secret)
            hint = "Check the repository's upstream credentials."
        raise UpstreamFailed(
            f"The upstream {self} answers {url} with status {status}",
            hint=hint,
            is_outage=status in _BUSY,
        )

    async def _authorization(self) -> dict[str, str]:
        credentials = self._route.credentials
        if credentials is None:
            return {}
        secret = await self._secrets.get(credentials.secret)
        if not credentials.username:
            return {"Authorization": f"Bearer {secret}"}
        return {"Authorization": aiohttp.encode_basic_auth(credentials.username, secret)}

    def _breaker(self, origin: Origin) -> Breaker:
        # Files on another host may fail while the index is well.
        breaker = self._breakers.get(origin)
        if breaker is None:
            breaker = Breaker(self._bounds, asyncio.get_running_loop().time)
            self._breakers[origin] = breaker
        return breaker

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Bound the time of a whole page, from the first connection to the last byte."""
        try:
            async with asyncio.timeout(self._bounds.page_timeout_s):
                yield
        except TimeoutError as error:
            why = f"The upstream {self} has not answered within {self._bounds.page_timeout_s} s"
            self._breaker(self._origin).fail(why)
            raise UpstreamTimedOut(why, is_outage=True) from error

    def _failures(self, url: str) -> AbstractContextManager[None]:
        is_own = Origin.of(url) == self._origin
        return told_as_ours(self.index_url, url, self._route.proxy, is_own=is_own)


def _tls(ca_certificates: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca_certificates or None)
    except ssl.SSLError as error:
        raise UpstreamFailed(
            f"The CA certificates of the upstream are no certificates that can be read: {error}",
            hint="Update the repository with certificates in PEM.",
        ) from error

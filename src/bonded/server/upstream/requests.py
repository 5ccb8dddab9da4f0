"""How an upstream is asked: within the rules of reach, in turn, and within bounds of time."""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from bonded.server.core.errors import NotFound, UpstreamFailed, UpstreamTimedOut
from bonded.server.core.upstreams import UpstreamCredentials
from bonded.server.upstream.addresses import EVERYWHERE, NOWHERE, PrivateHosts, look_behind_proxy
from bonded.server.upstream.bounds import Bounds
from bonded.server.upstream.breaker import Breaker
from bonded.server.upstream.failures import Asked, refused, told_as_ours
from bonded.server.upstream.headers import header
from bonded.server.upstream.rules import Origin, Reach, reach_of, shown
from bonded.server.upstream.secrets import Secrets

_REDIRECTS = (301, 302, 303, 307, 308)
_ABSENT = (404, 410)
_BUSY = (429, 500, 502, 503, 504)
"""Worth another try, and counted as an outage."""

_TOO_MANY = 429
_WHY_REFUSED = "Check the repository's upstream credentials: `bonded doctor` says which."
_WHY_UNKNOWN = "It may want credentials; the repository has no upstream credentials."

BREAKERS_MAX = 256
"""Origins of one upstream of which it is remembered how they fail."""


class Kind(enum.Enum):
    """What is asked for; each kind waits for its like alone."""

    PAGE = "page"
    PART = "part"
    """Of a file, or its core metadata: small, and somebody resolves with it."""
    FILE = "file"
    """However long it takes, as long as it comes."""


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
    is_preset: bool = False
    """Whether it leads to the index that the preset PYPI means."""


@dataclass(slots=True)
class _Asking:
    """One request, and where it has led."""

    url: str
    headers: Mapping[str, str]
    kind: Kind
    origin: Origin
    """Which was asked last: what goes wrong is its fault."""


class Requests:
    """Sends requests to one upstream, and where it leads. Holds connections: `close` it."""

    def __init__(self, index_url: str, route: Route, secrets: Secrets, bounds: Bounds) -> None:
        self._index_url = index_url
        self._origin = Origin.of(index_url)
        self._route = route
        self._secrets = secrets
        self._bounds = bounds
        self._reaches = {Reach.OWN: route.own, Reach.NAMED: EVERYWHERE, Reach.PUBLIC: NOWHERE}
        self._tls = _tls(route.ca_certificates)
        self._sessions: dict[tuple[Reach, bool], aiohttp.ClientSession] = {}
        self._users = 0
        self._is_closed = False
        self._turns = {kind: asyncio.Semaphore(bounds.connections_max) for kind in Kind}
        self._breakers: OrderedDict[Origin, Breaker] = OrderedDict()

    async def close(self) -> None:
        """Let go of every connection, once nobody uses it.

        Whoever still asks afterwards is answered, over connections that are let go of at once:
        a request may have begun before the settings changed for which this is closed.
        """
        self._is_closed = True
        await self._let_go()

    async def _let_go(self) -> None:
        if not self._is_closed or self._users:
            return
        sessions, self._sessions = self._sessions, {}
        # All of them, though whoever is the last to go may be cancelled meanwhile.
        await asyncio.shield(asyncio.gather(*(one.close() for one in sessions.values())))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self._users += 1
        try:
            self._sessions = self._sessions or self._open_sessions()
            yield
        finally:
            self._users -= 1
            await self._let_go()

    def _open_sessions(self) -> dict[tuple[Reach, bool], aiohttp.ClientSession]:
        proxy, private_hosts = self._route.proxy, self._route.private_hosts
        proxy_host = Origin.of(proxy).host if proxy else ""
        return {
            (reach, is_page): aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    # Bounded by our own turns, which nobody is blamed for.
                    limit=0,
                    # Behind a proxy, it is the proxy that sockets lead to.
                    socket_factory=private_hosts.sockets_to(proxy_host)
                    if proxy_host
                    else hosts.sockets_to(self._origin.host),
                    ssl=self._tls,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=is_page,
                headers={"User-Agent": "bonded"},
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self._bounds.connect_timeout_s,
                    sock_read=self._bounds.silence_timeout_s,
                ),
            )
            for reach, hosts in self._reaches.items()
            for is_page in (True, False)
        }

    @asynccontextmanager
    async def send(
        self, url: str, headers: Mapping[str, str], kind: Kind
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, follow redirects within the rules, try again within bounds.

        A file's time is not bounded, for it may be large; that of the others is, from the first
        connection to the last byte. To wait for a turn, or for a secret, is not counted: the
        upstream is not at fault.

        Raises:
            NotFound: the upstream has no such thing.
            UpstreamFailed: it does not come.
        """
        asking = _Asking(url, headers, kind, Origin.of(url))
        limit_s = None if kind is Kind.FILE else self._bounds.page_timeout_s
        async with self._connected(), self._turns[kind]:
            if asking.origin == self._origin:
                await self._authorization()
            timing = asyncio.timeout(limit_s)
            try:
                async with timing:
                    response = await self._try(asking)
                    try:
                        yield response
                    finally:
                        # Unless all was read, the connection goes: what is left may be endless.
                        response.release() if response.content.at_eof() else response.close()
            except TimeoutError as error:
                if not timing.expired():
                    raise
                why = f"The upstream {self._index_url} has not answered within {limit_s} s"
                self.breaker(asking.origin).fail(why)
                raise UpstreamTimedOut(why, is_outage=True) from error

    def breaker(self, origin: Origin) -> Breaker:
        """Return the breaker of one origin: hosts of files may fail while the index is well."""
        breaker = self._breakers.get(origin)
        if breaker is None:
            breaker = Breaker(self._bounds, asyncio.get_running_loop().time)
            self._breakers[origin] = breaker
        self._breakers.move_to_end(origin)
        if len(self._breakers) > BREAKERS_MAX:
            # A page may name a host for each file. The index itself stays.
            oldest = next(one for one in self._breakers if one not in (origin, self._origin))
            del self._breakers[oldest]
        return breaker

    def failures(self, url: str) -> AbstractContextManager[None]:
        """Turn what reading a response of *url* raises into our errors."""
        return told_as_ours(self._index_url, url, self._route.proxy, self._asked(url))

    def _asked(self, url: str) -> Asked:
        if Origin.of(url) != self._origin:
            return Asked.FILES
        if self._route.own is not NOWHERE:
            return Asked.ALLOWED
        return Asked.PRESET if self._route.is_preset else Asked.INDEX

    async def _try(self, asking: _Asking) -> aiohttp.ClientResponse:
        for tries in range(1, self._bounds.tries_max):
            try:
                return await self._follow(asking)
            except UpstreamFailed as error:
                if not error.is_outage or self.breaker(asking.origin).is_open:
                    raise
            await asyncio.sleep(self._bounds.retry_pause_s * tries)
        return await self._follow(asking)

    async def _follow(self, asking: _Asking) -> aiohttp.ClientResponse:
        at = asking.url
        for _ in range(self._bounds.redirects_max + 1):
            response = await self._ask(at, asking)
            if response.status not in _REDIRECTS:
                return response
            response.close()
            at = urljoin(at, header(response, "Location"))
        raise UpstreamFailed(
            f"{shown(asking.url)} redirects more than {self._bounds.redirects_max} times"
        )

    async def _ask(self, url: str, asking: _Asking) -> aiohttp.ClientResponse:
        is_page = asking.kind is Kind.PAGE
        named = self._route.private_hosts.names
        reach = reach_of(url, self._origin, named, is_page=is_page)
        origin = asking.origin = Origin.of(url)
        if self._route.proxy and (
            why := await look_behind_proxy(origin.host, self._reaches[reach])
        ):
            raise refused(self._index_url, url, why, self._asked(url))
        sent = dict(asking.headers)
        if origin == self._origin:
            sent |= await self._authorization()
        with self.breaker(origin).request(self._index_url):
            with self.failures(url):
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
            raise NotFound(f"The upstream {self._index_url} has no {shown(url)}")
        hint = ""
        # Elsewhere it is not our secret that is refused: a signed URL may have expired.
        if status in (401, 403, 407) and Origin.of(url) == self._origin:
            if self._route.credentials is not None:
                self._secrets.forget(self._route.credentials.secret)
            hint = _WHY_REFUSED if self._route.credentials is not None else _WHY_UNKNOWN
        if status == _TOO_MANY:
            hint = "It is asked too often, and left alone for a while."
        raise UpstreamFailed(
            f"The upstream {self._index_url} answers {shown(url)} with status {status}",
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


def _tls(ca_certificates: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca_certificates or None)
    except ssl.SSLError as error:
        raise UpstreamFailed(
            f"The CA certificates of the upstream are no certificates that can be read: {error}",
            hint="Update the repository with certificates in PEM.",
        ) from error

"""Fetches small JSON documents of identity providers, within bounds.

aiohttp, as for upstream indexes: it makes each socket where the address can be checked, and
keeps what belongs to one host name apart from every other, even at the same address. So the
certificate of one provider never vouches for another.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from errno import ECONNREFUSED
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from bonded.server.core.errors import Unavailable
from bonded.server.upstream.addresses import NOT_PUBLIC, SocketFactory, any_socket

WAIT_MAX_S = 10
"""For one document, from the look-up of the name to the last byte: a person is waiting."""
SIZE_MAX_BYTES = 256 * 1024
CONNECTIONS_MAX = 16


class Documents:
    """Asks identity providers. Follows no redirects: what an issuer says is at its own address.

    *guard* makes the socket for an address, or refuses to; with it, nothing is asked in
    the clear. Without it every address may be asked, and even in the clear.
    """

    def __init__(self, wait_max_s: float = WAIT_MAX_S, guard: SocketFactory | None = None) -> None:
        self.wait_max_s = wait_max_s
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        """Return the JSON object at *url*, showing a token if there is one.

        Raises:
            Unavailable: it cannot be had within the bounds.
        """
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        status, document = await self._ask("GET", url, None, headers)
        if status != 200:
            raise Unavailable(f"{_host(url)} answered {status} for {url}")
        return document

    async def post_form(
        self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Post a form; return the status and the JSON object that came back.

        Raises:
            Unavailable: nothing came back within the bounds, or it was no JSON object.
        """
        headers = {} if basic is None else {"Authorization": aiohttp.encode_basic_auth(*basic)}
        return await self._ask("POST", url, fields, headers)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> tuple[int, dict[str, Any]]:
        host = _host(url)
        if self._guard is not None and urlsplit(url).scheme != "https":
            raise Unavailable(f"{host} must be asked over https, not at {url}")
        try:
            async with asyncio.timeout(self.wait_max_s):
                status, body = await self._exchange(method, url, fields, headers)
        except TimeoutError as error:
            raise Unavailable(f"{host} did not answer within {self.wait_max_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(host, error) from error
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Unavailable(f"{host} did not answer with JSON for {url}") from error
        if not isinstance(document, dict):
            raise Unavailable(f"{host} did not answer with a JSON object for {url}")
        return status, document

    async def _exchange(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer. Raises Unavailable for a body too large."""
        session = self._session or await self._open()
        async with session.request(
            method, URL(url), data=fields, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > SIZE_MAX_BYTES:
                    raise Unavailable(f"{_host(url)} sent more than {SIZE_MAX_BYTES} bytes")
        return response.status, bytes(body)

    async def _open(self) -> aiohttp.ClientSession:
        # When first needed, in a thread: it reads every certificate authority.
        tls = await asyncio.to_thread(ssl.create_default_context)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS_MAX,
                    socket_factory=self._guard or any_socket,
                    ssl=tls,
                    # Asked a few times an hour: a connection that was kept would be stale.
                    force_close=True,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": "bonded"},
                timeout=aiohttp.ClientTimeout(total=None),  # the whole exchange has one bound
            )
        return self._session


def _unreachable(host: str, error: Exception) -> Unavailable:
    # Of several addresses, the errors come as one text.
    why = str(getattr(error, "os_error", error)) or str(error) or type(error).__name__
    if set(re.findall(r"\[Errno (\d+)\]", why)) == {str(ECONNREFUSED)}:
        # Who signs in reads this.
        why = "nobody listens there"
    if NOT_PUBLIC in why:
        return Unavailable(
            f"{host} must not be asked: {why}",
            hint="If it is your own, set the server's setting private_issuers.",
        )
    return Unavailable(f"{host} cannot be reached: {why}")


def _host(url: str) -> str:
    return f"The identity provider {urlsplit(url).netloc}"

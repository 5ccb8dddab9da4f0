"""Fetches small JSON documents of identity providers, within bounds."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from bonded.server.core.errors import Unavailable

WAIT_MAX_S = 10
"""For one document, from the look-up of the name to the last byte: a person is waiting."""
SIZE_MAX_BYTES = 256 * 1024
CONNECTIONS_MAX = 16


class Documents:
    """Asks identity providers. Follows no redirects: what an issuer says is at its own address.

    *refusal* says why an IP address must not be connected to, "" if it may be; without
    it every address may, and even in the clear. With it, the address that was looked at
    is the one that is connected to, whatever the DNS says a moment later.
    """

    def __init__(
        self, wait_max_s: float = WAIT_MAX_S, refusal: Callable[[str], str] | None = None
    ) -> None:
        self.wait_max_s = wait_max_s
        self._refusal = refusal
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        """Return the JSON object at *url*, showing a token if there is one.

        Raises:
            Unavailable: it cannot be had within the bounds.
        """
        authorization = f"Bearer {bearer}" if bearer else ""
        status, document = await self._ask("GET", url, None, authorization)
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
        text = "" if basic is None else b64encode(":".join(basic).encode()).decode()
        return await self._ask("POST", url, fields, f"Basic {text}" if text else "")

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(
        self,
        method: str,
        url: str,
        fields: Mapping[str, str] | None,
        authorization: str,
    ) -> tuple[int, dict[str, Any]]:
        host = _host(url)
        try:
            async with asyncio.timeout(self.wait_max_s):
                status, body = await self._exchange(method, url, fields, authorization)
        except TimeoutError as error:
            raise Unavailable(f"{host} did not answer within {self.wait_max_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Unavailable(f"{host} cannot be reached: {error}") from error
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
        authorization: str,
    ) -> tuple[int, bytes]:
        if self._client is None:
            # Made when first needed, in a thread: it reads every certificate authority.
            self._client = await asyncio.to_thread(_make_client)
        *others, last = [_Place(url)]
        if self._refusal is not None:
            *others, last = await _find_places(url, self._refusal)
        for place in others:
            # A name may have addresses of a kind that this machine cannot reach.
            with suppress(httpx2.ConnectError):
                return await _send(self._client, method, place, fields, authorization)
        return await _send(self._client, method, last, fields, authorization)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to connect to, and whom to ask for there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, str] = field(default_factory=dict)


async def _find_places(url: str, refusal: Callable[[str], str]) -> tuple[_Place, ...]:
    """Return the addresses of the host of *url*, if none of them is refused.

    Raises:
        Unavailable: one is, or it would be asked in the clear.
    """
    parsed = httpx2.URL(url)
    if parsed.scheme != "https":
        raise Unavailable(f"{_host(url)} must be asked over https, not at {url}")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(parsed.host, parsed.port or 443, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    for address in addresses:
        if why := refusal(address):
            raise Unavailable(
                f"{_host(url)} must not be asked: {why}",
                hint="If it is your own, set the server's setting private_issuers.",
            )
    headers = {"host": parsed.netloc.decode("ascii")}
    extensions = {"sni_hostname": parsed.raw_host.decode("ascii")}
    return tuple(
        _Place(str(parsed.copy_with(host=address)), headers, extensions)
        for address in dict.fromkeys(addresses)
    )


async def _send(
    client: httpx2.AsyncClient,
    method: str,
    place: _Place,
    fields: Mapping[str, str] | None,
    authorization: str,
) -> tuple[int, bytes]:
    """Return the status and the body of the answer. Raises Unavailable for a body too large."""
    headers = {"authorization": authorization} if authorization else {}
    async with client.stream(
        method,
        place.url,
        data=fields,
        headers={**place.headers, **headers},
        extensions=place.extensions,
    ) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > SIZE_MAX_BYTES:
                raise Unavailable(f"{_host(place.url)} sent more than {SIZE_MAX_BYTES} bytes")
    return response.status_code, bytes(body)


def _make_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=None,  # the whole exchange has one bound, above
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
        headers={"accept": "application/json", "user-agent": "bonded"},
    )


def _host(url: str) -> str:
    return f"The identity provider {urlsplit(url).netloc}"

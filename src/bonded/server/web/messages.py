"""One request as a handler sees it, and what a handler may answer."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from bonded.server.core.audit import Act
from bonded.server.core.errors import NotFound, Rejected, TimedOut, TooLarge
from bonded.server.core.files import Content
from bonded.server.core.iam import ANONYMOUS, ORGANIZATION, Principal
from bonded.server.core.names import PackageName, RepositoryName

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

BODY_SIZE_MAX_BYTES = 1024 * 1024
"""Of everything but uploads, which are parsed as a stream."""
AN_INDEX = "An index is at /PROJECT/REPOSITORY/simple/."
"""For whoever asks where there can be none."""
PARAMETERS_MAX = 100
"""In the query of one request."""
FORM_SIZE_MAX_BYTES = 64 * 1024
FIELDS_MAX = 20
"""In a form that a person or an OAuth client sends."""


class ClientGone(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


@dataclass(slots=True, repr=False)
class Call:
    """A request that has been routed and authorized. Has no repr: its headers hold a secret."""

    scope: Scope
    receive: Receive
    method: str
    headers: Mapping[bytes, bytes]
    params: Mapping[str, str]
    """The path's parameters, percent-decoded; parsed once, here."""
    repository: RepositoryName | None = None
    """The repository that the path names, on which the permission was checked."""
    resource: str | RepositoryName = ORGANIZATION
    """On which the permission is checked."""
    principal: Principal = ANONYMOUS
    access_serial: int = -1
    """As of which *principal* was identified and let in."""
    began_at: float | None = None
    """When that was, in seconds since 1970."""
    act: Act | None = None
    """What is being done, if it is something that the audit log keeps."""
    kept_body: bytes | None = None
    """The body once it is read, so that it can be asked for again."""

    @property
    def target(self) -> RepositoryName:
        """The repository that the path names, for handlers whose path has one."""
        assert self.repository is not None
        return self.repository

    def has_already(self, etag: bytes) -> bool:
        """Say whether the client holds what *etag* names (If-None-Match, RFC 9110 §13.1.2)."""
        condition = self.headers.get(b"if-none-match")
        if condition is None or condition == etag:
            return condition is not None
        # A list, or a validator that a proxy has weakened: this compares weakly.
        tags = (tag.strip().removeprefix(b"W/") for tag in condition.split(b","))
        return any(tag in (etag, b"*") for tag in tags)

    def query(self) -> Mapping[str, list[str]]:
        """Return the query's parameters. Raises Rejected for more than anybody needs."""
        query = self.scope["query_string"].decode("latin-1")
        try:
            return parse_qs(query, max_num_fields=PARAMETERS_MAX)
        except ValueError as error:
            raise Rejected(f"The query has more than {PARAMETERS_MAX} parameters") from error

    async def body(self, limit_bytes: int = BODY_SIZE_MAX_BYTES) -> bytes:
        """Return the whole body.

        Raises:
            TooLarge: it is longer than *limit_bytes*.
            ClientGone: it never came.
        """
        if self.kept_body is None:
            self.kept_body = await self._read(limit_bytes)
        return self.kept_body

    async def _read(self, limit_bytes: int) -> bytes:
        body = bytearray()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            if len(body) > limit_bytes:
                raise TooLarge(f"The request is larger than {limit_bytes} bytes")
            if not message.get("more_body"):
                return bytes(body)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Callable[[], bool]]:
        """Tell, whenever asked, whether the client has gone. The body must have been read."""
        leaving = asyncio.ensure_future(self._leaving())
        try:
            yield leaving.done
        finally:
            leaving.cancel()

    async def _leaving(self) -> None:
        # Silence is no news: what comes after the body is only that the client has gone.
        while True:
            with suppress(TimedOut):
                if (await self.receive())["type"] == "http.disconnect":
                    return

    async def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object.

        Raises:
            Rejected: it is not a JSON object.
        """
        body = await self.body()
        try:
            value = orjson.loads(body) if body.strip() else {}
        except orjson.JSONDecodeError as error:
            raise Rejected(f"The request is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise Rejected("The request must be a JSON object")
        return value

    async def form(self) -> dict[str, str]:
        """Return the body as the fields of a form; of a repeated field, the first.

        Raises:
            Rejected: it is not a form.
        """
        body = await self.body(FORM_SIZE_MAX_BYTES)
        try:
            fields = parse_qs(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                max_num_fields=FIELDS_MAX,
            )
        except ValueError as error:
            raise Rejected(
                "The request is not a form (application/x-www-form-urlencoded)"
            ) from error
        return {name: values[0] for name, values in fields.items()}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is here in full."""

    status: int
    body: bytes = b""
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class ContentReply:
    """An answer whose body is a blob: all of it, or the bytes from *start* to before *stop*."""

    status: int
    content: Content
    headers: Headers
    start: int
    stop: int


Answer = Reply | ContentReply
Handler = Callable[[Call], Awaitable[Answer]]


def json_reply(value: object, status: int = 200, headers: Headers = ()) -> Reply:
    """Return *value* as JSON."""
    body = orjson.dumps(value)
    return Reply(status, body, (*_described(b"application/json", body), *headers))


def text_reply(text: str, status: int = 200, headers: Headers = ()) -> Reply:
    """Return *text* as plain text, with a newline."""
    body = f"{text}\n".encode()
    return Reply(status, body, (*_described(b"text/plain; charset=utf-8", body), *headers))


def package_named(spelled: str) -> PackageName:
    """Return the package that a path names.

    Raises:
        NotFound: no package can have such a name; installers go on only after 404.
    """
    try:
        return PackageName.parse(spelled)
    except Rejected as error:
        raise NotFound(error.message) from error


def moved(relative: str, call: Call) -> Reply:
    """Send the client to *relative*, which is percent-encoded.

    Relative to the request's own path, so that it is right behind any proxy.
    """
    query = call.scope["query_string"].decode("latin-1")
    location = relative + (f"?{query}" if query else "")
    return Reply(301, b"", ((b"location", location.encode()), (b"content-length", b"0")))


def _described(content_type: bytes, body: bytes) -> Headers:
    return ((b"content-type", content_type), (b"content-length", str(len(body)).encode()))

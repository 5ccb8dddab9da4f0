"""A small HTTP proxy on loopback: it forwards, it tunnels, and it remembers what it was sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_PIECE_BYTES = 64 * 1024


@dataclass
class Proxy:
    """Answers with *status*, unless that is 200."""

    port: int = 0
    status: int = 200
    asked: list[str] = field(default_factory=list)
    """The first line of each request."""
    seen: bytearray = field(default_factory=bytearray)
    """Every byte that clients sent."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(OSError, EOFError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen += head
            line, _, rest = head.partition(b"\r\n")
            self.asked.append(line.decode())
            if self.status == 200:
                await self._relay(line.decode(), rest, reader, writer)
            else:
                writer.write(f"HTTP/1.1 {self.status} No\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    async def _relay(
        self, line: str, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, target, version = line.split(" ")
        is_tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if is_tunnel else target)
        inner_reader, inner_writer = await asyncio.open_connection(parts.hostname, parts.port)
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            inner_writer.write(f"{method} {parts.path} {version}\r\n".encode() + rest)
        try:
            await asyncio.gather(
                self._pump(reader, inner_writer, remembers=True),
                self._pump(inner_reader, writer, remembers=False),
            )
        finally:
            inner_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, remembers: bool
    ) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if remembers:
                self.seen += piece
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def open_proxy(status: int = 200) -> AsyncIterator[Proxy]:
    """Serve a proxy on this loop."""
    proxy = Proxy(status=status)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()

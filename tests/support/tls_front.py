"""TLS in front of a server of this machine, with a private authority, and a memory of requests."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import trustme

_PIECE_BYTES = 64 * 1024


@dataclass
class TlsFront:
    """Relays what comes in by TLS to a port of this machine's loopback."""

    target_port: int
    certificates: Path
    """The authority's certificate, in PEM."""
    context: ssl.SSLContext = field(repr=False)
    names: set[str] = field(default_factory=set)
    """The hosts that clients asked for, in the handshake."""
    requests: list[bytes] = field(default_factory=list)
    """What clients sent, piece by piece."""

    def count(self, start: str) -> int:
        """Return how many requests start with *start*, such as `POST /token `."""
        return sum(piece.startswith(start.encode()) for piece in self.requests)

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until both sides have ended it."""
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        await asyncio.gather(
            self._pump(reader, inner_writer, remembers=True),
            self._pump(inner_reader, writer, remembers=False),
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, remembers: bool
    ) -> None:
        try:
            with suppress(OSError):
                while piece := await reader.read(_PIECE_BYTES):
                    if remembers:
                        self.requests.append(piece)
                    writer.write(piece)
                    await writer.drain()
        except asyncio.CancelledError:
            # The front is going: nobody would wait for the last words of TLS.
            writer.transport.abort()
            raise
        writer.close()


@contextmanager
def tls_front(
    listener: socket, target_port: int, hosts: Sequence[str], directory: Path
) -> Iterator[TlsFront]:
    """Answer on *listener* as *hosts*, for the server on *target_port*."""
    authority = trustme.CA()
    certificates = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(certificates))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*hosts).configure_cert(context)
    front = TlsFront(target_port, certificates, context)

    def remember(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        front.names.add(name or "")

    context.sni_callback = remember
    loop = asyncio.new_event_loop()
    # A client that does not trust us hangs up in the handshake: its own affair.
    loop.set_exception_handler(lambda *_: None)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        start = asyncio.start_server(front.relay, sock=listener, ssl=context)
        asyncio.run_coroutine_threadsafe(start, loop).result(timeout=10)
        yield front
    finally:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_tasks() -> None:
    """Cancel whatever still runs, and wait until it has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    # What was aborted is closed in the turn that follows.
    await asyncio.sleep(0)

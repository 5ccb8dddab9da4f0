"""A bad line between an installer and a server: it breaks once, in the middle of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PIECE_BYTES = 64 * 1024


@dataclass
class CuttingLine:
    """Relays connections to a port of this machine, and cuts the first that carried too much."""

    target_port: int
    cut_after_bytes: int
    cuts: int = 0
    requests: list[bytes] = field(default_factory=list)
    """What clients sent, piece by piece."""
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        # Both ends are closed here, once both directions have ended, and nowhere else. To close a
        # socket that another thread is about to read gives its number to the next connection,
        # whose bytes that thread then takes.
        with client, socket.create_connection(("127.0.0.1", self.target_port)) as server:
            sending = threading.Thread(target=self._send, args=(client, server), daemon=True)
            sending.start()
            self._receive(server, client)
            sending.join()

    def _send(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while piece := client.recv(_PIECE_BYTES):
                self.requests.append(piece)
                server.sendall(piece)
        _hang_up(server)

    def _receive(self, server: socket.socket, client: socket.socket) -> None:
        carried = 0
        with suppress(OSError):
            while piece := server.recv(_PIECE_BYTES):
                client.sendall(piece)
                carried += len(piece)
                if not self.cuts and carried > self.cut_after_bytes:
                    self.cuts += 1
                    break
        _hang_up(client)
        _hang_up(server)


@contextmanager
def cutting_line(target_port: int, cut_after_bytes: int, port: int = 0) -> Iterator[CuttingLine]:
    """Open a line to *target_port* that breaks once, after so many bytes of one connection.

    It is at *port*, or at one that is free.
    """
    with socket.create_server(("127.0.0.1", port)) as listener:
        line = CuttingLine(target_port, cut_after_bytes, port=listener.getsockname()[1])
        thread = threading.Thread(target=line.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield line
        finally:
            # Closing alone does not wake an accept that already waits.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)


def _hang_up(end: socket.socket) -> None:
    """End the connection, which wakes whoever reads from it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

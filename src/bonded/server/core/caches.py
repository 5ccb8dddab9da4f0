"""Bytes kept in memory by their digest: what they are never changes, so nothing expires."""

from __future__ import annotations

from collections import OrderedDict

from bonded.server.core.digests import Sha256


class ByteCache:
    """The contents asked for last, as many as fit in *limit_bytes*."""

    def __init__(self, limit_bytes: int) -> None:
        self._contents: OrderedDict[Sha256, bytes] = OrderedDict()
        self._limit_bytes = limit_bytes
        self._size_bytes = 0

    def find(self, digest: Sha256) -> bytes | None:
        """Return the contents, or None if they are not here."""
        data = self._contents.get(digest)
        if data is not None:
            self._contents.move_to_end(digest)
        return data

    def add(self, digest: Sha256, data: bytes) -> None:
        """Keep some contents, in place of those not asked for the longest."""
        self.remove(digest)
        self._contents[digest] = data
        self._size_bytes += len(data)
        while self._size_bytes > self._limit_bytes:
            _, dropped = self._contents.popitem(last=False)
            self._size_bytes -= len(dropped)

    def remove(self, digest: Sha256) -> None:
        """Let go of some contents."""
        data = self._contents.pop(digest, None)
        if data is not None:
            self._size_bytes -= len(data)

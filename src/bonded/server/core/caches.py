"""What is kept in memory within a limit: bytes by their digest, packages by their version."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from bonded.server.core.digests import Sha256
from bonded.server.core.files import Package


class ByteCache:
    """The contents asked for last, as many as fit in *limit_bytes*.

    What has a digest never changes, so nothing expires.
    """

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
        """Keep some contents, in place of those not asked for the longest.

        Not those larger than the whole cache, for which all others would go.
        """
        self.remove(digest)
        if len(data) > self._limit_bytes:
            return
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


class PackageCache:
    """The packages asked for last, as many as have *files_max* files together.

    Their files are what takes memory: one package can have as many as a thousand others. The one
    that was asked for last is kept however many it has, for it is about to be asked for again.
    """

    def __init__(self, files_max: int) -> None:
        self._files_max = files_max
        self._kept: OrderedDict[Hashable, tuple[Hashable, Package]] = OrderedDict()
        self._files = 0

    def find(self, key: Hashable, version: Hashable) -> Package | None:
        """Return the package, or None if it is not here as of this version."""
        known = self._kept.get(key)
        if known is None or known[0] != version:
            return None
        self._kept.move_to_end(key)
        return known[1]

    def add(self, key: Hashable, version: Hashable, package: Package) -> None:
        """Keep a package, in place of those not asked for the longest."""
        replaced = self._kept.pop(key, None)
        self._files += _weight(package) - (_weight(replaced[1]) if replaced else 0)
        self._kept[key] = (version, package)
        while self._files > self._files_max and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._files -= _weight(dropped)


def _weight(package: Package) -> int:
    # One without files takes memory, too.
    return len(package.files) + 1

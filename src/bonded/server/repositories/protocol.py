"""The questions that standard, remote and virtual repositories all answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from bonded.server.core.digests import Sha256
from bonded.server.core.files import Content, Package
from bonded.server.core.names import PackageName


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file's contents, with the digest that is also its strong ETag (RFC 9110 §8.8.3)."""

    content: Content
    sha256: Sha256


class Repository(Protocol):
    """What an installer points at.

    Raises NotFound for what is known to be absent and Unavailable where that
    cannot be known: an outage is not absence.
    """

    async def version(self, name: PackageName | None) -> Hashable:
        """Return what differs whenever the answers about *name* (or the list) may."""
        ...

    async def list_packages(self) -> tuple[PackageName, ...]:
        """Return every package, in order."""
        ...

    async def list_reserved(self) -> frozenset[PackageName]:
        """Return names that had a package here once: nobody behind may answer for them."""
        ...

    async def get_package(self, name: PackageName) -> Package:
        """Return one package with all its files."""
        ...

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """Open one file of a package."""
        ...

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """Open a file's core metadata (PEP 658)."""
        ...

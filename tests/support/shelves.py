"""A repository held in memory, which remembers what it was asked and can be down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bonded.server.core.digests import sha256_of
from bonded.server.core.errors import NotFound, Unavailable
from bonded.server.core.files import File, InMemory, Package
from bonded.server.core.names import PackageName
from bonded.server.repositories.protocol import StoredFile

UPLOADED_AT = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass
class Shelf:
    """Answers as a `Repository`. Every file's bytes name the shelf it is on."""

    label: str
    packages: dict[str, list[str]] = field(default_factory=dict)
    """Normalized name → versions, each with one wheel."""
    is_down: bool = False
    asked: set[str] = field(default_factory=set)
    """Every name that anybody has asked for."""
    serial: int = 0

    def put(self, name: str, *versions: str) -> None:
        """Add versions of a package."""
        self.packages.setdefault(name, []).extend(versions)
        self.serial += 1

    async def version(self, name: PackageName | None) -> int:
        """Return the serial of everything."""
        self._look(name)
        return self.serial

    async def list_packages(self) -> tuple[PackageName, ...]:
        """Return every package."""
        self._look(None)
        return tuple(PackageName.parse(name) for name in sorted(self.packages))

    async def list_reserved(self) -> frozenset[PackageName]:
        """Return nothing: what was here is still here."""
        self._look(None)
        return frozenset()

    async def get_package(self, name: PackageName) -> Package:
        """Return one package."""
        self._look(name)
        if name.normalized not in self.packages:
            raise NotFound(f"{self.label} has no {name}")
        versions = self.packages[name.normalized]
        files = tuple(self._file(name, version) for version in versions)
        return Package(name, files, tuple(versions))

    async def open_file(self, name: PackageName, filename: str) -> StoredFile:
        """Open a file."""
        package = await self.get_package(name)
        for file in package.files:
            if file.filename == filename:
                return StoredFile(InMemory(self.bytes_of(filename)), sha256_of(b""))
        raise NotFound(f"{self.label} has no {filename}")

    async def open_core_metadata(self, name: PackageName, filename: str) -> StoredFile:
        """Open a file's core metadata, which is its contents."""
        return await self.open_file(name, filename)

    def bytes_of(self, filename: str) -> bytes:
        """Return the contents of a file of this shelf."""
        return f"{filename} of {self.label}".encode()

    def _look(self, name: PackageName | None) -> None:
        if name is not None:
            self.asked.add(name.normalized)
        if self.is_down:
            raise Unavailable(f"{self.label} does not answer")

    def _file(self, name: PackageName, version: str) -> File:
        filename = f"{name.normalized.replace('-', '_')}-{version}-py3-none-any.whl"
        data = self.bytes_of(filename)
        return File(filename, version, len(data), sha256_of(data), UPLOADED_AT)


def shelves(labels: Iterable[str]) -> dict[str, Shelf]:
    """Return empty shelves by their labels."""
    return {label: Shelf(label) for label in labels}

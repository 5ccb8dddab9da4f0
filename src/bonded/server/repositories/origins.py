"""Where the files of a package are at the index that they come from, here or not."""

from __future__ import annotations

from dataclasses import dataclass

from bonded.server.core.files import UpstreamFile
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.repositories.catalog import Catalog
from bonded.server.repositories.remote import RemoteRepository
from bonded.server.repositories.virtual import VirtualRepository


@dataclass(frozen=True, slots=True)
class Origin:
    """The index of a package, and each file that its page lists."""

    index_url: str
    """Of the first that has the package; empty if that is a repository of this server's own."""
    urls: tuple[tuple[str, str], ...]
    """Filenames, and where they are; of a file that was published here: empty."""


async def find_origin(catalog: Catalog, name: RepositoryName, package: PackageName) -> Origin:
    """Return where a package comes from, as an installer that asks now has it.

    Raises:
        NotFound: there is no such repository, or no such package in it.
        Unavailable: nobody can tell now.
    """
    repository = await catalog.open(name)
    files = (await repository.get_package(package)).files
    while isinstance(repository, VirtualRepository):
        repository = (await repository.find_owner(package)).repository
    index_url = repository.index_url if isinstance(repository, RemoteRepository) else ""
    urls = ((one.filename, one.url if isinstance(one, UpstreamFile) else "") for one in files)
    return Origin(index_url, tuple(urls))

"""Looking at what is in repositories: packages, versions and files that are here.

Of a remote repository that is what it has cached (gar.md §2.2); of a virtual one, what its
upstreams have, each package from whoever owns it. Nobody else is asked for anything.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nsmallest
from itertools import groupby, islice

from bonded.server.core.errors import NotFound
from bonded.server.core.files import File, Package, PackageSummary
from bonded.server.core.merging import merge
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import (
    RemoteConfig,
    ServerRepository,
    UpstreamPolicy,
    VirtualConfig,
)
from bonded.server.metadata.store import (
    MetadataStore,
    RepositoryRecord,
    Transaction,
)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file, and whose it is."""

    package: PackageName
    file: File
    upstream_url: str = ""
    """Where a copy came from; of a file that was published here: empty."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """A version, and its files, oldest upload first."""

    package: PackageName
    version: str
    files: tuple[File, ...]

    @property
    def created_at(self) -> datetime:
        """When its first file was uploaded."""
        return self.files[0].upload_time

    @property
    def updated_at(self) -> datetime:
        """When its last file was uploaded."""
        return max(file.upload_time for file in self.files)

    @property
    def yanked(self) -> str | None:
        """Why all of its files are yanked, possibly empty; None if one is not (PEP 592)."""
        reasons = [file.yanked for file in self.files if file.yanked is not None]
        return max(reasons) if len(reasons) == len(self.files) else None


@dataclass(frozen=True, slots=True)
class _View:
    """A repository that shows what others have."""

    config: VirtualConfig
    upstreams: Mapping[str, _Tree]
    """By the id of the policy."""


_Tree = _View | RepositoryName


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What a repository with files of its own has."""

    packages: Mapping[PackageName, PackageName]
    """By name; as it is spelled there."""
    emptied: frozenset[PackageName]
    """Those of which every file was deleted: the names stay its own."""


_Stock = Mapping[RepositoryName, _Shelf]


class Browsing:
    """Answers from rows alone."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def list_packages(
        self, repository: RepositoryName, after: str, limit: int
    ) -> tuple[PackageSummary, ...]:
        """Return up to *limit* packages in order, from the one that follows *after*.

        Raises:
            NotFound: there is no such repository.
        """
        async with self._metadata.read() as tx:
            names = await _list_names(tx, repository)
            page = names[bisect_right(names, after, key=lambda one: one[0].normalized) :][:limit]
            found: dict[PackageName, PackageSummary] = {}
            for holder in {holder for _, holder in page}:
                wanted = [name for name, one in page if one == holder]
                summaries = await tx.listings.describe_packages(holder, wanted)
                found |= {summary.name: summary for summary in summaries}
        return tuple(found[name] for name, _ in page if name in found)

    async def get_package(self, repository: RepositoryName, name: PackageName) -> PackageSummary:
        """Return one package. Raises NotFound."""
        async with self._metadata.read() as tx:
            for holder in await list_holders(tx, repository, name):
                for summary in await tx.listings.describe_packages(holder, [name]):
                    return summary
        raise NotFound(f"No package {name} in {repository}")

    async def list_versions(
        self, repository: RepositoryName, name: PackageName, after: str, limit: int
    ) -> tuple[VersionSummary, ...]:
        """Return up to *limit* versions of a package in order, from what follows *after*.

        Raises:
            NotFound: there is no such package.
        """
        async with self._metadata.read() as tx:
            package = await _get_contents(tx, repository, name)
        return await asyncio.to_thread(_summarize, name, package, after, limit)

    async def get_version(
        self, repository: RepositoryName, name: PackageName, version: str
    ) -> VersionSummary:
        """Return one version. Raises NotFound."""
        async with self._metadata.read() as tx:
            package = await _get_contents(tx, repository, name, version)
        files = tuple(file for file in _stored(package) if file.version == version)
        if not files:
            raise NotFound(f"No version {version[:80]!r} of {name} in {repository}")
        return VersionSummary(name, version, files)

    async def list_all_versions(
        self, repository: RepositoryName, after: tuple[str, str], limit: int
    ) -> tuple[VersionSummary, ...]:
        """Return up to *limit* versions of all packages, from what follows *after*."""
        files = await self._list_files(repository, after, limit, by_version=True)
        return tuple(
            VersionSummary(package, version, tuple(one.file for one in group))
            for (package, version), group in groupby(
                files, key=lambda one: (one.package, one.file.version)
            )
        )

    async def list_files(
        self, repository: RepositoryName, after: tuple[str, str], limit: int
    ) -> tuple[ListedFile, ...]:
        """Return up to *limit* files, by package and filename, from what follows *after*.

        Raises:
            NotFound: there is no such repository.
        """
        return await self._list_files(repository, after, limit, by_version=False)

    async def list_files_of(
        self,
        repository: RepositoryName,
        name: PackageName,
        version: str,
        after: tuple[str, str],
        limit: int,
    ) -> tuple[ListedFile, ...]:
        """Return up to *limit* files of a package, or of one version of it ("" for all).

        Raises:
            NotFound: there is no such package.
        """
        async with self._metadata.read() as tx:
            package = await _get_contents(tx, repository, name, version)
        files = await asyncio.to_thread(_sort_after, package, after, by_version=False)
        wanted = (file for file in files if version in ("", file.version))
        return tuple(ListedFile(package.name, file) for file in islice(wanted, limit))

    async def _list_files(
        self, repository: RepositoryName, after: tuple[str, str], limit: int, *, by_version: bool
    ) -> tuple[ListedFile, ...]:
        found: list[ListedFile] = []
        groups: set[tuple[str, str]] = set()
        async with self._metadata.read() as tx:
            names = await _list_names(tx, repository)
            start = max(bisect_right(names, after[0], key=lambda one: one[0].normalized) - 1, 0)
            for name, _ in names[start:]:
                package = await _get_contents(tx, repository, name)
                files = await asyncio.to_thread(_sort_after, package, after, by_version=by_version)
                for file in files:
                    groups.add(_place(package, file, by_version=by_version))
                    if len(groups) > limit:
                        return tuple(found)
                    found.append(ListedFile(package.name, file))
        return tuple(found)

    async def get_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> ListedFile:
        """Return one file. Raises NotFound."""
        async with self._metadata.read() as tx:
            holders = await list_holders(tx, repository, name)
            if len(holders) == 1:
                found, _ = await tx.files.find_file(holders[0], name, filename)
            else:
                files = _stored(await _get_contents(tx, repository, name))
                found = next((file for file in files if file.filename == filename), None)
        if found is not None:
            (listed,) = await self.with_urls(repository, [ListedFile(name, found)])
            return listed
        raise NotFound(f"No file {filename} of {name} in {repository}")

    async def with_urls(
        self, repository: RepositoryName, files: Sequence[ListedFile]
    ) -> tuple[ListedFile, ...]:
        """Return *files*, copies among them with where they came from.

        Raises:
            NotFound: there is no such repository.
        """
        urls: dict[tuple[PackageName, File], str] = {}
        async with self._metadata.read() as tx:
            for leaf in _leaves(await _grow(tx, await _get_record(tx, repository))):
                if (await _get_record(tx, leaf)).config is None:
                    continue
                for name in {one.package for one in files}:
                    for copy in await tx.caches.list_files(leaf, name):
                        urls.setdefault((name, copy.file), copy.url)
        found = ((one, urls.get((one.package, one.file), "")) for one in files)
        return tuple(replace(one, upstream_url=url) for one, url in found)


# What goes over all files of a package runs in a thread: some have tens of thousands.


def _summarize(
    name: PackageName, package: Package, after: str, limit: int
) -> tuple[VersionSummary, ...]:
    found: dict[str, list[File]] = {}
    for file in _stored(package):
        if file.version > after:
            found.setdefault(file.version, []).append(file)
    page = nsmallest(limit, found)
    return tuple(VersionSummary(name, version, tuple(found[version])) for version in page)


def _sort_after(package: Package, after: tuple[str, str], *, by_version: bool) -> list[File]:
    files = [one for one in _stored(package) if _place(package, one, by_version=by_version) > after]
    files.sort(key=lambda one: (one.version, one.filename) if by_version else (one.filename,))
    return files


def _place(package: Package, file: File, *, by_version: bool) -> tuple[str, str]:
    return package.name.normalized, file.version if by_version else file.filename


def _stored(package: Package) -> tuple[File, ...]:
    """Return the files that are here: all of them, for they come from rows of files."""
    return tuple(file for file in package.files if isinstance(file, File))


async def _get_contents(
    tx: Transaction, repository: RepositoryName, name: PackageName, version: str = ""
) -> Package:
    """Return a package. Of one repository's, with the files of *version* alone, if it is given."""
    holders = await list_holders(tx, repository, name)
    # Among several, 1.0 of one hides 1.0.0 of the next: see `merge`.
    wanted = version if len(holders) == 1 else ""
    found = [
        package
        for holder in holders
        if (package := await tx.files.find_package(holder, name, wanted)) is not None
    ]
    if not found:
        raise NotFound(f"No package {name} in {repository}")
    return found[0] if len(found) == 1 else (await asyncio.to_thread(merge, found))[0]


async def _list_names(
    tx: Transaction, repository: RepositoryName
) -> list[tuple[PackageName, RepositoryName]]:
    """Return every package in order, with the repository whose row describes it."""
    tree = await _grow(tx, await _get_record(tx, repository))
    stock = {}
    for leaf in _leaves(tree):
        packages = {name: name for name in await tx.files.list_packages(leaf)}
        stock[leaf] = _Shelf(packages, frozenset(await tx.lifecycle.list_emptied(leaf, None)))
    return await asyncio.to_thread(_arrange, tree, stock)


def _arrange(tree: _Tree, stock: _Stock) -> list[tuple[PackageName, RepositoryName]]:
    every = sorted({name for shelf in stock.values() for name in shelf.packages})
    owned = ((name, _holders(tree, name, stock)[0]) for name in every)
    return [(stock[holders[0]].packages[name], holders[0]) for name, holders in owned if holders]


async def list_holders(
    tx: Transaction, repository: RepositoryName, name: PackageName
) -> tuple[RepositoryName, ...]:
    """Return the repositories whose files of a package *repository* shows, in order.

    Raises:
        NotFound: there is no such repository.
    """
    tree = await _grow(tx, await _get_record(tx, repository))
    stock = {}
    for leaf in _leaves(tree):
        packages = {one.name: one.name for one in await tx.listings.describe_packages(leaf, [name])}
        stock[leaf] = _Shelf(packages, frozenset(await tx.lifecycle.list_emptied(leaf, name)))
    return _holders(tree, name, stock)[0]


def _holders(
    tree: _Tree, name: PackageName, stock: _Stock
) -> tuple[tuple[RepositoryName, ...], bool]:
    """Return who has the package, in order, and whether nobody else may answer for it.

    What `repositories.virtual` decides by asking, decided by what is here.
    """
    if isinstance(tree, RepositoryName):
        return ((tree,) if name in stock[tree].packages else ()), name in stock[tree].emptied
    holders: list[RepositoryName] = []
    is_final = tree.config.find_reservation(name) is not None
    for policy in tree.config.candidates(name):
        found, is_reserved = _holders(tree.upstreams[policy.id], name, stock)
        holders.extend(found)
        is_final = is_final or is_reserved
        if is_reserved or (holders and not tree.config.is_merged(name)):
            break
    return tuple(holders), is_final and not holders


def _leaves(tree: _Tree) -> Iterable[RepositoryName]:
    if isinstance(tree, RepositoryName):
        return {tree}
    return {leaf for upstream in tree.upstreams.values() for leaf in _leaves(upstream)}


async def _grow(tx: Transaction, record: RepositoryRecord) -> _Tree:
    match record.config:
        case VirtualConfig() as config:
            pass
        case RemoteConfig(source=ServerRepository(name)):
            config = VirtualConfig((UpstreamPolicy(name.repository, name, 0),))
        case _:
            return record.name
    upstreams = {
        policy.id: await _grow(tx, await _get_record(tx, policy.repository))
        for policy in config.policies
    }
    return _View(config, upstreams)


async def _get_record(tx: Transaction, name: RepositoryName) -> RepositoryRecord:
    record = await tx.repositories.find(name)
    if record is None:
        raise NotFound(f"Repository {name} does not exist")
    return record

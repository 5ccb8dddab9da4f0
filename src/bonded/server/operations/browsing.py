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
    holder: RepositoryName | None = None
    """Which repository has it; None if nobody needs to know."""
    upstream_url: str = ""
    """Where a copy came from; of a file that was published here: empty."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """A package as a repository shows it, and which repository has which of its files."""

    package: Package
    holders: tuple[RepositoryName, ...]
    indexes: Mapping[str, int]
    """By filename, of its holder; the first has the others."""

    def listed(self, file: File) -> ListedFile:
        """Return one of its files as it is listed."""
        holder = self.holders[self.indexes.get(file.filename, 0)]
        return ListedFile(self.package.name, file, holder)


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
_Named = tuple[PackageName, tuple[RepositoryName, ...]]


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
            for holder in {holders[0] for _, holders in page}:
                wanted = [name for name, holders in page if holders[0] == holder]
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
            package = (await _get_contents(tx, repository, name)).package
        return await asyncio.to_thread(_summarize, name, package, after, limit)

    async def get_version(
        self, repository: RepositoryName, name: PackageName, version: str
    ) -> VersionSummary:
        """Return one version. Raises NotFound."""
        async with self._metadata.read() as tx:
            package = (await _get_contents(tx, repository, name, version)).package
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
            found = await _get_contents(tx, repository, name, version)
        files = await asyncio.to_thread(_sort_after, found.package, after, by_version=False)
        wanted = (file for file in files if version in ("", file.version))
        return tuple(found.listed(file) for file in islice(wanted, limit))

    async def _list_files(
        self, repository: RepositoryName, after: tuple[str, str], limit: int, *, by_version: bool
    ) -> tuple[ListedFile, ...]:
        found: list[ListedFile] = []
        groups: set[tuple[str, str]] = set()
        async with self._metadata.read() as tx:
            names = await _list_names(tx, repository)
            start = max(bisect_right(names, after[0], key=lambda one: one[0].normalized) - 1, 0)
            for name, holders in names[start:]:
                one = await _read_contents(tx, holders, name)
                if one is None:
                    continue
                files = await asyncio.to_thread(
                    _sort_after, one.package, after, by_version=by_version
                )
                for file in files:
                    groups.add(_place(one.package, file, by_version=by_version))
                    if len(groups) > limit:
                        return tuple(found)
                    found.append(one.listed(file))
        return tuple(found)

    async def get_file(
        self, repository: RepositoryName, name: PackageName, filename: str
    ) -> ListedFile:
        """Return one file. Raises NotFound."""
        async with self._metadata.read() as tx:
            holders = await list_holders(tx, repository, name)
            found = None
            if len(holders) == 1:
                file, _ = await tx.files.find_file(holders[0], name, filename)
                found = None if file is None else ListedFile(name, file, holders[0])
            elif (contents := await _read_contents(tx, holders, name)) is not None:
                files = _stored(contents.package)
                listed = (contents.listed(one) for one in files if one.filename == filename)
                found = next(listed, None)
        if found is None:
            raise NotFound(f"No file {filename} of {name} in {repository}")
        (found,) = await self.with_urls([found])
        return found

    async def with_urls(self, files: Sequence[ListedFile]) -> tuple[ListedFile, ...]:
        """Return *files*, copies among them with where their holders had them from."""
        wanted: dict[RepositoryName, set[tuple[PackageName, str]]] = {}
        for one in files:
            if one.holder is not None:
                wanted.setdefault(one.holder, set()).add((one.package, one.file.filename))
        urls: dict[tuple[RepositoryName | None, PackageName, str], str] = {}
        async with self._metadata.read() as tx:
            for holder, places in wanted.items():
                found = await tx.caches.list_urls(holder, places)
                urls |= {(holder, *place): url for place, url in found.items()}
        keys = ((one.holder, one.package, one.file.filename) for one in files)
        return tuple(
            replace(one, upstream_url=urls.get(key, ""))
            for one, key in zip(files, keys, strict=True)
        )


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
) -> _Contents:
    """Return a package. Of one repository's, with the files of *version* alone, if it is given."""
    holders = await list_holders(tx, repository, name)
    # Among several, 1.0 of one hides 1.0.0 of the next: see `merge`.
    found = await _read_contents(tx, holders, name, version if len(holders) == 1 else "")
    if found is None:
        raise NotFound(f"No package {name} in {repository}")
    return found


async def _read_contents(
    tx: Transaction, holders: Sequence[RepositoryName], name: PackageName, version: str = ""
) -> _Contents | None:
    found = [
        (holder, package)
        for holder in holders
        if (package := await tx.files.find_package(holder, name, version)) is not None
    ]
    if not found:
        return None
    holding = tuple(holder for holder, _ in found)
    if len(found) == 1:
        return _Contents(found[0][1], holding, {})
    merged, indexes = await asyncio.to_thread(merge, [package for _, package in found])
    return _Contents(merged, holding, indexes)


async def _list_names(tx: Transaction, repository: RepositoryName) -> list[_Named]:
    """Return every package in order, with the repositories that have it.

    It is spelled as in the first of them, whose row describes it.
    """
    tree = await _grow(tx, await _get_record(tx, repository))
    stock = {}
    for leaf in _leaves(tree):
        packages = {name: name for name in await tx.files.list_packages(leaf)}
        stock[leaf] = _Shelf(packages, frozenset(await tx.lifecycle.list_emptied(leaf, None)))
    return await asyncio.to_thread(_arrange, tree, stock)


def _arrange(tree: _Tree, stock: _Stock) -> list[_Named]:
    every = sorted({name for shelf in stock.values() for name in shelf.packages})
    owned = ((name, _holders(tree, name, stock)[0]) for name in every)
    return [(stock[holders[0]].packages[name], holders) for name, holders in owned if holders]


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

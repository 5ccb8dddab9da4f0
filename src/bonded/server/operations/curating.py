"""Curating: what people do to files after they were published.

To yank a file leaves it where it is and tells installers to pass it by, unless
somebody asks for exactly that version (PEP 592). To delete one takes it away at
once; for a time it can be restored, and for ever only the same bytes may come
back under its name, so that a lock file never finds others.
"""

from __future__ import annotations

from datetime import timedelta

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.files import (
    DeletedFile,
    DeletedPackage,
    File,
    Selection,
    check_yank_reason,
)
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import RemoteConfig, ServerRepository, VirtualConfig
from bonded.server.metadata.store import MetadataStore, Transaction
from bonded.server.operations.browsing import list_holders


class Curating:
    """Yanks and deletes files, and takes that back."""

    def __init__(self, metadata: MetadataStore, clock: Clock, restorable: timedelta) -> None:
        self._metadata = metadata
        self._clock = clock
        self._restorable = restorable

    async def yank(
        self, repository: RepositoryName, selection: Selection, reason: str
    ) -> tuple[File, ...]:
        """Have installers pass files by; return these. Of a file yanked before, renew the reason.

        Raises:
            Rejected: the reason is malformed, or the repository shows what others have.
            NotFound: there is nothing of what is selected.
        """
        check_yank_reason(reason)
        _note(selection, reason=reason)
        return await self._mark(repository, selection, reason)

    async def unyank(self, repository: RepositoryName, selection: Selection) -> tuple[File, ...]:
        """Let installers choose files again; return these. Those not yanked stay as they are.

        Raises:
            Rejected: the repository shows what others have.
            NotFound: there is nothing of what is selected.
        """
        _note(selection)
        return await self._mark(repository, selection, None)

    async def _mark(
        self, repository: RepositoryName, selection: Selection, reason: str | None
    ) -> tuple[File, ...]:
        async with self._metadata.transaction() as tx:
            if not await _is_own(tx, repository, selection):
                raise Rejected(
                    f"{repository} is a remote repository: what is yanked there, its upstream says",
                    hint="Yank it at the upstream, or publish files of your own in a standard "
                    "repository.",
                )
            files = await tx.lifecycle.yank(repository, selection, reason)
            note(files=[file.filename for file in files])
        return files

    async def delete(self, repository: RepositoryName, selection: Selection) -> tuple[File, ...]:
        """Delete files; return them. A remote repository only lets go of its copies.

        Raises:
            Rejected: the repository shows what others have.
            NotFound: there is nothing of what is selected.
        """
        _note(selection)
        at = self._clock()
        async with self._metadata.transaction() as tx:
            if await _is_own(tx, repository, selection):
                until = at + self._restorable
                files = await tx.lifecycle.delete(repository, selection, at, until)
            else:
                files = await tx.lifecycle.drop(repository, selection, at)
            note(files=[file.filename for file in files])
        return files

    async def undelete(self, repository: RepositoryName, selection: Selection) -> tuple[File, ...]:
        """Restore files as they were when they were deleted; return them.

        Raises:
            Rejected: that was too long ago, or the repository has no files of its own.
            NotFound: nothing of what is selected was deleted.
        """
        _note(selection)
        async with self._metadata.transaction() as tx:
            if not await _is_own(tx, repository, selection):
                raise Rejected(
                    f"{repository} is a remote repository, from which nothing need be restored",
                    hint="What its upstream lists is fetched again as soon as somebody asks.",
                )
            files = await tx.lifecycle.restore(repository, selection, self._clock())
            note(files=[file.filename for file in files])
        return files

    async def list_deleted_packages(
        self, repository: RepositoryName, after: str, limit: int
    ) -> tuple[DeletedPackage, ...]:
        """Return packages without any file that can be restored, by name, from after *after*."""
        async with self._metadata.read() as tx:
            now = self._clock()
            return await tx.lifecycle.list_deleted_packages(repository, now, after, limit)

    async def list_deleted_files(
        self, repository: RepositoryName, after: tuple[str, str], limit: int
    ) -> tuple[DeletedFile, ...]:
        """Return files that can be restored, by package and filename, from after *after*."""
        async with self._metadata.read() as tx:
            now = self._clock()
            return await tx.lifecycle.list_deleted_files(repository, now, after, limit)

    async def list_deleted_of(
        self, repository: RepositoryName, name: PackageName
    ) -> tuple[DeletedFile, ...]:
        """Return the files of one package that can be restored, by filename."""
        async with self._metadata.read() as tx:
            return await tx.lifecycle.list_deleted_of(repository, name, self._clock())


def _note(selection: Selection, **more: str) -> None:
    named = {"version": selection.version, "filename": selection.filename}
    given = {key: value for key, value in named.items() if value}
    note(package=selection.name.normalized, **given, **more)


async def _is_own(tx: Transaction, repository: RepositoryName, selection: Selection) -> bool:
    """Say whether the repository's files are its own, and no copies of an upstream's.

    Raises:
        NotFound: the repository, or the package behind it, does not exist.
        Rejected: it shows what others have.
    """
    record = await tx.repositories.find(repository)
    if record is None:
        raise NotFound(f"Repository {repository} does not exist")
    match record.config:
        case None:
            return True
        case VirtualConfig() | RemoteConfig(source=ServerRepository()):
            holders = await list_holders(tx, repository, selection.name)
            if not holders:
                raise NotFound(f"No {selection} in {repository}")
            raise Rejected(
                f"{repository} has no files of its own: it shows those of other repositories",
                hint=f"{selection.name} comes from {' and '.join(map(str, holders))}: do it there.",
            )
        case RemoteConfig():
            return False

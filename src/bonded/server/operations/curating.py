"""Curating: what people do to files after they were published.

To yank a file leaves it where it is and tells installers to pass it by, unless
somebody asks for exactly that version (PEP 592).
"""

from __future__ import annotations

from bonded.server.core.audit import note
from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.files import File, Selection, check_yank_reason
from bonded.server.core.names import RepositoryName
from bonded.server.core.upstreams import RemoteConfig, ServerRepository, VirtualConfig
from bonded.server.metadata.store import MetadataStore, Transaction
from bonded.server.operations.browsing import list_holders


class Curating:
    """Yanks files, and takes that back."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

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


def _note(selection: Selection, **more: str) -> None:
    note(
        package=selection.name.normalized,
        version=selection.version,
        filename=selection.filename,
        **more,
    )


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

"""What an administrator does with the cache of a remote repository."""

from __future__ import annotations

from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.names import PackageName, RepositoryName
from bonded.server.core.upstreams import Mode, RemoteConfig, ServerRepository
from bonded.server.metadata.store import MetadataStore


class Caching:
    """Has upstreams asked again before their pages are old."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def refresh(self, repository: RepositoryName, package: PackageName | None) -> int:
        """Forget how fresh the page of *package* is, or (None) every page; return how many.

        The pages stay, for as long as the upstream cannot be asked.

        Raises:
            NotFound: the repository does not exist.
            Rejected: it caches nothing.
        """
        async with self._metadata.transaction() as tx:
            record = await tx.repositories.find(repository)
            if record is None:
                raise NotFound(f"Repository {repository} does not exist")
            match record.config:
                case RemoteConfig(source=ServerRepository(name)):
                    raise Rejected(f"{repository} shows {name} as it is, and caches nothing")
                case RemoteConfig():
                    return await tx.caches.expire_pages(repository, package)
                case _:
                    raise Rejected(
                        f"{repository} is a {record.mode.noun} repository, and caches nothing",
                        hint=f"Only a {Mode.REMOTE.noun} repository can be refreshed.",
                    )

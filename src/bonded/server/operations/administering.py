"""Administering projects and repositories."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from bonded.server.core.audit import note
from bonded.server.core.clock import Clock
from bonded.server.core.errors import Needed, NotFound, Rejected
from bonded.server.core.names import ACCOUNT_DOMAIN, RepositoryName, parse_project_id
from bonded.server.core.upstreams import (
    CustomIndex,
    PublicIndex,
    RemoteConfig,
    RepositoryConfig,
)
from bonded.server.metadata.store import (
    MetadataStore,
    Project,
    RepositoryRecord,
)
from bonded.server.operations.nesting import check_upstreams
from bonded.server.operations.owning import Owners

PAGE_SIZE_MAX = 1000
DESCRIPTION_LENGTH_MAX = 1024
LABELS_MAX = 64
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


Probe = Callable[[RepositoryName, RemoteConfig], Awaitable[None]]
"""Asks the upstream of a remote repository for something, and raises if it does not answer."""
Revise = Callable[[RepositoryRecord], RepositoryConfig]
"""Returns how a repository is to be set up, given how it is now."""


class Administration:
    """Creates, shows, changes and deletes projects and repositories."""

    def __init__(self, metadata: MetadataStore, clock: Clock, owners: Owners, probe: Probe) -> None:
        self._metadata = metadata
        self._clock = clock
        self._owners = owners
        self._probe = probe

    async def create_project(self, project_id: str, name: str, labels: object = None) -> Project:
        """Create a project. Raises Rejected for a malformed id, Conflict for a taken one."""
        project = Project(
            id=parse_project_id(project_id),
            # Google's are twelve digits, and clients print them.
            number=secrets.randbelow(900_000_000_000) + 100_000_000_000,
            name=name or project_id,
            created_at=self._clock(),
            labels=parse_labels(labels),
        )
        note(f"projects/{project.id}")
        async with self._metadata.transaction() as tx:
            await tx.projects.add(project)
        return project

    async def get_project(self, project_id: str) -> Project:
        """Return a project. Raises NotFound."""
        async with self._metadata.read() as tx:
            project = await tx.projects.find(project_id)
        if project is None:
            raise NotFound(f"Project {project_id} does not exist")
        return project

    async def list_projects(self, after: str, limit: int) -> tuple[Project, ...]:
        """Return up to *limit* projects in order of id, from the one that follows *after*."""
        async with self._metadata.read() as tx:
            return await tx.projects.list(after, limit)

    async def delete_project(self, project_id: str) -> None:
        """Delete an empty project, with its service accounts and its policy.

        Raises:
            NotFound: it does not exist.
            Needed: it still holds repositories.
            Lockout: it holds the account of the server's last owner.
        """
        async with self._metadata.transaction() as tx, self._owners.kept(tx):
            await tx.policies.remove(f"projects/{project_id}")
            await tx.policies.remove_below(f"projects/{project_id}")
            await tx.projects.hold(project_id)
            if not await tx.projects.is_empty(project_id):
                raise Needed(
                    f"Project {project_id} is not empty", hint="Delete its repositories first."
                )
            # Or accounts made later, in a project of this name, would inherit the grants.
            own = f"@{project_id}.{ACCOUNT_DOMAIN}"
            await tx.policies.forget_members(lambda member: member.endswith(own))
            await tx.projects.remove(project_id)

    async def create_repository(
        self,
        name: RepositoryName,
        description: str,
        labels: object = None,
        config: RepositoryConfig = None,
    ) -> RepositoryRecord:
        """Create a repository; *config* makes it a remote or a virtual one.

        Raises:
            Rejected: description or labels are malformed, or an upstream cannot be one.
            NotFound: the project does not exist.
            Conflict: the name is taken.
        """
        now = self._clock()
        record = RepositoryRecord(
            name=name,
            description=parse_description(description),
            labels=parse_labels(labels),
            created_at=now,
            updated_at=now,
            config=config,
        )
        await self._ask_upstream(record)
        note(str(name))
        async with self._metadata.transaction() as tx:
            await tx.repositories.hold_all()
            await check_upstreams(tx.repositories, record)
            await tx.repositories.add(record)
        return record

    async def get_repository(self, name: RepositoryName) -> RepositoryRecord:
        """Return a repository. Raises NotFound."""
        async with self._metadata.read() as tx:
            record = await tx.repositories.find(name)
        if record is None:
            raise NotFound(f"Repository {name} does not exist")
        return record

    async def list_repositories(
        self, project: str, location: str | None, after: str, limit: int
    ) -> tuple[RepositoryRecord, ...]:
        """Return up to *limit* repositories, of one location or (None) of all.

        *after* is `LOCATION/REPOSITORY` of the last one seen. Raises NotFound without the project.
        """
        await self.get_project(project)
        async with self._metadata.read() as tx:
            return await tx.repositories.list(project, location, after, limit)

    async def list_locations(self, project: str) -> tuple[str, ...]:
        """Return the locations where the project has repositories. Raises NotFound."""
        await self.get_project(project)
        async with self._metadata.read() as tx:
            return await tx.repositories.list_locations(project)

    async def update_repository(
        self, name: RepositoryName, changes: Mapping[str, object], revise: Revise | None = None
    ) -> RepositoryRecord:
        """Change `description` and `labels`, whichever *changes* holds, and how it is set up.

        Raises:
            Rejected: a value is malformed, or an upstream cannot be one.
            NotFound: the repository does not exist.
        """
        note(changed=sorted(changes) + (["config"] if revise is not None else []))
        if revise is not None:
            # Outside of the transaction, which must not wait for another server.
            before = await self.get_repository(name)
            config = revise(before)
            if not _is_asked_alike(before.config, config):
                await self._ask_upstream(replace(before, config=config))
        async with self._metadata.transaction() as tx:
            if revise is not None:
                await tx.repositories.hold_all()
            # Held while it is read and written, or of two changes at once one would be lost.
            await tx.repositories.hold(name)
            record = await tx.repositories.find(name)
            assert record is not None
            record = replace(record, updated_at=self._clock())
            if "description" in changes:
                record = replace(record, description=parse_description(changes["description"]))
            if "labels" in changes:
                record = replace(record, labels=parse_labels(changes["labels"]))
            if revise is not None:
                record = replace(record, config=revise(record))
                await check_upstreams(tx.repositories, record)
            await tx.repositories.update(record)
        return await self.get_repository(name)

    async def delete_repository(self, name: RepositoryName) -> None:
        """Delete a repository with everything in it, and its policy.

        Raises:
            NotFound: it does not exist.
            Needed: it is an upstream of another.
        """
        async with self._metadata.transaction() as tx:
            await tx.policies.remove(str(name))
            await tx.repositories.remove(name)

    async def _ask_upstream(self, record: RepositoryRecord) -> None:
        match record.config:
            case RemoteConfig(is_validated=True, source=PublicIndex() | CustomIndex()) as config:
                await self._probe(record.name, config)
            case _:
                pass


def _is_asked_alike(before: RepositoryConfig, after: RepositoryConfig) -> bool:
    """Say whether an upstream is asked as it was, however long and how much of it is kept.

    Then there is nothing to find out; and in an outage one may want it to be kept for longer.
    """
    if not isinstance(before, RemoteConfig) or not isinstance(after, RemoteConfig):
        return before == after
    kept = replace(
        after,
        description=before.description,
        freshness_s=before.freshness_s,
        stale_max_s=before.stale_max_s,
        cache_size_max_bytes=before.cache_size_max_bytes,
    )
    return kept == before


def parse_description(value: object) -> str:
    """Return *value* if it may describe something. Raises Rejected."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > DESCRIPTION_LENGTH_MAX or "\0" in value:
        raise Rejected(f"description must be a text of at most {DESCRIPTION_LENGTH_MAX} characters")
    return value


def parse_labels(value: object) -> dict[str, str]:
    """Return *value* if it is labels by Google's rules (gar.md §1.7). Raises Rejected."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > LABELS_MAX:
        raise Rejected(f"labels must be an object of at most {LABELS_MAX} entries")
    for key, text in value.items():
        if not isinstance(key, str) or not _LABEL_KEY.fullmatch(key):
            raise Rejected(
                f"{str(key)[:80]!r} is not a valid label key",
                hint="Use up to 63 lower-case letters, digits, '_' and '-', a letter first.",
            )
        if not isinstance(text, str) or not _LABEL_VALUE.fullmatch(text):
            raise Rejected(
                f"{str(text)[:80]!r} is not a valid label value",
                hint="Use up to 63 lower-case letters, digits, '_' and '-'.",
            )
    return dict(value)

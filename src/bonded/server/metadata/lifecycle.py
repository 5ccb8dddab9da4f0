"""What the layers above need of a metadata store for files after they were published."""

from __future__ import annotations

from typing import Protocol

from bonded.server.core.files import File, Selection
from bonded.server.core.names import RepositoryName


class LifecycleTable(Protocol):
    """Files after they were published."""

    async def yank(
        self, repository: RepositoryName, selection: Selection, reason: str | None
    ) -> tuple[File, ...]: ...

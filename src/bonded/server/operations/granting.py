"""Granting: reading and replacing the policies of the server, of projects and of repositories."""

from __future__ import annotations

from bonded.server.core.errors import NotFound
from bonded.server.core.iam import ORGANIZATION, Policy
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.store import MetadataStore, Transaction

NEVER_SET = "ACAB"
"""The etag of a policy that nobody has set yet, as Google's is (gar.md §3.4)."""

Resource = str | RepositoryName


class Granting:
    """Reads and replaces policies."""

    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata

    async def get_policy(self, resource: Resource) -> Policy:
        """Return the policy that hangs on *resource* itself. Raises NotFound."""
        async with self._metadata.read() as tx:
            await _require(tx, resource)
            policy = await tx.policies.find(str(resource))
        return policy or Policy(str(resource), etag=NEVER_SET)

    async def set_policy(self, policy: Policy, resource: Resource) -> Policy:
        """Replace the policy of *resource*; return it with its new etag.

        Raises:
            NotFound: the resource does not exist.
            Aborted: the policy carries an etag and has been changed since it was read.
        """
        async with self._metadata.transaction() as tx:
            await _require(tx, resource)
            return await tx.policies.set(policy)


async def _require(tx: Transaction, resource: Resource) -> None:
    if isinstance(resource, RepositoryName):
        if await tx.repositories.find(resource) is None:
            raise NotFound(f"Repository {resource} does not exist")
    elif resource != ORGANIZATION:
        project = resource.removeprefix("projects/")
        if await tx.projects.find(project) is None:
            raise NotFound(f"Project {project} does not exist")

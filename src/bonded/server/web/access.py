"""The one place where a request is let in: Authorization header, principal, permission."""

from __future__ import annotations

from collections.abc import Mapping

from bonded.server.core.errors import Forbidden, Rejected, Unauthenticated
from bonded.server.core.iam import ANONYMOUS, ORGANIZATION, Permission, Principal
from bonded.server.core.names import (
    RepositoryName,
    account_resource,
    is_project_id,
    is_project_number,
)
from bonded.server.identity.authentication import Authenticator, Identified
from bonded.server.identity.policies import PolicyBook
from bonded.server.metadata.store import ACCESS, Serials

NOWHERE = "-"
"""Stands for every name that no project can have."""
NO_REPOSITORY = RepositoryName(NOWHERE, NOWHERE, NOWHERE)
"""Stands for every name that no repository can have."""


class Access:
    """Authenticates, then decides. Default deny: what no binding grants is refused."""

    def __init__(
        self, serials: Serials, authenticator: Authenticator, policies: PolicyBook
    ) -> None:
        self._serials = serials
        self._authenticator = authenticator
        self._policies = policies

    async def identify(self, authorization: bytes | None) -> tuple[Principal, int]:
        """Return who is calling, and the access serial as of which that holds.

        Raises:
            Unauthenticated: the credential proves nobody.
        """
        (serial,) = await self._serials.read(ACCESS)
        if authorization is None:
            return ANONYMOUS, serial
        return await self._authenticator.authenticate(authorization, serial), serial

    async def examine(self, authorization: bytes) -> Identified:
        """Return whom a credential proves, and until when.

        Raises:
            Unauthenticated: the credential proves nobody.
        """
        (serial,) = await self._serials.read(ACCESS)
        return await self._authenticator.identify(authorization, serial)

    async def check(
        self, principal: Principal, permission: Permission, resource: str | RepositoryName
    ) -> None:
        """Check a further resource that a request names besides the one in its path.

        Raises:
            Unauthenticated: nobody in particular asks, and not everybody may.
            Forbidden: the principal may not.
        """
        (serial,) = await self._serials.read(ACCESS)
        await self.require(principal, permission, resource, serial)

    async def require(
        self,
        principal: Principal,
        permission: Permission,
        resource: str | RepositoryName,
        serial: int,
    ) -> None:
        """Let *principal* pass, if they may use *permission* on *resource*.

        Raises:
            Unauthenticated: there is no credential and one is needed.
            Forbidden: the principal may not.
        """
        grants = await self._policies.grants_on(resource, serial)
        if grants.decide(principal, permission).is_allowed:
            return
        if principal.is_anonymous:
            raise Unauthenticated(
                "The request has no valid authentication credentials",
                hint="Send an access token as password of the user oauth2accesstoken.",
            )
        limits = principal.limits
        if limits is not None and not limits.allow(permission, str(resource)):
            raise Forbidden(
                f"Permission '{permission}' denied on resource '{resource}': "
                f"the access token is limited to {limits}",
                hint="Use a token with other limits, or with none.",
            )
        raise Forbidden(
            f"Permission '{permission}' denied on resource "
            f"'//{_service(resource)}/{resource}' (or it may not exist) for {principal.member}"
        )


def _service(resource: str | RepositoryName) -> str:
    if isinstance(resource, RepositoryName):
        return "artifactregistry.googleapis.com"
    if "/serviceAccounts/" in resource:
        return "iam.googleapis.com"
    return "cloudresourcemanager.googleapis.com"


def resource_of(
    params: Mapping[str, str], default_location: str
) -> tuple[str | RepositoryName, RepositoryName | None]:
    """Return the resource that a path's parameters name, and the repository if it is one."""
    project = params.get("project")
    if project is None:
        return ORGANIZATION, None
    repository = params.get("repository")
    if "account" in params:
        named = account_resource(project, params["account"])
        if named is not None:
            return named, None
    if repository is None:
        is_one = is_project_id(project) or is_project_number(project)
        return f"projects/{project if is_one else NOWHERE}", None
    location = params.get("location", default_location)
    try:
        name = RepositoryName.parse(project, location, repository)
    except Rejected:
        # What cannot exist is refused as what does not, and fills no cache.
        name = NO_REPOSITORY
    return name, name

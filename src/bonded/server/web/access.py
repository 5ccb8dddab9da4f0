"""The one place where a request is let in: Authorization header, principal, permission."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from packaging.utils import canonicalize_name

from bonded.server.core.clock import Clock
from bonded.server.core.conditions import Condition, Judge, never
from bonded.server.core.errors import Forbidden, Rejected, SelfLockout, Unauthenticated
from bonded.server.core.grants import Decision
from bonded.server.core.iam import (
    ANONYMOUS,
    GROUPS,
    ORGANIZATION,
    Permission,
    Principal,
)
from bonded.server.core.members import parse_member
from bonded.server.core.names import (
    RepositoryName,
    account_resource,
    is_project_id,
    is_project_number,
)
from bonded.server.identity.authentication import Authenticator, Identified
from bonded.server.identity.conditions import Circumstances, holds
from bonded.server.identity.policies import PolicyBook, grants_in
from bonded.server.metadata.store import ACCESS, Serials, Transaction
from bonded.server.web.addresses import Addresses
from bonded.server.web.messages import Call

NOWHERE = "-"
"""Stands for every name that no project can have."""
NO_REPOSITORY = RepositoryName(NOWHERE, NOWHERE, NOWHERE)
"""Stands for every name that no repository can have."""
PASSES_MAX = 64
"""Of one credential: what it was allowed outright, and need not be decided again."""


class Access:
    """Authenticates, then decides. Default deny: what no binding grants is refused."""

    def __init__(
        self,
        serials: Serials,
        authenticator: Authenticator,
        policies: PolicyBook,
        addresses: Addresses,
        clock: Clock,
    ) -> None:
        self._serials = serials
        self._authenticator = authenticator
        self._policies = policies
        self._addresses = addresses
        self._clock = clock
        self._nobody = Identified(ANONYMOUS, math.inf, -1, math.inf)

    def now(self) -> float:
        """Return the time, in seconds since 1970."""
        return self._clock().timestamp()

    async def identify(self, authorization: bytes | None, as_of: float | None = None) -> Identified:
        """Return who is calling, until when, and the access serial as of which that holds.

        What ran out after *as_of* (seconds since 1970; now unless said) still proves somebody.

        Raises:
            Unauthenticated: the credential proves nobody.
        """
        (serial,) = await self._serials.read(ACCESS)
        if authorization is not None:
            return await self._authenticator.identify(authorization, serial, as_of)
        if self._nobody.access_serial != serial:
            self._nobody = Identified(ANONYMOUS, math.inf, serial, math.inf)
        return self._nobody

    async def check(
        self,
        call: Call,
        permission: Permission,
        resource: str | RepositoryName,
        package: str = "",
    ) -> None:
        """Check what a request names besides what is in its path: a resource, or a package.

        Raises:
            Unauthenticated: nobody in particular asks, and not everybody may.
            Forbidden: the principal may not.
        """
        (serial,) = await self._serials.read(ACCESS)
        judge = partial(self._holds, call, resource, package)
        await self._require(call.principal, permission, resource, serial, judge)

    async def allows(
        self, call: Call, permission: Permission, resource: str | RepositoryName
    ) -> bool:
        """Say whether whoever calls may use *permission* on something else than the path names."""
        try:
            await self.check(call, permission, resource)
        except (Forbidden, Unauthenticated):
            return False
        return True

    async def check_again(
        self, call: Call, permission: Permission, resource: RepositoryName, package: str
    ) -> None:
        """Check as `check` does, when whoever calls may have lost since what let them in.

        They are identified anew if anything of access has changed, and as of when the request
        began: a credential that merely ran out while a long body came was good then.

        Raises:
            Unauthenticated: the credential has been ended.
            Forbidden: the principal may not, or may not any longer.
        """
        if await self.serial() != call.access_serial:
            header = call.headers.get(b"authorization")
            identified = await self.identify(header, call.began_at)
            call.principal = identified.principal
            call.access_serial = identified.access_serial
        await self.check(call, permission, resource, package)

    async def check_always(
        self, call: Call, permission: Permission, resource: RepositoryName
    ) -> None:
        """Check what somebody will be able to pass on: whatever the package, time and network.

        Raises:
            Unauthenticated: nobody in particular asks, and not everybody may.
            Forbidden: the principal may not, or only on a condition.
        """
        (serial,) = await self._serials.read(ACCESS)
        grants = await self._policies.grants_on(resource, serial)
        if grants.decide(call.principal, permission, never).is_allowed:
            return
        judge = partial(self._holds, call, resource, None)
        await self._require(call.principal, permission, resource, serial, judge)
        raise Forbidden(
            f"Permission '{permission}' on resource '{resource}' is granted to "
            f"{call.principal.member} on a condition only, which nobody would keep who reads "
            "through another repository",
            hint="Ask for a binding without a condition.",
        )

    async def serial(self) -> int:
        """Return the serial of everything that decides who may."""
        return (await self._serials.read(ACCESS))[0]

    async def find_held(
        self, call: Call, permissions: Iterable[Permission]
    ) -> tuple[Permission, ...]:
        """Return those of *permissions* that whoever calls may use on the call's resource.

        Raises:
            Unauthenticated: the credential proves nobody.
        """
        identified = await self.identify(call.headers.get(b"authorization"))
        call.principal = identified.principal
        grants = await self._policies.grants_on(call.resource, identified.access_serial)
        judge = self._judge(call, is_package_in_body=False)
        return tuple(
            one for one in permissions if grants.decide(call.principal, one, judge).is_allowed
        )

    async def require_kept(self, call: Call, permission: Permission, tx: Transaction) -> None:
        """Refuse what *tx* has written, if whoever calls could not undo it once it is committed.

        Raises:
            SelfLockout: they would no longer have *permission* on the call's resource.
        """
        grants = await grants_in(tx, call.resource)
        judge = self._judge(call, is_package_in_body=False)
        # It may have taken them out of a group.
        groups, _ = await tx.groups.find_around({call.principal.member, *call.principal.also})
        principal = replace(call.principal, groups=frozenset(groups))
        if not grants.decide(principal, permission, judge).is_allowed:
            raise SelfLockout(
                f"This would take from {call.principal.member}, who asks for it, the permission "
                f"'{permission}' on {call.resource}: they could not undo it",
                hint="Leave out keepAccess to do it all the same.",
            )

    async def require(
        self,
        call: Call,
        permission: Permission,
        identified: Identified,
        *,
        is_package_in_body: bool = False,
    ) -> None:
        """Let a call of *identified* pass, if they may use *permission* on its resource.

        Where the package is in the body, what depends on it passes too; the handler
        then asks again with `check`.

        Raises:
            Unauthenticated: there is no credential and one is needed.
            Forbidden: the principal may not.
        """
        asked = (permission, call.resource)
        if asked in identified.passes:
            return
        judge = self._judge(call, is_package_in_body=is_package_in_body)
        serial = identified.access_serial
        decision = await self._require(call.principal, permission, call.resource, serial, judge)
        if not decision.is_conditional:
            if len(identified.passes) >= PASSES_MAX:
                identified.passes.clear()
            identified.passes.add(asked)

    def _judge(self, call: Call, *, is_package_in_body: bool) -> Judge:
        # Looked at only if some condition decides; until then it costs one object.
        package = None if is_package_in_body else _package_in(call.params)
        return partial(self._holds, call, call.resource, package)

    def _holds(
        self,
        call: Call,
        resource: str | RepositoryName,
        package: str | None,
        condition: Condition,
    ) -> bool:
        circumstances = Circumstances(
            resource,
            self._clock(),
            self._addresses.of(call.scope, call.headers),
            package if package is None else canonicalize_name(package),
        )
        return holds(condition, circumstances)

    async def _require(
        self,
        principal: Principal,
        permission: Permission,
        resource: str | RepositoryName,
        serial: int,
        judge: Judge,
    ) -> Decision:
        """Let *principal* pass, if they may use *permission* on *resource*.

        Raises:
            Unauthenticated: there is no credential and one is needed.
            Forbidden: the principal may not.
        """
        grants = await self._policies.grants_on(resource, serial)
        decision = grants.decide(principal, permission, judge)
        if decision.is_allowed:
            return decision
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

    @staticmethod
    def require_self(principal: Principal) -> None:
        """Let somebody at what is theirs alone.

        Raises:
            Unauthenticated: nobody in particular asks.
            Forbidden: they ask with a token that was limited to less.
        """
        if principal.is_anonymous:
            raise Unauthenticated(
                "The request has no valid authentication credentials",
                hint="Send an access token of a person as a Bearer token.",
            )
        if principal.limits is not None:
            raise Forbidden(f"The access token is limited to {principal.limits}")


def _service(resource: str | RepositoryName) -> str:
    if isinstance(resource, RepositoryName):
        return "artifactregistry.googleapis.com"
    if "/serviceAccounts/" in resource:
        return "iam.googleapis.com"
    return "cloudresourcemanager.googleapis.com"


def _package_in(params: Mapping[str, str]) -> str:
    """Return the package that a path names, also as the first part of a file's or release's."""
    if "file" in params:
        return params["file"].partition("/")[0]
    if "release" in params:
        return params["release"].partition(":")[0]
    return params.get("package", "")


def group_resource(address: str) -> str:
    """Return the resource that a group is, by the address in a path."""
    try:
        return GROUPS + parse_member(f"group:{address}").removeprefix("group:")
    except Rejected:
        return GROUPS + NOWHERE


def resource_of(
    params: Mapping[str, str], default_location: str
) -> tuple[str | RepositoryName, RepositoryName | None]:
    """Return the resource that a path's parameters name, and the repository if it is one."""
    project = params.get("project")
    if project is None:
        group = params.get("group")
        return ORGANIZATION if group is None else group_resource(group), None
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

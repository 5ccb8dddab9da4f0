"""IAM v1: workload identity pools and their providers (gar.md §3.3, §5.6).

What Google's API has and this has not: deletion is final, so there is no undelete
and no `showDeleted`; providers are issuers of OpenID Connect, not AWS, SAML or X.509.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bonded.server.core.errors import Rejected
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName
from bonded.server.operations.federating import Federation
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import masks, wire

_DESCRIBED = ("displayName", "description", "disabled")
_ISSUER = "oidc"
_MAPPED = (*_DESCRIBED, "attributeMapping", "attributeCondition", _ISSUER)
_OIDC = ("issuerUri", "allowedAudiences", "jwksJson")
_FIXED = ("name", "state", "expireTime")
_FOREIGN = ("aws", "saml", "x509")
_TYPE = "google.iam.v1.WorkloadIdentityPool"


class PoolsApi:
    """Creates, shows, changes and deletes pools and providers."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    async def create(self, call: Call) -> Answer:
        """Create a pool; answer with a finished operation."""
        body = masks.camelled(await call.json())
        pool = await self._federation.create_pool(
            call.params["project"], wire.one_parameter(call, "workloadIdentityPoolId"), body
        )
        return _done(pool.name, _TYPE, _view(pool))

    async def get(self, call: Call) -> Answer:
        """Answer with one pool."""
        return json_reply(_view(await self._federation.get_pool(_pool_name(call))))

    async def list(self, call: Call) -> Answer:
        """Answer with the pools of the project, in order of id."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._federation.list_pools(call.params["project"], after, limit + 1)
        key = lambda one: one.name.pool  # noqa: E731
        return json_reply(wire.page_of("workloadIdentityPools", found, limit, _view, key))

    async def update(self, call: Call) -> Answer:
        """Change name, description or state; answer with a finished operation."""
        changes = masks.parse_changes(call, await call.json(), _DESCRIBED, fixed=_FIXED)
        pool = await self._federation.update_pool(_pool_name(call), changes.values)
        return _done(pool.name, _TYPE, _view(pool))

    async def delete(self, call: Call) -> Answer:
        """Delete a pool with its providers; answer with a finished operation."""
        pool = await self._federation.delete_pool(_pool_name(call))
        return _done(pool.name, _TYPE, _view(pool) | {"state": "DELETED"})

    async def create_provider(self, call: Call) -> Answer:
        """Create a provider; answer with a finished operation."""
        name = ProviderName(
            _pool_name(call), wire.one_parameter(call, "workloadIdentityPoolProviderId")
        )
        body = masks.camelled(await call.json())
        said = {field: body[field] for field in _MAPPED if field in body}
        provider = await self._federation.create_provider(name, _flattened(body, said))
        return _provider_done(provider)

    async def get_provider(self, call: Call) -> Answer:
        """Answer with one provider."""
        return json_reply(_provider_view(await self._federation.get_provider(_name(call))))

    async def list_providers(self, call: Call) -> Answer:
        """Answer with the providers of the pool, in order of id."""
        wire.refuse_filters(call)
        after, limit = wire.parse_page(call)
        found = await self._federation.list_providers(_pool_name(call), after, limit + 1)
        key = lambda one: one.name.provider  # noqa: E731
        return json_reply(
            wire.page_of("workloadIdentityPoolProviders", found, limit, _provider_view, key)
        )

    async def update_provider(self, call: Call) -> Answer:
        """Change what the mask names; answer with a finished operation."""
        body = await call.json()
        changes = masks.parse_changes(call, body, _MAPPED, fixed=_FIXED, parts={_ISSUER: _OIDC})
        below = changes.below.get(_ISSUER)
        settings = _flattened(masks.camelled(body), changes.values, below)
        return _provider_done(await self._federation.update_provider(_name(call), settings))

    async def delete_provider(self, call: Call) -> Answer:
        """Delete a provider; answer with a finished operation."""
        provider = await self._federation.delete_provider(_name(call))
        return _provider_done(provider, "DELETED")


def _pool_name(call: Call) -> PoolName:
    return PoolName(call.params["project"], call.params["pool"])


def _name(call: Call) -> ProviderName:
    return ProviderName(_pool_name(call), call.params["provider"])


def _flattened(
    body: Mapping[str, Any],
    said: Mapping[str, Any],
    below: tuple[masks.Path, ...] | None = None,
) -> dict[str, Any]:
    """Return what is *said* of a provider, the fields of `oidc` beside the others.

    Of `oidc` those count that are named *below* it, or all; what is absent there is nothing.
    """
    for kind in _FOREIGN:
        if kind in body:
            raise Rejected(f"A provider of kind {kind} is not available; use oidc")
    flat = {name: value for name, value in said.items() if name != _ISSUER}
    if _ISSUER not in said:
        return flat
    oidc = masks.camelled(wire.parse_object(said, _ISSUER))
    for path in below or ():
        if len(path) > 1:
            raise masks.indivisible(f"{_ISSUER}.{path[0]}")
    inner = _OIDC if below is None else [path[0] for path in below]
    return flat | {name: oidc.get(name) for name in inner if name in _OIDC}


def _view(pool: Pool) -> dict[str, object]:
    return {"name": str(pool.name), "state": "ACTIVE"} | _described(pool)


def _provider_view(provider: Provider) -> dict[str, object]:
    oidc: dict[str, object] = {"issuerUri": provider.issuer}
    if provider.allowed_audiences:
        oidc["allowedAudiences"] = list(provider.allowed_audiences)
    if provider.jwks:
        oidc["jwksJson"] = provider.jwks
    view: dict[str, object] = {
        "name": str(provider.name),
        "state": "ACTIVE",
        "attributeMapping": dict(provider.attribute_mapping),
        "oidc": oidc,
    }
    if provider.attribute_condition:
        view["attributeCondition"] = provider.attribute_condition
    return view | _described(provider)


def _described(one: Pool | Provider) -> dict[str, object]:
    # proto3 JSON leaves out what is empty.
    said: dict[str, object] = {}
    if one.display_name:
        said["displayName"] = one.display_name
    if one.description:
        said["description"] = one.description
    if one.is_disabled:
        said["disabled"] = True
    return said


def _provider_done(provider: Provider, state: str = "ACTIVE") -> Answer:
    view = _provider_view(provider) | {"state": state}
    return _done(provider.name, f"{_TYPE}Provider", view)


def _done(name: PoolName | ProviderName, kind: str, view: dict[str, object]) -> Answer:
    return json_reply(wire.done(f"{name}/operations", f"{kind}OperationMetadata", kind, view))

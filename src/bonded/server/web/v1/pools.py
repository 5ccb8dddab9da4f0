"""IAM v1: workload identity pools and their providers (gar.md §3.3, §5.6).

What Google's API has and this has not: deletion is final, so there is no undelete
and no `showDeleted`; providers are issuers of OpenID Connect, not AWS, SAML or X.509.
"""

from __future__ import annotations

from typing import Any

from bonded.server.core.errors import Rejected
from bonded.server.core.federation import Pool, PoolName, Provider, ProviderName
from bonded.server.operations.federating import Federation
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire

_DESCRIBED = ("displayName", "description", "disabled")
_MAPPED = (*_DESCRIBED, "attributeMapping", "attributeCondition", "oidc")
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
        body = await call.json()
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
        fields = wire.parse_mask(call, (*_DESCRIBED, *_FIXED), _DESCRIBED)
        body = await call.json()
        changes = {name: body.get(name) for name in fields}
        pool = await self._federation.update_pool(_pool_name(call), changes)
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
        body = await call.json()
        provider = await self._federation.create_provider(name, _flattened(body, _MAPPED, _OIDC))
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
        fields = wire.parse_mask(call, (*_MAPPED, *_FIXED), _MAPPED, ("oidc",))
        mask = wire.one_parameter(call, "updateMask").replace("allowed_audiences", _OIDC[1])
        inner = tuple(name for name in _OIDC if f"oidc.{name}" in mask) or _OIDC
        changes = _flattened(await call.json(), fields, inner)
        if "oidc" in fields:
            # What a mask names and the body has not is to be emptied.
            changes = dict.fromkeys(inner) | changes
        changes = {name: None for name in fields if name != "oidc"} | changes
        return _provider_done(await self._federation.update_provider(_name(call), changes))

    async def delete_provider(self, call: Call) -> Answer:
        """Delete a provider; answer with a finished operation."""
        provider = await self._federation.delete_provider(_name(call))
        return _provider_done(provider, "DELETED")


def _pool_name(call: Call) -> PoolName:
    return PoolName(call.params["project"], call.params["pool"])


def _name(call: Call) -> ProviderName:
    return ProviderName(_pool_name(call), call.params["provider"])


def _flattened(
    body: dict[str, Any], fields: tuple[str, ...], inner: tuple[str, ...]
) -> dict[str, Any]:
    """Return those fields of a provider that count, those of `oidc` beside the others."""
    for kind in _FOREIGN:
        if kind in body:
            raise Rejected(f"A provider of kind {kind} is not available; use oidc")
    said = {name: body[name] for name in fields if name in body and name != "oidc"}
    oidc = wire.parse_object(body, "oidc") if "oidc" in fields else {}
    return said | {name: oidc[name] for name in inner if name in oidc}


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

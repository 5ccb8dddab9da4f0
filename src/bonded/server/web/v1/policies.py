"""getIamPolicy, setIamPolicy and testIamPermissions, on every kind of resource (gar.md §3.4)."""

from __future__ import annotations

from typing import Any

from bonded.server.core.errors import NotFound, Rejected
from bonded.server.core.iam import ORGANIZATION, Binding, Policy
from bonded.server.core.names import RepositoryName, account_resource
from bonded.server.operations.granting import Granting
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire

POLICY_VERSIONS = (0, 1, 3)


class PoliciesApi:
    """Reads and replaces policies."""

    def __init__(self, granting: Granting) -> None:
        self._granting = granting

    async def get(self, call: Call) -> Answer:
        """Answer with the policy that hangs on the resource itself."""
        return json_reply(_view(await self._granting.get_policy(_resource(call))))

    async def set(self, call: Call) -> Answer:
        """Replace the policy; answer with it and its new etag."""
        resource = _resource(call)
        body = await call.json()
        if "policy" not in body:
            raise Rejected("policy is missing")
        policy = _parse(str(resource), wire.parse_object(body, "policy"))
        return json_reply(_view(await self._granting.set_policy(policy, resource)))


def _resource(call: Call) -> str | RepositoryName:
    if call.repository is not None:
        return call.repository
    project = call.params.get("project")
    if project is None:
        return ORGANIZATION
    account = call.params.get("account")
    if account is None:
        return f"projects/{project}"
    resource = account_resource(project, account)
    if resource is None:
        raise NotFound(f"Service account {account[:120]} does not exist")
    return resource


def _parse(resource: str, body: dict[str, Any]) -> Policy:
    if body.get("version", 1) not in POLICY_VERSIONS:
        raise Rejected("policy.version must be 0, 1 or 3")
    listed = body.get("bindings", [])
    if not isinstance(listed, list):
        raise Rejected("policy.bindings must be a list")
    return Policy(resource, tuple(_binding(one) for one in listed), wire.parse_text(body, "etag"))


def _binding(body: object) -> Binding:
    if not isinstance(body, dict):
        raise Rejected("A binding must be an object with role and members")
    if body.get("condition"):
        raise Rejected("Conditional bindings are not available")
    members = body.get("members", [])
    if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
        raise Rejected("A binding's members must be a list of strings")
    return Binding.parse(wire.parse_text(body, "role"), members)


def _view(policy: Policy) -> dict[str, object]:
    view: dict[str, object] = {"version": 1, "etag": policy.etag}
    if policy.bindings:
        view["bindings"] = [
            {"role": binding.role, "members": list(binding.members)} for binding in policy.bindings
        ]
    return view

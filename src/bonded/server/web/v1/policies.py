"""getIamPolicy, setIamPolicy and testIamPermissions, on every kind of resource (gar.md §3.4)."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import NotFound, Rejected, did_you_mean
from bonded.server.core.iam import (
    ALL_USERS,
    ANONYMOUS,
    ORGANIZATION,
    PERMISSIONS,
    Binding,
    Permission,
    Policy,
    Principal,
)
from bonded.server.core.members import parse_member
from bonded.server.core.names import RepositoryName, account_resource
from bonded.server.core.policy_versions import CONDITIONAL, VERSIONS, hide_conditions
from bonded.server.identity.explaining import Explaining, Question
from bonded.server.operations.granting import Granting
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import troubleshooting, wire
from bonded.server.web.v1.sights import sight_of

ASKED_MAX = 100
"""Permissions of one testIamPermissions: Google's limit."""
_VERSION = "requestedPolicyVersion"
_IN_BINDING = ("role", "members", "condition")
_IN_CONDITION = ("expression", "title", "description", "location")


class PoliciesApi:
    """Reads and replaces policies, and tells callers what they may."""

    def __init__(self, granting: Granting, access: Access, explaining: Explaining) -> None:
        self._granting = granting
        self._access = access
        self._explaining = explaining

    async def get(self, call: Call) -> Answer:
        """Answer with the policy that hangs on the resource itself."""
        version = await _requested_version(call)
        policy = await self._granting.get_policy(_resource(call))
        return json_reply(_view(policy if version == CONDITIONAL else hide_conditions(policy)))

    async def set(self, call: Call) -> Answer:
        """Replace the policy; answer with it and its new etag.

        With `keepAccess`, of ours, not if whoever asks could not do so again.
        """
        resource = _resource(call)
        body = await call.json()
        if "policy" not in body:
            raise Rejected("policy is missing")
        given = wire.parse_object(body, "policy")
        version = _version(given.get("version", 1), "policy.version")
        policy = _parse(str(resource), given)
        keeps = wire.parse_flag(body, "keepAccess")
        guard = partial(self._access.require_kept, call, _set_permission(call)) if keeps else None
        written = await self._granting.set_policy(policy, resource, version, guard)
        return json_reply(_view(written if version == CONDITIONAL else hide_conditions(written)))

    async def troubleshoot(self, call: Call) -> Answer:
        """Answer why a principal may or may not use a permission on the resource.

        Raises:
            NotFound: it does not exist, which is told to whoever may see that.
        """
        body = await call.json()
        member, text = wire.parse_text(body, "principal"), wire.parse_text(body, "permission")
        if text not in set(Permission):
            raise Rejected(
                f"No route asks for the permission {text[:120]!r}",
                hint=did_you_mean(text, Permission)
                or "docs/reference/roles.md lists the permissions there are.",
            )
        principal = ANONYMOUS if member == ALL_USERS else Principal(parse_member(member))
        sight = await sight_of(self._access, call, principal.member)
        if sight.has_resource:
            await self._granting.require(_resource(call))
        question = Question(
            principal,
            Permission(text),
            call.resource,
            troubleshooting.parse_request(
                wire.parse_object(body, "request"), call.resource, self._explaining.now()
            ),
            sight,
            troubleshooting.parse_groups(body),
        )
        explanation = await self._explaining.explain(question, await self._access.serial())
        # What would be refused of the conditions today is part of it, and takes a while to find.
        return json_reply(await asyncio.to_thread(troubleshooting.view, explanation))

    async def test(self, call: Call) -> Answer:
        """Answer with those permissions, of the ones asked about, that the caller has."""
        body = await call.json()
        asked = body.get("permissions", [])
        if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
            raise Rejected("permissions must be a list of strings")
        if len(asked) > ASKED_MAX:
            raise Rejected(f"permissions holds {len(asked)}; ask about {ASKED_MAX} at a time")
        unknown = [one for one in asked if one not in PERMISSIONS]
        if unknown:
            raise Rejected(
                f"Permission {unknown[0][:120]!r} does not exist",
                hint="Wildcards are not allowed; docs/reference/roles.md lists the permissions.",
            )
        routed = [Permission(one) for one in dict.fromkeys(asked) if one in set(Permission)]
        held = await self._access.find_held(call, routed)
        return json_reply({"permissions": list(held)} if held else {})


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


def _set_permission(call: Call) -> Permission:
    if call.repository is not None:
        return Permission.REPOSITORY_SET_POLICY
    if "account" in call.params:
        return Permission.ACCOUNT_SET_POLICY
    has_project = "project" in call.params
    return Permission.PROJECT_SET_POLICY if has_project else Permission.ORGANIZATION_SET_POLICY


async def _requested_version(call: Call) -> int:
    # Resource Manager asks in the body, Artifact Registry in the query; gcloud not at all.
    if call.method == "POST":
        options = wire.parse_object(await call.json(), "options")
        return _version(options.get(_VERSION, 1), f"options.{_VERSION}")
    text = wire.one_parameter(call, f"options.{_VERSION}")
    text = text or wire.one_parameter(call, "options.requested_policy_version")
    # No more digits than a version may ever have: Python refuses to read thousands.
    said = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text or 1
    return _version(said, f"options.{_VERSION}")


def _version(value: object, field: str) -> int:
    if not isinstance(value, int) or value not in VERSIONS:
        raise Rejected(f"{field} must be 0, 1 or 3")
    return value


def _parse(resource: str, body: dict[str, Any]) -> Policy:
    listed = body.get("bindings", [])
    if not isinstance(listed, list):
        raise Rejected("policy.bindings must be a list")
    bindings = tuple(_binding(one, f"policy.bindings[{at}]") for at, one in enumerate(listed))
    return Policy(resource, bindings, wire.parse_text(body, "etag"))


def _binding(body: object, where: str) -> Binding:
    if not isinstance(body, dict):
        raise Rejected("A binding must be an object with role and members")
    _require_known(body, _IN_BINDING, where)
    condition = wire.parse_object(body, "condition")
    _require_known(condition, _IN_CONDITION, f"{where}.condition")
    members = body.get("members", [])
    if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
        raise Rejected("A binding's members must be a list of strings")
    return Binding.parse(
        wire.parse_text(body, "role"), members, _condition(condition) if condition else None
    )


def _require_known(body: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    # Google refuses them too: of a mistyped `members`, nobody would be granted what was meant.
    for name in body:
        if name not in known:
            guess = did_you_mean(name, known)
            raise Rejected(
                f"{where} has the unknown field {name[:80]!r}",
                hint=f"{guess} There may be {', '.join(known)}.".lstrip(),
            )


def _condition(body: dict[str, Any]) -> Condition:
    expression = body.get("expression")
    if not isinstance(expression, str):
        raise Rejected("A condition's expression must be a string")
    return Condition(
        wire.parse_text(body, "title"), expression, wire.parse_text(body, "description")
    )


def _view(policy: Policy) -> dict[str, object]:
    version = CONDITIONAL if policy.has_conditions else 1
    view: dict[str, object] = {"version": version, "etag": policy.etag}
    if policy.bindings:
        view["bindings"] = [_binding_view(binding) for binding in policy.bindings]
    return view


def _binding_view(binding: Binding) -> dict[str, object]:
    view: dict[str, object] = {"role": binding.role, "members": list(binding.members)}
    if binding.condition is not None:
        view["condition"] = troubleshooting.condition_view(binding.condition)
    return view

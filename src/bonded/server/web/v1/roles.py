"""IAM v1: predefined roles, and custom ones on the server and on projects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from bonded.server.core.errors import NotFound
from bonded.server.core.iam import ORGANIZATION, ROLES, Permission
from bonded.server.core.roles import Role, role_name
from bonded.server.operations.defining import Roles
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import masks, wire
from bonded.server.web.v1.keeping import guard_of

_FIELDS = ("title", "description", "stage", "includedPermissions")
_FIXED = ("name", "etag", "deleted")
_FULL = "FULL"


class RolesApi:
    """Creates, shows, changes and deletes roles."""

    def __init__(self, roles: Roles, access: Access) -> None:
        self._roles = roles
        self._access = access

    async def list_predefined(self, call: Call) -> Answer:
        """Answer with the roles that every server has."""
        is_full = wire.one_parameter(call, "view") == _FULL
        roles = [_predefined(name) for name in sorted(ROLES)]
        return json_reply({"roles": [_view(role, is_full=is_full) for role in roles]})

    async def get_predefined(self, call: Call) -> Answer:
        """Answer with one of them."""
        name = f"roles/{call.params['role']}"
        if name not in ROLES:
            raise NotFound(f"Role {name[:120]} does not exist")
        return json_reply(_view(_predefined(name)))

    async def create(self, call: Call) -> Answer:
        """Create a role on the server or on a project."""
        body = masks.camelled(await call.json())
        said = masks.camelled(wire.parse_object(body, "role"))
        role = _revised(Role(""), said, _FIELDS)
        made = await self._roles.create(_parent(call), wire.parse_text(body, "roleId"), role)
        return json_reply(_view(made))

    async def get(self, call: Call) -> Answer:
        """Answer with a role, even a deleted one."""
        return json_reply(_view(await self._roles.get(_name(call))))

    async def list(self, call: Call) -> Answer:
        """Answer with the roles of the server or of a project."""
        after, limit = wire.parse_page(call)
        found = await self._roles.list(_parent(call), after, limit + 1)
        is_full = wire.one_parameter(call, "view") == _FULL
        page = wire.page_of(
            "roles", found, limit, lambda role: _view(role, is_full=is_full), lambda role: role.name
        )
        if wire.one_parameter(call, "showDeleted") != "true":
            shown: Any = page["roles"]
            page["roles"] = [role for role in shown if not role.get("deleted")]
        return json_reply(page)

    async def update(self, call: Call) -> Answer:
        """Change the fields that the mask names.

        With `keepAccess` in the query, not if whoever asks could not change the role again.
        """
        body = await call.json()
        values = masks.parse_changes(call, body, _FIELDS, fixed=_FIXED).values
        etag = wire.parse_text(body, "etag")
        changed = await self._roles.update(
            _name(call),
            lambda role: replace(_revised(role, values, values), etag=etag),
            await guard_of(self._access, call, Permission.ROLE_UPDATE),
        )
        return json_reply(_view(changed))

    async def delete(self, call: Call) -> Answer:
        """Delete a role: its bindings grant nothing until it is undeleted.

        With `keepAccess` in the query, not if whoever asks would lose by it the right to do so.
        """
        guard = await guard_of(self._access, call, Permission.ROLE_DELETE)
        deleted = await self._roles.set_deleted(_name(call), is_deleted=True, guard=guard)
        return json_reply(_view(deleted))

    async def undelete(self, call: Call) -> Answer:
        """Bring a role back."""
        return json_reply(_view(await self._roles.set_deleted(_name(call), is_deleted=False)))


def _parent(call: Call) -> str:
    project = call.params.get("project")
    return ORGANIZATION if project is None else f"projects/{project}"


def _name(call: Call) -> str:
    return role_name(_parent(call), call.params["role"])


def _revised(role: Role, body: Mapping[str, Any], fields: Collection[str]) -> Role:
    if "title" in fields:
        role = replace(role, title=wire.parse_text(body, "title"))
    if "description" in fields:
        role = replace(role, description=wire.parse_text(body, "description"))
    if "stage" in fields:
        role = replace(role, stage=wire.parse_text(body, "stage").upper() or "GA")
    if "includedPermissions" in fields:
        listed = wire.parse_strings(body, "includedPermissions")
        role = replace(role, permissions=tuple(sorted(set(listed))))
    return role


def _predefined(name: str) -> Role:
    title = name.removeprefix("roles/")
    return Role(name, title=title, permissions=tuple(sorted(ROLES[name])), etag="AA==")


def _view(role: Role, *, is_full: bool = True) -> dict[str, object]:
    view: dict[str, object] = {
        "name": role.name,
        "title": role.title,
        "description": role.description,
        "stage": role.stage,
        "etag": role.etag,
    }
    if is_full:
        view["includedPermissions"] = list(role.permissions)
    if role.is_deleted:
        view["deleted"] = True
    return {key: value for key, value in view.items() if value not in ("", [])}

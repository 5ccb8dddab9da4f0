"""Groups of principals: ours, for Google keeps groups in another service."""

from __future__ import annotations

from bonded.server.core.errors import Rejected
from bonded.server.core.iam import GROUPS, Permission
from bonded.server.metadata.groups import Group, Membership
from bonded.server.operations.grouping import Groups
from bonded.server.web.access import Access, group_resource
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.v1 import wire
from bonded.server.web.v1.keeping import guard_of

ROLES_OF_MEMBERS = {"MEMBER": 1, "OWNER": 2}


class GroupsApi:
    """Creates, shows, fills and deletes groups."""

    def __init__(self, groups: Groups, access: Access) -> None:
        self._groups = groups
        self._access = access

    async def create(self, call: Call) -> Answer:
        """Create a group; who creates it owns it."""
        body = await call.json()
        group = await self._groups.create(
            wire.parse_text(body, "email"),
            wire.parse_text(body, "displayName"),
            wire.parse_text(body, "description"),
            call.principal.member,
        )
        return json_reply(_view(group))

    async def get(self, call: Call) -> Answer:
        """Answer with one group."""
        return json_reply(_view(await self._groups.get(_address(call))))

    async def list(self, call: Call) -> Answer:
        """Answer with all groups."""
        after, limit = wire.parse_page(call)
        found = await self._groups.list(after, limit + 1)
        return json_reply(wire.page_of("groups", found, limit, _view, lambda one: one.address))

    async def delete(self, call: Call) -> Answer:
        """Delete a group; what it granted ends at once.

        With `keepAccess` in the query, not if whoever asks would lose by it the right to do so.
        """
        guard = await guard_of(self._access, call, Permission.GROUP_DELETE)
        await self._groups.delete(_address(call), guard)
        return json_reply({})

    async def list_members(self, call: Call) -> Answer:
        """Answer with the members of the group itself."""
        after, limit = wire.parse_page(call)
        found = await self._groups.list_members(_address(call), after, limit + 1)
        page = wire.page_of("members", found, limit, _member_view, lambda one: one.member)
        return json_reply(page)

    async def put_member(self, call: Call) -> Answer:
        """Add a member, or change whether they own the group.

        A group can be added by who may see it. With `keepAccess` in the query, not if whoever asks
        could not change the group again.
        """
        body = await call.json()
        role = wire.parse_enum(body.get("role", "MEMBER"), ROLES_OF_MEMBERS, "role")
        member = wire.parse_text(body, "member")
        if not member:
            raise Rejected("member is missing")
        if member.startswith("group:"):
            # It takes from that group's levels, and its answers tell whether there is one.
            inner = group_resource(member.removeprefix("group:"))
            await self._access.check(call, Permission.GROUP_GET, inner)
        guard = await guard_of(self._access, call, Permission.GROUP_UPDATE)
        put = await self._groups.put_member(
            _address(call), member, is_owner=role == "OWNER", guard=guard
        )
        return json_reply(_member_view(put))

    async def remove_member(self, call: Call) -> Answer:
        """Remove a member.

        With `keepAccess` in the query, not if whoever asks could not change the group again.
        """
        guard = await guard_of(self._access, call, Permission.GROUP_UPDATE)
        await self._groups.remove_member(_address(call), call.params["member"], guard)
        return json_reply({})


def _address(call: Call) -> str:
    # The resource on which the permission was checked, so the path is not read twice.
    return str(call.resource).removeprefix(GROUPS)


def _view(group: Group) -> dict[str, object]:
    view: dict[str, object] = {
        "name": f"groups/{group.address}",
        "email": group.address,
        "displayName": group.display_name,
        "description": group.description,
        "createTime": wire.timestamp(group.created_at),
    }
    return {key: value for key, value in view.items() if value != ""}


def _member_view(membership: Membership) -> dict[str, object]:
    return {"member": membership.member, "role": "OWNER" if membership.is_owner else "MEMBER"}

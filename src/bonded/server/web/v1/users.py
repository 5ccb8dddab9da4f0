"""People and their sign-ins over REST: Bonded's own, in Google's manner."""

from __future__ import annotations

from bonded.server.core.errors import NotFound
from bonded.server.metadata.people import Session, User
from bonded.server.operations.users import Invited, Users
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.oauth.clients import CLIENTS
from bonded.server.web.v1 import wire

_NO_STORE = ((b"cache-control", b"no-store"),)
_PERSON = "user:"


class UsersApi:
    """Administers people, and shows people what is theirs."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def create(self, call: Call) -> Answer:
        """Create a user; the answer holds the only copy of the invitation."""
        body = await call.json()
        invited = await self._users.create(
            wire.parse_text(body, "address"), wire.parse_text(body, "displayName")
        )
        view = await self._view(invited.user)
        return json_reply(view | {"invitation": _invitation(invited)}, headers=_NO_STORE)

    async def invite(self, call: Call) -> Answer:
        """Make a new invitation, in place of earlier ones."""
        return json_reply(
            _invitation(await self._users.invite(call.params["user"])), headers=_NO_STORE
        )

    async def get(self, call: Call) -> Answer:
        """Answer with one user."""
        return json_reply(await self._view(await self._users.get(call.params["user"])))

    async def list(self, call: Call) -> Answer:
        """Answer with the users."""
        after, limit = wire.parse_page(call)
        found = await self._users.list(after, limit + 1)
        return json_reply(wire.page_of("users", found, limit, _view, lambda one: one.address))

    async def disable(self, call: Call) -> Answer:
        """Let nobody sign in as the user."""
        return json_reply(await self._view(await self._users.disable(call.params["user"])))

    async def enable(self, call: Call) -> Answer:
        """Let the user sign in again."""
        return json_reply(await self._view(await self._users.enable(call.params["user"])))

    async def forget_factor(self, call: Call) -> Answer:
        """Take away a second factor that is lost."""
        return json_reply(await self._view(await self._users.forget_factor(call.params["user"])))

    async def delete(self, call: Call) -> Answer:
        """Delete a user."""
        await self._users.delete(call.params["user"])
        return json_reply({})

    async def list_sessions(self, call: Call) -> Answer:
        """Answer with a user's sign-ins."""
        return await self._sessions_of(call.params["user"], "")

    async def end_session(self, call: Call) -> Answer:
        """End one sign-in of a user, or all of them (`-`)."""
        await self._users.end_session(call.params["user"], call.params["session"])
        return json_reply({})

    async def get_self(self, call: Call) -> Answer:
        """Answer with the caller."""
        return json_reply(await self._view(await self._users.get(_caller(call))))

    async def list_own_sessions(self, call: Call) -> Answer:
        """Answer with the caller's sign-ins."""
        current = call.principal.credential.removeprefix("session:")
        return await self._sessions_of(_caller(call), current)

    async def end_own_session(self, call: Call) -> Answer:
        """End one of the caller's sign-ins, or all of them (`-`)."""
        await self._users.end_session(_caller(call), call.params["session"])
        return json_reply({})

    async def _sessions_of(self, address: str, current: str) -> Answer:
        sessions = await self._users.list_sessions(address)
        return json_reply({"sessions": [_session(one, current) for one in sessions]})

    async def _view(self, user: User) -> dict[str, object]:
        has_factor = await self._users.has_factor(user.address)
        return _view(user) | ({"secondFactor": True} if has_factor else {})


def _caller(call: Call) -> str:
    member = call.principal.member
    if not member.startswith(_PERSON):
        raise NotFound(f"{member} is not a person and has no sign-ins")
    return member.removeprefix(_PERSON)


def _view(user: User) -> dict[str, object]:
    view: dict[str, object] = {
        "name": f"users/{user.address}",
        "address": user.address,
        "displayName": user.display_name,
        "source": user.source,
        "createTime": wire.timestamp(user.created_at),
    }
    if user.last_sign_in_at is not None:
        view["lastSignInTime"] = wire.timestamp(user.last_sign_in_at)
    if user.is_disabled:
        view["disabled"] = True
    return {key: value for key, value in view.items() if value != ""}


def _invitation(invited: Invited) -> dict[str, object]:
    return {"uri": invited.link, "expireTime": wire.timestamp(invited.expires_at)}


def _session(session: Session, current: str) -> dict[str, object]:
    view: dict[str, object] = {
        "name": f"users/{session.address}/sessions/{session.id}",
        "client": CLIENTS.get(session.client, session.client),
        "clientAddress": session.client_address,
        "createTime": wire.timestamp(session.created_at),
        "lastUseTime": wire.timestamp(session.last_used_at),
        "expireTime": wire.timestamp(session.expires_at),
    }
    if session.also:
        view["groups"] = [member.removeprefix("group:") for member in session.also]
    if session.id == current:
        view["current"] = True
    return view

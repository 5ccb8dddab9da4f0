"""Logging v2: the entries of the audit log, and whether they are as they were written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bonded.server.core.audit import Kind
from bonded.server.core.errors import Rejected
from bonded.server.core.iam import ORGANIZATION, Permission
from bonded.server.core.names import RepositoryName, is_project_id
from bonded.server.identity.seals import Seals
from bonded.server.metadata.store import ChainEnd
from bonded.server.operations.administering import PAGE_SIZE_MAX
from bonded.server.operations.auditing import BEGINNING, AuditLog, Place, Query
from bonded.server.operations.unmatched import Unknown
from bonded.server.web.access import Access
from bonded.server.web.messages import Answer, Call, json_reply
from bonded.server.web.routing import Endpoint
from bonded.server.web.v1 import wire

ORDERS = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}
RESOURCES_MAX = 100
PURPOSE = "logging.entries"
TOKEN_LIFE_S = 7 * 86_400
"""How long a list may be gone on with."""
_HASH = re.compile(r"[0-9a-f]{64}")


class EntriesApi:
    """Reads and verifies the audit log."""

    def __init__(self, log: AuditLog, access: Access, seals: Seals) -> None:
        self._log = log
        self._access = access
        self._kinds: dict[str, Kind] = {}
        self._seals = seals

    def learn(self, endpoints: Iterable[Endpoint]) -> None:
        """Learn what the routes are called in the log, and when it keeps them."""
        for one in endpoints:
            # Of those with one name, some may be kept.
            if self._kinds.get(one.name, Kind.NOTHING) is Kind.NOTHING:
                self._kinds[one.name] = one.kind

    async def list(self, call: Call) -> Answer:
        """Answer with entries, in order of time.

        A page may be short or empty and go on all the same: each looks at a
        bounded number of entries. The last one, if it is empty, says which names in the filter
        are of nothing that is there.
        """
        body = await call.json()
        order = wire.parse_text(body, "orderBy").strip()
        if order not in ORDERS:
            raise Rejected('orderBy must be "timestamp asc" or "timestamp desc"')
        query = Query(
            filter=_text(body, "filter"),
            projects=_projects(call, body),
            is_newest_first=ORDERS[order],
            after=self._parse_place(wire.parse_text(body, "pageToken")),
            limit=_limit(body),
        )
        async with call.watched() as is_gone:
            page = await self._log.list(query, is_gone)
        answer: dict[str, Any] = {"entries": list(page.entries)} if page.entries else {}
        if page.after is not None:
            answer["nextPageToken"] = self._token(page.after)
        elif not page.entries and (unknown := await self._log.find_unknown(query, self._kinds)):
            # Of ours. Whoever has had entries on an earlier page need not be told.
            answer["unknown"] = [await self._told(call, one) for one in unknown]
        return json_reply(answer)

    async def _told(self, call: Call, unknown: Unknown) -> str:
        if not unknown.near or not await self._may_see(call, unknown.resource):
            return unknown.what
        return f"{unknown.what} Did you mean {unknown.near}?"

    async def _may_see(self, call: Call, resource: str | RepositoryName | None) -> bool:
        if resource is None:
            return True
        is_repository = isinstance(resource, RepositoryName)
        permission = Permission.REPOSITORY_GET if is_repository else Permission.PROJECT_GET
        return await self._access.allows(call, permission, resource)

    def _token(self, place: Place) -> str:
        # Sealed: the entry that was looked at last may be another project's, and is not shown.
        at, number = place
        micros = (at - _EPOCH) // timedelta(microseconds=1)
        return self._seals.seal(PURPOSE, {"at": micros, "number": number}, TOKEN_LIFE_S)

    def _parse_place(self, token: str) -> Place | None:
        if not token:
            return None
        place = self._seals.open(PURPOSE, token)
        if place is None:
            raise Rejected(
                "pageToken is not one that this list has given lately", hint="Start without one."
            )
        return _EPOCH + timedelta(microseconds=place["at"]), place["number"]

    async def verify(self, call: Call) -> Answer:
        """Verify a part of the chain: from its beginning, or behind `after` of the last answer."""
        body = await call.json()
        verified = await self._log.verify(
            _entry(body, "after") or BEGINNING, _entry(body, "expected")
        )
        return json_reply(
            {
                "checked": verified.checked,
                "last": {"number": str(verified.last.number), "hash": verified.last.hash},
                "isComplete": verified.is_complete,
                "problems": [
                    {"number": str(problem.number), "problem": problem.what}
                    for problem in verified.problems
                ],
            }
        )


async def resources_named(call: Call) -> tuple[str, ...]:
    """Return the resources whose logs the body asks for; the server, if it names none."""
    try:
        projects = _named(await call.json())
    except Rejected:
        # The handler says what is wrong with it, to whoever may read all there is.
        return (ORGANIZATION,)
    return tuple(f"projects/{project}" for project in projects) or (ORGANIZATION,)


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field) or ""
    if not isinstance(value, str):
        raise Rejected(f"{field} must be a string")
    return value


def _limit(body: dict[str, Any]) -> int:
    size = body.get("pageSize") or wire.PAGE_SIZE_DEFAULT
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Rejected("pageSize must be a number that is not negative")
    return min(size, PAGE_SIZE_MAX)


def _projects(call: Call, body: dict[str, Any]) -> tuple[str, ...]:
    # The permission was checked on exactly these: nothing else is shown.
    return (call.params["project"],) if "project" in call.params else _named(body)


def _named(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the projects that the body names; none means the whole server."""
    names = body.get("resourceNames") or []
    if not isinstance(names, list) or len(names) > RESOURCES_MAX:
        raise Rejected(f"resourceNames must be a list of at most {RESOURCES_MAX} names")
    if ORGANIZATION in names:
        return ()
    projects = []
    for name in names:
        kind, _, project = name.partition("/") if isinstance(name, str) else ("", "", "")
        if kind != "projects" or not is_project_id(project):
            raise Rejected(
                f"{str(name)[:80]!r} is not the name of a resource with logs",
                hint=f"Use projects/PROJECT or {ORGANIZATION}.",
            )
        projects.append(project)
    return tuple(dict.fromkeys(projects))


def _entry(body: dict[str, Any], field: str) -> ChainEnd | None:
    said = wire.parse_object(body, field)
    if not said:
        return None
    number, digest = str(said.get("number", "")), str(said.get("hash", ""))
    if not re.fullmatch(r"\d{1,18}", number) or not _HASH.fullmatch(digest):
        raise Rejected(f"{field} must have a number, and a hash of 64 hexadecimal digits")
    return ChainEnd(int(number), digest)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

"""What a filter of the audit log names and is not there: told to whoever gets no entry for it.

A mistyped name finds nothing, as what has never happened does; only here is it known which it was.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from bonded.server.core.audit import Kind
from bonded.server.core.errors import GUESSED_LENGTH_MAX, Rejected
from bonded.server.core.filters import Comparison, Filter, alternatives
from bonded.server.core.log_fields import ALIASES
from bonded.server.core.names import RepositoryName
from bonded.server.metadata.store import Transaction

COMPARED_MAX = 1000
"""Names among which a similar one is looked for."""
UNKNOWN_MAX = 3
"""Alternatives of a filter that are told to name what is not there: each is looked for."""
_METHOD, _RESOURCE = (tuple(ALIASES[one][0].split(".")) for one in ("method", "resource"))
_NAMED = re.compile(r"projects/([^/]+)(?:/locations/([^/]+)/repositories/([^/]+))?(?:/.*)?")


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that is named and not there, in a sentence, and what may have been meant.

    *resource* is what *near* names, if that is a resource, which not everybody may see.
    """

    what: str
    near: str = ""
    resource: str | RepositoryName | None = None


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Looks for what of a filter can be in no entry.

    *projects* are those of which entries are asked for, if only some are; *kinds* says of every
    method when the log keeps it.
    """

    projects: tuple[str, ...]
    kinds: Mapping[str, Kind]
    has_downloads: bool

    async def find(self, tx: Transaction, wanted: Filter) -> tuple[Unknown, ...]:
        """Return what *wanted*, which no entry answers, names and is not there."""
        found = [await self._in_resource(tx, f"projects/{one}") for one in self.projects]
        for choice in alternatives(wanted):
            if len(found) >= UNKNOWN_MAX + len(self.projects):
                break
            unknowns = [await self._in_comparison(tx, one) for one in choice]
            # Of several that would do, one that is there is enough.
            found += unknowns if all(unknowns) else []
        return tuple(dict.fromkeys(one for one in found if one is not None))

    async def _in_comparison(self, tx: Transaction, one: Comparison) -> Unknown | None:
        if one.operator not in ("=", ":") or one.value == "*":
            return None
        if one.paths == (_METHOD,):
            return self._in_method(one.value, is_whole=one.operator == "=")
        return await self._in_resource(tx, one.value) if one.paths == (_RESOURCE,) else None

    def _in_method(self, wanted: str, *, is_whole: bool) -> Unknown | None:
        known = {one.lower(): one for one in self.kinds}
        text = wanted.lower()
        meant = {known[one] for one in known if (text == one if is_whole else text in one)}
        if not meant:
            parts = {one.rpartition(".")[2]: whole for one, whole in known.items()}
            near = _nearest(text.rpartition(".")[2], parts)
            what = "is called" if is_whole else "has in its name"
            return Unknown(f"No method {what} {wanted[:120]}.", parts.get(near, ""))
        kinds = {self.kinds[one] for one in meant}
        if kinds == {Kind.DOWNLOAD} and not self.has_downloads:
            return Unknown("Downloads are not recorded here: audit_downloads is off.")
        if kinds == {Kind.NOTHING}:
            return Unknown(f"{min(meant)} is never recorded.")
        return None

    async def _in_resource(self, tx: Transaction, name: str) -> Unknown | None:
        match = _NAMED.fullmatch(name)
        if match is None:
            return None
        project, location, repository = match.groups()
        if self.projects and project not in self.projects:
            return Unknown(f"Entries about projects/{project} are not among those asked for.")
        if await tx.projects.find(project) is None:
            listed = [one.id for one in await tx.projects.list("", COMPARED_MAX)]
            near = await asyncio.to_thread(_nearest, project, listed)
            what = f"There is no project {project[:120]}, or no more."
            return Unknown(what, near, f"projects/{near}") if near else Unknown(what)
        if repository is None:
            return None
        return await _in_project(tx, project, location, repository)


async def _in_project(
    tx: Transaction, project: str, location: str, repository: str
) -> Unknown | None:
    try:
        named = RepositoryName.parse(project, location, repository)
    except Rejected:
        named = None
    if named is not None and await tx.repositories.find(named) is not None:
        return None
    what = f"There is no repository {repository[:120]} in {location[:120]}, or no more."
    there = await tx.repositories.list(project, None, "", COMPARED_MAX)
    names = {one.name.repository: one.name for one in there}
    near = await asyncio.to_thread(_nearest, repository, names)
    return Unknown(what, str(names[near]), names[near]) if near else Unknown(what)


def _nearest(word: str, known: Mapping[str, object] | list[str]) -> str:
    found = get_close_matches(word[:GUESSED_LENGTH_MAX], list(known), n=1)
    return found[0] if found else ""

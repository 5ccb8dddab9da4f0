"""The fields of the audit log's entries, as filters name them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import accumulate

from bonded.server.core.errors import Rejected

Path = tuple[str, ...]

_PAYLOAD = "protoPayload"
_DETAILS = f"{_PAYLOAD}.metadata"
ALIASES: Mapping[str, tuple[str, ...]] = {
    "principal": (
        f"{_PAYLOAD}.authenticationInfo.principalEmail",
        f"{_PAYLOAD}.authenticationInfo.principalSubject",
    ),
    "credential": (f"{_PAYLOAD}.authenticationInfo.credential",),
    "method": (f"{_PAYLOAD}.methodName",),
    "resource": (f"{_PAYLOAD}.resourceName",),
    "permission": (f"{_PAYLOAD}.authorizationInfo.permission",),
    "code": (f"{_PAYLOAD}.status.code",),
    "address": (f"{_PAYLOAD}.requestMetadata.callerIp",),
    "client": (f"{_PAYLOAD}.requestMetadata.callerSuppliedUserAgent",),
    "package": (f"{_DETAILS}.package",),
    "version": (f"{_DETAILS}.version",),
    "filename": (f"{_DETAILS}.filename",),
    "sha256": (f"{_DETAILS}.sha256",),
    "number": ("labels.bonded/number",),
}
"""Short words for the fields that people ask for most."""

FIELDS = frozenset(
    {
        *(path for paths in ALIASES.values() for path in paths),
        *("insertId", "logName", "severity", "timestamp"),
        *("labels.bonded/previous", "labels.bonded/hash"),
        *("resource.type", "resource.labels.service"),
        *(f"{_PAYLOAD}.@type", f"{_PAYLOAD}.serviceName", f"{_PAYLOAD}.status.message"),
        f"{_PAYLOAD}.authenticationInfo.memberOf",
        f"{_PAYLOAD}.authorizationInfo.resource",
        f"{_PAYLOAD}.authorizationInfo.granted",
    }
)
"""Those that have one value, or a list of them, but for what operations say of themselves."""

_OBJECTS = {_DETAILS} | {
    above
    for field in FIELDS
    for above in accumulate(field.split(".")[:-1], lambda first, then: f"{first}.{then}")
}


def paths_of(word: str) -> tuple[Path, ...]:
    """Return the fields that *word* names; their segments have no dots in them.

    Raises:
        Rejected: no entry can have such a field, and what asks for it would never be true.
    """
    paths = ALIASES.get(word, (word,))
    for path in paths:
        if path not in FIELDS and path not in _OBJECTS and not path.startswith(f"{_DETAILS}."):
            raise Rejected(f"No entry has the field {word[:120]!r}", hint=_meant(word))
    return tuple(tuple(path.split(".")) for path in paths)


def is_object(path: Path) -> bool:
    """Say whether a field is made of others."""
    return ".".join(path) in _OBJECTS


def is_wide(path: Path) -> bool:
    """Say whether looking into a field may mean looking through much."""
    return ".".join(path) not in FIELDS


def _meant(word: str) -> str:
    last = {field.rpartition(".")[2]: field for field in sorted(FIELDS)}
    near = get_close_matches(word, [*ALIASES, *FIELDS], n=2)
    near = near or [
        last.get(one, one)
        for one in get_close_matches(word.rpartition(".")[2], [*ALIASES, *last], n=2)
    ]
    known = f"The short ones are {', '.join(ALIASES)}; docs/how-to/audit.md names all."
    return f"Did you mean {' or '.join(near)}? {known}" if near else known

"""What a PATCH changes: the fields that its mask names, or else those that its body holds.

AIP-134 (masks) and AIP-161 (their paths), gar.md §4.2. Protobuf takes every name in camelCase
and in snake_case, in the mask as in the body, and so do all our handlers: here, and only here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bonded.server.core.errors import Rejected
from bonded.server.web.messages import Call
from bonded.server.web.v1 import wire

Path = tuple[str, ...]
_WHOLE = "*"


@dataclass(frozen=True, slots=True)
class Changes:
    """The fields that change, by their names in camelCase."""

    values: Mapping[str, Any]
    """What each is to be; None if the mask names what the body does not hold: nothing."""
    below: Mapping[str, tuple[Path, ...]]
    """Of those that change only in parts, the parts: paths from the field downwards."""


def parse_changes(
    call: Call,
    body: Mapping[str, Any],
    allowed: Collection[str],
    *,
    fixed: Collection[str] = (),
    parts: Mapping[str, Collection[str]] | None = None,
    mask: str = "",
) -> Changes:
    """Return what a PATCH with *body* changes.

    Fields that are *fixed* may be in the body, where they say nothing, but not in the mask. Of
    those in *parts* the mask may name parts too. *mask* is one that is not in the query.

    Raises:
        Rejected: a field is unknown or cannot change, or is named twice.
    """
    sent, divisible = camelled(body), parts or {}
    paths = _paths(mask or _masked(call))
    if not paths:
        return _populated(sent, allowed, divisible)
    if paths == {(_WHOLE,): None}:
        paths = {(name,): None for name in allowed}
    for path in paths:
        _check(path, allowed, fixed, divisible)
    tops = dict.fromkeys(path[0] for path in paths)
    return Changes(
        {top: sent.get(top) for top in tops},
        {
            top: tuple(path[1:] for path in paths if path[0] == top)
            for top in tops
            # Whoever names the whole beside a part names the part, too.
            if (top,) not in paths
        },
    )


def camelled(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an object by their names in camelCase.

    Raises:
        Rejected: a field is there in more than one spelling.
    """
    spelled: dict[str, str] = {}
    for name in body:
        # Not only in two spellings: of several underscores in a row, all count as one.
        other = spelled.setdefault(wire.camel(name), name)
        if other != name:
            raise Rejected(f"The request has {other[:80]} and {name[:80]}, which is one")
    return {camel: body[name] for camel, name in spelled.items()}


def overlaid(
    now: Mapping[str, Any], sent: Mapping[str, Any], paths: Collection[Path]
) -> dict[str, Any]:
    """Return *now* with what *paths* name as it is in *sent*: None, if it is not there.

    Raises:
        Rejected: a path leads into what has no parts.
    """
    result, fields = dict(now), camelled(sent)
    for name in dict.fromkeys(path[0] for path in paths):
        deeper = [path[1:] for path in paths if path[0] == name]
        if () in deeper:
            result[name] = fields.get(name)
            continue
        inner_now, inner_sent = result.get(name) or {}, fields.get(name) or {}
        if not isinstance(inner_now, dict) or not isinstance(inner_sent, dict):
            raise indivisible(name)
        result[name] = overlaid(inner_now, inner_sent, deeper)
    return result


def indivisible(field: str) -> Rejected:
    """Return the refusal of a mask that names a part of *field*."""
    # Whoever names one key of a map would lose the others.
    return Rejected(
        f"updateMask names a part of {field}, which only changes as a whole",
        hint=f"Name {field}, and send all that it is to be.",
    )


def _populated(
    sent: Mapping[str, Any], allowed: Collection[str], parts: Mapping[str, Collection[str]]
) -> Changes:
    """Return the changes of a PATCH without a mask: what its body does not hold stays."""
    values = {name: sent[name] for name in allowed if name in sent}
    below = {
        name: tuple((part,) for part in camelled(value))
        for name, value in values.items()
        if name in parts and isinstance(value, dict)
    }
    return Changes(values, below)


def _masked(call: Call) -> str:
    texts = [wire.one_parameter(call, name) for name in ("updateMask", "update_mask")]
    if all(texts):
        raise Rejected("The parameter updateMask is given as update_mask, too")
    return "".join(texts)


def _paths(mask: str) -> dict[Path, None]:
    """Return the paths that a mask names, in its order, each once."""
    names = [name.strip() for name in mask.split(",")] if mask.strip() else []
    return dict.fromkeys(tuple(map(wire.camel, name.split("."))) for name in names)


def _check(
    path: Path,
    allowed: Collection[str],
    fixed: Collection[str],
    parts: Mapping[str, Collection[str]],
) -> None:
    top = path[0]
    if top not in allowed and top not in fixed:
        raise Rejected(f"updateMask names the unknown field {top[:80]!r}")
    if top not in allowed:
        raise Rejected(f"The field {top} cannot be changed")
    if len(path) > 1 and top not in parts:
        raise indivisible(top)
    if len(path) > 1 and path[1] not in parts[top]:
        raise Rejected(
            f"updateMask names the unknown field {'.'.join(path)[:80]!r}",
            hint=f"{top} has {', '.join(parts[top])}.",
        )

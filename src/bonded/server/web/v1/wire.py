"""How Google's REST spells things: times, enums, pages, operations.

gar.md §4.2, §4.3 and §6.6.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bonded.server.core.errors import Rejected
from bonded.server.operations.administering import PAGE_SIZE_MAX
from bonded.server.web.messages import Call

PAGE_SIZE_DEFAULT = 100
TEXT_LENGTH_MAX = 1024
_TYPES = "type.googleapis.com"

_T = TypeVar("_T")


def timestamp(moment: datetime) -> str:
    """Return a moment in RFC 3339, UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_enum(value: object, names: Mapping[str, int], field: str) -> str:
    """Return the name of an enum value, however a client spells it.

    Google's Python client sends the number, gcloud the name in its user's case.

    Raises:
        Rejected: it is none of *names*.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        for name, number in names.items():
            if number == value:
                return name
    if isinstance(value, str):
        name = value.strip().upper().replace("-", "_")
        if name in names:
            return name
    raise Rejected(f"{field} has the unknown value {str(value)[:80]!r}; use {', '.join(names)}")


def parse_text(body: Mapping[str, Any], field: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Return a text field of a request, "" if it is absent. Raises Rejected."""
    value = body.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > length_max:
        raise Rejected(f"{field} must be a string of at most {length_max} characters")
    if "\0" in value:
        raise Rejected(f"{field} must not hold a NUL character")
    return value


def parse_strings(body: Mapping[str, Any], field: str) -> list[str]:
    """Return a list of texts in a request, [] if it is absent. Raises Rejected."""
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Rejected(f"{field} must be a list of strings")
    return value


def parse_flag(body: Mapping[str, Any], field: str) -> bool:
    """Return a yes or no in a request, no if it is absent. Raises Rejected."""
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise Rejected(f"{field} must be true or false")
    return bool(value)


def parse_timestamp(body: Mapping[str, Any], field: str) -> datetime | None:
    """Return a moment in a request (RFC 3339), None if it is absent. Raises Rejected."""
    text = parse_text(body, field)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Rejected(f"{field} must be a moment such as 2030-01-31T00:00:00Z, not {text[:80]!r}")


def parse_duration(body: Mapping[str, Any], field: str, longest: timedelta) -> timedelta | None:
    """Return a duration in a request, as protobuf writes it (`900s`), None if it is absent.

    Raises:
        Rejected: it is none, or longer than *longest*.
    """
    text = parse_text(body, field)
    if not text:
        return None
    longest_s = int(longest.total_seconds())
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?s", text) or float(text[:-1]) < 1:
        raise Rejected(f"{field} must be seconds such as 900s, not {text[:80]!r}")
    if float(text[:-1]) > longest_s:
        raise Rejected(f"{field} must not be more than {longest_s}s, as the server is set up")
    return timedelta(seconds=int(float(text[:-1])))


def parse_object(body: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return an object field of a request, {} if it is absent. Raises Rejected."""
    value = body.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Rejected(f"{field} must be an object")
    return value


def one_parameter(call: Call, name: str) -> str:
    """Return a query parameter, "" if it is absent. Raises Rejected if it is repeated."""
    values = call.query().get(name, [])
    if len(values) > 1:
        raise Rejected(f"The parameter {name} is given {len(values)} times")
    return values[0] if values else ""


def parse_page(call: Call) -> tuple[str, int]:
    """Return where a list goes on, and how many it may show. Raises Rejected."""
    size = one_parameter(call, "pageSize") or one_parameter(call, "page_size") or "0"
    if not re.fullmatch(r"\d{1,9}", size):
        raise Rejected("pageSize must be a number that is not negative")
    token = one_parameter(call, "pageToken") or one_parameter(call, "page_token")
    try:
        after = base64.urlsafe_b64decode(token.encode("ascii")).decode()
        is_ours = not token or after.startswith("after:")
    except (binascii.Error, ValueError):
        after, is_ours = "", False
    if not is_ours:
        raise Rejected("pageToken is not one that this list has given", hint="Start without one.")
    return after.removeprefix("after:"), min(int(size) or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def page_of(
    field: str,
    found: Sequence[_T],
    limit: int,
    view: Callable[[_T], object],
    key: Callable[[_T], str],
) -> dict[str, object]:
    """Return one page of a list; *found* holds one more than *limit* if the list goes on."""
    page: dict[str, object] = {field: [view(one) for one in found[:limit]]}
    if len(found) > limit:
        after = f"after:{key(found[limit - 1])}"
        page["nextPageToken"] = base64.urlsafe_b64encode(after.encode()).decode()
    return page


def refuse_dry_run(call: Call) -> None:
    """Refuse to try a change that would only be looked at: it would be made (AIP-163)."""
    for name in ("validateOnly", "validate_only"):
        if one_parameter(call, name).lower() not in ("", "false"):
            raise Rejected(
                "validateOnly is not supported, and nothing was changed",
                hint="Leave it out to make the change.",
            )


def refuse_filters(call: Call) -> None:
    """Refuse server-side filters and orders: gcloud then does both itself (gar.md §6.4)."""
    for name in ("filter", "orderBy"):
        if one_parameter(call, name):
            raise Rejected(f"{name} is not supported", hint="Filter the list on your side.")


def done(
    name_prefix: str, metadata_type: str, response_type: str, response: Mapping[str, object]
) -> dict[str, object]:
    """Return a finished long-running Operation; ours finish before they are answered."""
    return {
        "name": f"{name_prefix}/{secrets.token_hex(12)}",
        "metadata": {"@type": f"{_TYPES}/{metadata_type}"},
        "done": True,
        "response": {"@type": f"{_TYPES}/{response_type}", **response},
    }


EMPTY = "google.protobuf.Empty"


def camel(name: str) -> str:
    """Return a field's name in camelCase, if it is in snake_case: protobuf takes both."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)

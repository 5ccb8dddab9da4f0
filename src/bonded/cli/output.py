"""Resources as text: YAML, JSON, tables and values, for people and for scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bonded.cli import yaml_text
from bonded.client.errors import Misconfigured

KINDS = ("yaml", "json", "jsonl", "table", "value")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its header, and how its cell is had from a resource."""

    header: str
    cell: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of text and the fields that it is limited to; none means all."""

    kind: str
    fields: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Format:
        """Parse `kind` or `kind(field,field)`.

        Raises:
            Misconfigured: it is neither, the kind needs fields and has none, or one is a heading.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*([\w.,\s-]*)\s*\))?\s*", text)
        fields = tuple(f.strip() for f in (match[2] or "").split(",") if f.strip()) if match else ()
        if not match or match[1] not in KINDS or (match[1] == "value" and not fields):
            raise Misconfigured(
                f"[{text}] is not a format.",
                hint="Use yaml, json, jsonl, table or value(FIELD,...), "
                "such as --format='value(name)'.",
            )
        for name in fields:
            # No field of the API begins so: it would silently be empty, as with gcloud.
            if name[0].isupper():
                raise Misconfigured(
                    f"[{name}] is no field: formats take the API's names, not a table's headings.",
                    hint="Look at the names with --format=json.",
                )
        return cls(match[1], fields)


def field(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what reads the field at the dotted path *name* as a cell."""
    return lambda resource: plain(find(resource, name))


def basename(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what reads the last segment of the resource name in field *name*."""
    return lambda resource: plain(find(resource, name)).rpartition("/")[2]


def local_time(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what reads the RFC 3339 time in field *name* as local time, to the second."""

    def read(resource: Mapping[str, Any]) -> str:
        text = plain(find(resource, name))
        try:
            return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%dT%H:%M:%S}"
        except ValueError:
            return text

    return read


def find(resource: Any, path: str) -> Any:
    """Return what stands at the dotted *path*, or None."""
    for key in path.split("."):
        resource = resource.get(key) if isinstance(resource, Mapping) else None
    return resource


def plain(value: Any) -> str:
    """Return *value* as one cell, lists and mappings joined as gcloud joins them."""
    match value:
        case None:
            return ""
        case Mapping():
            return ";".join(f"{key}={plain(item)}" for key, item in sorted(value.items()))
        case list() | tuple():
            return ";".join(plain(item) for item in value)
        case _:
            return str(value)


def render(resource: Mapping[str, Any], form: Format) -> str:
    """Return one resource as text."""
    match form.kind:
        case "json":
            return _json(_limit(resource, form.fields))
        case "jsonl":
            return _json(_limit(resource, form.fields), indent=None)
        case "value":
            return "\t".join(plain(find(resource, name)) for name in form.fields)
        case "table":
            names = form.fields or tuple(sorted(resource))
            return table([resource], [Column(_header(name), field(name)) for name in names])
        case _:
            return yaml_text.dump(_limit(resource, form.fields)).rstrip("\n")


def render_list(
    resources: Sequence[Mapping[str, Any]], form: Format, columns: Sequence[Column], title: str = ""
) -> str:
    """Return resources as text; *columns* and *title* are for the table."""
    match form.kind:
        case "json":
            return _json([_limit(resource, form.fields) for resource in resources])
        case "value" | "jsonl":
            return "\n".join(render(resource, form) for resource in resources)
        case "table":
            if form.fields:
                columns = [Column(_header(name), field(name)) for name in form.fields]
            return table(resources, columns, title)
        case _:
            # One YAML document for each, as gcloud separates them.
            return "\n".join(f"---\n{render(resource, form)}" for resource in resources)


def table(
    resources: Sequence[Mapping[str, Any]], columns: Sequence[Column], title: str = ""
) -> str:
    """Return a table as wide as its contents, because pipes have no width."""
    headers = tuple(column.header for column in columns)
    rows = [
        headers,
        *(tuple(printable(column.cell(item)) for column in columns) for item in resources),
    ]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    heading = [title.center(max(map(len, lines))).rstrip()] if title else []
    return "\n".join([*heading, *lines])


def printable(text: str) -> str:
    """Return *text* with escapes in place of what would move or recolour a terminal."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _limit(resource: Mapping[str, Any], fields: Sequence[str]) -> Mapping[str, Any]:
    """Return *resource* with nothing but *fields*, nested as they were."""
    if not fields:
        return resource
    limited: dict[str, Any] = {}
    for path in fields:
        *parents, last = path.split(".")
        inner = limited
        for key in parents:
            inner = inner.setdefault(key, {})
        inner[last] = find(resource, path)
    return limited


# What JSON may hold unescaped though it controls a terminal: DEL, C1, and the turns of direction.
_CONTROL = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _json(value: Any, indent: int | None = 2) -> str:
    text = json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _header(path: str) -> str:
    """Return `CREATE_TIME` for `createTime`, as gcloud names the columns it derives."""
    last = path.rpartition(".")[2]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).upper()

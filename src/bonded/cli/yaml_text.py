"""The YAML that commands print, and its way back, for a policy that was printed and edited.

It is the block style of gcloud: mappings in the order of their keys, lists, and one-line scalars.
What the reader does not know (anchors, tags, block scalars) it refuses by line, and JSON remains.
A YAML library would be one more thing in every environment that installs the keyring backend.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from bonded.client.errors import Misconfigured

# Text that no YAML reader takes for anything but itself (YAML 1.1 and 1.2 core schemas).
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_/.@+=,()*-]|:(?=\S)| (?=[A-Za-z0-9_/(]))*")
_RESERVED = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
# Without exponents: an etag such as 1E5 is text to one YAML and a number to another.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DOUBLE_QUOTED = r'"(?:[^"\\]|\\.)*"'
_SINGLE_QUOTED = r"'(?:[^']|'')*'"
_PLAIN_KEY = r"""[^\s'"#&*!|>\[\]{},](?:[^:#]|:(?=\S))*?"""
_KEY = re.compile(rf"({_DOUBLE_QUOTED}|{_SINGLE_QUOTED}|{_PLAIN_KEY}):(?:\s+(.*))?")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')(?:\s+#.*)?""")
_ESCAPES = {"\\": "\\", '"': '"', "n": "\n", "t": "\t", "r": "\r", "/": "/"}
DEPTH_MAX = 50


def dump(value: Any) -> str:
    """Return *value*, made of mappings, lists and scalars, as YAML ending in a newline."""
    return "\n".join(_lines(value)) + "\n"


def load(text: str, source: str, hint: str) -> Any:
    """Return the value that *text* spells; errors name it by *source*, and end with *hint*.

    Raises:
        Misconfigured: it is not YAML of the kind that this module reads.
    """
    lines = [
        _Line(number, len(raw) - len(raw.lstrip(" ")), raw.strip())
        for number, raw in enumerate(text.split("\n"), 1)
        if raw.strip() and not raw.lstrip().startswith("#") and raw.strip() != "---"
    ]
    reader = _Reader(lines, source, hint)
    if not lines:
        return None
    value = reader.block(lines[0].indent, 0)
    reader.expect_end()
    return value


def _lines(value: Any) -> list[str]:
    """Return the lines of *value*."""
    match value:
        case Mapping() if value:
            return [
                line for key, item in sorted(value.items()) for line in _entry(_scalar(key), item)
            ]
        case list() | tuple() if value:
            return [line for item in value for line in _item(item)]
        case Mapping():
            return ["{}"]
        case list() | tuple():
            return ["[]"]
        case _:
            return [_scalar(value)]


def _entry(key: str, value: Any) -> list[str]:
    """Return the lines of one key; a list stands no deeper than its key, as gcloud has it."""
    lines = _lines(value)
    if not value or not isinstance(value, Mapping | list | tuple):
        return [f"{key}: {lines[0]}"]
    indent = "  " if isinstance(value, Mapping) else ""
    return [f"{key}:", *(f"{indent}{line}" for line in lines)]


def _item(value: Any) -> list[str]:
    """Return the lines of one item of a list."""
    first, *rest = _lines(value)
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _scalar(value: Any) -> str:
    """Return a scalar, quoted only where a reader might take it for something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return '"' + "".join(_escape(character) for character in value) + '"'


def _escape(character: str) -> str:
    """Return one character as it stands between double quotes."""
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\U{ord(character):08X}"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


class _Reader:
    """Reads lines by their indentation, top to bottom."""

    def __init__(self, lines: list[_Line], source: str, hint: str) -> None:
        self._lines = lines
        self._source = source
        self._hint = hint
        self._at = 0

    def block(self, indent: int, depth: int) -> Any:
        """Read the mapping, list or scalar whose lines start at *indent*."""
        line = self._lines[self._at]
        if depth > DEPTH_MAX:
            self._refuse(line)
        if line.text == "-" or line.text.startswith("- "):
            return self._list(indent, depth)
        if _KEY.fullmatch(line.text):
            return self._mapping(indent, depth)
        self._at += 1
        return self._value(line.text, line)

    def expect_end(self) -> None:
        """Refuse what is left: it stands at an indentation that belongs to nothing."""
        if self._at < len(self._lines):
            self._refuse(self._lines[self._at])

    def _list(self, indent: int, depth: int) -> list[Any]:
        """Read the items that start at *indent*."""
        items: list[Any] = []
        while (line := self._peek(indent)) and (line.text == "-" or line.text.startswith("- ")):
            content = line.text[1:].lstrip()
            if content:
                # What follows the dash is a block that starts where it stands.
                inner = indent + len(line.text) - len(content)
                self._lines[self._at] = _Line(line.number, inner, content)
                items.append(self.block(inner, depth + 1))
            else:
                self._at += 1
                items.append(self._nested(indent, depth, lists_at=indent + 1))
        return items

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        """Read the entries that start at *indent*."""
        entries: dict[str, Any] = {}
        while line := self._peek(indent):
            match = _KEY.fullmatch(line.text)
            if not match:
                break
            self._at += 1
            key = self._value(match[1], line)
            if not isinstance(key, str) or key in entries:
                self._refuse(line)
            if match[2] and not match[2].startswith("#"):
                entries[key] = self._value(match[2], line)
            else:
                entries[key] = self._nested(indent, depth, lists_at=indent)
        return entries

    def _nested(self, indent: int, depth: int, *, lists_at: int) -> Any:
        """Read the block under a key or a dash; a list may stand as deep as its key."""
        if self._at == len(self._lines):
            return None
        line = self._lines[self._at]
        is_list = line.text == "-" or line.text.startswith("- ")
        if line.indent > indent or (is_list and line.indent >= lists_at):
            return self.block(line.indent, depth + 1)
        return None

    def _peek(self, indent: int) -> _Line | None:
        """Return the next line if it starts at *indent*."""
        if self._at == len(self._lines) or self._lines[self._at].indent != indent:
            return None
        return self._lines[self._at]

    def _value(self, text: str, line: _Line) -> Any:
        """Read a scalar, or an empty collection."""
        if match := _QUOTED.fullmatch(text):
            double, single = match.groups()
            return self._unescape(double, line) if single is None else single.replace("''", "'")
        text = re.split(r"\s#", text)[0].rstrip()
        if text in {"{}", "[]"}:
            return {} if text == "{}" else []
        if text[0] in "\"'[{&*!|>%@`" or ": " in text or text.endswith(":"):
            self._refuse(line)
        if _NUMBER.fullmatch(text):
            return json.loads(text)
        return {"true": True, "false": False, "null": None, "~": None}.get(text.lower(), text)

    def _unescape(self, text: str, line: _Line) -> str:
        """Read what stands between double quotes."""

        def read(match: re.Match[str]) -> str:
            digits, short = match[1], match[2]
            if digits and int(digits, 16) <= sys.maxunicode:
                return chr(int(digits, 16))
            return _ESCAPES.get(short) or self._refuse(line)

        return re.sub(
            r"\\(?:[Uux]((?<=U)[0-9A-Fa-f]{8}|(?<=u)[0-9A-Fa-f]{4}|(?<=x)[0-9A-Fa-f]{2})|(.))",
            read,
            text,
        )

    def _refuse(self, line: _Line) -> NoReturn:
        raise Misconfigured(
            f"Line {line.number} of {self._source} is not YAML that Bonded reads: {line.text[:80]}",
            hint=self._hint,
        )

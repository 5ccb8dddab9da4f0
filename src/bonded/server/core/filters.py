"""The language of `logging read`: a subset of Google's Logging query language.

    filter     = alternatives { ["AND"] alternatives }      OR binds closer than AND
    alternatives = negation { "OR" negation }
    negation   = ["NOT" | "-"] ( "(" filter ")" | comparison )
    comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=" | ":") values | text
    values     = text | "(" text { ("OR" | "AND") text } ")"

A text alone is looked for in the whole entry. `:` looks for a part; `field:*`
asks whether the field is there. A field that no entry can have is refused. Case
does not matter, except in AND, OR, NOT.
Regular expressions are left out: what they cost cannot be bounded.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bonded.server.core.audit import parse_timestamp
from bonded.server.core.errors import Rejected
from bonded.server.core.log_fields import Path, is_object, is_wide, paths_of

LENGTH_MAX = 4096
NESTING_MAX = 20
COMPARISONS_MAX = 100
WIDE_MAX = 10
"""Of these, comparisons with all that is in an entry or in a part of it."""

_SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Examined:
    """One entry while it is compared: its texts are gathered and put in lower case once."""

    __slots__ = ("_text", "entry")

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry
        self._text: str | None = None

    @property
    def text(self) -> str:
        """All its texts, one after the other."""
        if self._text is None:
            self._text = "\0".join(_texts(self.entry)).lower()
        return self._text


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with one value; an empty *paths* means the whole entry."""

    paths: tuple[Path, ...]
    operator: str
    value: str

    def matches(self, one: Examined) -> bool:
        """Say whether the entry is as the comparison says."""
        if not self.paths:
            return self.value.lower() in one.text
        entry = one.entry
        if self.operator == "!=":
            return not any(_compare(p, "=", v, self.value) for p, v in self._found(entry))
        return any(_compare(p, self.operator, v, self.value) for p, v in self._found(entry))

    def _found(self, entry: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        for path in self.paths:
            found = list(_values(entry, path))
            # proto3 JSON leaves out what is zero, and a filter asks for it all the same.
            if not found and path[-2:] == ("status", "code"):
                found = [0]
            yield from ((path, value) for value in found)


@dataclass(frozen=True, slots=True)
class Every:
    """All of its parts."""

    parts: tuple[Filter, ...]

    def matches(self, one: Examined) -> bool:
        """Say whether every part matches."""
        return all(part.matches(one) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of its parts."""

    parts: tuple[Filter, ...]

    def matches(self, one: Examined) -> bool:
        """Say whether some part matches."""
        return any(part.matches(one) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """Whatever its part is not."""

    part: Filter

    def matches(self, one: Examined) -> bool:
        """Say whether the part does not match."""
        return not self.part.matches(one)


Filter = Comparison | Every | Some | Not


def conjuncts(one: Filter) -> Iterator[Comparison]:
    """Yield the comparisons that every matching entry fulfils."""
    if isinstance(one, Comparison):
        yield one
    elif isinstance(one, Every):
        for part in one.parts:
            yield from conjuncts(part)


def alternatives(one: Filter) -> Iterator[tuple[Comparison, ...]]:
    """Yield groups of comparisons of which every matching entry fulfils one at least."""
    if isinstance(one, Comparison):
        yield (one,)
    elif isinstance(one, Every):
        for part in one.parts:
            yield from alternatives(part)
    elif isinstance(one, Some):
        plain = tuple(part for part in one.parts if isinstance(part, Comparison))
        if len(plain) == len(one.parts):
            yield plain


def _values(value: Any, path: Path) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)


def _compare(path: Path, sign: str, value: Any, wanted: str) -> bool:
    if sign == ":":
        return wanted == "*" or any(wanted.lower() in text.lower() for text in _texts(value))
    left, right = _comparable(path, value, wanted)
    if sign == "=":
        return bool(left == right)
    return _ORDERS[sign](left, right)


def _comparable(path: Path, value: Any, wanted: str) -> tuple[Any, Any]:
    if path == ("timestamp",):
        return parse_timestamp(value), parse_timestamp(wanted)
    if path == ("severity",):
        return _SEVERITIES.index(value), _SEVERITIES.index(wanted.upper())
    if isinstance(value, int) or path == ("labels", "bonded/number"):
        try:
            return float(value), float(wanted)
        except ValueError:
            pass
    return str(value).lower(), wanted.lower()


_TOKEN = re.compile(r'\s*(<=|>=|!=|=~|!~|[=<>:()]|"(?:[^"\\]|\\.)*"|[^\s()"=<>!:]+)')
_SIGNS = ("=", "!=", "<", "<=", ">", ">=", ":")


def parse_filter(text: str) -> Filter:
    """Parse *text*; an empty one matches everything.

    Raises:
        Rejected: it is malformed; the message says where.
    """
    if len(text) > LENGTH_MAX:
        raise Rejected(f"The filter is longer than {LENGTH_MAX} characters")
    return _Parser(text).parse()


class _Parser:
    """A parser by recursive descent, bounded in depth and in size."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, int]] = []
        self._next = 0
        self._depth = 0
        self._comparisons = 0
        self._wide = 0
        self._end = len(text)
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                position += len(text[position:]) - len(text[position:].lstrip())
                raise Rejected(f"The filter cannot be read at position {position + 1}")
            self._tokens.append((match[1], match.start(1)))
            position = match.end()

    def parse(self) -> Filter:
        found = self._every() if self._tokens else Every(())
        if self._next < len(self._tokens):
            raise self._wrong("something that does not belong there")
        return found

    def _every(self) -> Filter:
        parts = [self._any()]
        while self._peek() not in ("", ")"):
            if self._peek() == "AND":
                self._take()
            parts.append(self._any())
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _any(self) -> Filter:
        parts = [self._negation()]
        while self._peek() == "OR":
            self._take()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _negation(self) -> Filter:
        word = self._peek()
        if word == "NOT":
            self._take()
            return Not(self._deeper(self._negation))
        if word.startswith("-") and len(word) > 1:
            self._tokens[self._next] = (word[1:], self._tokens[self._next][1] + 1)
            return Not(self._deeper(self._negation))
        if word == "(":
            self._take()
            found = self._deeper(self._every)
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> Filter:
        word = self._text()
        while word.endswith(".") and self._peek().startswith('"'):
            word += _unquoted(self._text())
        if self._peek() in ("=~", "!~"):
            raise self._wrong("a regular expression, which is not supported; use `:` for a part")
        if self._peek() not in _SIGNS:
            return self._made((), ":", _unquoted(word))
        sign = self._take()
        paths = paths_of(_unquoted(word))
        if self._peek() != "(":
            return self._made(paths, sign, _unquoted(self._text()))
        self._take()
        parts: list[Filter] = [self._made(paths, sign, _unquoted(self._text()))]
        joint = self._peek()
        while self._peek() in ("OR", "AND"):
            if self._peek() != joint:
                raise self._wrong("both AND and OR in one list of values")
            self._take()
            parts.append(self._made(paths, sign, _unquoted(self._text())))
        self._expect(")")
        return Every(tuple(parts)) if joint == "AND" else Some(tuple(parts))

    def _made(self, paths: tuple[Path, ...], sign: str, value: str) -> Comparison:
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            raise Rejected(f"The filter has more than {COMPARISONS_MAX} comparisons")
        self._wide += not paths or (sign == ":" and any(map(is_wide, paths)))
        if self._wide > WIDE_MAX:
            raise Rejected(
                f"The filter looks through the whole entry, or a part of it, more than {WIDE_MAX} "
                "times",
                hint="Name the field, such as package=NAME.",
            )
        for path in paths:
            _check_value(path, sign, value)
        return Comparison(paths, sign, value)

    def _deeper(self, parse: Callable[[], Filter]) -> Filter:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise Rejected(f"The filter is nested more than {NESTING_MAX} deep")
        found = parse()
        self._depth -= 1
        return found

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1][0]

    def _text(self) -> str:
        token = self._peek()
        if not token or token in (*_SIGNS, "(", ")", "=~", "!~", "AND", "OR", "NOT"):
            raise self._wrong("a field or a text is missing")
        return self._take()

    def _expect(self, token: str) -> None:
        if self._peek() != token:
            raise self._wrong(f"{token!r} is missing")
        self._take()

    def _wrong(self, what: str) -> Rejected:
        at = self._tokens[self._next][1] if self._next < len(self._tokens) else self._end
        return Rejected(f"The filter is malformed at position {at + 1}: {what}")


def _check_value(path: Path, sign: str, value: str) -> None:
    if sign == ":":
        return
    if is_object(path):
        raise Rejected(
            f"{'.'.join(path)} has fields of its own and no value",
            hint="Name one of them, or look into all of it with `:`.",
        )
    if path == ("timestamp",):
        try:
            parse_timestamp(value)
        except ValueError as error:
            raise Rejected(
                f"{value[:80]!r} is not a moment",
                hint='Write it like timestamp>="2026-01-31T12:00:00Z".',
            ) from error
    if path == ("severity",) and value.upper() not in _SEVERITIES:
        raise Rejected(f"{value[:80]!r} is not a severity; use {', '.join(_SEVERITIES)}")


def _unquoted(token: str) -> str:
    if token.startswith('"'):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    return token

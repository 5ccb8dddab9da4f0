"""Parts of an expression, read before it is ever evaluated: what it joins, and what can never be.

The evaluator checks names and types. That a moment is none, or that no package is called as it
says, would show only when somebody who should be let in is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from packaging.utils import canonicalize_name

from bonded.server.core.errors import Rejected
from bonded.server.identity.bounding import Token, tokenize
from bonded.server.identity.expressions import parse_expression, string_in

CALLS_MAX = 40
"""Of functions with a literal in one expression: each is tried when it is checked."""
CALLS_KEPT_MAX = 1024
"""Such calls of which is kept what is wrong with them."""

_MADE = {
    "timestamp": 'A moment is written as in timestamp("2027-01-31T12:00:00Z").',
    "duration": 'A duration is written as in duration("3600s") or duration("1h30m").',
    **dict.fromkeys(("bool", "double", "int", "uint"), ""),
}
"""Functions that make a value of a text, and how that is written."""
_READS_ZONE = re.compile(r"get[A-Z][A-Za-z]+")
_ZONE = 'A time zone is written as in "Europe/Berlin" or "+02:00".'
_SOME_MOMENT = 'timestamp("2027-01-31T12:00:00Z")'
_COMPARES = ("==", "!=")
_NAME = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*)?")
_PART_OF_NAME = re.compile(r"(?!.*--)[a-z0-9-]*")


def conjuncts(text: str) -> tuple[str, ...]:
    """Return the expressions that must all be true for *text*, a well-formed one, to be true."""
    tokens = tokenize(text)
    while _is_enclosed(tokens):
        tokens = tokens[1:-1]
    depth, start, parts = 0, 0, []
    for at, token in enumerate(tokens):
        depth += _step(token)
        if depth:
            continue
        # An alternative binds less: what stands beside it need not be true.
        if token.text == "?" or _is_pair(tokens, at, "|"):
            return (_text_of(text, tokens),)
        if _is_pair(tokens, at, "&"):
            parts.append(tokens[start:at])
            start = at + 2
    if not parts:
        return (_text_of(text, tokens),)
    parts.append(tokens[start:])
    return tuple(one for part in parts for one in conjuncts(_text_of(text, part)))


def check_literals(text: str, package: str = "") -> None:
    """Refuse what is written out in *text*, a well-formed expression, and can never be.

    *package* is the variable that holds the normalized name of a package, if there is one.

    Raises:
        Rejected: it holds such a thing; the message says where. Or it has too many calls.
    """
    tokens = tokenize(text)
    calls = sum(_call_at(tokens, at) is not None for at in range(len(tokens)))
    if calls > CALLS_MAX:
        raise Rejected(
            f"The expression calls timestamp, int and the like {calls} times with what is written "
            f"out; {CALLS_MAX} are allowed",
            hint="Split it.",
        )
    for fault in (*_unmade(tokens), *(_unnamed(tokens, package) if package else ())):
        before = text[: fault.token.start]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise Rejected(
            f"The expression is wrong at line {line}, column {column}: {fault.what}",
            hint=fault.hint,
        )


@dataclass(frozen=True, slots=True)
class _Fault:
    token: Token
    what: str
    hint: str


def _unmade(tokens: list[Token]) -> Iterator[_Fault]:
    """Yield what calls a function with a text of which it can make nothing."""
    for at, name in enumerate(tokens):
        call = _call_at(tokens, at)
        if call is not None and (why := _why_unmade(call)):
            literal = tokens[at + 2]
            yield _Fault(
                literal,
                f"{name.text}({literal.text[:80]}): {why}",
                _MADE.get(name.text, _ZONE),
            )


def _call_at(tokens: list[Token], at: int) -> str | None:
    """Return the expression that tries the call which begins *at*, if one with a literal does."""
    if at + 3 >= len(tokens):
        return None
    name, opening, literal, closing = tokens[at : at + 4]
    if (opening.text, closing.text) != ("(", ")") or literal.kind not in ("text", "number"):
        return None
    is_method = at > 0 and tokens[at - 1].text == "."
    if is_method and _READS_ZONE.fullmatch(name.text):
        return f"{_SOME_MOMENT}.{name.text}({literal.text})"
    return None if is_method or name.text not in _MADE else f"{name.text}({literal.text})"


@lru_cache(maxsize=CALLS_KEPT_MAX)
def _why_unmade(call: str) -> str:
    try:
        parse_expression(call, ()).evaluate({})
    except Rejected as error:
        return error.message.rpartition(" cannot be evaluated: ")[2]
    return ""


def _unnamed(tokens: list[Token], spelled: str) -> Iterator[_Fault]:
    """Yield the texts with which the package's name is compared and which no package has."""
    words = [token.text for token in tokens]
    wanted = spelled.replace(".", " . ").split()
    for at in range(len(tokens)):
        if words[at : at + len(wanted)] != wanted:
            continue
        for literal, is_whole in _compared(tokens, words, at, at + len(wanted)):
            name = string_in(literal.text, "A package's name")
            possible = _NAME if is_whole else _PART_OF_NAME
            if possible.fullmatch(name):
                continue
            normal = canonicalize_name(name)
            what = "no package is called" if is_whole else "no package's name holds"
            yield _Fault(
                literal,
                f"{what} {literal.text[:80]}, for {spelled} is normalized (PEP 503)",
                f'Write "{normal[:80]}".'
                if possible.fullmatch(normal)
                else f"For names that begin alike, write {spelled}.startsWith.",
            )


def _compared(
    tokens: list[Token], words: list[str], start: int, end: int
) -> Iterator[tuple[Token, bool]]:
    """Yield the texts with which what stands between *start* and *end* is compared.

    Each with whether it is compared with all of it, or a part.
    """
    after = words[end : end + 2]
    if "".join(after) in _COMPARES and _is_text(tokens, end + 2):
        yield tokens[end + 2], True
    if "".join(words[max(start - 2, 0) : start]) in _COMPARES and _is_text(tokens, start - 3):
        yield tokens[start - 3], True
    if after == ["in", "["]:
        yield from ((token, True) for token in _elements(tokens, end + 2) if token.kind == "text")
    is_part = words[end + 1 : end + 2] and words[end + 1] in ("startsWith", "endsWith", "contains")
    if is_part and words[end] == "." and _is_text(tokens, end + 3):
        yield tokens[end + 3], False


def _elements(tokens: list[Token], start: int) -> Iterator[Token]:
    """Yield what a list that opens before *start* has of elements of one token each.

    What an element is made of, such as the arguments of a call, is compared with nothing.
    """
    depth = 0
    for before, token, after in zip(
        tokens[start - 1 :], tokens[start:], tokens[start + 1 :], strict=False
    ):
        if depth == 0 and before.text in ("[", ",") and after.text in (",", "]"):
            yield token
        depth += _step(token)
        if depth < 0:
            return


def _is_text(tokens: list[Token], at: int) -> bool:
    return 0 <= at < len(tokens) and tokens[at].kind == "text"


def _is_pair(tokens: list[Token], at: int, sign: str) -> bool:
    return [token.text for token in tokens[at : at + 2]] == [sign, sign]


def _step(token: Token) -> int:
    return (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))


def _is_enclosed(tokens: list[Token]) -> bool:
    """Say whether one pair of parentheses is around all of it."""
    if not tokens or tokens[0].text != "(":
        return False
    depth = 0
    for at, token in enumerate(tokens):
        depth += _step(token)
        if depth == 0:
            return at == len(tokens) - 1
    return False


def _text_of(text: str, tokens: list[Token]) -> str:
    return text[tokens[0].start : tokens[-1].end] if tokens else ""

"""What an expression may cost, found by reading it before it is ever evaluated.

The evaluator bounds nesting and iterations, and its regular expressions take time linear in
the text; but ten thousand iterations over a large list, each with a large expression, are
half a minute, and nothing else is answered meanwhile. So what grows is counted here: names,
comprehensions, and regular expressions with how far their repetitions unfold; and all words and
signs, each of which has to be compiled, and costs though it names nothing (`0<1&&0<2&&…`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bonded.server.core.errors import Rejected

MENTIONS_MAX = 40
"""Of variables in one expression: each may be a long list that is compared with another."""
MATCHES_MAX = 2
"""Regular expressions in one expression: each is compiled every time."""
PATTERN_SIZE_MAX = 128
"""Of one regular expression, with what is repeated a number of times written out."""
CALLS_MAX = 4
"""Of functions in a comprehension, for every element."""
HEAVY = 20
"""What a regular expression or a comprehension costs, in mentions."""
TOKENS_PER_COST = 25
"""Words and signs that cost as much as one mention, where there are more than go with those."""
MATCHED_LENGTH_MAX = 1024
"""Of a text that a regular expression is asked about."""
ELEMENTS_MAX = 1000
"""Of everything that an expression is evaluated with, counted through lists and objects."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)"""
    # A raw string ends at the first quote, any other at the first that no backslash precedes.
    r"""|(?P<text>(?:[rR][bB]?|[bB][rR])(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")"""
    r"""|[bB]?(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\""""
    r"""|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"))"""
    r"""|(?P<name>[A-Za-z_]\w*|`[^`\n]*`)"""
    r"""|(?P<number>\d\w*(?:\.\d\w*)?)"""
    r"""|(?P<other>.)""",
    re.DOTALL,
)
_COMPREHENSIONS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_WORDS = frozenset({"true", "false", "null", "in"})
_COUNTED = re.compile(r"(.?)\{(\d+)(?:,(\d*))?\}", re.DOTALL)
_UNBOUNDED_CLASSES = frozenset("pPQC")
"""`\\pL` is a thousand ranges; `\\Q` would hide from us what follows it."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign of an expression: a text, a name, a number or another."""

    kind: str
    text: str
    start: int = 0
    """Where it begins, counted in characters."""

    @property
    def end(self) -> int:
        """Where it has ended."""
        return self.start + len(self.text)


def tokenize(text: str) -> list[Token]:
    """Return the words and signs of *text*, without spaces and comments."""
    return [
        Token(str(found.lastgroup), found[0], found.start())
        for found in _TOKEN.finditer(text)
        if found.lastgroup != "space"
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in an expression."""

    cost: int
    patterns: tuple[str, ...]
    """The regular expressions, as literals of CEL."""
    networks: tuple[str, ...] = ()
    """The networks of `inIpRange` that are written out, as literals of CEL."""


def measure(text: str, *, has_comprehensions: bool) -> Measured:
    """Return what a well-formed expression costs; *has_comprehensions* says whether it may.

    Raises:
        Rejected: more than one may cost.
    """
    tokens = tokenize(text)
    mentions = [at for at in range(len(tokens)) if _is_mention(tokens, at)]
    if len(mentions) > MENTIONS_MAX:
        raise Rejected(
            f"The expression names variables {len(mentions)} times; {MENTIONS_MAX} are allowed",
            hint="Compare with a list, as in `x in ['a', 'b']`, or split it.",
        )
    patterns = tuple(_patterns(tokens))
    if len(patterns) > MATCHES_MAX:
        raise Rejected(
            f"The expression uses matches {len(patterns)} times; {MATCHES_MAX} are allowed",
            hint="Use startsWith, endsWith or contains, or one pattern with | in it.",
        )
    comprehensions = [at for at in range(len(tokens)) if _is_call(tokens, at, _COMPREHENSIONS)]
    if comprehensions:
        _check_comprehensions(tokens, comprehensions, has_comprehensions=has_comprehensions)
    heavy = len(patterns) + len(comprehensions)
    cost = max(1, len(mentions), len(tokens) // TOKENS_PER_COST) + HEAVY * heavy
    return Measured(cost, patterns, tuple(_networks(tokens)))


def check_pattern(pattern: str) -> None:
    """Refuse a regular expression that unfolds too far. Raises Rejected."""
    if not pattern.isascii() or _UNBOUNDED_CLASSES & set(re.findall(r"\\(.)", pattern, re.DOTALL)):
        raise Rejected(
            r"A pattern of matches must be of ASCII, without \p, \P, \C and \Q",
            hint="Use classes such as [a-z], [[:alpha:]] or [^/].",
        )
    bare = re.sub(r"\\.", "x", pattern, flags=re.DOTALL)
    size, factor = len(bare), 1
    for before, least, most in _COUNTED.findall(bare):
        count = int(most or least)
        # What is repeated may itself be long: how long, only a parser would know.
        if before in ("", *")}*+?"):
            factor *= max(count, 1)
        else:
            size += count
    if size * factor > PATTERN_SIZE_MAX:
        raise Rejected(
            f"A pattern of matches is {size * factor} long, with its counted repetitions; "
            f"{PATTERN_SIZE_MAX} are allowed",
            hint="Use + or * instead of {n}, or a shorter pattern.",
        )


def check_values(values: Mapping[str, object], *, is_matched: bool) -> None:
    """Refuse to evaluate with very many values, or long texts if a pattern may be asked about them.

    Raises:
        Rejected: that is so.
    """
    left: list[object] = list(values.values())
    seen = 0
    while left:
        value = left.pop()
        seen += 1
        if isinstance(value, Mapping):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
        if seen + len(left) > ELEMENTS_MAX:
            raise Rejected(f"There are more than {ELEMENTS_MAX} values to evaluate it with")
        if is_matched and isinstance(value, str) and len(value) > MATCHED_LENGTH_MAX:
            raise Rejected(f"A text is longer than the {MATCHED_LENGTH_MAX} that matches is for")


def _is_mention(tokens: list[Token], at: int) -> bool:
    token = tokens[at]
    if token.kind != "name" or token.text in _WORDS or _text(tokens, at + 1) == "(":
        return False
    # `.name` is a field after an operand, and the variable anywhere else.
    return _text(tokens, at - 1) != "." or not _is_operand(tokens, at - 2)


def _is_operand(tokens: list[Token], at: int) -> bool:
    if at < 0:
        return False
    token = tokens[at]
    if token.kind == "other":
        return token.text in (")", "]", "}")
    return token.text not in _WORDS


def _is_call(tokens: list[Token], at: int, names: frozenset[str]) -> bool:
    return tokens[at].text in names and _text(tokens, at + 1) == "("


def _patterns(tokens: list[Token]) -> Iterator[str]:
    for at in range(len(tokens)):
        if not _is_call(tokens, at, frozenset({"matches"})):
            continue
        argument = tokens[at + 2] if at + 2 < len(tokens) else Token("other", "")
        is_literal = argument.kind == "text" and _text(tokens, at + 3) == ")"
        if not is_literal or _text(tokens, at - 1) != ".":
            raise Rejected(
                "The pattern of matches must be written out",
                hint="Write it as in `x.matches('^[a-z]+$')`.",
            )
        yield argument.text


def _networks(tokens: list[Token]) -> Iterator[str]:
    for at in range(len(tokens)):
        if _is_call(tokens, at, frozenset({"inIpRange"})):
            end = _end_of(tokens, at + 2)
            if _text(tokens, end - 2) == "," and tokens[end - 1].kind == "text":
                yield tokens[end - 1].text


def _check_comprehensions(
    tokens: list[Token], found: list[int], *, has_comprehensions: bool
) -> None:
    if not has_comprehensions:
        raise Rejected(
            "A condition of a policy may not use all, exists, exists_one, map or filter",
            hint="Name what it is compared with, as in `x in ['a', 'b']`.",
        )
    if len(found) > 1:
        raise Rejected(
            f"The expression uses {len(found)} of all, exists, exists_one, map and filter; "
            "one is allowed",
            hint="Split it, or map a claim to an attribute first.",
        )
    if any(token.text == "+" for token in tokens):
        raise Rejected(
            "The expression uses + together with all, exists, exists_one, map or filter",
            hint="Use one or the other.",
        )
    start = found[0] + 2
    body = tokens[start : _end_of(tokens, start)]
    element = body[0].text if body else ""
    others = [
        body[at].text
        for at in range(len(body))
        if _is_mention(body, at) and body[at].text != element
    ]
    if others:
        raise Rejected(
            f"For every element, only the element is asked about, not {others[0][:80]!r}",
            hint=f"Name nothing but {element[:80]!r} in all, exists, exists_one, map and filter.",
        )
    calls = sum(
        token.kind == "name" and _text(body, at + 1) == "(" for at, token in enumerate(body)
    )
    if calls > CALLS_MAX or any(
        _is_call(body, at, frozenset({"matches"})) for at in range(len(body))
    ):
        raise Rejected(
            f"For every element, {CALLS_MAX} functions may be called, and matches may not",
            hint="Use startsWith, endsWith, contains or in.",
        )


def _end_of(tokens: list[Token], start: int) -> int:
    depth = 1
    for at in range(start, len(tokens)):
        if tokens[at].kind == "other":
            depth += (tokens[at].text in "([{") - (tokens[at].text in ")]}")
        if depth == 0:
            return at
    return len(tokens)


def _text(tokens: list[Token], at: int) -> str:
    is_there = 0 <= at < len(tokens) and tokens[at].kind in ("other", "name")
    return tokens[at].text if is_there else ""

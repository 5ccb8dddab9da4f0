"""Expressions in CEL: attribute mappings and conditions that administrators write (gar.md §3.4).

The evaluator is Google's own (cel-cpp): it checks names and types before anything
runs, its regular expressions are RE2's and take time linear in the text, and it bounds
nesting (32) and iterations (10,000). That is far too much for the event loop, on which
expressions of whoever may configure one repository are evaluated: what an expression
may cost at all is bounded by `identity.bounding`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from cel_expr_python import cel  # type: ignore[import-untyped]

from bonded.server.core.errors import Rejected
from bonded.server.identity.bounding import Measured, check_pattern, check_values, measure

TEXT_LENGTH_MAX = 4096
"""Of one expression: Google's limit for conditions."""
SHOWN_MAX = 120
"""Characters of an expression that a message repeats."""
LITERALS_KEPT_MAX = 1024
"""Literals of which is kept what they stand for: each has to be compiled."""
LIST_LENGTH_MAX = 1000
"""Of a list that an expression gives."""

Value = bool | int | float | str | datetime | timedelta | tuple[str, ...] | None
"""What an expression may give."""

_POSITION = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds, and if not, why."""

    is_true: bool
    reason: str = ""


class Expression:
    """A checked expression, ready to be evaluated. Build it with `parse_expression`."""

    def __init__(self, text: str, program: Any, measured: Measured) -> None:
        self.text = text
        self.cost = measured.cost
        self._program = program
        self._is_matching = bool(measured.patterns)

    def evaluate(self, variables: Mapping[str, object]) -> Value:
        """Return what the expression gives for *variables*.

        Raises:
            Rejected: it gives nothing: a name is missing, types do not fit, or the values
                are too many or too long.
        """
        try:
            check_values(variables, is_matched=self._is_matching)
            found = self._program.eval(data=variables)
        except Rejected as error:
            raise Rejected(f"{self._quoted} cannot be evaluated: {error.message}") from None
        except (RuntimeError, ValueError, TypeError) as error:
            raise Rejected(f"{self._quoted} cannot be evaluated: {_cause(str(error))}") from None
        kind = found.type()
        if kind == cel.Type.ERROR:
            raise Rejected(f"{self._quoted} cannot be evaluated: {_cause(str(found.value()))}")
        if kind.name().startswith("LIST"):
            return self._texts(found.value())
        if kind not in _SCALARS:
            raise Rejected(f"{self._quoted} gives a {kind.name()}, which nothing here can use")
        value: Value = found.value()
        return value

    def verdict(self, variables: Mapping[str, object]) -> Verdict:
        """Say whether the expression is true; what cannot be evaluated is not."""
        try:
            value = self.evaluate(variables)
        except Rejected as error:
            return Verdict(is_true=False, reason=error.message)
        if value is True:
            return Verdict(is_true=True)
        return Verdict(is_true=False, reason=f"{self._quoted} is {str(value).lower()}")

    def _texts(self, values: list[Any]) -> tuple[str, ...]:
        if len(values) > LIST_LENGTH_MAX:
            raise Rejected(f"{self._quoted} gives a list of more than {LIST_LENGTH_MAX}")
        if not all(value.type() == cel.Type.STRING for value in values):
            raise Rejected(f"{self._quoted} gives a list of something else than strings")
        return tuple(value.value() for value in values)

    @property
    def _quoted(self) -> str:
        return f"The expression {_shown(self.text)}"


Kinds = tuple[tuple[str, Literal["string", "timestamp"]], ...]
"""Variables with their types in CEL, which is checked then before anything runs."""


def parse_expression(
    text: str,
    variables: tuple[str, ...] | Kinds,
    *,
    is_condition: bool = False,
    has_comprehensions: bool = True,
) -> Expression:
    """Check *text*, which may use *variables*; a condition must give a bool.

    *has_comprehensions* says whether it may ask about each element of a list.

    A variable without a type may be anything.

    Raises:
        Rejected: it is no such expression, and the message says where the mistake is; or it
            may cost too much.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise Rejected(f"The expression is longer than {TEXT_LENGTH_MAX} characters")
    try:
        program = _environment(variables).compile(text)
    except (RuntimeError, ValueError) as error:
        raise Rejected(
            f"The expression {_shown(text)} is wrong{_where(str(error))}",
            hint=f"It is CEL, and may use {', '.join(_names(variables))}.",
        ) from None
    measured = measure(text, has_comprehensions=has_comprehensions)
    for literal in measured.patterns:
        check_pattern(string_in(literal, "The pattern of matches"))
    for literal in measured.networks:
        _check_network(string_in(literal, "The network of inIpRange"))
    if is_condition and program.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        kind = program.return_type().name()
        raise Rejected(
            f"The condition {_shown(text)} gives a {kind}", hint="It must be true or false."
        )
    return Expression(text, program, measured)


@lru_cache(maxsize=LITERALS_KEPT_MAX)
def string_in(literal: str, what: str) -> str:
    """Return the text that a literal of CEL stands for. Raises Rejected if it is no string."""
    text: object = _environment(()).compile(literal).eval(data={}).value()
    if not isinstance(text, str):
        raise Rejected(f"{what} must be a string")
    return text


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise Rejected(
            f"inIpRange asks about {text[:80]!r}, which is no network",
            hint="Write it as in 10.0.0.0/8 or 2001:db8::/32.",
        ) from error


def extract(text: str, template: str) -> str:
    """Return what stands in *text* where *template* has its `{placeholder}`; "" if it fits nowhere.

    IAM's own function: `"a/orders/7/x".extract("/orders/{id}/")` is `"7"`.

    Raises:
        ValueError: the template has not exactly one placeholder.
    """
    found = re.fullmatch(r"([^{}]*)\{[A-Za-z_][A-Za-z0-9_]*\}([^{}]*)", template)
    if found is None:
        raise ValueError(f"the template {template[:80]!r} must hold one {{placeholder}}")
    before, after = found.groups()
    start = text.find(before)
    if start < 0:
        return ""
    start += len(before)
    stop = text.find(after, start) if after else len(text)
    return "" if stop < 0 else text[start:stop]


def is_in_range(address: str, network: str) -> bool:
    """Say whether *address* is in *network*, as in `inIpRange(request.ip, "10.0.0.0/8")`.

    An address that is unknown is in none.

    Raises:
        ValueError: *network* is no network.
    """
    within = ipaddress.ip_network(network, strict=False)
    try:
        return ipaddress.ip_address(address) in within
    except ValueError:
        return False


_SCALARS = (
    cel.Type.BOOL,
    cel.Type.INT,
    cel.Type.UINT,
    cel.Type.DOUBLE,
    cel.Type.STRING,
    cel.Type.TIMESTAMP,
    cel.Type.DURATION,
    cel.Type.NULL,
)
_FUNCTIONS = (
    cel.FunctionDecl(
        "extract",
        [
            cel.Overload(
                "string_extract_template",
                return_type=cel.Type.STRING,
                parameters=[cel.Type.STRING, cel.Type.STRING],
                is_member=True,
                impl=extract,
            )
        ],
    ),
    cel.FunctionDecl(
        "inIpRange",
        [
            cel.Overload(
                "in_ip_range_string",
                return_type=cel.Type.BOOL,
                parameters=[cel.Type.STRING, cel.Type.STRING],
                is_member=False,
                impl=is_in_range,
            )
        ],
    ),
)


_KINDS = {"string": cel.Type.STRING, "timestamp": cel.Type.TIMESTAMP}


@lru_cache(maxsize=16)
def _environment(variables: tuple[str, ...] | Kinds) -> Any:
    typed = {
        name: cel.Type.DYN if isinstance(one, str) else _KINDS[one[1]]
        for name, one in zip(_names(variables), variables, strict=True)
    }
    return cel.NewEnv(variables=typed, functions=list(_FUNCTIONS))


def _names(variables: tuple[str, ...] | Kinds) -> tuple[str, ...]:
    return tuple(one if isinstance(one, str) else one[0] for one in variables)


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line if len(line) <= SHOWN_MAX else f'{line[: SHOWN_MAX - 1]}…'}`"


def _where(error: str) -> str:
    found = _POSITION.search(error)
    if found is None:
        return f": {_cause(error)}"
    line, column, words = int(found[1]), int(found[2]), found[3]
    words = words.removesuffix(" [INVALID_ARGUMENT]").removesuffix(" (in container '')")
    return f" at line {line}, column {column}: {words}" if line > 0 else f": {words}"


def _cause(error: str) -> str:
    # cel-cpp writes `CODE: what happened`; the code is its own.
    return re.sub(r"^[A-Z_]+: ", "", error.partition("\n")[0])

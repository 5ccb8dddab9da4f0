"""What expressions may cost: refused before they are evaluated, and by work that is measured."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bonded.server.core.conditions import Condition
from bonded.server.core.errors import Rejected
from bonded.server.identity.bounding import (
    ELEMENTS_MAX,
    MATCHED_LENGTH_MAX,
    check_pattern,
    measure,
)
from bonded.server.identity.conditions import (
    COST_MAX,
    Circumstances,
    check_conditions,
    holds,
    lacking,
    verdict_on,
)
from bonded.server.identity.expressions import parse_expression

ZEROS = f"[{','.join('0' * 30)}]"
HALF_A_MINUTE = (
    f"{ZEROS}.all(i,{ZEROS}.all(j, !resource.package.matches("
    "'((a{1,30}){1,30}z|(b?a){1,200}y)')))"
)
"""What stood the server still when anybody asked for a page."""

EXPENSIVE = {
    "two comprehensions": ("a.all(x, true) && a.all(y, true)", "uses 2 of all"),
    "one in another": ("a.all(x, a.all(y, y == x))", "uses 2 of all"),
    "spaced out": ("a . filter ( x , true ) . map // \n ( y , y )", "uses 2 of all"),
    "something large for each": ("a.all(x, x in a)", "only the element is asked about, not 'a'"),
    "something large, by its full name": ("a.all(x, x in .a)", "not 'a'"),
    "a pattern for each": ("a.all(x, x.matches('b'))", "matches may not"),
    "many functions for each": (
        f"a.all(x, {' || '.join(['x.size() == 7'] * 5)})",
        "4 functions may be called",
    ),
    "growing texts": ("a.map(x, x + x)", "together with"),
    "many comparisons": (" && ".join(["a == a"] * 21), "names variables 42 times; 40"),
    "many patterns": ("||".join(["a.matches('b')"] * 3), "matches 3 times; 2"),
    "a pattern that is computed": ("a.matches(a)", "must be written out"),
    "a pattern in two parts": ("a.matches('b' + 'c')", "must be written out"),
    "a pattern in brackets": ("a.matches(('b'))", "must be written out"),
    "a pattern that is chosen": ("a.matches(true ? 'b' : 'c')", "must be written out"),
    "the function instead of the method": ("matches(a, 'b{500}')", "must be written out"),
    "counted, in disguise": (r"a.matches('b\x7b500}')", "is 506 long"),
    "counted in a raw string": ("a.matches(r'b{500}')", "is 506 long"),
}


@pytest.mark.parametrize("title", EXPENSIVE)
def test_what_could_cost_too_much_is_refused_before_it_is_evaluated(title: str) -> None:
    text, says = EXPENSIVE[title]

    with pytest.raises(Rejected) as caught:
        parse_expression(text, ("a",))

    assert says in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        *("a{129}", "a{1,129}", "(a{12}){12}", "((a{1,30}){1,30}z|(b?a){1,200}y)", "a{60}{60}"),
        *("(?:[^a][^b][^c]){20}", r"\pL", r"\PL", r"\p{Greek}", r"\Qa\E", r"\C", "é", "a" * 129),
        *(r"\\\pL", "a{60}b{60}c{60}"),
    ],
)
def test_a_pattern_that_unfolds_far_is_refused(pattern: str) -> None:
    with pytest.raises(Rejected, match="pattern of matches"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *("^repo:acme/.+$", r"^v\d+(\.\d+){2}$", "^sha256:[0-9a-f]{64}$", r"\\p", "a{,500}"),
        *(r"^(\d{1,3}\.){3}\d{1,3}$", "^(refs/heads/main|refs/tags/v.*)$", r"\{500\}"),
    ],
)
def test_the_patterns_that_people_write_are_allowed(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("a == 'x'", 1),
        ("a.a.b['a'] in ['a', \"a\"] // a", 1),
        ("has(a.x) && !a.y && true && null == null", 2),
        ("a.matches('^x$')", 21),
        ("a.g.filter(g, g.startsWith('x-'))", 23),
        ("a.matches == 'x' && a.map == a.all", 3),
        ("true", 1),
        ("&&".join(["0<1"] * 100), 19),
        (f"a in {['q'] * 100}", 8),
    ],
)
def test_names_and_what_is_heavy_are_counted_and_texts_are_not(text: str, cost: int) -> None:
    assert parse_expression(text, ("a",)).cost == cost


def seconds_of(text: str, value: object) -> float:
    """Return the processor time of one evaluation, at best: others use the machine, too."""
    expression = parse_expression(text, ("a",))
    times = []
    for _ in range(5):
        started_at = time.process_time()
        expression.verdict({"a": value})
        times.append(time.process_time() - started_at)
    return min(times)


LETTERS = "".join("ab"[int(bit)] for bit in f"{7**364:b}"[:MATCHED_LENGTH_MAX])
NUMBERS = [str(number) for number in range(ELEMENTS_MAX - 1)]
WORST: dict[str, tuple[str, object]] = {
    "long repetitions": ("a.matches('.{120}z') || a.matches('[^q]{115}z')", LETTERS),
    "very many states": ("a.matches('(a|b)*a(a|b){6}z') || a.matches('[ab]*a[ab]{100}z')", LETTERS),
    "many options": (f"a.matches('{'.?' * 60}z') || a.matches('{'[^q]?' * 20}z')", LETTERS),
    "large classes": (
        r"a.matches(r'(?i)(\W|\D|\S|[^k]|[^s]){3}z') || a.matches(r'(?i)[^k-s]{110}z')",
        "é" * MATCHED_LENGTH_MAX,
    ),
    "large lists compared": (" && ".join(["a == a"] * 20), NUMBERS),
    "many in a large list": (" || ".join(["'q' in a"] * 40), NUMBERS),
    "functions of ours for each": (
        "a.exists(x, x.extract('a{b}c').extract('a{b}c').extract('a{b}c').extract('a{b}c') == 'q')",
        NUMBERS,
    ),
    "every element with a long list": (f"a.exists(x, x in {['q'] * 380})", NUMBERS),
    "lists that grow": (f"({'+'.join(['a'] * 20)}) == ({'+'.join(['a'] * 20)})", NUMBERS),
}


@pytest.mark.parametrize("title", WORST)
def test_the_worst_that_is_allowed_holds_the_server_up_for_milliseconds(title: str) -> None:
    text, value = WORST[title]

    worst_s = min(seconds_of(text, value) for _ in range(3))

    # As work, so that a slow machine changes nothing: what it takes to sort numbers a while.
    started_at = time.process_time()
    for _ in range(40):
        sorted(range(20_000), key=str)
    assert worst_s < (time.process_time() - started_at) / 4


def test_very_many_values_and_long_texts_are_not_evaluated() -> None:
    nested = {"deep": [{"list": ["x"] * ELEMENTS_MAX}]}
    long = "x" * (MATCHED_LENGTH_MAX + 1)

    many = parse_expression("a.deep == 1", ("a",)).verdict({"a": nested})
    matched = parse_expression("!a.matches('y')", ("a",)).verdict({"a": long})

    assert "more than 1000 values" in many.reason
    assert "longer than the 1024 that matches is for" in matched.reason
    assert parse_expression("a.startsWith('x')", ("a",)).verdict({"a": long}).is_true


@pytest.mark.parametrize("package", ["demo", None])
@pytest.mark.parametrize("text", [HALF_A_MINUTE, "['demo'].exists(x, x == resource.package)"])
def test_a_condition_that_was_stored_before_it_was_refused_holds_for_nobody(
    text: str, package: str | None
) -> None:
    stored = Condition("stored", text)
    circumstances = Circumstances("projects/p", datetime(2027, 1, 1, tzinfo=UTC), package=package)

    assert not holds(stored, circumstances)
    assert "may not use all, exists" in verdict_on(stored, circumstances).reason
    with pytest.raises(Rejected, match="may not use all, exists"):
        check_conditions([stored])


@pytest.mark.parametrize("name", ["resource.package", "resource . package", "resource\n.package"])
def test_a_condition_may_hold_until_the_package_is_known_however_it_is_spaced(name: str) -> None:
    asking = Condition("asking", f"{name} == 'demo'")
    saying = Condition("saying", "1 / 0 == 1 || 'resource.package' == ''")
    early = Circumstances("projects/p", datetime(2027, 1, 1, tzinfo=UTC), package=None)

    assert holds(asking, early)
    assert not holds(asking, replace(early, package="other"))
    assert (lacking(asking, early), lacking(saying, early)) == (("resource.package",), ())


def test_the_conditions_of_a_policy_cost_so_much_together() -> None:
    matching = Condition("matching", "resource.package.matches('^a')")
    allowed = COST_MAX // 21

    check_conditions([matching] * allowed)
    with pytest.raises(Rejected, match="The conditions of the policy cost more than 600"):
        check_conditions([matching] * (allowed + 1))


def test_what_names_nothing_costs_something_too() -> None:
    many = [
        Condition("many", "&&".join(f"{one}<{number}" for number in range(350))) for one in "12"
    ]

    check_conditions(many * 4)
    with pytest.raises(Rejected, match="cost more than 600"):
        check_conditions(many * 5)


def test_conditions_that_were_stored_may_cost_what_they_did_and_no_more() -> None:
    stored = [Condition("stored", "resource.package.matches('^a')")] * COST_MAX

    check_conditions(stored, stored)
    check_conditions(stored[1:], stored)
    with pytest.raises(Rejected, match="cost more than 600"):
        check_conditions([*stored, Condition("new", "true")], stored)


def test_an_expression_calls_so_many_functions_with_literals() -> None:
    few, many = (Condition("calls", "||".join(['int("1")==1'] * count)) for count in (40, 41))

    check_conditions([few])
    check_conditions([many], [many])
    with pytest.raises(Rejected, match="and the like 41 times with what is written out; 40 are"):
        check_conditions([many])


def test_what_is_measured_needs_no_sense() -> None:
    assert measure("a.matches", has_comprehensions=False).patterns == ()
    with pytest.raises(Rejected, match="must be written out"):
        measure("a.matches(", has_comprehensions=False)

"""What expressions give, what is said of wrong ones, and what none may cost."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.identity.expressions import (
    TEXT_LENGTH_MAX,
    Value,
    Verdict,
    extract,
    parse_expression,
)

CLAIMS = {
    "sub": "repo:acme/web:ref:refs/heads/main",
    "groups": ["dev", "ops"],
    "run": 7,
    "protected": True,
    "nested": {"key": "value", "nothing": None},
}


def evaluate(text: str) -> Value:
    return parse_expression(text, ("assertion",)).evaluate({"assertion": CLAIMS})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("assertion.sub", "repo:acme/web:ref:refs/heads/main"),
        ("assertion['sub']", "repo:acme/web:ref:refs/heads/main"),
        ("'x-' + assertion.nested.key", "x-value"),
        ("assertion.groups", ("dev", "ops")),
        ("assertion.groups.filter(g, g.startsWith('o'))", ("ops",)),
        ("'ops' in assertion.groups", True),
        ("has(assertion.actor)", False),
        ("has(assertion.sub) && assertion.protected", True),
        ("assertion.sub.startsWith('repo:acme/')", True),
        ("assertion.sub.endsWith('/main')", True),
        ("assertion.sub.contains('acme')", True),
        ("assertion.sub.matches('^repo:[a-z]+/.*$')", True),
        ("assertion.sub.extract('repo:{name}:')", "acme/web"),
        ("assertion.run + 1", 8),
        ("string(assertion.run)", "7"),
        ("assertion.nested.nothing", None),
        ("timestamp('2027-01-01T00:00:00Z')", datetime(2027, 1, 1, tzinfo=UTC)),
        ("duration('90s')", timedelta(seconds=90)),
        ("timestamp('2027-01-01T00:00:00Z') < timestamp('2028-01-01T00:00:00Z')", True),
        ("assertion.protected ? 'a' : 'b'", "a"),
    ],
)
def test_an_expression_gives_what_cel_says(text: str, value: Value) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", "The expression `1 +` is wrong at line 1, column 4: Syntax error"),
        ("true &&\n  bogus(1)", "line 2, column 8: undeclared reference to 'bogus'"),
        ("actor == 'x'", "line 1, column 1: undeclared reference to 'actor'"),
        ("'x' + 1", "line 1, column 5: found no matching overload"),
        ("", "is wrong at line 1, column 1"),
        ("(" * 100 + "1" + ")" * 100, "recursion limit exceeded"),
        ("1 + " * 100 + "1", "max recursion depth"),
        ("'" + "x" * TEXT_LENGTH_MAX + "'", "longer than 4096 characters"),
    ],
)
def test_a_wrong_expression_is_refused_with_the_place_of_the_mistake(
    text: str, message: str
) -> None:
    with pytest.raises(Rejected) as caught:
        parse_expression(text, ("assertion",))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("assertion.actor", 'cannot be evaluated: Key not found in map : "actor"'),
        ("assertion.run + assertion.sub", "No matching overloads"),
        ("assertion.run.startsWith('7')", "No matching overloads"),
        ("timestamp(assertion.sub)", "Timestamp conversion failed"),
        ("assertion.sub.matches('(')", "invalid regular expression: missing )"),
        ("assertion.sub.extract('x')", "must hold one {placeholder}"),
        ("1 / (assertion.run - 7)", "divide by zero"),
        ("assertion.nested", "gives a MAP"),
        ("[assertion.run]", "gives a list of something else than strings"),
        ("type(1)", "gives a TYPE"),
    ],
)
def test_what_cannot_be_evaluated_says_why_and_counts_as_false(text: str, message: str) -> None:
    expression = parse_expression(text, ("assertion",))

    with pytest.raises(Rejected, match=r"^The expression `") as caught:
        expression.evaluate({"assertion": CLAIMS})
    verdict = expression.verdict({"assertion": CLAIMS})

    assert message in str(caught.value)
    assert verdict == Verdict(is_true=False, reason=caught.value.message)


def test_a_condition_is_true_or_says_that_it_is_not() -> None:
    condition = parse_expression("assertion.run == 7", ("assertion",), is_condition=True)

    assert condition.verdict({"assertion": CLAIMS}) == Verdict(is_true=True)
    assert condition.verdict({"assertion": {"run": 8}}) == Verdict(
        is_true=False, reason="The expression `assertion.run == 7` is false"
    )
    with pytest.raises(Rejected, match="gives a STRING"):
        parse_expression("'yes'", ("assertion",), is_condition=True)


def test_a_true_alternative_excuses_what_cannot_be_evaluated() -> None:
    assert evaluate("assertion.actor == 'x' || assertion.run == 7") is True


@pytest.mark.parametrize(
    "text",
    [
        "['a']" + ".map(a, a + a)" * 30 + "[0].size() > 0",
        "['a'].map(a, a + a)[0] == ''",
        "[1]" + ".map(a, [a, a])" * 30 + " == [2]",
        # Hidden behind quotes that are none.
        r"r'\' == '' || [1].map(a, [a]).map(a, [a]).map(a, [a]) == [2] || '' == ''",
        "true // '\n || [1].map(a, [a]).map(a, [a]).map(a, [a]) == [2] //'",
        'true || """ \\""" """ == \'\' || [1].map(a, [a]).map(a, [a]) . map (a, [a]) == [2]',
    ],
)
def test_an_expression_that_lets_values_grow_without_bound_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match=r"is allowed|together with|is wrong"):
        parse_expression(text, ("assertion",))


@given(st.text(max_size=60), st.dictionaries(st.text(), st.text() | st.integers() | st.floats()))
def test_nothing_but_a_refusal_comes_of_arbitrary_text(
    text: str, claims: dict[str, object]
) -> None:
    with suppress(Rejected):
        parse_expression(text, ("assertion",)).evaluate({"assertion": claims})


@pytest.mark.parametrize(
    ("text", "template", "found"),
    [
        ("/orders/7/items", "/orders/{id}/", "7"),
        ("/orders/7", "/orders/{id}", "7"),
        ("a@b", "{user}@", "a"),
        ("a@b", "{all}", "a@b"),
        ("/orders/7", "/orders/{id}/", ""),
        ("/x/7", "/orders/{id}", ""),
    ],
)
def test_extract_takes_what_stands_in_the_placeholder(text: str, template: str, found: str) -> None:
    assert extract(text, template) == found

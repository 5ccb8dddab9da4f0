"""What an expression joins is found as the evaluator finds it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.identity.expressions import parse_expression
from bonded.server.identity.fragments import conjuncts

LEAVES = st.sampled_from(["true", "false", "'&&' == '&&'", "[1, 2][0] > 1", "size('(') == 1"])
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", " || ", "&&"]), inner).map("".join),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda three: "({} ? {} : {})".format(*three)),
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("((a))", ["a"]),
        ("a && b && c", ["a", "b", "c"]),
        ("(a && (b)) && c", ["a", "b", "c"]),
        ("(a) && (b)", ["a", "b"]),
        ("a || b && c", ["a || b && c"]),
        ("(a || b) && c", ["a || b", "c"]),
        ("a && b ? c : d", ["a && b ? c : d"]),
        ("f(a && b) && 'x && y'", ["f(a && b)", "'x && y'"]),
        ("a // && b\n && c", ["a", "c"]),
    ],
)
def test_an_expression_is_taken_apart_where_all_parts_must_be_true(
    text: str, parts: list[str]
) -> None:
    assert conjuncts(text) == tuple(parts)


@given(EXPRESSIONS)
def test_it_is_true_exactly_when_every_part_is(text: str) -> None:
    whole = parse_expression(text, ()).evaluate({})
    parts = [parse_expression(one, ()).evaluate({}) for one in conjuncts(text)]

    assert whole is all(parts)

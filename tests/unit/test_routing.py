"""Paths against the table: one match, on the raw path, decoded once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.audit import Kind
from bonded.server.core.iam import Permission
from bonded.server.web.messages import Answer, Call, Reply
from bonded.server.web.routing import Endpoint, Open, RouteTable


async def _handle(_call: Call) -> Answer:
    return Reply(200)


def table(*rows: str) -> RouteTable:
    return RouteTable(
        Endpoint(method, path, _handle, Permission.REPOSITORY_GET, Kind.READ, "Read")
        for method, path in (row.split(" ") for row in rows)
    )


ROUTES = table(
    "GET /{project}/{repository}/simple/",
    "GET /{project}/{repository}/simple/{package}/",
    "GET /{project}/{repository}/{package}/{filename}",
    "POST /{project}/{repository}/",
    "GET /v1/projects/{project}",
    "POST /v1/projects/{project}:setIamPolicy",
    "GET /v1/projects/{project}:getIamPolicy",
    "DELETE /v1/projects/{project}",
)


@pytest.mark.parametrize(
    ("question", "path", "params"),
    [
        (
            "GET /p/r/simple/",
            "/{project}/{repository}/simple/",
            {"project": "p", "repository": "r"},
        ),
        (
            "GET /p/r/a%2Db/x%2By.whl",
            "/{project}/{repository}/{package}/{filename}",
            {"project": "p", "repository": "r", "package": "a-b", "filename": "x+y.whl"},
        ),
        ("GET /v1/projects/p", "/v1/projects/{project}", {"project": "p"}),
        ("HEAD /v1/projects/p", "/v1/projects/{project}", {"project": "p"}),
        (
            "GET /v1/projects/p:getIamPolicy",
            "/v1/projects/{project}:getIamPolicy",
            {"project": "p"},
        ),
        ("GET /v1/projects/a%252Fb", "/v1/projects/{project}", {"project": "a/b"}),
        ("GET /v1/projects/a%252Bb", "/v1/projects/{project}", {"project": "a%2Bb"}),
        ("GET /v1/projects/%FF", "/v1/projects/{project}", {"project": "\ufffd"}),
    ],
)
def test_a_question_finds_its_row(question: str, path: str, params: dict[str, str]) -> None:
    method, _, raw_path = question.partition(" ")

    match = ROUTES.match(method, raw_path.encode())

    assert match is not None
    assert (match.endpoint.path, match.params) == (path, params)


@pytest.mark.parametrize(
    "question",
    [
        *("GET /", "GET //", "GET /p/r", "GET //r/simple/", "GET /p//simple/", "GET /p/r/simple//"),
        *("PUT /v1/projects/p", "get /v1/projects/p"),
        *("GET /V1/projects/p", "POST /v1/projects/:setIamPolicy", "GET p/r/simple", "GET "),
    ],
)
def test_other_questions_find_nothing(question: str) -> None:
    method, _, raw_path = question.partition(" ")

    assert ROUTES.match(method, raw_path.encode()) is None


def test_what_is_spelled_out_wins_whatever_the_order_of_rows() -> None:
    rows = ("GET /{a}/{b}", "GET /x/{b}", "GET /{a}/y", "GET /x/{b}:verb", "GET /x/y")
    for ordered in (rows, rows[::-1]):
        routes = table(*ordered)

        found = [routes.match("GET", path) for path in (b"/x/y", b"/x/z", b"/q/y", b"/x/z:verb")]

        assert [match.endpoint.path for match in found if match] == [
            *("/x/y", "/x/{b}", "/{a}/y", "/x/{b}:verb"),
        ]


def test_a_path_knows_its_methods() -> None:
    assert ROUTES.allowed_methods(b"/v1/projects/p") == ("GET", "DELETE", "HEAD")
    assert ROUTES.allowed_methods(b"/p/r/") == ("POST",)
    assert ROUTES.allowed_methods(b"/") == ()


@given(st.binary(max_size=60), st.sampled_from(["GET", "POST", "HEAD", "BREW"]))
def test_whatever_path_comes_is_matched_or_not(raw_path: bytes, method: str) -> None:
    match = ROUTES.match(method, raw_path)

    assert match is None or all(match.params.values())


def test_an_open_route_says_why() -> None:
    assert all(reason.value for reason in Open)

"""The language of `logging read`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.core.filters import parse_filter
from bonded.server.operations.auditing import Query, plan

ENTRY = {
    "insertId": "0a1b",
    "timestamp": "2026-11-22T12:00:00.500000Z",
    "severity": "INFO",
    "labels": {"bonded/number": "12"},
    "protoPayload": {
        "methodName": "Python-InstallPackage",
        "resourceName": "projects/p/locations/local/repositories/r",
        "status": {},
        "authenticationInfo": {
            "principalEmail": "Ada@example.com",
            "principalSubject": "user:Ada@example.com",
            "memberOf": ["group:builders@example.com", "group:all@example.com"],
        },
        "requestMetadata": {"callerSuppliedUserAgent": 'pip/26 {"ci":true}'},
        "metadata": {"package": "boto3", "version": "1.82.7", "sizeBytes": 1000},
    },
}

TRUE = [
    "",
    "boto3",
    '"PIP/26"',
    "package=boto3",
    "package=BOTO3 version=1.82.7",
    "package=boto3 AND version=1.82.7",
    'protoPayload.metadata.package="boto3"',
    "package!=requests",
    "package:oto",
    "package:*",
    "filename!=x",
    "NOT filename:*",
    "-package=requests",
    "package=(requests OR boto3)",
    "package=requests OR package=boto3",
    "package=requests OR version=1.82.7 AND client:pip",
    "(package=requests) OR (version=1.82.7)",
    "code=0",
    "code!=7",
    "principal=ada@example.com",
    'principal="user:ada@example.com"',
    'protoPayload.authenticationInfo.memberOf="group:all@example.com"',
    'timestamp>="2026-11-22T12:00:00Z"',
    'timestamp<"2026-11-22T13:00:00+00:30"',
    'timestamp="2026-11-22T13:00:00.5+01:00"',
    "severity>=INFO",
    "severity<error",
    "protoPayload.metadata.sizeBytes>999",
    "protoPayload.metadata.sizeBytes<=1000",
    'labels."bonded/number">2',
    "number=12",
    r'client:"{\"ci\":true}"',
]
FALSE = [
    "requests",
    "package=boto",
    "package=boto3 version=1",
    "filename:*",
    "filename=x",
    "package=boto3 AND NOT version=1.82.7",
    "package=(requests OR flask)",
    "package:(bot AND x)",
    # OR binds closer than AND, as Google has it.
    "client:curl AND package=boto3 OR package=requests",
    "code=7",
    "code>0",
    'timestamp>"2026-11-22T12:00:00.5Z"',
    "severity>INFO",
    "number>12",
    "protoPayload.metadata.sizeBytes>1000",
    "protoPayload.metadata=boto3x",
]
MALFORMED = {
    "package=": "malformed at position 9: a field or a text is missing",
    "AND": "malformed at position 1: a field or a text is missing",
    "(package=a": "malformed at position 11: ')' is missing",
    "package=a)": "malformed at position 10: something that does not belong there",
    'package="a': "cannot be read at position 9",
    "package=~b.*": "malformed at position 8: a regular expression, which is not supported",
    "timestamp>yesterday": "'yesterday' is not a moment",
    "severity=LOUD": "'LOUD' is not a severity",
    "package=(a OR b AND c)": "malformed at position 17: both AND and OR in one list of values",
    "(" * 50 + "a" + ")" * 50: "nested more than 20 deep",
    "NOT " * 50 + "a": "nested more than 20 deep",
    " ".join(f"a{n}" for n in range(200)): "more than 100 comparisons",
    "a" * 5000: "longer than 4096 characters",
}


@pytest.mark.parametrize("text", TRUE)
def test_an_entry_that_is_as_the_filter_says_matches(text: str) -> None:
    assert parse_filter(text).matches(ENTRY)


@pytest.mark.parametrize("text", FALSE)
def test_an_entry_that_is_not_does_not(text: str) -> None:
    assert not parse_filter(text).matches(ENTRY)


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_filter_is_told_where_and_why(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_filter(text)

    assert MALFORMED[text] in str(refused.value)


@given(st.text(st.sampled_from('ab.=<>!:()"\\- ANDORT1\n')))
def test_whatever_is_written_either_answers_or_is_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except Rejected:
        return
    assert found.matches(ENTRY) in (True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package=Boto3 version=1 method=x", {"package": "boto3", "version": "1"}),
        ("method=X principal=ada@example.com", {"principal": "user:ada@example.com"}),
        (
            "principal=ci@p.iam.gserviceaccount.com",
            {"principal": "serviceaccount:ci@p.iam.gserviceaccount.com"},
        ),
        ("method=x OR package=y", {}),
        ("NOT method=x", {}),
        ("method!=x", {}),
        ("method:x", {}),
        ("address=10.0.0.1", {}),
    ],
)
def test_one_index_is_chosen_and_only_where_every_match_is_in_it(
    text: str, expected: dict[str, str]
) -> None:
    assert plan(parse_filter(text), Query(), None).equal == expected

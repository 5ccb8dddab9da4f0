"""The language of `logging read`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.core.errors import Rejected
from bonded.server.core.filters import WIDE_MAX, Examined, parse_filter
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
    "protoPayload.metadata:boto3x",
    "protoPayload.metadata.sha1=x",
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
    " ".join(f"code={n}" for n in range(200)): "more than 100 comparisons",
    " ".join(f"a{n}" for n in range(WIDE_MAX + 1)): "a part of it, more than 10 times",
    " ".join(f"protoPayload:a{n}" for n in range(WIDE_MAX + 1)): "more than 10 times",
    "protoPayload.metadata=boto3": "protoPayload.metadata has fields of its own and no value",
    "principl=ada": "No entry has the field 'principl'",
    'labels."bonded/numbr">2': "No entry has the field 'labels.bonded/numbr'",
    "NOT pakage:x": "No entry has the field 'pakage'",
    "jsonPayload.message:x": "No entry has the field 'jsonPayload.message'",
    "timestamp.seconds>2": "No entry has the field 'timestamp.seconds'",
    "a" * 5000: "longer than 4096 characters",
}


@pytest.mark.parametrize("text", TRUE)
def test_an_entry_that_is_as_the_filter_says_matches(text: str) -> None:
    assert parse_filter(text).matches(Examined(ENTRY))


@pytest.mark.parametrize("text", FALSE)
def test_an_entry_that_is_not_does_not(text: str) -> None:
    assert not parse_filter(text).matches(Examined(ENTRY))


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_filter_is_told_where_and_why(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_filter(text)

    assert MALFORMED[text] in str(refused.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("principl=ada", "Did you mean principal? The short ones are principal, credential, "),
        ("protoPayload.methodname=x", "Did you mean protoPayload.methodName"),
        ("callerIP=10.0.0.1", "Did you mean protoPayload.requestMetadata.callerIp?"),
        ("zzz=1", "The short ones are principal, credential, method, "),
    ],
)
def test_a_field_that_no_entry_has_is_refused_with_those_that_were_perhaps_meant(
    text: str, hint: str
) -> None:
    with pytest.raises(Rejected) as refused:
        parse_filter(text)

    assert refused.value.hint.startswith(hint)


@given(st.lists(st.text(st.sampled_from("aBé \u0130")), max_size=4), st.text())
def test_a_text_is_found_wherever_it_is_however_it_is_spelled(texts: list[str], other: str) -> None:
    entry = {"protoPayload": {"metadata": {str(n): one for n, one in enumerate(texts)}}}

    for text in filter(str.strip, [*texts, other]):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        try:
            found = parse_filter(f'"{quoted}"')
        except Rejected:
            continue
        is_there = any(text.lower() in one.lower() for one in texts)
        assert found.matches(Examined(entry)) == is_there or "\0" in text


@given(st.text(st.sampled_from('ab.=<>!:()"\\- ANDORT1\n')))
def test_whatever_is_written_either_answers_or_is_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except Rejected:
        return
    assert found.matches(Examined(ENTRY)) in (True, False)


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

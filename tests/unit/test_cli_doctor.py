"""What `bonded doctor` sees in conditions, in clocks and in how the server is reached."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import formatdate

import pytest

from bonded.cli.doctor import Examination
from bonded.cli.doctor_access import end_of
from bonded.cli.findings import Finding
from bonded.cli.grammar import Flags
from bonded.cli.session import Session
from bonded.client.environment import read_environment
from support.cli_registry import Registry, running_registry

PAST, FUTURE = "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("expression", "end"),
    [
        (f'request.time < timestamp("{PAST}")', "2001"),
        (f"request.time<=timestamp('{PAST}')", "2001"),
        (f'resource.package == "a" && request.time < timestamp( "{PAST}" )', "2001"),
        (f'request.time < timestamp("{FUTURE}") && request.time < timestamp("{PAST}")', "2001"),
        (f'request.time < timestamp("{FUTURE}")', "2999"),
        ('request.time < timestamp("2001-01-01T00:00:00")', "2001"),
        # An end of nothing, or none that is plain to see.
        (f'request.time < timestamp("{PAST}") || resource.package == "a"', None),
        (f'!(resource.package == "a" && request.time < timestamp("{PAST}") && true)', None),
        (f'!(request.time < timestamp("{PAST}"))', None),
        (f'true ? true : true && request.time < timestamp("{PAST}")', None),
        (f'request.time > timestamp("{PAST}")', None),
        ('request.time < timestamp("tomorrow")', None),
        ("", None),
    ],
)
def test_an_end_is_seen_only_where_it_ends_the_condition(expression: str, end: str | None) -> None:
    found = end_of(expression)

    assert (found and f"{found:%Y}") == end


@pytest.fixture(name="registry")
def _registry() -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry


def findings_about(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """Return what is found about a server itself."""
    monkeypatch.setenv("BONDED_SERVER", url)
    examination = Examination(Session(Flags(), read_environment()), timedelta(days=90))
    return list(examination._server())


@pytest.mark.parametrize(
    ("ahead_s", "says"),
    [(0, None), (20, None), (3600, "ahead of ours"), (-3600, "behind ours")],
)
def test_a_clock_that_is_far_off_is_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, ahead_s: int, says: str | None
) -> None:
    date = formatdate(time.time() + ahead_s, usegmt=True)
    registry.date = date

    found = findings_about(registry.url, monkeypatch)

    assert [one.finding for one in found] == (["CLOCK_SKEW"] if says else [])
    assert all(says in one.what for one in found if says)


def test_a_server_that_does_not_say_its_time_is_not_accused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.date = "soon"

    assert findings_about(registry.url, monkeypatch) == []


def test_tokens_that_cross_a_network_in_the_open_are_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An address that is no loopback address, and that leads to this machine all the same.
    open_url = registry.url.replace("127.0.0.1", "0.0.0.0")

    named = findings_about(registry.url.replace("127.0.0.1", "localhost"), monkeypatch)
    found = findings_about(open_url, monkeypatch)

    assert named == []
    assert [(one.finding, one.resource) for one in found] == [("PLAIN_HTTP", open_url)]

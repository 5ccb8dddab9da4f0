"""When signing keys are made and forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonded.server.identity.signing import Schedule

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
T0 = datetime(2026, 1, 1, tzinfo=UTC)
MONTHLY = Schedule(30 * DAY, token_life_max=12 * HOUR)
HOURLY = Schedule(HOUR, token_life_max=12 * HOUR)


@pytest.mark.parametrize(
    ("schedule", "starts", "now", "expected"),
    [
        (MONTHLY, [], T0, T0),
        (MONTHLY, [T0], T0, None),
        (MONTHLY, [T0], T0 + 29 * DAY - HOUR, None),
        (MONTHLY, [T0], T0 + 29 * DAY, T0 + 30 * DAY),
        (MONTHLY, [T0, T0 + 30 * DAY], T0 + 29 * DAY, None),
        # The server was off when the key ended: its successor is known for a day first.
        (MONTHLY, [T0], T0 + 100 * DAY, T0 + 101 * DAY),
        (HOURLY, [T0], T0 + HOUR / 2, T0 + HOUR),
    ],
)
def test_a_key_is_made_a_lead_before_it_is_needed(
    schedule: Schedule, starts: list[datetime], now: datetime, expected: datetime | None
) -> None:
    assert schedule.next_start(starts, now) == expected


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (timedelta(), 0),
        (30 * DAY, 0),
        (30 * DAY + 12 * HOUR, 0),
        (30 * DAY + 13 * HOUR, 1),
        (90 * DAY, 2),
    ],
)
def test_a_key_goes_when_the_last_token_it_signed_has_expired(
    elapsed: timedelta, expected: int
) -> None:
    starts = [T0, T0 + 30 * DAY, T0 + 60 * DAY]

    assert MONTHLY.count_over(starts, T0 + elapsed) == expected


@given(st.lists(st.timedeltas(timedelta(minutes=1), timedelta(days=3)), max_size=60))
def test_there_is_always_a_key_that_signs_and_every_live_tokens_key(
    pauses: list[timedelta],
) -> None:
    schedule = Schedule(2 * DAY, token_life_max=12 * HOUR)
    now, starts = T0, [T0]
    for pause in pauses:
        signed_with = max(start for start in starts if start <= now)
        now += pause
        start = schedule.next_start(starts, now)
        starts = starts if start is None else [*starts, start]
        starts = starts[schedule.count_over(starts, now) :]

        assert starts[0] <= now
        assert signed_with in starts or pause > schedule.token_life_max

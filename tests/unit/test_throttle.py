"""Guessing is slowed down, and nobody is locked out by somebody else's guesses."""

from __future__ import annotations

import pytest

from bonded.server.core.errors import TooMany
from bonded.server.identity.second_factor import base32_of, code_at, secret_of, step_of
from bonded.server.identity.throttle import (
    FREE_GUESSES,
    NETWORK_GUESSES,
    REMEMBERED_MAX,
    Budget,
    Place,
    Throttle,
    network_of,
)
from support.clock import SetClock

HERE, THERE = Place("192.0.2.1"), Place("192.0.2.2")


def guess(throttle: Throttle, place: Place, times: int, account: str = "ada") -> None:
    for _ in range(times):
        throttle.begin(account, place)


def test_each_wrong_guess_doubles_the_wait_for_this_account_from_this_place() -> None:
    clock = SetClock()
    throttle = Throttle(clock)
    guess(throttle, HERE, FREE_GUESSES)

    waits = []
    for _ in range(4):
        with pytest.raises(TooMany) as refused:
            throttle.begin("ada", HERE)
        waits.append(refused.value.retry_after_s)
        clock.forward(seconds=refused.value.retry_after_s)
        throttle.begin("ada", HERE)

    assert waits == [1, 2, 4, 8]
    throttle.begin("ada", THERE)
    throttle.begin("bob", HERE)


def test_the_owner_s_own_device_does_not_wait_for_a_stranger_in_the_same_network() -> None:
    throttle = Throttle(SetClock())
    for number in range(NETWORK_GUESSES):
        throttle.begin(f"account-{number}", HERE)

    with pytest.raises(TooMany):
        throttle.begin("ada", HERE)
    throttle.begin("ada", Place(HERE.network, device="known"))


def test_a_right_guess_is_forgotten() -> None:
    throttle = Throttle(SetClock())

    for _ in range(NETWORK_GUESSES * 2):
        throttle.begin("ada", HERE)
        throttle.succeeded("ada", HERE)


def test_unknown_devices_share_an_account_s_budget_and_known_ones_do_not() -> None:
    clock = SetClock()
    throttle = Throttle(clock, Budget(clock, 20, 1 / 60))
    for number in range(20):
        throttle.begin("ada", Place(f"198.51.100.{number}"))

    with pytest.raises(TooMany) as refused:
        throttle.begin("ada", HERE)
    throttle.begin("ada", Place("", device="known"))

    assert refused.value.retry_after_s == 60


def test_what_is_remembered_is_bounded() -> None:
    budget = Budget(SetClock(), 1, 1)

    for number in range(REMEMBERED_MAX + 100):
        budget.spend(number)

    assert len(budget._left) == REMEMBERED_MAX


def test_a_network_is_what_one_customer_has() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("") == network_of("nonsense") == "unknown"


def test_codes_are_those_of_rfc_6238() -> None:
    # Appendix B, the last six of its eight digits.
    secret = b"12345678901234567890"
    known = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}

    assert {at: code_at(secret, at // 30) for at in known} == known
    assert secret_of(base32_of(secret)) == secret
    assert step_of(secret, "287082", 59 + 30, 0) == 1
    assert step_of(secret, "287082", 59 + 60, 0) is None
    assert step_of(secret, "287082", 59, 1) is None

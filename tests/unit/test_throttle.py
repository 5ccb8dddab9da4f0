"""Guessing is slowed down, and nobody is locked out by somebody else's guesses."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import pytest

from bonded.server.core.errors import BondedError, TooMany, Unavailable
from bonded.server.identity.second_factor import base32_of, code_at, secret_of, step_of
from bonded.server.identity.throttle import (
    FREE_GUESSES,
    NETWORK_GUESSES,
    REMEMBERED_MAX,
    SITE_GUESSES,
    SITE_GUESSES_OF_ACCOUNT,
    Budget,
    Place,
    Throttle,
    network_of,
    place_of,
)
from support.clock import SetClock

HERE, THERE = place_of("192.0.2.1"), place_of("192.0.2.2")
KNOWN = place_of("192.0.2.1", device="known")


def guess(throttle: Throttle, place: Place, times: int = 1, account: str = "ada") -> None:
    """Guess wrongly."""
    for _ in range(times):
        with throttle.guess(account, place):
            pass


def guesses_until_refused(throttle: Throttle, places: Iterable[Place], account: str = "ada") -> int:
    """Return how many wrong guesses are judged, one from each place."""
    for number, place in enumerate(places):
        try:
            guess(throttle, place, account=account)
        except TooMany:
            return number
    raise AssertionError("no end")


def test_each_wrong_guess_doubles_the_wait_for_this_account_from_this_place() -> None:
    clock = SetClock()
    throttle = Throttle(clock)
    guess(throttle, HERE, FREE_GUESSES)

    waits = []
    for _ in range(4):
        with pytest.raises(TooMany) as refused:
            guess(throttle, HERE)
        waits.append(refused.value.retry_after_s)
        clock.forward(seconds=refused.value.retry_after_s)
        guess(throttle, HERE)

    assert waits == [1, 2, 4, 8]
    guess(throttle, THERE)
    guess(throttle, HERE, account="bob")


def test_the_owner_s_own_device_does_not_wait_for_a_stranger_in_the_same_network() -> None:
    throttle = Throttle(SetClock())
    for number in range(NETWORK_GUESSES):
        guess(throttle, HERE, account=f"account-{number}")

    with pytest.raises(TooMany):
        guess(throttle, HERE)
    guess(throttle, KNOWN)


def test_a_right_guess_is_forgotten() -> None:
    throttle = Throttle(SetClock())

    for _ in range(SITE_GUESSES * 2):
        with throttle.guess("ada", HERE) as right:
            right.is_right = True


@pytest.mark.parametrize("error", [TooMany("busy", retry_after_s=5), Unavailable("down")])
@pytest.mark.parametrize("wrong", [0, FREE_GUESSES + 3])
def test_what_was_never_judged_does_not_count(error: BondedError, wrong: int) -> None:
    clock = SetClock()
    throttle = Throttle(clock, Budget(clock, 40, 1 / 60))
    for _ in range(wrong):
        guess(throttle, HERE)
        clock.forward(seconds=60)

    for _ in range(SITE_GUESSES * 2):
        with suppress(type(error)), throttle.guess("ada", HERE):
            raise error
    with throttle.guess("ada", HERE) as right:
        right.is_right = True


def test_of_two_at_once_the_one_that_was_judged_counts() -> None:
    throttle = Throttle(SetClock())
    guess(throttle, HERE, FREE_GUESSES - 1)

    with suppress(Unavailable), throttle.guess("ada", HERE):
        # Counted while the first still waits.
        with pytest.raises(TooMany):
            guess(throttle, HERE)
        raise Unavailable("down")
    guess(throttle, HERE)

    with pytest.raises(TooMany):
        guess(throttle, HERE)


def test_a_right_one_counts_nowhere_though_what_follows_it_fails() -> None:
    throttle = Throttle(SetClock())

    for _ in range(SITE_GUESSES * 2):
        with suppress(TooMany), throttle.guess("ada", HERE) as right:
            right.is_right = True
            raise TooMany("busy", retry_after_s=5)


def test_a_site_has_no_more_guesses_however_many_networks_it_has() -> None:
    throttle = Throttle(SetClock())
    networks = [place_of(f"2001:db8:1:{number:x}::1") for number in range(SITE_GUESSES * 2)]
    addresses = [place_of(f"192.0.2.{number}") for number in range(256)]

    assert guesses_until_refused(throttle, networks) == SITE_GUESSES_OF_ACCOUNT
    assert guesses_until_refused(throttle, addresses) == SITE_GUESSES_OF_ACCOUNT
    for number in range(SITE_GUESSES - SITE_GUESSES_OF_ACCOUNT):
        guess(throttle, networks[number], account=f"account-{number}")
    with pytest.raises(TooMany):
        guess(throttle, networks[-1], account="bob")
    guess(throttle, place_of("2001:db8:2::1"))
    guess(throttle, KNOWN)


def test_a_guess_that_is_refused_spends_nothing() -> None:
    clock = SetClock()
    throttle = Throttle(clock)
    networks = [place_of(f"2001:db8:1:{number:x}::1") for number in range(100)]
    guesses_until_refused(throttle, networks)

    for _ in range(SITE_GUESSES):
        with pytest.raises(TooMany):
            guess(throttle, networks[-1])

    guess(throttle, networks[-1], account="bob")


def test_unknown_devices_share_an_account_s_budget_and_known_ones_do_not() -> None:
    clock = SetClock()
    throttle = Throttle(clock, Budget(clock, 20, 1 / 60))
    for number in range(20):
        guess(throttle, place_of(f"198.51.{number}.1"))

    with pytest.raises(TooMany) as refused:
        guess(throttle, HERE)
    guess(throttle, KNOWN)

    assert refused.value.retry_after_s == 60


def test_what_is_remembered_is_bounded() -> None:
    budget = Budget(SetClock(), 1, 1)

    for number in range(REMEMBERED_MAX + 100):
        budget.spend(number)

    throttle = Throttle(SetClock())
    for number in range(REMEMBERED_MAX + 100):
        guess(throttle, place_of("", device=str(number)))

    assert len(budget._left) == len(throttle._wrong) == REMEMBERED_MAX


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

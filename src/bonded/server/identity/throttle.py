"""Slows guessing down without letting anybody lock anybody out.

A wrong guess delays the next one for the same account *from the same place*,
twice as long each time; and each network, and each site with all its networks,
has a budget of wrong guesses for all accounts together, and a smaller one for
each. The place is the device if it carries the cookie that a successful sign-in
of this account left there, else the network it calls from: so a stranger who
guesses never delays the owner on their own device, nor anybody of another site
(OWASP: device cookies). Only what was judged, and was wrong, counts.

Nothing bounds those who guess from many sites but what judging costs (`turns`):
any limit of the account's own would be theirs to use up, and lock its owner out.

Kept by each replica in bounded memory: N replicas allow N times the guesses.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bonded.server.core.clock import Clock
from bonded.server.core.errors import TooMany, Unavailable

FREE_GUESSES = 5
DELAY_MAX_S = 15 * 60
FORGOTTEN_S = 24 * 3600
"""After so long without a guess, earlier ones do not count."""
NETWORK_GUESSES = 60
NETWORK_GUESSES_PER_S = 1 / 6
SITE_GUESSES = 240
SITE_GUESSES_PER_S = 2 / 3
SITE_GUESSES_OF_ACCOUNT = 30
SITE_GUESSES_OF_ACCOUNT_PER_S = 1 / 60
REMEMBERED_MAX = 16_384
"""Places that are remembered, of each kind."""
IPV6_NETWORK_BITS = 64
"""What one customer has at the least (RFC 6177)."""
IPV6_SITE_BITS = 48
IPV4_SITE_BITS = 24
"""What is handed out to one site, so that its many networks count as one."""


class Budget:
    """So many at once, and so many a second, for each key."""

    def __init__(self, clock: Clock, at_once: float, per_s: float) -> None:
        self._clock = clock
        self._at_once = at_once
        self._per_s = per_s
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, key: Hashable) -> float:
        """Spend one of *key*'s; return 0, or, if nothing is left, the seconds until there is."""
        now = self._clock().timestamp()
        left, then = self._left.get(key, (self._at_once, now))
        left = min(self._at_once, left + (now - then) * self._per_s)
        if left < 1:
            return (1 - left) / self._per_s
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > REMEMBERED_MAX:
            self._left.popitem(last=False)
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """Undo one `spend`: it was no guess after all."""
        if key in self._left:
            left, then = self._left[key]
            self._left[key] = (left + 1, then)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guess comes from."""

    network: str
    site: str
    device: str = ""
    """What the cookie of a device says that the account has been used on, else ""."""


@dataclass(slots=True)
class Guess:
    """A guess that is being judged; whoever judges it says so if it was right."""

    is_right: bool = False


@dataclass(frozen=True, slots=True)
class _Wrong:
    """How often in a row it was wrong, and when last."""

    guesses: int
    last_at: float

    @property
    def allowed_at(self) -> float:
        if self.guesses < FREE_GUESSES:
            return self.last_at
        return self.last_at + min(2.0 ** (self.guesses - FREE_GUESSES), DELAY_MAX_S)


class Throttle:
    """Counts a guess before it is judged, so that many at once count too."""

    def __init__(self, clock: Clock, account_budget: Budget | None = None) -> None:
        """*account_budget* bounds all unknown devices together, for secrets that are short."""
        self._clock = clock
        self._networks = Budget(clock, NETWORK_GUESSES, NETWORK_GUESSES_PER_S)
        self._sites = Budget(clock, SITE_GUESSES, SITE_GUESSES_PER_S)
        self._site_accounts = Budget(clock, SITE_GUESSES_OF_ACCOUNT, SITE_GUESSES_OF_ACCOUNT_PER_S)
        self._account_budget = account_budget
        self._wrong: OrderedDict[tuple[str, str], _Wrong] = OrderedDict()

    @contextmanager
    def guess(self, account: str, place: Place) -> Iterator[Guess]:
        """Let one guess for *account* be judged in the block, which says whether it was right.

        A block that ends with TooMany or Unavailable has judged nothing, and nothing counts.

        Raises:
            TooMany: not yet.
        """
        pair = (account, place.device or place.network)
        before = self._wrong.get(pair)
        counted = self._count(pair, before, account, place)
        guess = Guess()
        try:
            yield guess
        except (TooMany, Unavailable):
            if not guess.is_right:
                self._forget(pair, before, counted)
                self._give_back(account, place)
            raise
        finally:
            if guess.is_right:
                self._wrong.pop(pair, None)
                self._give_back(account, place)

    def _count(
        self, pair: tuple[str, str], before: _Wrong | None, account: str, place: Place
    ) -> _Wrong:
        now = self._clock().timestamp()
        guesses, allowed_at = (0, now) if before is None else (before.guesses, before.allowed_at)
        if now > allowed_at + FORGOTTEN_S:
            guesses = 0
        wait_s = allowed_at - now
        if wait_s <= 0:
            wait_s = self._spend(account, place)
        if wait_s > 0:
            raise TooMany("There were too many wrong attempts", retry_after_s=wait_s)
        counted = self._wrong[pair] = _Wrong(min(guesses + 1, 32), now)
        self._wrong.move_to_end(pair)
        if len(self._wrong) > REMEMBERED_MAX:
            self._wrong.popitem(last=False)
        return counted

    def _forget(self, pair: tuple[str, str], before: _Wrong | None, counted: _Wrong) -> None:
        """Undo what `_count` has counted; what others have counted meanwhile stays."""
        now = self._wrong.get(pair)
        if now is None:
            return
        if now is not counted:
            self._wrong[pair] = _Wrong(max(now.guesses - 1, 0), now.last_at)
        elif before is not None:
            self._wrong[pair] = before
        else:
            del self._wrong[pair]

    def _spend(self, account: str, place: Place) -> float:
        """Spend one of every budget, or of none; return the seconds until there is one of each."""
        spent: list[tuple[Budget, Hashable]] = []
        for budget, key in self._budgets(account, place):
            wait_s = budget.spend(key)
            if wait_s:
                for each, its_key in spent:
                    each.give_back(its_key)
                return wait_s
            spent.append((budget, key))
        return 0.0

    def _give_back(self, account: str, place: Place) -> None:
        for budget, key in self._budgets(account, place):
            budget.give_back(key)

    def _budgets(self, account: str, place: Place) -> list[tuple[Budget, Hashable]]:
        if place.device:
            return []
        budgets: list[tuple[Budget, Hashable]] = [
            (self._networks, place.network),
            (self._sites, place.site),
            (self._site_accounts, (account, place.site)),
        ]
        if self._account_budget is not None:
            budgets.append((self._account_budget, account))
        return budgets


def place_of(address: str, device: str = "") -> Place:
    """Return where somebody is who calls from *address*, on a *device* if it is known."""
    return Place(network_of(address), site_of(address), device)


def site_of(address: str) -> str:
    """Return the networks that one site may have at the most: /48 of IPv6, /24 of IPv4."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    bits = IPV6_SITE_BITS if parsed.version == 6 else IPV4_SITE_BITS
    return str(ipaddress.ip_network((parsed.packed, bits), strict=False))


def network_of(address: str) -> str:
    """Return the network that one customer has: the address, or the first half of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), IPV6_NETWORK_BITS)))
    return str(parsed)

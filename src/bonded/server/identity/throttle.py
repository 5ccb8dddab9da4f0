"""Slows guessing down without letting anybody lock anybody out.

A wrong guess delays the next one for the same account *from the same place*,
twice as long each time; and each place has a budget of wrong guesses for all
accounts together. The place is the device if it carries the cookie that a
successful sign-in of this account left there, else the network it calls from:
so a stranger who guesses never delays the owner on their own device, nor
anybody elsewhere (OWASP: device cookies).

Kept by each replica in bounded memory: N replicas allow N times the guesses.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from bonded.server.core.clock import Clock
from bonded.server.core.errors import TooMany

FREE_GUESSES = 5
DELAY_MAX_S = 15 * 60
FORGOTTEN_S = 24 * 3600
"""After so long without a guess, earlier ones do not count."""
NETWORK_GUESSES = 60
NETWORK_GUESSES_PER_S = 1 / 6
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
    device: str = ""
    """What the cookie of a device says that the account has been used on, else ""."""


class Throttle:
    """Counts a guess before it is judged, so that many at once count too."""

    def __init__(self, clock: Clock, account_budget: Budget | None = None) -> None:
        """*account_budget* bounds all unknown devices together, for secrets that are short."""
        self._clock = clock
        self._networks = Budget(clock, NETWORK_GUESSES, NETWORK_GUESSES_PER_S)
        self._account_budget = account_budget
        self._pairs: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def begin(self, account: str, place: Place) -> None:
        """Let one guess for *account* be judged. Call `succeeded` if it was right.

        Raises:
            TooMany: not yet.
        """
        now = self._clock().timestamp()
        pair = (account, place.device or place.network)
        guesses, allowed_at = self._pairs.get(pair, (0, now))
        if now > allowed_at + FORGOTTEN_S:
            guesses = 0
        wait_s = allowed_at - now
        if wait_s <= 0 and not place.device:
            wait_s = self._networks.spend(place.network)
            if not wait_s and self._account_budget is not None:
                wait_s = self._account_budget.spend(account)
        if wait_s > 0:
            raise TooMany("There were too many wrong attempts", retry_after_s=wait_s)
        guesses += 1
        delay_s = (
            min(2.0 ** (guesses - FREE_GUESSES), DELAY_MAX_S) if guesses >= FREE_GUESSES else 0
        )
        self._pairs[pair] = (min(guesses, 32), now + delay_s)
        self._pairs.move_to_end(pair)
        if len(self._pairs) > REMEMBERED_MAX:
            self._pairs.popitem(last=False)

    def succeeded(self, account: str, place: Place) -> None:
        """Forget the guesses: the last one was right."""
        self._pairs.pop((account, place.device or place.network), None)
        if not place.device:
            self._networks.give_back(place.network)
            if self._account_budget is not None:
                self._account_budget.give_back(account)


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

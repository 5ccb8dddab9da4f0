"""Where a request comes from, as limits on guessing count it; and how much from there may fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bonded.server.core.errors import (
    BondedError,
    Conflict,
    Forbidden,
    GrantRefused,
    NotFound,
    TooMany,
    Unauthenticated,
)
from bonded.server.identity.throttle import Budget, network_of
from bonded.server.web.addresses import Addresses
from bonded.server.web.messages import Call


class Networks:
    """Tells the address of a client, and the network that it is one customer's of."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    def address_of(self, call: Call) -> str:
        """Return the client's address, "" if it is not known."""
        return self._addresses.of(call.scope, call.headers)

    def network_of(self, call: Call) -> str:
        """Return the network that the client calls from."""
        return network_of(self.address_of(call))


_GUESSES = (Unauthenticated, Forbidden, NotFound, Conflict, GrantRefused)
_PATIENCE = ("authorization_pending", "slow_down")
"""What a device hears that waits as it should (RFC 8628 §3.5)."""


class Failures:
    """Bounds what may fail at the token endpoints, for each network and all of them together.

    What is good is answered whatever has failed before, so nobody is locked out by
    somebody who shares their address; whoever guesses learns nothing of when to stop.
    """

    def __init__(self, networks: Networks, budget: Budget) -> None:
        self._networks = networks
        self._budget = budget

    @contextmanager
    def counted(self, call: Call) -> Iterator[None]:
        """Count what the block refuses.

        Raises:
            TooMany: in place of the refusal, if too much has failed from the call's network.
        """
        try:
            yield
        except _GUESSES as error:
            if isinstance(error, GrantRefused) and error.code in _PATIENCE:
                raise
            self.count(call, error)
            raise

    def count(self, call: Call, error: BondedError | None = None) -> None:
        """Count one failure.

        Raises:
            TooMany: too much has failed from the call's network.
        """
        wait_s = self._budget.spend(self._networks.network_of(call))
        if wait_s:
            raise TooMany(
                "Too many requests from this address have failed", retry_after_s=wait_s
            ) from error

"""Where a request comes from, as limits on guessing count it."""

from __future__ import annotations

from bonded.server.identity.throttle import network_of
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
